-- Metrics that are not whole, or do not add up. Input: lifecycle_metrics, customers, tallies, this_run.
-- Grain: one disagreement; rule, metric, period_start (null: over all), segment, segment_value, currency, found, expected.
-- A tally `replaced_metric` (code: its name) leaves out what holds of the shipped definition of a metric only.
with replaced as (
    select t.code || s.statistic as metric
    from tallies as t
    cross join (select unnest(['', '_mean', '_p50', '_p75', '_p90', '_km_p50']) as statistic) as s
    where t.name = 'replaced_metric'
),
-- The dictionary that comes with Parcours; a test holds the names against it. Over all months a metric is their sum, or what
-- the last one says, or neither, as where a customer counts once. Some are told by a dimension, and not of everyone.
shipped as (
    select
        unnest([
            'aov', 'cart_abandonment_rate', 'ces_easy_share', 'ces_mean', 'churn_events', 'churn_rate', 'churn_rate_lapsed',
            'containment_rate', 'csat', 'first_response_business_minutes_mean', 'first_response_business_minutes_p50',
            'first_response_business_minutes_p90', 'first_response_minutes_km_p50', 'first_response_minutes_mean',
            'first_response_minutes_p50', 'first_response_minutes_p90', 'full_resolution_hours_km_p50',
            'full_resolution_hours_mean', 'full_resolution_hours_p50', 'full_resolution_hours_p90', 'grr', 'mrr_churn_rate',
            'mrr_churned', 'mrr_contraction', 'mrr_expansion', 'mrr_new', 'mrr_reactivation', 'new_customers', 'nps',
            'nps_excluded', 'nps_relationship', 'nps_transactional', 'nrr', 'one_touch_rate', 'orders', 'page_load_ms_p50',
            'page_load_ms_p75', 'page_load_ms_p90', 'page_slow_share', 'renewal_rate', 'reopen_rate', 'repeat_contact_rate',
            'resolution_hours_km_p50', 'resolution_hours_mean', 'resolution_hours_p50', 'resolution_hours_p90',
            'response_rate', 'revenue', 'revenue_orders', 'revenue_subscriptions', 'subscription_churn_rate',
            'task_completion_rate', 'task_seconds_mean', 'task_seconds_p50', 'task_seconds_p90'
        ]) as metric,
        'sum' as over_all,
        true as is_of_everyone
    union all
    select unnest(['backlog', 'clv_historic', 'clv_predicted', 'mrr', 'repurchase_rate', 'subscribers']), 'last', true
    union all
    select unnest(['active_customers', 'arppu', 'arpu', 'clv_simple', 'purchase_frequency', 'visitors']), 'own', true
    union all
    select unnest(['stage_days_km_p50', 'stage_days_p50', 'stage_days_p90']), 'sum', false
    union all
    select 'feature_users_share', 'last', false
    union all
    select unnest(['adoption_rate', 'conversion_rate']), 'own', false
),
ours as (select * from shipped where metric not in (select metric from replaced)),
-- The months of the run. They begin in the time zone of the settings, which is not known here: a day each way.
span as (
    select
        any_value(s.first_at) is not null as has_customers,
        count(distinct m.period_start) as n,
        min(m.period_start) as first_month,
        max(m.period_start) as last_month,
        date_trunc('month', any_value(s.first_at) - interval 1 day)::date as first_from,
        date_trunc('month', any_value(s.first_at) + interval 1 day)::date as first_to,
        date_trunc('month', any_value(r.as_of) - interval 1 day)::date as last_from,
        date_trunc('month', any_value(r.as_of) + interval 1 day)::date as last_to,
        -- no clock is ahead of UTC by more: if it is the last month then, too, that month is not over anywhere
        date_trunc('month', any_value(r.as_of) + interval 15 hours)::date as open_month
    from (select min(first_seen_at) as first_at from customers) as s
    cross join this_run as r
    left join lifecycle_metrics as m on m.period_kind = 'month'
),
cuts as (
    select
        metric,
        segment,
        segment_value,
        currency,
        count(*) filter (where period_kind = 'month') as months,
        count(*) filter (where period_kind = 'all') as alls,
        coalesce(sum(numerator) filter (where period_kind = 'month'), 0) as numerators,
        coalesce(sum(denominator) filter (where period_kind = 'month'), 0) as denominators,
        coalesce(sum(n) filter (where period_kind = 'month'), 0) as ns,
        coalesce(arg_max(numerator, period_start) filter (where period_kind = 'month'), 0) as last_numerator,
        coalesce(arg_max(denominator, period_start) filter (where period_kind = 'month'), 0) as last_denominator,
        coalesce(arg_max(n, period_start) filter (where period_kind = 'month'), 0) as last_n,
        coalesce(any_value(numerator) filter (where period_kind = 'all'), 0) as numerator,
        coalesce(any_value(denominator) filter (where period_kind = 'all'), 0) as denominator,
        any_value(n) filter (where period_kind = 'all') as n
    from lifecycle_metrics
    where period_kind in ('all', 'month')
    group by metric, segment, segment_value, currency
),
-- Of a segment's values each customer has one, and so has each end of a reason: what is above the line adds up. What is below
-- it does not where a value had no money in a currency, and so no row, nor where every value has all customers there.
told_segments as (
    select metric, segment, count(distinct segment_value) as n_values
    from lifecycle_metrics
    where
        segment in ('first_channel', 'plan')
        or (segment in ('reason', 'voluntary') and metric in ('churn_rate', 'churn_events'))
    group by metric, segment
),
parts as (
    select
        l.metric,
        l.segment,
        l.period_kind,
        l.period_start,
        l.currency,
        coalesce(sum(l.numerator), 0) as numerator,
        if(count(*) = any_value(s.n_values) and l.segment in ('first_channel', 'plan'), sum(l.denominator), null) as denominator,
        if(count(*) = any_value(s.n_values) and l.segment in ('first_channel', 'plan'), sum(l.n), null) as n
    from lifecycle_metrics as l
    join told_segments as s on l.metric = s.metric and l.segment = s.segment
    group by l.metric, l.segment, l.period_kind, l.period_start, l.currency
),
-- A segment of which nobody has a value is not told at all; one that is told of some metric is told of every one.
wholes as (
    select
        e.metric,
        s.segment,
        e.period_kind,
        e.period_start,
        e.currency,
        coalesce(e.numerator, 0) as numerator,
        e.denominator,
        e.n
    from lifecycle_metrics as e
    join (select distinct segment from told_segments) as s
        on
            s.segment in ('first_channel', 'plan')
            or e.metric in (select metric from ours where metric in ('churn_rate', 'churn_events'))
    where e.segment = 'all' and e.metric not in (select metric from replaced)
),
pieces as (
    select
        w.metric,
        w.segment,
        w.period_start,
        w.currency,
        w.numerator,
        w.denominator,
        w.n,
        coalesce(p.numerator, 0) as numerators,
        p.denominator as denominators,
        p.n as ns
    from wholes as w
    left join parts as p
        on
            w.metric = p.metric
            and w.segment = p.segment
            and w.period_kind = p.period_kind
            and w.period_start is not distinct from p.period_start
            and w.currency is not distinct from p.currency
),
revenues as (
    select
        period_start,
        segment,
        segment_value,
        currency,
        coalesce(sum(numerator) filter (where metric = 'revenue'), 0) as revenue,
        coalesce(sum(numerator) filter (where metric <> 'revenue'), 0) as made_of
    from lifecycle_metrics
    where metric in ('revenue', 'revenue_orders', 'revenue_subscriptions')
    group by period_kind, period_start, segment, segment_value, currency
)
select
    'metrics_are_whole' as rule,
    null as metric,
    null::date as period_start,
    null as segment,
    null as segment_value,
    null as currency,
    n || ' months from ' || coalesce(first_month::varchar, 'none') || ' to ' || coalesce(last_month::varchar, 'none') as found,
    'each from ' || first_from || ' or ' || first_to || ' to ' || last_from || ' or ' || last_to as expected
