-- Stalls. Input: journey_stages, tickets; parameters $stall_days, $as_of. Grain: one run of one stage.
-- A stage that $stall_days does not name has no limit, unless it gives one for any ('*'). Nobody stalls in churned.
-- The stage service lasts until the customer buys or uses something: what counts there is how long a ticket is open in it.
with limited as (
    select *, coalesce(($stall_days::map(varchar, double))[stage], ($stall_days::map(varchar, double))['*']) as days
    from journey_stages
    where stage <> 'churned'
),
open_tickets as (
    select customer_no, unnest(open_periods) as open from tickets
),
waits as (
    select customer_no, seq, stage, entered_at, event_id, entered_at as since, left_at as until, days
    from limited
    where stage <> 'service'
    union all
    select l.customer_no, l.seq, l.stage, l.entered_at, l.event_id, greatest(t.open.started_at, l.entered_at),
        least(t.open.ended_at, l.left_at), l.days
    from limited as l
    join open_tickets as t on l.customer_no = t.customer_no
    where l.stage = 'service'
)
select
    customer_no,
    seq,
    stage as subject,
    entered_at as started_at,
    arg_min(until, since) as ended_at,
    min(since) + span_of_days(any_value(days)) as known_at,
    1 as n_events,
    [any_value(event_id)] as event_ids,
    null::decimal(18, 4) as minutes_lost
from waits
where coalesce(until, $as_of) > since + span_of_days(days)
group by customer_no, seq, stage, entered_at
