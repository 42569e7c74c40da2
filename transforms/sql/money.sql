-- What customers paid and got back. Grain: one paying or repaying event.
-- Revenue is purchases, subscription starts and renewals that were paid, less refunds.
select
    customer_no,
    journey_id,
    is_known,
    month,
    currency,
    case event_type when 'purchase' then 'order' when 'refund' then 'refund' else 'subscription' end as kind,
    if(event_type = 'refund', -amount, amount)::decimal(18, 4) as amount
from touchpoints
where
    event_type in ('purchase', 'refund', 'subscription_started')
    or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed')
