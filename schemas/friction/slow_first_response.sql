-- Slow first responses. Input: tickets; parameters $hours, $as_of. Grain: one ticket.
-- The clock is that of first_response_minutes: from the opening to the first public reply by an agent. A resolution ends the
-- wait without a reply where it holds (a chatbot's); one after which the ticket was opened again before any reply does not.
-- Lost is the time that the ticket was open; and nobody could know of the wait while it stood resolved.
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
    greatest(
        opened_at + span_of_hours($hours),
        list_filter(open_periods, lambda period: coalesce(period.ended_at, wait_until) > opened_at + span_of_hours($hours))[1].started_at
    ) as known_at,
    1 as n_events,
    [opened_event_id] as event_ids,
    minutes_of(
        list_sum(
            list_transform(
                list_filter(open_periods, lambda period: period.started_at < wait_until),
                lambda period: epoch_us(least(period.ended_at, wait_until)) - epoch_us(period.started_at)
            )
        )::bigint
    ) as minutes_lost
from waits
where wait_until > opened_at + span_of_hours($hours)
