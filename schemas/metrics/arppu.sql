-- Revenue of each paying customer. Input: money. Grain: one event of money; and one payer and currency; each by month, and with
-- a null month over all.
with paid as (select customer_no, month, currency, event_ids from money where amount > 0 and is_known)
select customer_no, month, currency, amount as numerator, 0 as denominator, 0 as n,
    event_ids as numerator_events, null as denominator_events
from money
union all
select customer_no, null, currency, amount, 0, 0, event_ids, null
from money
union all
select customer_no, month, currency, 0, 1, 1, null, flatten(list(event_ids order by event_ids))
from paid
group by customer_no, month, currency
union all
select customer_no, null, currency, 0, 1, 1, null, flatten(list(event_ids order by event_ids))
from paid
group by customer_no, currency
