-- Sessions that disagree with their touchpoints. Input: sessions, touchpoints.
-- Grain: one such session; session_id, customer_key, and what is said of it here (sessions) and there (touchpoints).
with of_touchpoints as (
    select
        session_id,
        customer_key,
        count(*) as n,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at,
        bool_or(event_type = 'purchase') as has_purchase,
        arg_min(channel, seq) as channel,
        min(anonymous_id) as anonymous_id,
        count(distinct anonymous_id) as devices
    from touchpoints
    where session_id is not null
    group by session_id, customer_key
)
select
    coalesce(s.session_id, t.session_id) as session_id,
    coalesce(s.customer_key, t.customer_key) as customer_key,
    s.touchpoints,
    t.n as touchpoints_there,
    s.started_at,
    t.first_at as started_at_there,
    s.ended_at,
    t.last_at as ended_at_there,
    s.has_purchase,
    t.has_purchase as has_purchase_there,
    s.entry_channel,
    t.channel as entry_channel_there
from sessions as s
full join of_touchpoints as t on s.session_id = t.session_id and s.customer_key = t.customer_key
where
    s.touchpoints is distinct from t.n
    or s.started_at is distinct from t.first_at
    or s.ended_at is distinct from t.last_at
    or s.has_purchase is distinct from t.has_purchase
    or s.entry_channel is distinct from t.channel
    or s.anonymous_id is distinct from t.anonymous_id
    or t.devices > 1
