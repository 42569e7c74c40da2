-- Repurchase rate: what each month adds. Input: orders. Grain: a customer's first and second order.
select customer_no, month, (nth = 2)::int as numerator, (nth = 1)::int as denominator, (nth = 1)::int as n,
    if(nth = 2, event_ids, null) as numerator_events, if(nth = 1, event_ids, null) as denominator_events
from orders
where is_known and nth <= 2
