-- Gross revenue retention: what is left of the opening MRR, without any growth.
-- Input: mrr. Grain: one customer, month and currency that paid at the month's beginning. The plan is the customer's then.
-- The events of what is left are those that began it, and those that ended the rest.
select
    customer_no,
    month,
    plan_before as plan,
    currency,
    least(closing, opening) as numerator,
    opening as denominator,
    is_due::int as pending,
    -- a change of the price both ends and begins
    list_concat(
        closing_event_ids, list_filter(ended_event_ids, lambda id: not list_contains(closing_event_ids, id))
    ) as numerator_events,
    opening_event_ids as denominator_events
from mrr
where opening > 0
