-- Moments at which no event of the customer's own ended a relation: a lapse, a term that ended unrenewed, or a
-- subscription that an event of another customer ended.
-- Input: touchpoints, subscriptions; parameters $as_of, $inactivity_days. Grain: one moment of a customer.
-- A known buyer without an active subscription lapses inactivity_days after an order that no other order followed by
-- then (an order at that very moment still counts), and is dated then.
with orders as (
    select
        customer_no,
        occurred_at,
        lead(occurred_at) over (partition by customer_no order by seq) as next_order_at
    from touchpoints
    where event_type = 'purchase' and opens_order and is_known
),
lapses as (
    select customer_no, occurred_at + to_days($inactivity_days::int) as happened_at
    from orders
    where
        occurred_at + to_days($inactivity_days::int) <= $as_of
        and (next_order_at is null or next_order_at > occurred_at + to_days($inactivity_days::int))
)
select l.customer_no, l.happened_at, 'lapsed' as reason
from lapses as l
where
    not exists (
        select 1 from subscriptions as s
        where s.customer_no = l.customer_no and s.started_at <= l.happened_at and (s.ended_at is null or s.ended_at > l.happened_at)
    )
union all
select customer_no, ended_at, 'term_ended'
from subscriptions
where status = 'expired'
union all
select customer_no, ended_at, cancelled_reason
from subscriptions
where is_ended_elsewhere
order by 1, 2, 3
