-- Subscribers. Input: customer_months, subscription_periods, months; parameter $as_of. Grain: one customer and month.
with held as (
    select
        customer_no,
        list({'start': started_at, 'stop': ended_at, 'id': start_event_id} order by started_at, start_event_id) as periods
    from subscription_periods
    group by customer_no
),
-- Terms that have run out may still be renewed for 7 days: whether they ended is not known yet.
due as (
    select p.customer_no, c.month, count(*) as subscriptions
    from subscription_periods as p
    join customer_months as c on p.customer_no = c.customer_no and p.due_month <= c.month
    where not p.auto_renews and p.ended_at is null and p.term_ends_at <= $as_of
    group by p.customer_no, c.month
)
select
    c.customer_no,
    c.month,
    c.plan,
    1 as numerator,
    coalesce(d.subscriptions = c.subscriptions, false)::int as pending,
    [x.id for x in h.periods if x.start < m.edge and (x.stop is null or x.stop >= m.edge)] as numerator_events
from customer_months as c
join months as m on c.month = m.month
left join due as d on c.customer_no = d.customer_no and c.month = d.month
left join held as h on c.customer_no = h.customer_no
where c.is_subscriber
