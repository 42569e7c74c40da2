-- Revenue of orders, less refunds. Input: money (refunds negative). Grain: one purchase line or refund.
select customer_no, month, currency, amount as numerator, event_ids as numerator_events
from money
where kind in ('order', 'refund')