from span
where
    has_customers
    and (
        n = 0
        or n <> date_diff('month', first_month, last_month) + 1
        or first_month not between first_from and first_to
        or last_month not between last_from and last_to
    )
union all
select 'metrics_are_whole', o.metric, null, 'all', null, null, 'no row', 'rows of everyone'
from ours as o
cross join span as s
where
    s.has_customers
    and o.is_of_everyone
    and not exists (select 1 from lifecycle_metrics as l where l.metric = o.metric and l.segment = 'all')
union all
select
    'metrics_are_whole',
    c.metric,
    null,
    c.segment,
    c.segment_value,
    c.currency,
    c.months || ' months and ' || c.alls || ' of all',
    if(o.metric = 'clv_simple', 0, s.n) || ' months and 1 of all'
from cuts as c
cross join span as s
left join ours as o on c.metric = o.metric
where
    c.alls <> 1
    or case
        when o.metric = 'clv_simple' then c.months <> 0
        when o.metric is not null then c.months <> s.n
        else c.months not in (0, s.n)  -- of the user's own, those of a lifetime have no months
    end
union all
-- the month of as-of is not over, unless as-of is its last instant
select
    'metrics_are_whole',
    l.metric,
    l.period_start,
    l.segment,
    l.segment_value,
    l.currency,
    l.status,
    'provisional'
from lifecycle_metrics as l
join span as s on l.period_kind = 'month' and l.period_start = s.last_month
where l.status <> 'provisional' and s.last_month = s.open_month
union all
select
    'metrics_add_up',
    c.metric,
    null,
    c.segment,
    c.segment_value,
    c.currency,
    'over all ' || c.numerator || ' / ' || c.denominator || ', n ' || c.n,
    if(
        o.over_all = 'sum',
        'its months ' || c.numerators || ' / ' || c.denominators || ', n ' || c.ns,
        'its last month ' || c.last_numerator || ' / ' || c.last_denominator || ', n ' || c.last_n
    )
from cuts as c
join ours as o on c.metric = o.metric
where
    case o.over_all
        when 'sum' then c.numerator <> c.numerators or c.denominator <> c.denominators or c.n <> c.ns
        when 'last' then c.numerator <> c.last_numerator or c.denominator <> c.last_denominator or c.n <> c.last_n
    end
union all
select
    'metrics_add_up',
    metric,
    period_start,
    segment,
    null,
    currency,
    'together ' || numerators || coalesce(' / ' || denominators, '') || coalesce(', n ' || ns, ''),
    'everyone ' || numerator || coalesce(' / ' || denominator, '') || ', n ' || n
from pieces
where numerators <> numerator or denominators <> denominator or ns <> n
union all
select
    'metrics_add_up',
    'revenue',
    period_start,
    segment,
    segment_value,
    currency,
    'revenue ' || revenue,
    'of orders and subscriptions ' || made_of
from revenues
where
    revenue <> made_of
    and not exists (
        select 1 from replaced where metric in ('revenue', 'revenue_orders', 'revenue_subscriptions')
    )
