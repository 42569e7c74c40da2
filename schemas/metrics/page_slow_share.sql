-- Slow pages. Input: touchpoints. Grain: one page view that says how long it took.
select customer_no, month, (load_ms > 2500)::int as numerator, 1 as denominator,
    if(load_ms > 2500, [event_id], null) as numerator_events, [event_id] as denominator_events
from touchpoints
where event_type = 'site_visit' and load_ms is not null
