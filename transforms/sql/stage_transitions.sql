-- Steps from stage to stage, of one shard. Input: journey_stages (journey_id: in which the run began, next_journey_id: in which
-- the next one began), journeys (journey_id, status, outcome, ended_at). Grain: one pair of stages. All columns add up.
-- A step converts if the journey it happens in closes at or after it with an order or a subscription's start. A step in an
-- open journey, or in none (a lapse long after the last touchpoint), counts neither way.
with steps as (
    select
        customer_no,
        stage as from_stage,
        coalesce(next_stage, '(open)') as to_stage,
        left_at as happened_at,
        next_journey_id as journey_id
    from journey_stages
    union all
    select customer_no, '(start)', stage, entered_at, journey_id from journey_stages where stage_no = 1
),
judged as (
    select
        s.customer_no,
        s.from_stage,
        s.to_stage,
        case
            when j.status <> 'open' and j.ended_at >= s.happened_at
            then coalesce(j.outcome in ('order', 'subscription_started'), false)
        end as converts
    from steps as s
    left join journeys as j on s.journey_id = j.journey_id
)
select
    from_stage,
    to_stage,
    count(*) as transitions,
    count(distinct customer_no) as customers,
    count(*) filter (converts) as converted,
    count(*) filter (not converts) as not_converted
from judged
group by from_stage, to_stage
