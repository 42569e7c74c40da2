-- Slow first responses. Input: tickets; parameters $hours, $as_of. Grain: one ticket.
select
    customer_no,
    opened_seq as seq,
    coalesce(team, topic) as subject,
    opened_at as started_at,
    first_response_at as ended_at,
    1 as n_events,
    [opened_event_id] as event_ids,
    ((epoch_us(coalesce(first_response_at, $as_of)) - epoch_us(opened_at)) // 6000)::decimal(18, 0)
    * 0.0001::decimal(5, 4) as minutes_lost
from tickets
where coalesce(first_response_at, $as_of) > opened_at + to_hours($hours::bigint)
