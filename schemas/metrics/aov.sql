-- Average order value. Input: money, orders. Grain: one purchase line, and one order.
select customer_no, month, currency, amount as numerator, 0 as denominator, 0 as n,
    event_ids as numerator_events, null as denominator_events
from money
where kind = 'order'
union all
select customer_no, month, currency, 0, 1, 1, null, event_ids
from orders
