-- Adoption of features. Input: touchpoints, activity. Grain: one customer and feature in the month of the first use; and one
-- active customer and month, which count under every feature.
with used as (
    select customer_no, feature, month, list(event_id order by seq) as event_ids
    from touchpoints
    where event_type = 'product_usage' and is_known
    group by customer_no, feature, month
)
select customer_no, min(month) as month, feature, 1 as numerator, 0 as denominator, 0 as n, arg_min(event_ids, month)[:1] as numerator_events,
    null as denominator_events
from used
group by customer_no, feature
union all
select customer_no, null, feature, 1, 0, 0, arg_min(event_ids, month)[:1], null
from used
group by customer_no, feature
union all
select customer_no, month, null, 0, 1, 1, null, event_ids
from activity
where is_known
union all
select customer_no, null, null, 0, 1, 1, null, flatten(list(event_ids order by month))
from activity
where is_known
group by customer_no
