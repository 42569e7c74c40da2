-- The state of every known customer at each month's end. Input: customers, first_seen, journey_stages, tickets,
-- subscription_periods, lapses, inactivity, friction_points, activity, money, purchases, months. Grain: one customer and month,
-- from the month first seen to that of as-of, in order.
-- months: month, month_no, edge. What holds at a month's end holds just before its edge: what begins at the edge belongs
-- to the next month, and so does the end of what ends at it. In the month of as-of the edge lies just behind as-of.
with grid as (
    select c.customer_no, c.customer_key, m.month, m.month_no, m.edge, m.month = s.month as is_new
    from customers as c
    join first_seen as s on c.customer_no = s.customer_no
    join months as m on m.month >= s.month
    where c.is_known
),
active as (select customer_no, month from activity where is_known),
held as (
    select p.customer_no, m.month, p.source, p.subscription_id, p.plan, p.mrr, p.currency
    from subscription_periods as p
    join months as m on p.started_at < m.edge and (p.ended_at is null or p.ended_at >= m.edge)
),
subscribed as (
    select
        customer_no,
        month,
        count(*) as subscriptions,
        -- of the dearest subscription, by its name where two cost the same; null where that one names none
        arg_max_null(plan, (coalesce(mrr, 0), coalesce(source, ''), subscription_id)) as plan
    from held
    group by customer_no, month
),
paid as (
    select customer_no, month, list({'currency': currency, 'amount': mrr} order by currency) as mrr_by_currency
    from (
        select customer_no, month, currency, sum(mrr)::decimal(38, 4) as mrr
        from held
        where mrr is not null
        group by customer_no, month, currency
    )
    group by customer_no, month
),
earned as (
    select customer_no, month, list({'currency': currency, 'amount': amount} order by currency) as revenue_by_currency
    from (
        select customer_no, month, currency, sum(amount)::decimal(38, 4) as amount
        from money
        group by customer_no, month, currency
    )
    group by customer_no, month
),
ordered as (
    select customer_no, month, count(*) as orders
    from purchases
    where opens_order
    group by customer_no, month
),
-- The last stage entered in a month, the last order and the last lapse; later months have them from here.
staged as (select customer_no, month, arg_max(stage, stage_no) as stage from journey_stages group by customer_no, month),
last_orders as (
    select customer_no, month, max(occurred_at) as last_order_at
    from purchases
    where opens_order and is_known
    group by customer_no, month
),
last_lapses as (
    select customer_no, month, max(happened_at) as last_lapse_at
    from lapses
    where kind = 'lapsed'
    group by customer_no, month
),
open_tickets as (
    select t.customer_no, m.month, count(*) as open_tickets
    from (select customer_no, unnest(open_periods) as p from tickets) as t
    join months as m on t.p.started_at < m.edge and (t.p.ended_at is null or t.p.ended_at >= m.edge)
    group by t.customer_no, m.month
),
struggled as (select customer_no, month, count(*) as friction_points from friction_points group by customer_no, month),
together as (
    select
        g.customer_key,
        g.month,
        g.is_new,
        a.customer_no is not null as is_active,
        s.customer_no is not null as is_subscriber,
        coalesce(s.subscriptions, 0) as subscriptions,
        s.plan,
        coalesce(p.mrr_by_currency, []) as mrr_by_currency,
        max(o.last_order_at) over so_far as last_order_at,
        max(l.last_lapse_at) over so_far as last_lapse_at,
        coalesce(d.orders, 0) as orders,
        coalesce(e.revenue_by_currency, []) as revenue_by_currency,
        last_value(t.stage ignore nulls) over so_far as stage,
        coalesce(k.open_tickets, 0) as open_tickets,
        coalesce(f.friction_points, 0) as friction_points,
        g.customer_no
    from grid as g
    left join active as a on g.customer_no = a.customer_no and g.month = a.month
    left join subscribed as s on g.customer_no = s.customer_no and g.month = s.month
    left join paid as p on g.customer_no = p.customer_no and g.month = p.month
    left join earned as e on g.customer_no = e.customer_no and g.month = e.month
    left join ordered as d on g.customer_no = d.customer_no and g.month = d.month
    left join staged as t on g.customer_no = t.customer_no and g.month = t.month
    left join open_tickets as k on g.customer_no = k.customer_no and g.month = k.month
    left join struggled as f on g.customer_no = f.customer_no and g.month = f.month
    left join last_orders as o on g.customer_no = o.customer_no and g.month = o.month
    left join last_lapses as l on g.customer_no = l.customer_no and g.month = l.month
    window so_far as (partition by g.customer_no order by g.month rows between unbounded preceding and current row)
)
select
    customer_key,
    month,
    is_new,
    is_active,
    is_subscriber,
    subscriptions,
    plan,
    case when len(mrr_by_currency) = 1 then mrr_by_currency[1].amount when len(mrr_by_currency) = 0 then 0 end as mrr,
    mrr_by_currency,
    last_order_at is not null as is_buyer,
    -- a lapse after the last order; where no days could be fitted nobody knows
    case when (select days from inactivity) is not null then coalesce(last_lapse_at > last_order_at, false) end as has_lapsed,
    orders,
    case when len(revenue_by_currency) = 1 then revenue_by_currency[1].amount when len(revenue_by_currency) = 0 then 0 end
        as revenue,
    revenue_by_currency,
    -- of all money of the row, where it is one
    if(len(currencies) = 1, currencies[1], null) as currency,
    stage,
    open_tickets,
    friction_points,
    customer_no
from (
    select
        *,
        list_distinct(list_transform(list_concat(mrr_by_currency, revenue_by_currency), lambda m: m.currency)) as currencies
    from together
)
order by customer_no, month
