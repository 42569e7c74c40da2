-- Customers that disagree with their rows elsewhere. Input: customers and every table with a customer_key; this_run.
-- Grain: one disagreement of a customer; rule, customer_key, found, expected (what the customer's rows elsewhere say).
with deeds as materialized (
    -- what brings money, and what ends a journey: few of many touchpoints
    select
        customer_key,
        event_type,
        occurred_at,
        journey_no,
        event_type = 'purchase' and opens_order as opens,
        case event_type
            when 'purchase' then if(opens_order, 'order', null)
            when 'subscription_started' then 'subscription_started'
            when 'renewal' then if(outcome = 'declined', 'renewal_declined', 'renewal')
            when 'cancellation' then if(kind = 'effective', 'cancellation', null)
            when 'account_closed' then 'account_closed'
        end as journey_outcome,
        currency,
        if(event_type = 'refund', -amount, amount) as amount,
        event_type in ('purchase', 'refund', 'subscription_started')
        or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed') as is_money
    from touchpoints
    where event_type in ('purchase', 'refund', 'subscription_started', 'renewal', 'cancellation', 'account_closed')
),
of_deeds as (
    select
        customer_key,
        count(*) filter (where opens) as orders,
        min(occurred_at) filter (where opens) as first_order_at,
        max(occurred_at) filter (where opens) as last_order_at,
        coalesce(sum(hash(journey_no, journey_outcome, occurred_at) % 1000003) filter (where journey_outcome is not null), 0)
            as outcome_digest
    from deeds
    group by customer_key
),
of_touchpoints as (
    select
        customer_key,
        count(*) as n,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at,
        sum(journey_no) as journey_digest,
        coalesce(sum(hash(stage) % 1000003) filter (where stage is not null), 0) as stage_digest,
        arg_min(channel, seq) as first_channel,
        bool_and(is_known) as all_known,
        bool_or(is_known) as any_known
    from touchpoints
    group by customer_key
),
-- Each session counts once in each journey that it has a touchpoint in, and at least once in each stage.
visits as (
    select customer_key, sum(journey_no) as journey_digest
    from (select distinct customer_key, session_id, journey_no from touchpoints where session_id is not null)
    group by customer_key
),
stage_visits as (
    select customer_key, count(*) as n
    from (select distinct customer_key, session_id, stage from touchpoints where session_id is not null and stage is not null)
    group by customer_key
),
of_sessions as (select customer_key, count(*) as n from sessions group by customer_key),
of_journeys as (
    select
        customer_key,
        count(*) as n,
        min(started_at) as first_at,
        sum(journey_no * touchpoints) as journey_digest,
        sum(journey_no * sessions) as session_digest,
        coalesce(sum(hash(journey_no, outcome, ended_at) % 1000003) filter (where outcome is not null), 0) as outcome_digest
    from journeys
    group by customer_key
),
of_stages as (
    select
        customer_key,
        any_value(stage) filter (where is_open) as current_stage,
        sum(touchpoints * (hash(stage) % 1000003)) as stage_digest,
        sum(sessions) as sessions
    from journey_stages
    group by customer_key
),
of_tickets as (select customer_key, count(*) as n from tickets group by customer_key),
of_friction as (select customer_key, count(*) as n from friction_points group by customer_key),
of_subscriptions as (
    select
        s.customer_key,
        bool_or(s.started_at <= r.as_of and (s.ended_at is null or s.ended_at > r.as_of)) as is_subscriber
    from subscriptions as s
    cross join this_run as r
    group by s.customer_key
),
of_plans as (
    select customer_key, arg_max(plan, (started_at, coalesce(source, ''), subscription_id, period_no)) as plan
    from subscription_periods
    group by customer_key
),
-- Of each customer and currency, by the touchpoints and by customers; null where one of them knows of none.
of_money as (
    select
        coalesce(t.customer_key, c.customer_key) as customer_key,
        coalesce(t.currency, c.currency) as currency,
        t.amount as there,
        c.amount
    from (
        select customer_key, currency, sum(amount)::decimal(38, 4) as amount
        from deeds
        where is_money
        group by customer_key, currency
    ) as t
    full join (
        select customer_key, r.currency as currency, r.amount as amount
        from (select customer_key, unnest(revenue_by_currency) as r from customers)
    ) as c on t.customer_key = c.customer_key and t.currency = c.currency
),
keys as (
    select customer_key, 'touchpoints' as table_name from of_touchpoints
    union all
    select customer_key, 'sessions' from of_sessions
    union all
    select customer_key, 'journeys' from of_journeys
    union all
    select customer_key, 'journey_stages' from of_stages
    union all
    select customer_key, 'tickets' from of_tickets
    union all
    select customer_key, 'friction_points' from of_friction
    union all
    select customer_key, 'subscriptions' from of_subscriptions
    union all
    select customer_key, 'subscription_periods' from of_plans
    union all
    select customer_key, 'customer_months' from (select distinct customer_key from customer_months)
    union all
    select customer_key, 'identity_map' from (select distinct customer_key from identity_map)
),
together as (
    select
        c.customer_key,
        c.touchpoints,
        coalesce(t.n, 0) as touchpoints_there,
        c.sessions,
        coalesce(s.n, 0) as sessions_there,
        c.journeys,
        coalesce(j.n, 0) as journeys_there,
        c.tickets,
        coalesce(k.n, 0) as tickets_there,
        c.friction_points,
        coalesce(f.n, 0) as friction_points_there,
        c.orders,
        coalesce(d.orders, 0) as orders_there,
        c.first_order_at,
        c.last_order_at,
        d.first_order_at as first_order_there,
        d.last_order_at as last_order_there,
        c.first_channel,
        t.first_channel as first_channel_there,
        c.plan,
        p.plan as plan_there,
        coalesce(d.outcome_digest, 0) as outcomes_of_touchpoints,
        coalesce(j.outcome_digest, 0) as outcomes_of_journeys,
        c.first_seen_at,
        c.last_seen_at,
        t.first_at,
        t.last_at,
        j.first_at as first_journey_at,
        t.journey_digest as digest_of_touchpoints,
        j.journey_digest as digest_of_journeys,
        t.stage_digest as stages_of_touchpoints,
        coalesce(g.stage_digest, 0) as stages_of_runs,
        coalesce(j.session_digest, 0) as sessions_of_journeys,
        coalesce(v.journey_digest, 0) as sessions_of_touchpoints,
        coalesce(g.sessions, 0) as sessions_of_stages,
        coalesce(w.n, 0) as sessions_in_stages,
        c.is_known,
        t.all_known,
        t.any_known,
        c.current_stage,
        g.current_stage as open_stage,
        c.is_subscriber,
        coalesce(u.is_subscriber, false) as is_subscriber_there
    from customers as c
    left join of_touchpoints as t on c.customer_key = t.customer_key
    left join of_deeds as d on c.customer_key = d.customer_key
    left join of_sessions as s on c.customer_key = s.customer_key
    left join visits as v on c.customer_key = v.customer_key
    left join stage_visits as w on c.customer_key = w.customer_key
    left join of_journeys as j on c.customer_key = j.customer_key
    left join of_stages as g on c.customer_key = g.customer_key
    left join of_tickets as k on c.customer_key = k.customer_key
    left join of_friction as f on c.customer_key = f.customer_key
    left join of_subscriptions as u on c.customer_key = u.customer_key
    left join of_plans as p on c.customer_key = p.customer_key
)
select 'key_is_a_customer' as rule, k.customer_key, 'in ' || k.table_name as found, 'in customers' as expected
from keys as k
where not exists (select 1 from customers as c where c.customer_key = k.customer_key)
union all
select 'counts_agree', customer_key, 'touchpoints ' || touchpoints, 'touchpoints ' || touchpoints_there
from together
where touchpoints <> touchpoints_there
union all
select 'counts_agree', customer_key, 'sessions ' || sessions, 'sessions ' || sessions_there
from together
where sessions <> sessions_there
union all
select 'counts_agree', customer_key, 'journeys ' || journeys, 'journeys ' || journeys_there
from together
where journeys <> journeys_there
union all
select 'counts_agree', customer_key, 'tickets ' || tickets, 'tickets ' || tickets_there
from together
where tickets <> tickets_there
union all
select 'counts_agree', customer_key, 'friction_points ' || friction_points, 'friction_points ' || friction_points_there
from together
where friction_points <> friction_points_there
union all
select 'counts_agree', customer_key, 'orders ' || orders, 'orders ' || orders_there
from together
where orders <> orders_there
union all
select
    'counts_agree', customer_key, 'revenue ' || coalesce(amount::varchar, 'none') || ' ' || currency,
    'revenue ' || coalesce(there::varchar, 'none') || ' ' || currency
from of_money
where amount is distinct from there
union all
select 'times_agree', customer_key, 'first seen ' || first_seen_at, 'first seen ' || coalesce(first_at::varchar, 'never')
from together
where first_seen_at is distinct from first_at
union all
select 'times_agree', customer_key, 'last seen ' || last_seen_at, 'last seen ' || coalesce(last_at::varchar, 'never')
from together
where last_seen_at is distinct from last_at
union all
select 'times_agree', customer_key, 'first seen ' || first_seen_at, 'first journey ' || coalesce(first_journey_at::varchar, 'never')
from together
where first_seen_at is distinct from first_journey_at
union all
select
    'times_agree',
    customer_key,
    'orders from ' || coalesce(first_order_at::varchar, 'never') || ' to ' || coalesce(last_order_at::varchar, 'never'),
    'orders from ' || coalesce(first_order_there::varchar, 'never') || ' to ' || coalesce(last_order_there::varchar, 'never')
from together
where first_order_at is distinct from first_order_there or last_order_at is distinct from last_order_there
union all
select 'state_agrees', customer_key, 'stage ' || coalesce(current_stage, 'none'), 'stage ' || coalesce(open_stage, 'none')
from together
where current_stage is distinct from open_stage
union all
select 'state_agrees', customer_key, 'is_subscriber ' || is_subscriber, 'is_subscriber ' || is_subscriber_there
from together
where is_subscriber <> is_subscriber_there
union all
select
    'origins_agree',
    customer_key,
    'first channel ' || coalesce(first_channel, 'none') || ', plan ' || coalesce(plan, 'none'),
    'first channel ' || coalesce(first_channel_there, 'none') || ', plan ' || coalesce(plan_there, 'none')
from together
where first_channel is distinct from first_channel_there or plan is distinct from plan_there
union all
-- of each journey the number times its touchpoints, summed: equal sums, and each touchpoint is counted in its journey
select 'touchpoints_are_in_their_journeys', customer_key, 'touchpoints say ' || digest_of_touchpoints, 'journeys say ' || digest_of_journeys
from together
where digest_of_touchpoints is distinct from digest_of_journeys
union all
-- the same of each stage: as many touchpoints have it as its runs count
select 'touchpoints_are_in_their_stages', customer_key, 'touchpoints say ' || stages_of_touchpoints, 'stages say ' || stages_of_runs
from together
where stages_of_touchpoints is distinct from stages_of_runs
union all
select
    'sessions_are_in_their_journeys', customer_key, 'touchpoints say ' || sessions_of_touchpoints,
    'journeys say ' || sessions_of_journeys
from together
where sessions_of_touchpoints <> sessions_of_journeys
union all
select
    'sessions_are_in_their_journeys', customer_key, 'at least ' || sessions_in_stages || ' in stages',
    'stages say ' || sessions_of_stages
from together
where sessions_of_stages < sessions_in_stages
union all
-- and of each outcome, with its journey and its moment
select 'outcomes_are_in_their_journeys', customer_key, 'touchpoints say ' || outcomes_of_touchpoints, 'journeys say ' || outcomes_of_journeys
from together
where outcomes_of_touchpoints is distinct from outcomes_of_journeys
union all
select 'state_agrees', customer_key, 'is_known ' || is_known, 'touchpoints say ' || coalesce(any_known::varchar, 'nothing')
from together
where is_known is distinct from all_known or is_known is distinct from any_known
