-- What customers paid and got back. Input: touchpoints. Grain: one paying or repaying event; refunds negative.
-- The same events as in sql/money.sql, which adds them up by journey.
select
    customer_no,
    is_known,
    month,
    currency,
    case event_type when 'purchase' then 'order' when 'refund' then 'refund' else 'subscription' end as kind,
    if(event_type = 'refund', -amount, amount)::decimal(18, 4) as amount,
    [event_id] as event_ids
from touchpoints
where
    event_type in ('purchase', 'refund', 'subscription_started')
    or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed')
