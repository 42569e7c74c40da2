-- Slow resolutions. Input: tickets; parameters $hours, $as_of. Grain: one ticket. The clock is that of resolution_hours: from
-- the opening to the first resolution; it is still on where there is none.
with waits as (
    select *, coalesce(first_resolved_at, $as_of) as wait_until from tickets
)
select
    customer_no,
    opened_seq as seq,
    coalesce(team, topic) as subject,
    opened_at as started_at,
    first_resolved_at as ended_at,
    opened_at + span_of_hours($hours) as known_at,
    1 as n_events,
    [opened_event_id] as event_ids,
    minutes_of(epoch_us(wait_until) - epoch_us(opened_at)) as minutes_lost
from waits
where wait_until > opened_at + span_of_hours($hours)
