-- Active customers. Input: activity. Grain: one customer and month; with a null month, one customer.
select customer_no, month, 1 as numerator, event_ids as numerator_events
from activity
where is_known
union all
select customer_no, null, 1, flatten(list(event_ids order by month))
from activity
where is_known
group by customer_no
