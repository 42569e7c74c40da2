-- Subscriptions that were active at a month's beginning, and whether they ended in it.
-- Input: subscription_periods, months, customers; parameter $as_of. Grain: one subscription of a known customer and month.
-- An end in the month counts, whatever the customer did afterwards: the first one is that of what was there at its
-- beginning. A term that has run out may still be renewed for 7 days, so whether it ended is not known yet: is_due.
with opening as (
    select p.customer_no, m.month, p.source, p.subscription_id, p.plan, p.currency, p.mrr, p.start_event_id
    from subscription_periods as p
    join months as m on p.started_at < m.begins and (p.ended_at is null or p.ended_at >= m.begins)
    where p.customer_no in (select customer_no from customers where is_known)
),
ended as (
    select distinct on (customer_no, source, subscription_id, ended_month) customer_no, source, subscription_id, ended_month,
        end_event_id
    from subscription_periods
    where ended_by in ('cancelled', 'declined', 'account_closed', 'expired')
    order by period_no
),
due as (
    select customer_no, source, subscription_id, due_month
    from subscription_periods
    where not auto_renews and ended_at is null and term_ends_at <= $as_of
)
select
    o.customer_no,
    o.month,
    o.plan,
    o.currency,
    o.mrr,
    e.ended_month is not null as has_ended,
    e.ended_month is null and d.due_month is not null as is_due,
    [o.start_event_id] as opening_event_ids,
    -- of a term that ran out the event that began it
    if(e.ended_month is not null, [coalesce(e.end_event_id, o.start_event_id)], null) as ended_event_ids
from opening as o
left join ended as e
    on
        o.customer_no = e.customer_no
        and o.subscription_id = e.subscription_id
        and o.source is not distinct from e.source
        and o.month = e.ended_month
left join due as d
    on
        o.customer_no = d.customer_no
        and o.subscription_id = d.subscription_id
        and o.source is not distinct from d.source
        and o.month = d.due_month
