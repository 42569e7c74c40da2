-- Users of features to date: what each month adds. Input: touchpoints, first_seen. Grain: one customer and feature, and one
-- customer, who counts under every feature.
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
select customer_no, month, null, 0, 1, 1, null, event_ids
from first_seen
where is_known
