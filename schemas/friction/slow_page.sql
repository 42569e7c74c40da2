-- Slow pages. Input: touchpoints; parameter $slow_ms. Grain: one page path in one session.
select
    customer_no,
    min(seq) as seq,
    regexp_extract(page_url, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?([^?#]*)', 1) as subject,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    min(occurred_at) as known_at,
    count(*) as n_events,
    list(event_id order by seq)[1:10] as event_ids,
    -- a decimal, so that no order of summing changes it: minutes, cut to four digits; no page loads for 30 years
    (sum((least(load_ms, 1e12) * 10)::bigint)::hugeint // 60)::decimal(18, 0) * 0.0001::decimal(5, 4) as minutes_lost
from touchpoints
where event_type = 'site_visit' and load_ms > $slow_ms
group by customer_no, session_no, subject
