-- MRR of customers who pay for the first time. Input: mrr. Grain: one customer, month and currency.
-- Who did not move adds 0, so that each currency has its row.
select
    customer_no,
    month,
    plan,
    currency,
    if(has_moved, closing, 0) as numerator,
    has_moved::int as n,
    (has_moved and is_due)::int as pending,
    closing_event_ids as numerator_events
from (select *, opening = 0 and closing > 0 and month = first_paid_month as has_moved from mrr)
