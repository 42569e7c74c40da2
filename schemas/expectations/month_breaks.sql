-- Months of customers that disagree with what else is told of them. Input: customer_months, customers, subscription_periods,
-- tickets, journey_stages; this_run. Grain: one disagreement; rule, customer_key, month, found, expected.
-- Months begin in the time zone of the settings, which is not known here: what lies within a day of a month's edge is left
-- out, but not at as-of, where the last month is cut.
with last_month as (
    select
        max(m.month) as month,
        date_trunc('month', any_value(r.as_of) - interval 1 day)::date as earliest,
        date_trunc('month', any_value(r.as_of) + interval 1 day)::date as latest
    from this_run as r
    left join customer_months as m on true
),
-- What holds at a month's end began before `sure_from`, and did not end before `sure_to`; between the two nobody knows.
edges as (
    select
        m.month,
        if(m.month = l.month, r.as_of, (m.month + interval 1 month)::timestamptz - interval 1 day) as sure_from,
        if(m.month = l.month, r.as_of, (m.month + interval 1 month)::timestamptz + interval 1 day) as sure_to
    from (select distinct month from customer_months) as m
    cross join last_month as l
    cross join this_run as r
),
of_months as (
    select
        customer_key,
        count(*) as n,
        min(month) as first_month,
        max(month) as last_month,
        count(*) filter (where is_new) as news,
        min(month) filter (where is_new) as new_month,
        sum(orders)::bigint as orders,
        sum(friction_points)::bigint as friction_points
    from customer_months
    group by customer_key
),
of_customers as (
    select
        customer_key,
        orders,
        friction_points,
        first_seen_at,
        date_trunc('month', first_seen_at - interval 1 day)::date as earliest_month,
        date_trunc('month', first_seen_at + interval 1 day)::date as latest_month
    from customers
    where is_known
),
whole as (
    select
        coalesce(c.customer_key, m.customer_key) as customer_key,
        m.first_month as month,
        m.n || ' months from ' || m.first_month || ' to ' || m.last_month || ', new in ' || coalesce(m.new_month::varchar, 'none')
            as found,
        case
            when c.customer_key is null then 'none: nobody who is known'
            else 'one for each from that of ' || c.first_seen_at || ' to ' || least(greatest(l.month, l.earliest), l.latest)
        end as expected
    from of_customers as c
    full join of_months as m on c.customer_key = m.customer_key
    cross join last_month as l
    where
        c.customer_key is null
        or m.customer_key is null
        or m.first_month not between c.earliest_month and c.latest_month
        or m.last_month <> l.month
        or m.last_month not between l.earliest and l.latest
        or m.n <> date_diff('month', m.first_month, m.last_month) + 1
        or m.news <> 1
        or m.new_month <> m.first_month
),
money as (
    select coalesce(c.customer_key, m.customer_key) as customer_key, coalesce(c.currency, m.currency) as currency, m.amount as told,
        c.amount as there
    from (
        select customer_key, r.currency as currency, sum(r.amount)::decimal(38, 4) as amount
        from (select customer_key, unnest(revenue_by_currency) as r from customer_months)
        group by customer_key, currency
    ) as m
    full join (
        select customer_key, r.currency as currency, r.amount as amount
        from (select customer_key, unnest(revenue_by_currency) as r from customers where is_known)
    ) as c on c.customer_key = m.customer_key and c.currency = m.currency
),
held as (
    select
        p.customer_key,
        e.month,
        p.source,
        p.subscription_id,
        p.plan,
        p.mrr,
        p.currency,
        p.started_at <= e.sure_from and (p.ended_at is null or p.ended_at > e.sure_to) as is_sure
    from subscription_periods as p
    join edges as e on p.started_at <= e.sure_to and (p.ended_at is null or p.ended_at > e.sure_from)
),
subscribed as (
    select
        customer_key,
        month,
        bool_and(is_sure) as is_sure,
        count(*) as n,
        arg_max_null(plan, (coalesce(mrr, 0), coalesce(source, ''), subscription_id)) as plan
    from held
    group by customer_key, month
),
paid as (
    select customer_key, month, list({'currency': currency, 'amount': mrr} order by currency) as mrr
    from (
        select customer_key, month, currency, sum(mrr)::decimal(38, 4) as mrr
        from held
        where mrr is not null
        group by customer_key, month, currency
    )
    group by customer_key, month
),
waited as (
    select
        t.customer_key,
        e.month,
        bool_and(t.p.started_at <= e.sure_from and (t.p.ended_at is null or t.p.ended_at > e.sure_to)) as is_sure,
        count(*) as n
    from (select customer_key, unnest(open_periods) as p from tickets) as t
    join edges as e on t.p.started_at <= e.sure_to and (t.p.ended_at is null or t.p.ended_at > e.sure_from)
    group by t.customer_key, e.month
),
stood as (
    select s.customer_key, e.month, s.stage
    from journey_stages as s
    join edges as e on s.entered_at <= e.sure_from and (s.left_at is null or s.left_at > e.sure_to)
),
together as (
    select
        m.customer_key,
        m.month,
        m.subscriptions,
        m.plan,
        m.mrr_by_currency,
        m.open_tickets,
        m.stage,
        coalesce(s.is_sure, true) as knows_subscriptions,
        coalesce(s.n, 0) as subscriptions_there,
        s.plan as plan_there,
        coalesce(p.mrr, []) as mrr_there,
        coalesce(w.is_sure, true) as knows_tickets,
        coalesce(w.n, 0) as open_tickets_there,
        k.stage as stage_there,
        m.month = l.month as is_last
    from customer_months as m
    left join subscribed as s on m.customer_key = s.customer_key and m.month = s.month
    left join paid as p on m.customer_key = p.customer_key and m.month = p.month
    left join waited as w on m.customer_key = w.customer_key and m.month = w.month
    left join stood as k on m.customer_key = k.customer_key and m.month = k.month
    cross join last_month as l
)
select 'months_are_whole' as rule, customer_key, month, coalesce(found, 'none') as found, expected
from whole
union all
select 'months_agree_with_customers', m.customer_key, null, 'orders ' || m.orders, 'orders ' || c.orders
from of_months as m
join of_customers as c on m.customer_key = c.customer_key
where m.orders <> c.orders
union all
select
    'months_agree_with_customers', m.customer_key, null, 'friction_points ' || m.friction_points,
    'friction_points ' || c.friction_points
