-- Churn of money. Input: opening_subscriptions. Grain: one subscription active at a month's beginning that cost something.
select
    customer_no,
    month,
    plan,
    currency,
    if(has_ended, mrr, 0) as numerator,
    mrr as denominator,
    is_due::int as pending,
    ended_event_ids as numerator_events,
    opening_event_ids as denominator_events
from opening_subscriptions
where mrr > 0
