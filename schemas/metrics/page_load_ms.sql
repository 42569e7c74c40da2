-- Time that pages took to load. Input: touchpoints. Grain: one page view that says it.
-- No more than 1e12 ms (31 years), so that a broken clock cannot overflow the whole numbers that are added.
select customer_no, month, least(round(load_ms), 1e12)::bigint as value, [event_id] as numerator_events
from touchpoints
where event_type = 'site_visit' and load_ms is not null
