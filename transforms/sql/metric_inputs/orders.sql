-- Orders in the order of their first lines. Input: purchases. Grain: one order.
select
    customer_no,
    is_known,
    month,
    occurred_at,
    currency,
    row_number() over (partition by customer_no order by seq) as nth,
    event_ids
from purchases
where opens_order
