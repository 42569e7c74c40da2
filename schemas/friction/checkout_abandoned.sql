-- Abandoned checkouts. Input: touchpoints, sessions; parameters $hours, $as_of. Grain: one session.
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
purchases as (
    select customer_no, occurred_at from touchpoints where event_type = 'purchase'
)
select
    r.customer_no,
    r.seq,
    regexp_extract(r.page_url, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?([^?#]*)', 1) as subject,
    r.started_at,
    r.ended_at,
    s.ended_at + to_microseconds(($hours * 3600000000)::bigint) as known_at,
    r.n_events,
    r.event_ids,
    null::decimal(18, 4) as minutes_lost
from reached as r
join sessions as s on r.session_no = s.session_no
where
    s.ended_at + to_microseconds(($hours * 3600000000)::bigint) <= $as_of
    and not exists (
        select 1 from purchases as p
        where
            p.customer_no = r.customer_no
            and p.occurred_at between s.started_at and s.ended_at + to_microseconds(($hours * 3600000000)::bigint)
    )
