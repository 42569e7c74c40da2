-- Monthly recurring revenue at the month's end. Input: mrr. Grain: one customer, month and currency.
select customer_no, month, plan, currency, closing as numerator, still_due::int as pending, closing_event_ids as numerator_events
from mrr
where closing > 0
