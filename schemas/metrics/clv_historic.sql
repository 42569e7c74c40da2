-- What customers have been worth so far: what each month adds. Input: money, first_seen. Grain: one event of money, one customer.
select customer_no, month, currency, amount as numerator, 0 as denominator, 0 as n,
    event_ids as numerator_events, null as denominator_events
from money
where is_known
union all
select customer_no, month, null, 0, 1, 1, null, event_ids
from first_seen
where is_known
