-- How long customers are in each stage, of one shard. Input: journey_stages, customers; parameters $as_of, $no_value.
-- Grain: one stage, first channel, whether the run is open at as-of, and number of seconds. count and total add up.
with times as (
    select
        customer_no,
        stage,
        is_open,
        -- Whole seconds are cut, as duration_s is; a run that is open has lasted until as-of.
        if(is_open, (epoch_us($as_of::timestamptz) - epoch_us(entered_at)) // 1000000, duration_s) as value
    from journey_stages
)
select
    t.stage,
    coalesce(c.first_channel, $no_value) as first_channel,
    t.is_open,
    t.value,
    count(*) as count,
    sum(t.value) as total
from times as t
join customers as c on t.customer_no = c.customer_no
group by t.stage, coalesce(c.first_channel, $no_value), t.is_open, t.value
