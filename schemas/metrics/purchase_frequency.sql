-- Orders of each buyer. Input: orders. Grain: one order; and one customer with an order; each by month, and with a null month
-- over all.
select customer_no, month, 1 as numerator, 0 as denominator, 0 as n, event_ids as numerator_events, null as denominator_events
from orders
where is_known
union all
select customer_no, null, 1, 0, 0, event_ids, null
from orders
where is_known
union all
select customer_no, month, 0, 1, 1, null, flatten(list(event_ids order by nth))
from orders
where is_known
group by customer_no, month
union all
select customer_no, null, 0, 1, 1, null, flatten(list(event_ids order by nth))
from orders
where is_known
group by customer_no
