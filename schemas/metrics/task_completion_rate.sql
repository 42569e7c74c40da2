-- Task success. Input: touchpoints. Grain: one use of the product with a task.
select customer_no, month, coalesce(task_outcome = 'completed', false)::int as numerator, 1 as denominator,
    if(task_outcome = 'completed', [event_id], null) as numerator_events, [event_id] as denominator_events
from touchpoints
where event_type = 'product_usage' and task is not null
