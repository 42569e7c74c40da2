-- Steps back. Input: journey_stages, journeys; parameter $path. Grain: one run of a stage that lies before the one left, on the
-- path, with both entered in one journey before its outcome. What is not on the path (service) is stepped over.
with entered as (
    select
        s.customer_no,
        s.stage_no,
        s.seq,
        s.event_id,
        s.stage,
        s.entered_at,
        s.journey_no,
        list_position($path::varchar[], s.stage) as place
    from journey_stages as s
    join journeys as j on s.customer_no = j.customer_no and s.journey_no = j.journey_no
    where list_contains($path::varchar[], s.stage) and (j.outcome is null or s.entered_at < j.ended_at)
),
steps as (
    select *, lag(place) over one_journey as place_before, lag(stage) over one_journey as stage_before
    from entered
    window one_journey as (partition by customer_no, journey_no order by stage_no)
)
select
    customer_no,
    seq,
    stage_before || ' > ' || stage as subject,
    entered_at as started_at,
    entered_at as ended_at,
    entered_at as known_at,
    1 as n_events,
    [event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from steps
where place < place_before
