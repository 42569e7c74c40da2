-- Points of friction whose events are not there. Input: friction_points, touchpoints.
-- Grain: one disagreement of a point; friction_id, customer_key, found, expected.
-- A point may list events of others, such as an agent's, but the one in whose journey it stands is its customer's.
with listed as (
    select friction_id, customer_key, journey_no, unnest(event_ids) as event_id from friction_points
),
of_events as (
    select
        l.friction_id,
        count(*) as n,
        count(*) filter (where l.customer_key = t.customer_key and l.journey_no = t.journey_no) as in_journey
    from listed as l
    join touchpoints as t on l.event_id = t.event_id
    group by l.friction_id
)
select
    p.friction_id,
    p.customer_key,
    len(p.event_ids) || ' events listed, of journey ' || p.journey_no as found,
    coalesce(e.n, 0) || ' of them touchpoints, ' || coalesce(e.in_journey, 0) || ' in that journey' as expected
from friction_points as p
left join of_events as e on p.friction_id = e.friction_id
where e.n is distinct from len(p.event_ids) or e.in_journey = 0
