-- Visitors. Input: activity. Grain: one unknown key and month; with a null month, one unknown key.
select customer_no, month, 1 as numerator, event_ids as numerator_events
from activity
where not is_known
union all
select customer_no, null, 1, flatten(list(event_ids order by month))
from activity
where not is_known
group by customer_no
