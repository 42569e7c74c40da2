-- Quick backs. Input: pages; parameters $seconds, $ignore_pages. Grain: one stay on a page between two stays on another one.
select
    customer_no,
    seq,
    path as subject,
    entered_at as started_at,
    left_at as ended_at,
    left_at as known_at,
    2 as n_events,
    [event_id, next_event_id] as event_ids,
    minutes_of(epoch_us(left_at) - epoch_us(entered_at)) as minutes_lost
from pages
where
    path_before = path_after
    and left_at <= entered_at + span_of_seconds($seconds)
    and not matches_any(path, $ignore_pages)
