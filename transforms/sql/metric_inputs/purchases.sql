-- Lines of orders. Input: touchpoints. Grain: one purchase event.
select customer_no, is_known, month, occurred_at, currency, amount, opens_order, seq, [event_id] as event_ids
from touchpoints
where event_type = 'purchase'
