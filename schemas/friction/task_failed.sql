-- Tasks that failed. Input: touchpoints. Grain: one attempt.
select
    customer_no,
    seq,
    feature as subject,
    occurred_at as started_at,
    occurred_at as ended_at,
    occurred_at as known_at,
    1 as n_events,
    [event_id] as event_ids,
    -- least() passes over a null: without a duration nobody knows
    if(duration_s is null, null, minutes_of((least(duration_s, 1e12) * 1000000)::bigint)) as minutes_lost
from touchpoints
where event_type = 'product_usage' and task_outcome = 'failed'
