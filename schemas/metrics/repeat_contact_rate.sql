-- Repeat contacts. Input: tickets; parameter $as_of. Grain: one ticket that was resolved, and the customer's next one.
with nexts as (
    select customer_no, opened_at, min(opened_event_id) as opened_event_id from tickets group by customer_no, opened_at
),
told as (
    select
        t.customer_no,
        t.resolved_month,
        t.first_resolved_at,
        t.first_resolved_event_id,
        n.opened_at as next_at,
        n.opened_event_id as next_id
    from (select * from tickets where first_resolved_at is not null) as t
    asof left join nexts as n on t.customer_no = n.customer_no and t.first_resolved_at < n.opened_at
),
judged as (select *, coalesce(next_at <= first_resolved_at + interval 7 days, false) as is_repeated from told)
select
    customer_no,
    resolved_month as month,
    is_repeated::int as numerator,
    1 as denominator,
    (not is_repeated and first_resolved_at + interval 7 days > $as_of)::int as pending,
    if(is_repeated, [next_id], null) as numerator_events,
    [first_resolved_event_id] as denominator_events
from judged
