-- Revenue of each active customer. Input: money, activity. Grain: one event of money, and one active customer; each by month, and
-- with a null month over all. Customers have no currency: they count in every one.
select customer_no, month, currency, amount as numerator, 0 as denominator, 0 as n,
    event_ids as numerator_events, null as denominator_events
from money
union all
select customer_no, null, currency, amount, 0, 0, event_ids, null
from money
union all
select customer_no, month, null, 0, 1, 1, null, event_ids
from activity
where is_known
union all
select customer_no, null, null, 0, 1, 1, null, flatten(list(event_ids order by month))
from activity
where is_known
group by customer_no
