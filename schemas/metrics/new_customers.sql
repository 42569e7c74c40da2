-- New customers. Input: first_seen. Grain: one customer.
select customer_no, month, 1 as numerator, event_ids as numerator_events
from first_seen
where is_known
