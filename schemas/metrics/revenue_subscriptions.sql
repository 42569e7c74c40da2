-- Revenue of subscriptions. Input: money. Grain: one start or paid renewal.
select customer_no, month, currency, amount as numerator, event_ids as numerator_events
from money
where kind = 'subscription'
