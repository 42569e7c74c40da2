-- Error pages. Input: touchpoints; parameters $error_status, $ignore_pages. Grain: one page path in one session.
with failed as materialized (
    select customer_no, session_no, seq, event_id, occurred_at, page_path(page_url) as path
    from touchpoints
    where event_type = 'site_visit' and (http_status >= $error_status or error_code is not null)
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
    null::decimal(18, 4) as minutes_lost
from failed
where not matches_any(path, $ignore_pages)
group by customer_no, session_no, path
