-- Slow first responses. Input: tickets; parameters $hours, $as_of. Grain: one ticket.
-- The wait ends with the response, or with a resolution that needed none (a chatbot's), or is still on.
with waits as (
    select *, coalesce(least(first_response_at, first_resolved_at), $as_of) as wait_ended_at from tickets
)
select
    customer_no,
    opened_seq as seq,
    coalesce(team, topic) as subject,
    opened_at as started_at,
    first_response_at as ended_at,
    opened_at + to_microseconds(($hours * 3600000000)::bigint) as known_at,
    1 as n_events,
    [opened_event_id] as event_ids,
    ((epoch_us(wait_ended_at) - epoch_us(opened_at)) // 6000)::decimal(18, 0)
    * 0.0001::decimal(5, 4) as minutes_lost
from waits
where wait_ended_at > opened_at + to_microseconds(($hours * 3600000000)::bigint)
