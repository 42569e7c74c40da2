-- Failed payments. Input: touchpoints. Grain: one failure.
select
    customer_no,
    seq,
    coalesce(provider, failure_code) as subject,
    occurred_at as started_at,
    occurred_at as ended_at,
    occurred_at as known_at,
    1 as n_events,
    [event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from touchpoints
where event_type = 'payment_failed'
