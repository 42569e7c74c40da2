-- Who was first seen in which month. Input: touchpoints. Grain: one customer.
select customer_no, is_known, month, [event_id] as event_ids
from touchpoints
where seq = 1
