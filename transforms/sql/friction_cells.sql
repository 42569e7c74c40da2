-- Friction points by what they are and where. Input: friction_points, with run_no (which of its customer's runs of one
-- stage, a row of journey_stages, the point lies in). Grain: one kind, subject and stage. Counts, so that shards add up.
select
    kind,
    any_value(area) as area,
    subject,
    stage,
    count(*) as n_points,
    count(distinct customer_no) as n_customers,
    count(distinct (customer_no, run_no)) as n_stage_runs,
    sum(minutes_lost)::decimal(38, 4) as minutes_lost
from friction_points
group by kind, subject, stage
order by kind, subject nulls first, stage nulls first
