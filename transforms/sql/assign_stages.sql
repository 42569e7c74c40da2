-- The stage that an event puts its customer into; null where the event leaves the stage as it is.
-- Input: touchpoints, one row an event, with what came before it:
--   visits_before, orders_before   how many site visits, how many orders and subscriptions began before
--   order_no                       which order or subscription of the customer the event belongs to, 1..; null for none
--   first_order_at                 when the first order or subscription began, as far as it had; null before
--   row_no                         tells the touchpoint; the output must carry it
-- Grain of the output: one row a touchpoint, in any order. The first match wins.
-- To change the stages, copy this file, edit it, and name the copy in the setting `stages`.
select
    row_no,
    case
        when event_type = 'cancellation' and kind = 'effective' then 'churned'
        when event_type = 'account_closed' then 'churned'
        when event_type = 'renewal' and outcome = 'declined' then 'churned'
        when starts_with(event_type, 'ticket_') then 'service'
        when event_type in ('refund', 'payment_failed') then 'service'
        when event_type in ('review', 'referral') then 'advocacy'
        when event_type = 'survey_response' and survey_type = 'nps'
            and scale_min = 0 and scale_max = 10 and score >= 9 then 'advocacy'
        when event_type in ('purchase', 'subscription_started') and order_no = 1 then 'purchase'
        when event_type in ('purchase', 'subscription_started', 'renewal', 'subscription_changed') then 'loyalty'
        when event_type = 'product_usage' and occurred_at <= first_order_at + interval 30 days then 'onboarding'
        when event_type = 'product_usage' and first_order_at is not null then 'usage'
        when event_type in ('site_visit', 'product_usage') and orders_before = 0 then 'consideration'
        -- An ad seen by a customer who has already bought is no first contact: docs/decisions/0004-stages.md.
        when event_type = 'ad_view' and visits_before = 0 and orders_before = 0 then 'awareness'
    end as stage
from touchpoints
