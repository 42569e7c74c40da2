-- Steps from stage to stage, of one shard. Input: journey_stages. Grain: one pair of stages. All columns add up.
with steps as (
    select customer_no, stage as from_stage, coalesce(next_stage, '(open)') as to_stage, duration_s from journey_stages
    union all
    select customer_no, '(start)', stage, null from journey_stages where stage_no = 1
)
select
    from_stage,
    to_stage,
    count(*) as transitions,
    count(distinct customer_no) as customers,
    sum(duration_s)::bigint as total_duration_s
from steps
group by from_stage, to_stage
