-- Slow first responses. Input: tickets; parameters $hours, $as_of. Grain: one ticket.
-- The clock is that of first_response_minutes: from the opening to the first public reply by an agent. A resolution ends the
-- wait without a reply where it holds (a chatbot's); one after which the ticket was opened again before any reply does not.
with turns as (
    select
        *,
        coalesce(first_response_at, $as_of) as clock_until,
        list_filter(open_periods, lambda period: period.started_at <= coalesce(first_response_at, $as_of))[-1].ended_at
            as resolved_at
    from tickets
),
waits as (
    select *, least(clock_until, resolved_at) as wait_until, first_response_at is null and resolved_at is null as is_on from turns
)
select
    customer_no,
    opened_seq as seq,
    coalesce(team, topic) as subject,
    opened_at as started_at,
    if(is_on, null, wait_until) as ended_at,
    opened_at + span_of_hours($hours) as known_at,
    1 as n_events,
    [opened_event_id] as event_ids,
    minutes_of(epoch_us(wait_until) - epoch_us(opened_at)) as minutes_lost
from waits
where wait_until > opened_at + span_of_hours($hours)
