-- Times from one order to the next, and from the last one to as-of. Input: touchpoints; parameter $as_of.
-- Grain: one length in days, whether it is open, and among how many of its customer. An order at the end of the n-th day
-- came within n days; who has waited n days and a half has waited n.
with orders as (
    select
        customer_no,
        occurred_at,
        lead(occurred_at) over (partition by customer_no order by seq) as next_at,
        count(*) over (partition by customer_no) as gaps
    from touchpoints
    where event_type = 'purchase' and opens_order and is_known
)
select
    case
        when next_at is null then (epoch_us($as_of) - epoch_us(occurred_at)) // 86400000000
        else (epoch_us(next_at) - epoch_us(occurred_at) + 86399999999) // 86400000000
    end as days,
    next_at is null as is_open,
    gaps,
    count(*) as count
from orders
group by all
