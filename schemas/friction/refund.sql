-- Refunds. Input: touchpoints. Grain: one refund. Subject: the product of its order, where the order has one product only.
with products as (
    select customer_no, order_no, min(product_id) as product_id
    from touchpoints
    where event_type = 'purchase'
    group by customer_no, order_no
    having count(distinct product_id) = 1 and count(product_id) = count(*)
)
select
    r.customer_no,
    r.seq,
    p.product_id as subject,
    r.occurred_at as started_at,
    r.occurred_at as ended_at,
    r.occurred_at as known_at,
    1 as n_events,
    [r.event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from touchpoints as r
left join products as p on r.customer_no = p.customer_no and r.order_no = p.order_no
where r.event_type = 'refund'
