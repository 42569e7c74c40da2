-- Stalls. Input: journey_stages; parameters $stall_days, $as_of. Grain: one run of one stage.
-- A stage that $stall_days does not name has no limit, unless it gives one for any ('*'). Nobody stalls in churned.
with limited as (
    select *, coalesce(($stall_days::map(varchar, double))[stage], ($stall_days::map(varchar, double))['*']) as days
    from journey_stages
    where stage <> 'churned'
)
select
    customer_no,
    seq,
    stage as subject,
    entered_at as started_at,
    left_at as ended_at,
    entered_at + span_of_days(days) as known_at,
    1 as n_events,
    [event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from limited
where coalesce(left_at, $as_of) > entered_at + span_of_days(days)
