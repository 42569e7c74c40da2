-- Revenue. Input: money (refunds negative). Grain: one paying or repaying event.
select customer_no, month, currency, amount as numerator, event_ids as numerator_events
from money
