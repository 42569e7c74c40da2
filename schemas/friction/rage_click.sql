-- Rage clicks. Input: touchpoints; parameters $clicks, $seconds, $ignore_elements. Grain: one burst of clicks on one element.
-- Clicks belong to one burst as long as they share one of the runs of $clicks within $seconds.
with often as (
    -- Elements clicked often enough in a session at all: few, and only they are looked at click by click.
    select session_no, element
    from touchpoints
    where event_type = 'site_visit' and element is not null
    group by session_no, element
    having count(*) >= $clicks
),
elements as (
    select element from (select distinct element from often) where not matches_any(element, $ignore_elements)
),
clicked as (
    select
        t.customer_no,
        t.session_no,
        t.element,
        t.seq,
        t.event_id,
        t.occurred_at,
        row_number() over one_element as click_no,
        lead(t.occurred_at, ($clicks - 1)::int) over one_element as nth_at
    from touchpoints as t
    join often as o on t.session_no = o.session_no and t.element = o.element
    where t.event_type = 'site_visit' and t.element in (from elements)
    window one_element as (partition by t.session_no, t.element order by t.seq)
),
runs as (
    select
        session_no,
        element,
        click_no,
        nth_at,
        coalesce(click_no - lag(click_no) over one_element >= $clicks, true) as begins_burst
    from clicked
    where nth_at <= occurred_at + span_of_seconds($seconds)
    window one_element as (partition by session_no, element order by click_no)
),
numbered as (
    select *, sum(begins_burst::int) over (partition by session_no, element order by click_no) as burst_no from runs
),
bursts as (
    select
        session_no,
        element,
        burst_no,
        min(click_no) as first_no,
        max(click_no) + $clicks - 1 as last_no,
        min(nth_at) as known_at
    from numbered
    group by session_no, element, burst_no
)
select
    c.customer_no,
    min(c.seq) as seq,
    b.element as subject,
    min(c.occurred_at) as started_at,
    max(c.occurred_at) as ended_at,
    b.known_at,
    count(*) as n_events,
    list(c.event_id order by c.seq)[1:10] as event_ids,
    null::decimal(18, 4) as minutes_lost
from bursts as b
join clicked as c
    on b.session_no = c.session_no and b.element = c.element and c.click_no between b.first_no and b.last_no
group by c.customer_no, b.session_no, b.element, b.burst_no, b.known_at
