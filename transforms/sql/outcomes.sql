-- The outcome that an event is for its customer's journey; null for most. Grain: one row a touchpoint, in order.
select
    case
        when event_type = 'purchase' and opens_order then 'order'
        when event_type = 'subscription_started' then 'subscription_started'
        when event_type = 'renewal' then if(outcome = 'declined', 'renewal_declined', 'renewal')
        when event_type = 'cancellation' and kind = 'effective' then 'cancellation'
        when event_type = 'account_closed' then 'account_closed'
    end as outcome
from touchpoints
