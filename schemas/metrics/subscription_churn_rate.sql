-- Churn of subscriptions. Input: opening_subscriptions. Grain: one subscription active at a month's beginning.
select
    customer_no,
    month,
    plan,
    has_ended::int as numerator,
    1 as denominator,
    is_due::int as pending,
    ended_event_ids as numerator_events,
    opening_event_ids as denominator_events
from opening_subscriptions
