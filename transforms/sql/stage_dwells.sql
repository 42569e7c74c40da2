-- How long known customers stay in a stage. Input: journey_stages (with is_known of the event that began the run); parameter
-- $as_of. Grain: one stage, number of whole days, and whether the stay is still on. Stays that began in the 12 months before
-- as-of. Who left within the n-th day had left after n days; who has been there for n days and a half has been for n.
select
    stage,
    case
        when left_at is null then (epoch_us($as_of) - epoch_us(entered_at)) // 86400000000
        else (epoch_us(left_at) - epoch_us(entered_at) + 86399999999) // 86400000000
    end as days,
    left_at is null as is_open,
    count(*) as count
from journey_stages
where is_known and stage <> 'churned' and entered_at >= $as_of - interval 12 months
group by all
