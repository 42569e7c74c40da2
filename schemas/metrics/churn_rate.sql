-- Churn of customers. Input: customer_months, subscription_periods, months; parameter $as_of. Grain: one customer and month.
-- Of those with an active subscription at the month's beginning, who has none at its end. The reason is that of the last
-- subscription of the customer that ended in the month; of two at one moment, of the one that says why.
with told as (
    select
        *,
        coalesce(reason, if(ended_by = 'expired', 'term_ended', '(none)')) as why,
        coalesce(is_voluntary::varchar, '(none)') as willing
    from subscription_periods
    where ended_by in ('cancelled', 'declined', 'account_closed', 'expired')
),
ends as (
    select
        customer_no,
        ended_month as month,
        arg_max(
            {'reason': why, 'voluntary': willing},
            (ended_at, why <> '(none)', coalesce(source, ''), subscription_id, period_no)
        ) as last_end,
        -- of a term that ran out the event that began it
        list(distinct coalesce(end_event_id, start_event_id) order by coalesce(end_event_id, start_event_id)) as event_ids
    from told
    group by customer_no, ended_month
),
opening as (
    select c.customer_no, c.month, b.plan, c.subscriptions, not c.is_subscriber as has_churned
    from customer_months as c
    join months as m on c.month = m.month
    join customer_months as b on c.customer_no = b.customer_no and b.month = m.month_before
    where b.is_subscriber
),
held as (
    select
        customer_no,
        list({'start': started_at, 'stop': ended_at, 'id': start_event_id} order by started_at, start_event_id) as periods
    from subscription_periods
    group by customer_no
)
select o.customer_no, o.month, o.plan, null as reason, null as voluntary, 0 as numerator, 1 as denominator, 1 as n,
    null as numerator_events,
    [x.id for x in h.periods if x.start < m.begins and (x.stop is null or x.stop >= m.begins)] as denominator_events, 0 as pending
from opening as o
join months as m on o.month = m.month
left join held as h on o.customer_no = h.customer_no
union all
select o.customer_no, o.month, o.plan, e.last_end.reason, e.last_end.voluntary, 1, 0, 0, e.event_ids, null, 0
from opening as o
left join ends as e on o.customer_no = e.customer_no and o.month = e.month
where o.has_churned
union all
-- Terms that have run out may still be renewed for 7 days: whether the customer left with them is not known yet.
select p.customer_no, p.due_month, o.plan, 'term_ended', '(none)', 0, 0, 0, null, null, 1
from subscription_periods as p
join opening as o on p.customer_no = o.customer_no and p.due_month = o.month
where not p.auto_renews and p.ended_at is null and p.term_ends_at <= $as_of
group by p.customer_no, p.due_month, o.plan, o.subscriptions
having count(*) = o.subscriptions
