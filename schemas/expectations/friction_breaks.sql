-- Points of friction that do not stand where their events do. Input: friction_points, touchpoints.
-- Grain: one disagreement of a point; friction_id, customer_key, found, expected.
with listed as (
    select friction_id, customer_key, unnest(event_ids) as event_id, generate_subscripts(event_ids, 1) = 1 as is_first
    from friction_points
),
of_events as (
    select
        l.friction_id,
        count(*) as n,
        any_value(t.journey_no) filter (where l.is_first) as journey_no,
        any_value(t.occurred_at) filter (where l.is_first) as occurred_at
    from listed as l
    join touchpoints as t on l.event_id = t.event_id and l.customer_key = t.customer_key
    group by l.friction_id
)
select
    p.friction_id,
    p.customer_key,
    len(p.event_ids) || ' events, the first in journey ' || p.journey_no || ' at ' || p.started_at as found,
    coalesce(e.n, 0) || ' of the customer, the first in journey ' || coalesce(e.journey_no::varchar, 'none') || ' at '
    || coalesce(e.occurred_at::varchar, 'none') as expected
from friction_points as p
left join of_events as e on p.friction_id = e.friction_id
where
    e.n is distinct from len(p.event_ids)
    or e.journey_no is distinct from p.journey_no
    or e.occurred_at is distinct from p.started_at
