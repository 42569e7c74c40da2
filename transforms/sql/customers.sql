-- One row a customer. Input: touchpoints, sessions, journeys, journey_stages, tickets, subscriptions,
-- subscription_periods, friction_points, lapses; parameter $as_of. Grain: one customer_no, in order. Revenue is added beside (sql/revenue_by.sql).
with seen as (
    select
        customer_no,
        any_value(customer_key) as customer_key,
        bool_or(is_known) as is_known,
        min(occurred_at) as first_seen_at,
        max(occurred_at) as last_seen_at,
        arg_min(channel, seq) as first_channel,
        count(*) as touchpoints,
        count(*) filter (where opens_order and event_type = 'purchase') as orders,
        min(occurred_at) filter (where opens_order and event_type = 'purchase') as first_order_at,
        max(occurred_at) filter (where opens_order and event_type = 'purchase') as last_order_at
    from touchpoints
    group by customer_no
),
in_sessions as (select customer_no, count(*) as n from sessions group by customer_no),
in_journeys as (select customer_no, count(*) as n from journeys group by customer_no),
in_tickets as (select customer_no, count(*) as n from tickets group by customer_no),
in_friction as (select customer_no, count(*) as n from friction_points group by customer_no),
active as (
    select distinct customer_no from subscriptions where started_at <= $as_of and (ended_at is null or ended_at > $as_of)
),
planned as (
    select customer_no, arg_max(plan, (started_at, coalesce(source, ''), subscription_id, period_no)) as plan
    from subscription_periods
    group by customer_no
),
current as (select customer_no, stage, entered_at from journey_stages where is_open),
-- Why a customer is churned: the event or the moment that put it there.
churn_events as (
    select customer_no, occurred_at as happened_at, 0 as place, reason
    from touchpoints
    where event_type in ('cancellation', 'account_closed', 'renewal') and stage = 'churned'
    union all
    -- a buyer may lapse with the subscription's end: the end is what happened
    select customer_no, happened_at, if(kind = 'lapsed', 2, 1), reason from lapses
),
reasons as (
    -- of the moment that put the customer there, and of no later one: arg_min alone would pass by a null
    select c.customer_no, nullif(arg_min(coalesce(e.reason, ''), (e.happened_at, e.place, coalesce(e.reason, ''))), '') as reason
    from current as c
    join churn_events as e on c.customer_no = e.customer_no and e.happened_at >= c.entered_at
    where c.stage = 'churned'
    group by c.customer_no
)
select
    s.customer_key,
    s.is_known,
    s.first_seen_at,
    s.last_seen_at,
    s.first_channel,
    p.plan,
    c.stage as current_stage,
    c.entered_at as stage_entered_at,
    s.touchpoints,
    coalesce(se.n, 0) as sessions,
    coalesce(j.n, 0) as journeys,
    coalesce(f.n, 0) as friction_points,
    coalesce(t.n, 0) as tickets,
    s.orders,
    s.first_order_at,
    s.last_order_at,
    a.customer_no is not null as is_subscriber,
    case when c.stage = 'churned' then c.entered_at end as churned_at,
    r.reason as churn_reason,
    s.customer_no
from seen as s
left join in_sessions as se on s.customer_no = se.customer_no
left join in_journeys as j on s.customer_no = j.customer_no
left join in_tickets as t on s.customer_no = t.customer_no
left join in_friction as f on s.customer_no = f.customer_no
left join active as a on s.customer_no = a.customer_no
left join current as c on s.customer_no = c.customer_no
left join planned as p on s.customer_no = p.customer_no
left join reasons as r on s.customer_no = r.customer_no
order by s.customer_no
