-- Abandoned checkouts. Input: touchpoints, sessions; parameters $hours, $finished_by, $as_of. Grain: one session.
-- A session counts once the grace has passed: until then the purchase may still come.
with reached as (
    select
        customer_no,
        session_no,
        min(seq) as seq,
        arg_max(page_url, seq) as page_url,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as n_events,
        list(event_id order by seq)[1:10] as event_ids
    from touchpoints
    where event_type = 'site_visit' and page_kind in ('checkout', 'payment')
    group by customer_no, session_no
),
waited as (
    select r.*, s.started_at as session_started_at, s.ended_at + span_of_hours($hours) as known_at
    from reached as r
    join sessions as s on r.session_no = s.session_no
),
purchases as (
    select customer_no, occurred_at from touchpoints where list_contains($finished_by, event_type)
)
select
    w.customer_no,
    w.seq,
    page_path(w.page_url) as subject,
    w.started_at,
    w.ended_at,
    w.known_at,
    w.n_events,
    w.event_ids,
    null::decimal(18, 4) as minutes_lost
from waited as w
-- the next purchase of the customer, on any device
asof left join purchases as p on w.customer_no = p.customer_no and w.session_started_at <= p.occurred_at
where w.known_at <= $as_of and (p.occurred_at is null or p.occurred_at > w.known_at)
