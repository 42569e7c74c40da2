-- Abandoned carts. Input: sessions, touchpoints, purchases; parameter $as_of. Grain: one session that saw a cart, a checkout
-- or a payment page.
-- The first purchase of the customer from the session's start on tells: by 24 h after the session's end, or abandoned.
with carts as (
    select customer_no, session_no, list(event_id order by seq) as event_ids
    from touchpoints
    where event_type = 'site_visit' and page_kind in ('cart', 'checkout', 'payment')
    group by customer_no, session_no
),
told as (
    select c.customer_no, s.month, s.started_at, s.ended_at, c.event_ids
    from carts as c
    join sessions as s on c.session_no = s.session_no
),
bought as (
    select t.*, p.occurred_at as bought_at
    from told as t
    asof left join (select customer_no, occurred_at from purchases) as p
        on t.customer_no = p.customer_no and t.started_at <= p.occurred_at
)
select
    customer_no,
    month,
    (bought_at is null or bought_at > ended_at + interval 24 hours)::int as numerator,
    1 as denominator,
    ((bought_at is null or bought_at > ended_at + interval 24 hours) and ended_at + interval 24 hours > $as_of)::int as pending,
    if(bought_at is null or bought_at > ended_at + interval 24 hours, event_ids, null) as numerator_events,
    event_ids as denominator_events
from bought
