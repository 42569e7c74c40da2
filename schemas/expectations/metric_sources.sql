-- Metrics against the customers, months and tickets that they are sums of. Input: lifecycle_metrics, customer_months, customers,
-- tickets, tallies. Grain: one metric, month (null: over all), segment, its value and currency; numerator and denominator of
-- both sides, null where they are not compared.
-- A tally `replaced_metric` (code: its name) leaves out a metric that the user defines in their own way.
with replaced as (
    select t.code || s.statistic as metric
    from tallies as t
    cross join (select unnest(['', '_mean']) as statistic) as s
    where t.name = 'replaced_metric'
),
compared as (
    select *
    from (
        values
            ('active_customers', true, false), ('new_customers', true, false), ('subscribers', true, false),
            ('purchase_frequency', true, true), ('churn_rate', true, true), ('churn_rate_lapsed', false, true),
            ('clv_historic', true, false), ('mrr', true, false), ('mrr_new', true, false), ('mrr_reactivation', true, false),
            ('mrr_expansion', true, false), ('mrr_contraction', true, false), ('mrr_churned', true, false), ('nrr', true, true),
            ('grr', true, true)
    ) as of_metrics(metric, has_numerator, has_denominator)
    where metric not in (select metric from replaced)
),
last_month as (select max(month) as month from customer_months),
-- What customers paid at a month's end, and at the end of the month before.
paying as (
    select customer_key, month, m.currency as currency, m.amount as amount
    from (select customer_key, month, unnest(mrr_by_currency) as m from customer_months)
    where m.amount > 0
),
first_paid as (select customer_key, currency, min(month) as month from paying group by customer_key, currency),
moves as (
    select
        coalesce(b.month, (a.month + interval 1 month)::date) as month,
        coalesce(a.currency, b.currency) as currency,
        coalesce(a.amount, 0) as opening,
        coalesce(b.amount, 0) as closing,
        b.month is not distinct from f.month as is_first
    from paying as a
    full join paying as b
        on a.customer_key = b.customer_key and a.currency = b.currency and b.month = (a.month + interval 1 month)::date
    left join first_paid as f on b.customer_key = f.customer_key and b.currency = f.currency
),
of_moves as (
    select
        month,
        currency,
        sum(closing) as closing,
        sum(opening) as opening,
        sum(if(opening > 0, closing, 0)) as kept_and_grown,
        sum(least(opening, closing)) as kept,
        sum(if(opening = 0 and is_first, closing, 0)) as new,
        sum(if(opening = 0 and not is_first, closing, 0)) as reactivated,
        sum(if(opening > 0, greatest(closing - opening, 0), 0)) as expanded,
        sum(if(closing > 0, greatest(opening - closing, 0), 0)) as contracted,
        sum(if(closing = 0, opening, 0)) as churned
    from moves
    group by month, currency
),
subscribed as (select customer_key, month from customer_months where is_subscriber),
left_in as (
    select (a.month + interval 1 month)::date as month, count(*) as opening, count(*) - count(b.customer_key) as churned
    from subscribed as a
    left join subscribed as b on a.customer_key = b.customer_key and b.month = (a.month + interval 1 month)::date
    group by a.month
),
of_months as (
    select
        month,
        count(*) filter (where is_active) as active,
        count(*) filter (where is_new) as new,
        count(*) filter (where is_subscriber) as subscribers,
        sum(orders) as orders,
        count(*) filter (where orders > 0) as buyers,
        count(*) filter (where is_buyer and not has_lapsed and not is_subscriber) as could_lapse
    from customer_months
    group by month
),
earned as (
    select month, r.currency as currency, sum(r.amount) as amount
    from (select month, unnest(revenue_by_currency) as r from customer_months)
    group by month, currency
),
there as (
    select 'active_customers' as metric, month, null as currency, active::decimal(38, 4) as numerator, null::decimal(38, 4) as denominator
    from of_months
    union all
    select 'new_customers', month, null, new, null from of_months
    union all
    select 'subscribers', month, null, subscribers, null from of_months
    union all
    select 'purchase_frequency', month, null, orders, buyers from of_months
    union all
    select 'churn_rate_lapsed', (month + interval 1 month)::date, null, null, could_lapse from of_months
    union all
    select 'churn_rate', month, null, churned, opening from left_in
    union all
    select 'clv_historic', month, currency, amount, null from earned
    union all
    select 'mrr', month, currency, closing, null from of_moves
    union all
    select 'mrr_new', month, currency, new, null from of_moves
    union all
    select 'mrr_reactivation', month, currency, reactivated, null from of_moves
    union all
    select 'mrr_expansion', month, currency, expanded, null from of_moves
    union all
    select 'mrr_contraction', month, currency, contracted, null from of_moves
    union all
    select 'mrr_churned', month, currency, churned, null from of_moves
    union all
    select 'nrr', month, currency, kept_and_grown, opening from of_moves
    union all
    select 'grr', month, currency, kept, opening from of_moves
),
told as (
    select
        metric,
        period_start as month,
        currency,
        -- what customers have been worth so far, less what they had been by the month before
        if(metric = 'clv_historic', numerator - lag(numerator, 1, 0) over by_month, numerator) as numerator,
        denominator
    from lifecycle_metrics
    where segment = 'all' and period_kind = 'month' and metric in (select metric from compared)
    window by_month as (partition by metric, currency order by period_start)
),
-- Over all, in all currencies together: each customer's forecast counts in one of them.
told_over_all as (
    select metric, sum(numerator) as numerator, sum(denominator) as denominator
    from lifecycle_metrics
    where segment = 'all' and period_kind = 'all'
    group by metric
),
there_over_all as (
    select 'active_customers' as metric, count(distinct customer_key)::decimal(38, 4) as numerator, null::bigint as denominator
    from customer_months
    where is_active
    union all
    select 'purchase_frequency', sum(orders), count(*) filter (where orders > 0) from customers where is_known
    union all
    select 'repurchase_rate', count(*) filter (where orders > 1), count(*) filter (where orders > 0) from customers where is_known
    union all
    select 'clv_predicted', sum(clv_predicted), count(clv_predicted) from customers
    union all
    select 'first_response_minutes_mean', sum(first_response_s), count(first_response_s) from tickets
    union all
    select 'first_response_business_minutes_mean', sum(first_response_business_s), count(first_response_business_s) from tickets
    union all
    select 'resolution_hours_mean', sum(resolution_s), count(resolution_s) from tickets
    union all
    select 'full_resolution_hours_mean', sum(full_resolution_s), count(*) from tickets where not is_open
    union all
    select 'reopen_rate', count(*) filter (where reopens > 0), count(*) from tickets where first_resolved_at is not null
    union all
    select 'one_touch_rate', count(*) filter (where agent_replies <= 1 and reopens = 0), count(*)
    from tickets
    where first_resolved_at is not null
    union all
    select 'backlog', count(*) filter (where is_open), null from tickets
),
told_by as (
    select segment, segment_value, numerator
    from lifecycle_metrics
    where metric = 'new_customers' and period_kind = 'all' and segment in ('first_channel', 'plan')
),
there_by as (
    select 'first_channel' as segment, coalesce(first_channel, '(none)') as segment_value, count(*) as customers
    from customers
    where is_known
    group by first_channel
    union all
    select 'plan', coalesce(plan, '(none)'), count(*)
    from customers
    where is_known
    group by plan
)
select
    c.metric,
    coalesce(t.month, h.month) as month,
    'all' as segment,
    null as segment_value,
    coalesce(t.currency, h.currency) as currency,
    if(c.has_numerator, coalesce(t.numerator, 0), null) as numerator,
    if(c.has_denominator, coalesce(t.denominator, 0), null) as denominator,
    if(c.has_numerator, coalesce(h.numerator, 0), null) as numerator_there,
    if(c.has_denominator, coalesce(h.denominator, 0), null) as denominator_there
from told as t
full join (select * from there where month <= (select month from last_month)) as h
    on t.metric = h.metric and t.month = h.month and t.currency is not distinct from h.currency
join compared as c on coalesce(t.metric, h.metric) = c.metric
union all
-- a segment of which nobody has a value is not told
select 'new_customers', null, coalesce(t.segment, h.segment), coalesce(t.segment_value, h.segment_value), null,
    coalesce(t.numerator, 0), null, coalesce(h.customers, 0), null
from told_by as t
full join there_by as h on t.segment = h.segment and t.segment_value = h.segment_value
where
    coalesce(t.segment, h.segment) in (select segment from lifecycle_metrics)
    and 'new_customers' in (select metric from compared)
union all
select h.metric, null, 'all', null, null, coalesce(t.numerator, 0), if(h.denominator is null, null, coalesce(t.denominator, 0)),
    coalesce(h.numerator, 0), h.denominator
from there_over_all as h
left join told_over_all as t on h.metric = t.metric
where h.metric not in (select metric from replaced)
