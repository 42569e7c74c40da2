-- Moments at which no event of the customer's own ended a relation: a lapse, a term that ended unrenewed, or a
-- subscription that an event of another customer ended.
-- Input: touchpoints, subscription_periods; parameters $as_of, $inactivity_days (null: nobody knows them, and nobody
-- lapses). Grain: one moment of a customer; kind (lapsed, term_ended, ended_elsewhere) says which, reason is told on.
-- A known buyer lapses inactivity_days after an order that no other order followed by then (an order at that very moment
-- still counts), and is dated then. Whose days are over under a subscription is still a customer, and lapses when it ends
-- and no other one goes on, if no order came until then.
with orders as (
    select
        customer_no,
        occurred_at + to_days($inactivity_days::int) as days_over_at,
        lead(occurred_at) over (partition by customer_no order by seq) as next_order_at
    from touchpoints
    where event_type = 'purchase' and opens_order and is_known
),
days_over as (
    select customer_no, days_over_at, next_order_at
    from orders
    where days_over_at <= $as_of and (next_order_at is null or next_order_at > days_over_at)
),
-- Stretches in which a customer had at least one subscription, of those whose days are over.
held as (
    select
        customer_no,
        started_at,
        coalesce(ended_at, timestamptz 'infinity') as ended_at,
        max(coalesce(ended_at, timestamptz 'infinity')) over (
            partition by customer_no order by started_at, coalesce(ended_at, timestamptz 'infinity')
            rows between unbounded preceding and 1 preceding
        ) as held_until
    from subscription_periods
    where customer_no in (select customer_no from days_over)
),
numbered as (
    select
        *,
        count(*) filter (where held_until is null or held_until < started_at) over (
            partition by customer_no order by started_at, ended_at rows between unbounded preceding and current row
        ) as stretch_no
    from held
),
stretches as (
    select customer_no, min(started_at) as started_at, max(ended_at) as ended_at
    from numbered
    group by customer_no, stretch_no
),
lapsed as (
    select d.customer_no, coalesce(s.ended_at, d.days_over_at) as happened_at, d.next_order_at
    from days_over as d
    left join stretches as s
        on d.customer_no = s.customer_no and s.started_at <= d.days_over_at and s.ended_at > d.days_over_at
)
select customer_no, happened_at, 'lapsed' as kind, 'lapsed' as reason
from lapsed
where happened_at <= $as_of and (next_order_at is null or next_order_at > happened_at)
union all
select customer_no, ended_at, 'term_ended', 'term_ended'
from subscription_periods
where ended_by = 'expired'
union all
select customer_no, ended_at, 'ended_elsewhere', reason
from subscription_periods
where is_ended_elsewhere
order by 1, 2, 3, 4
