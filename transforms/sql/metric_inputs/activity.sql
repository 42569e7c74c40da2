-- Who did something in which month. Input: touchpoints. Grain: one customer and month with an activity.
-- Activity is what the customer did: an ad view only if clicked, a reply to a ticket only if the customer's own.
select customer_no, is_known, month, list(event_id order by seq) as event_ids
from touchpoints
where
    event_type in (
        'site_visit', 'product_usage', 'purchase', 'offer_redeemed', 'ticket_opened', 'survey_response', 'review',
        'referral', 'subscription_started', 'subscription_changed'
    )
    or (event_type = 'ad_view' and clicked)
    or (event_type = 'ticket_replied' and author = 'customer')
group by customer_no, is_known, month
