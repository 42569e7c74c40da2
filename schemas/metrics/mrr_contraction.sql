-- MRR that customers gave up and stayed. Input: mrr. Grain: one customer, month and currency.
-- Who did not move adds 0, so that each currency has its row. The plan is the customer's at the month's beginning.
select
    customer_no,
    month,
    plan_before as plan,
    currency,
    if(closing > 0, greatest(opening - closing, 0), 0) as numerator,
    (closing > 0 and closing < opening)::int as n,
    (opening > 0 and closing > 0 and is_due)::int as pending,
    list_concat(opening_event_ids, ended_event_ids) as numerator_events
from mrr
