-- Time on task. Input: touchpoints. Grain: one completed task that says how long it took.
-- No more than 1e12 ms (31 years), so that a broken clock cannot overflow the whole numbers that are added.
select customer_no, month, least(round(duration_s * 1000), 1e12)::bigint as value, [event_id] as numerator_events
from touchpoints
where event_type = 'product_usage' and task is not null and task_outcome = 'completed' and duration_s is not null
