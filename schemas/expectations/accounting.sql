-- Sums that must agree: what came in against what came of it, and each table against those made from it.
-- Input: tallies (the run's counts), all tables of the run. Grain: one sum; what, one, other.
-- A tally `replaced_metric` (code: its name) leaves out a metric that the user defines in their own way.
with counts as (
    select
        coalesce(sum(count) filter (where name = 'records_in'), 0)::bigint as records_in,
        coalesce(sum(count) filter (where name = 'records_mapped'), 0)::bigint as records_mapped,
        coalesce(sum(count) filter (where name = 'records_skipped'), 0)::bigint as records_skipped,
        coalesce(sum(count) filter (where name = 'records_unreadable'), 0)::bigint as records_unreadable,
        coalesce(sum(count) filter (where name = 'events_in'), 0)::bigint as events_in,
        coalesce(sum(count) filter (where name = 'touchpoints'), 0)::bigint as touchpoints,
        coalesce(sum(count) filter (where name = 'duplicates'), 0)::bigint as duplicates,
        coalesce(sum(count) filter (where name = 'quarantined_events'), 0)::bigint as quarantined_events,
        coalesce(sum(count) filter (where name = 'after_as_of'), 0)::bigint as after_as_of,
        coalesce(sum(count) filter (where name = 'excluded'), 0)::bigint as excluded,
        coalesce(sum(count) filter (where name = 'quarantined'), 0)::bigint as broken_rules,
        coalesce(sum(count) filter (where name = 'identity_rule'), 0)::bigint as identity_rules,
        coalesce(sum(count) filter (where name = 'identity_decisions'), 0)::bigint as identity_decisions
    from tallies
),
of_touchpoints as (
    select
        count(*) as n,
        count(session_id) as in_sessions,
        count(stage) as staged,
        count(customer_id) as with_customer_id,
        count(email) as with_email,
        count(anonymous_id) as with_anonymous_id,
        count(*) filter (where opens_order) as opening,
        count(*) filter (where event_type = 'subscription_started' or (event_type = 'purchase' and opens_order)) as opening_rightly
    from touchpoints
),
-- An order_id that means nobody names no order: each of its lines is one. Every order is opened by one line, the first.
of_orders as (
    select
        coalesce(sum(if(is_nameless, lines, 1)), 0)::bigint as n,
        coalesce(sum(if(is_nameless, opened, (opened = 1 and opened_seq = first_seq)::bigint)), 0)::bigint as opened
    from (
        select
            coalesce(json_exists(ignored_identifiers, '$.order_id'), false) as is_nameless,
            count(*) as lines,
            count(*) filter (where opens_order) as opened,
            min(seq) as first_seq,
            min(seq) filter (where opens_order) as opened_seq
        from touchpoints
        where event_type = 'purchase'
        group by customer_key, source, order_id, is_nameless
    )
),
of_customers as (
    select
        coalesce(sum(touchpoints), 0)::bigint as touchpoints,
        coalesce(sum(sessions), 0)::bigint as sessions,
        coalesce(sum(journeys), 0)::bigint as journeys,
        coalesce(sum(tickets), 0)::bigint as tickets,
        coalesce(sum(friction_points), 0)::bigint as friction_points,
        coalesce(sum(orders), 0)::bigint as orders,
        count(*) filter (where is_known) as known
    from customers
),
of_sessions as (select count(*) as n, coalesce(sum(touchpoints), 0)::bigint as touchpoints from sessions),
of_journeys as (
    select
        count(*) as n,
        coalesce(sum(touchpoints), 0)::bigint as touchpoints,
        coalesce(sum(friction_points), 0)::bigint as friction_points
    from journeys
),
of_stages as (
    select
        count(*) as n,
        count(*) filter (where stage_no = 1) as first_ones,
        coalesce(sum(touchpoints), 0)::bigint as touchpoints,
        coalesce(sum(duration_s), 0)::bigint as duration_s
    from journey_stages
),
of_transitions as (
    select
        coalesce(sum(transitions) filter (where from_stage <> '(start)'), 0)::bigint as steps,
        coalesce(sum(transitions) filter (where from_stage = '(start)'), 0)::bigint as starts,
        coalesce(sum(total_duration_s), 0)::bigint as duration_s
    from stage_transitions
),
of_quarantine as (select count(*) as n, coalesce(sum(len(errors)), 0)::bigint as errors from quarantine),
of_identifiers as (
    select
        coalesce(sum(n_events) filter (where identifier_kind = 'customer_id'), 0)::bigint as with_customer_id,
        coalesce(sum(n_events) filter (where identifier_kind = 'email'), 0)::bigint as with_email,
        coalesce(sum(n_events) filter (where identifier_kind = 'anonymous_id'), 0)::bigint as with_anonymous_id
    from identity_map
),
of_metrics as (
    -- a run without any touchpoint has no metric at all
    select n.metric, coalesce(m.numerator::bigint, if(t.n = 0, 0, null)) as numerator
    from (select unnest(['orders', 'new_customers']) as metric) as n
    cross join of_touchpoints as t
    left join lifecycle_metrics as m on n.metric = m.metric and m.period_kind = 'all' and m.segment = 'all'
    where n.metric not in (select code from tallies where name = 'replaced_metric')
)
select 'records in, and mapped, skipped or unreadable' as what, records_in as one,
    records_mapped + records_skipped + records_unreadable as other
from counts
union all
select 'events in, and touchpoints, duplicates, quarantined, after as-of or excluded', events_in,
    touchpoints + duplicates + quarantined_events + after_as_of + excluded
from counts
union all
select 'touchpoints counted, and rows of touchpoints', c.touchpoints, t.n from counts as c cross join of_touchpoints as t
union all
select 'events and records quarantined, and rows of quarantine', c.quarantined_events + c.records_unreadable, q.n
from counts as c cross join of_quarantine as q
union all
select 'broken rules counted, and errors in quarantine', c.broken_rules, q.errors from counts as c cross join of_quarantine as q
union all
select 'rules of identity counted, and rows of touchpoints', c.identity_rules, t.n from counts as c cross join of_touchpoints as t
union all
select 'decisions of identity counted, and rows of identity_decisions', c.identity_decisions, (select count(*) from identity_decisions)
from counts as c
union all
select 'touchpoints in customers, and rows of touchpoints', c.touchpoints, t.n from of_customers as c cross join of_touchpoints as t
union all
select 'sessions in customers, and rows of sessions', c.sessions, s.n from of_customers as c cross join of_sessions as s
union all
select 'journeys in customers, and rows of journeys', c.journeys, j.n from of_customers as c cross join of_journeys as j
union all
select 'tickets in customers, and rows of tickets', tickets, (select count(*) from tickets) from of_customers
union all
select 'friction points in customers, and rows of friction_points', friction_points, (select count(*) from friction_points)
from of_customers
union all
select 'orders in customers, and orders that purchases name', c.orders, o.n from of_customers as c cross join of_orders as o
union all
select 'orders that purchases name, and those that their first line opens', n, opened from of_orders
union all
select 'touchpoints that open an order, and purchases that do and starts of subscriptions', opening, opening_rightly
from of_touchpoints
union all
select 'touchpoints in sessions, and touchpoints with a session', s.touchpoints, t.in_sessions
from of_sessions as s cross join of_touchpoints as t
union all
select 'touchpoints in journeys, and rows of touchpoints', j.touchpoints, t.n from of_journeys as j cross join of_touchpoints as t
union all
select 'friction points in journeys, and rows of friction_points', friction_points, (select count(*) from friction_points)
from of_journeys
union all
select 'touchpoints in journey_stages, and touchpoints with a stage', s.touchpoints, t.staged
from of_stages as s cross join of_touchpoints as t
union all
select 'steps in stage_transitions, and rows of journey_stages', t.steps, s.n from of_transitions as t cross join of_stages as s
union all
select 'starts in stage_transitions, and first stages', t.starts, s.first_ones from of_transitions as t cross join of_stages as s
union all
select 'seconds in stage_transitions, and in journey_stages', t.duration_s, s.duration_s
from of_transitions as t cross join of_stages as s
union all
select 'events with a customer_id in identity_map, and in touchpoints', i.with_customer_id, t.with_customer_id
from of_identifiers as i cross join of_touchpoints as t
union all
select 'events with an e-mail in identity_map, and in touchpoints', i.with_email, t.with_email
from of_identifiers as i cross join of_touchpoints as t
union all
select 'events with an anonymous_id in identity_map, and in touchpoints', i.with_anonymous_id, t.with_anonymous_id
from of_identifiers as i cross join of_touchpoints as t
union all
select
    'the metric ' || m.metric || ', and customers',
    m.numerator,
    case m.metric when 'orders' then c.orders else c.known end
from of_metrics as m cross join of_customers as c
