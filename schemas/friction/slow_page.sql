-- Slow pages. Input: touchpoints; parameters $slow_ms, $ignore_pages. Grain: one page path in one session.
with slow as materialized (
    select customer_no, session_no, seq, event_id, occurred_at, load_ms, page_path(page_url) as path
    from touchpoints
    where event_type = 'site_visit' and load_ms > $slow_ms
)
select
    customer_no,
    min(seq) as seq,
    path as subject,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    min(occurred_at) as known_at,
    count(*) as n_events,
    list(event_id order by seq)[1:10] as event_ids,
    -- a decimal, so that no order of summing changes it: minutes, cut to four digits; no page loads for 30 years
    (sum((least(load_ms, 1e12) * 10)::bigint)::hugeint // 60)::decimal(18, 0) * 0.0001::decimal(5, 4) as minutes_lost
from slow
where not matches_any(path, $ignore_pages)
group by customer_no, session_no, path