from of_months as m
join of_customers as c on m.customer_key = c.customer_key
where m.friction_points <> c.friction_points
union all
select
    'months_agree_with_customers', customer_key, null, 'revenue ' || coalesce(told::varchar, 'none') || ' ' || currency,
    'revenue ' || coalesce(there::varchar, 'none') || ' ' || currency
from money
where told is distinct from there
union all
select
    'months_agree_with_what_held', customer_key, month, subscriptions || ' subscriptions', subscriptions_there || ' subscriptions'
from together
where knows_subscriptions and subscriptions <> subscriptions_there
union all
select
    'months_agree_with_what_held', customer_key, month, 'plan ' || coalesce(plan, 'none'), 'plan ' || coalesce(plan_there, 'none')
from together
where knows_subscriptions and plan is distinct from plan_there
union all
select 'months_agree_with_what_held', customer_key, month, 'mrr ' || mrr_by_currency::varchar, 'mrr ' || mrr_there::varchar
from together
where knows_subscriptions and mrr_by_currency is distinct from mrr_there
union all
select 'months_agree_with_what_held', customer_key, month, open_tickets || ' open tickets', open_tickets_there || ' open tickets'
from together
where knows_tickets and open_tickets <> open_tickets_there
union all
select
    'months_agree_with_what_held', customer_key, month, 'stage ' || coalesce(stage, 'none'),
    'stage ' || coalesce(stage_there, 'none')
from together
where stage is distinct from stage_there and (stage_there is not null or is_last)
