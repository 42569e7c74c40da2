-- Search loops. Input: touchpoints; parameter $searches. Grain: one run of searches in one session.
-- A click on a page of results is no search of its own. A purchase ends a run on whatever device the customer makes it.
with sessions_with_searches as (
    select session_no
    from touchpoints
    where event_type = 'site_visit' and page_kind = 'search' and element is null
    group by session_no
    having count(*) >= $searches
),
looked as (
    select
        t.customer_no,
        t.session_no,
        t.seq,
        t.event_id,
        t.occurred_at,
        t.page_url,
        t.page_kind = 'search' as is_search,
        count(*) filter (where t.page_kind = 'product') over (partition by t.session_no order by t.seq) as products_before
    from touchpoints as t
    join sessions_with_searches as s on t.session_no = s.session_no
    where
        t.event_type = 'site_visit'
        and (t.page_kind = 'product' or (t.page_kind = 'search' and t.element is null))
),
bought as (
    select customer_no, seq from touchpoints where event_type = 'purchase'
),
searched as (
    select l.*, b.seq as last_purchase
    from looked as l
    asof left join bought as b on l.customer_no = b.customer_no and l.seq >= b.seq
    where l.is_search
)
select
    customer_no,
    min(seq) as seq,
    page_path(arg_min(page_url, seq)) as subject,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    list(occurred_at order by seq)[$searches::int] as known_at,
    count(*) as n_events,
    list(event_id order by seq)[1:10] as event_ids,
    minutes_of(epoch_us(max(occurred_at)) - epoch_us(min(occurred_at))) as minutes_lost
from searched
group by customer_no, session_no, products_before, last_purchase
having count(*) >= $searches
