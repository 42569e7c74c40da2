-- Journeys and stages of a customer that do not follow one another: a number left out, times that do not meet, an open
-- one that is not the last. Input: journeys, journey_stages.
-- Grain: one break; rule, customer_key, number (after which, or of the one without any before), found, expected.
with journey_pairs as (
    select
        coalesce(a.customer_key, b.customer_key) as customer_key,
        coalesce(a.journey_no, b.journey_no) as number,
        a.customer_key is not null as has_before,
        b.customer_key is not null as has_after,
        a.status,
        a.ended_at,
        b.started_at
    from journeys as a
    full join journeys as b on a.customer_key = b.customer_key and b.journey_no = a.journey_no + 1
),
stage_pairs as (
    select
        coalesce(a.customer_key, b.customer_key) as customer_key,
        coalesce(a.stage_no, b.stage_no) as number,
        a.customer_key is not null as has_before,
        b.customer_key is not null as has_after,
        a.is_open,
        a.left_at,
        a.next_stage,
        b.entered_at,
        b.stage
    from journey_stages as a
    full join journey_stages as b on a.customer_key = b.customer_key and b.stage_no = a.stage_no + 1
)
select 'journeys_follow_one_another' as rule, customer_key, number, 'none before it' as found, 'numbers from 1 on' as expected
from journey_pairs
where not has_before and number <> 1
union all
select 'journeys_follow_one_another', customer_key, number, 'open', 'only the last one open'
from journey_pairs
where has_before and has_after and status = 'open'
union all
select 'journeys_follow_one_another', customer_key, number, 'ended ' || ended_at, 'ended by ' || started_at
from journey_pairs
where has_before and has_after and ended_at > started_at
union all
select 'stages_follow_one_another', customer_key, number, 'none before it', 'numbers from 1 on'
from stage_pairs
where not has_before and number <> 1
union all
select 'stages_follow_one_another', customer_key, number, 'is_open ' || is_open, 'is_open ' || (not has_after)
from stage_pairs
where has_before and is_open = has_after
union all
select
    'stages_follow_one_another',
    customer_key,
    number,
    coalesce(next_stage, 'none') || ' at ' || coalesce(left_at::varchar, 'no time'),
    stage || ' at ' || entered_at
from stage_pairs
where has_before and has_after and (left_at is distinct from entered_at or next_stage is distinct from stage)
