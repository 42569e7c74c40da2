-- Stalls. Input: journey_stages, tickets; parameters $stall_days, $as_of. Grain: one run of one stage.
-- A stage that $stall_days does not name has no limit, unless it gives one for any ('*'). Nobody stalls in churned.
-- The stage service lasts until the customer buys or uses something, so there also a ticket must be open when the days are over.
with open_tickets as (
    select customer_no, unnest(open_periods) as open from tickets
),
limited as (
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
where
    coalesce(left_at, $as_of) > entered_at + span_of_days(days)
    and (
        stage <> 'service'
        or exists (
            from open_tickets as t
            where
                t.customer_no = limited.customer_no
                and t.open.started_at <= limited.entered_at + span_of_days(limited.days)
                and coalesce(t.open.ended_at > limited.entered_at + span_of_days(limited.days), true)
        )
    )
