-- How long customers were in a stage before the next one, of one shard. Input: journey_stages. Grain: one pair of stages and
-- number of seconds. count and total add up.
select stage as from_stage, next_stage as to_stage, duration_s as value, count(*) as count, sum(duration_s) as total
from journey_stages
where next_stage is not null
group by stage, next_stage, duration_s
