-- MRR that customers added. Input: mrr. Grain: one customer, month and currency.
-- Who did not move adds 0, so that each currency has its row. The plan is the customer's at the month's beginning.
select
    customer_no,
    month,
    plan_before as plan,
    currency,
    if(has_moved, closing - opening, 0) as numerator,
    has_moved::int as n,
    (has_moved and is_due)::int as pending,
    list_concat(opening_event_ids, new_event_ids) as numerator_events
from (select *, opening > 0 and closing > opening as has_moved from mrr)
