-- Orders. Input: orders. Grain: one order, in the month of its first line.
select customer_no, month, 1 as numerator, event_ids as numerator_events
from orders
