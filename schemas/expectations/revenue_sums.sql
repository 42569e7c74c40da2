-- Revenue told in several tables, against the touchpoints that it comes from. Input: touchpoints, customers, journeys,
-- lifecycle_metrics, tallies. Grain: one currency and place; place, currency, amount, expected (what touchpoints say).
-- Revenue is purchases, subscription starts and renewals that were paid, less refunds, of known and unknown customers.
-- A tally `replaced_metric` with the code revenue leaves out the metric: the user defines it in their own way.
with of_touchpoints as (
    select currency, sum(if(event_type = 'refund', -amount, amount))::decimal(38, 4) as amount
    from touchpoints
    where
        event_type in ('purchase', 'refund', 'subscription_started')
        or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed')
    group by currency
),
of_customers as (
    select r.currency, sum(r.amount)::decimal(38, 4) as amount
    from (select unnest(revenue_by_currency) as r from customers)
    group by r.currency
),
of_journeys as (
    select r.currency, sum(r.amount)::decimal(38, 4) as amount
    from (select unnest(revenue_by_currency) as r from journeys)
    group by r.currency
),
-- A run without money has one row of the metric, without a currency.
of_metric as (
    select period_kind, currency, sum(numerator)::decimal(38, 4) as amount
    from lifecycle_metrics
    where metric = 'revenue' and segment = 'all' and (currency is not null or numerator <> 0)
    group by period_kind, currency
),
told as (
    select 'customers' as place, currency, amount from of_customers
    union all
    select 'journeys', currency, amount from of_journeys
    union all
    select 'the metric over all', currency, amount from of_metric where period_kind = 'all'
    union all
    select 'the metric, its months added', currency, amount from of_metric where period_kind = 'month'
),
places as (
    select unnest(['customers', 'journeys', 'the metric over all', 'the metric, its months added']) as place
),
expected as (
    select p.place, t.currency, t.amount from places as p cross join of_touchpoints as t
)
select
    coalesce(t.place, e.place) as place,
    coalesce(t.currency, e.currency) as currency,
    t.amount,
    e.amount as expected
from told as t
full join expected as e on t.place = e.place and t.currency is not distinct from e.currency
where
    coalesce(t.place, e.place) in ('customers', 'journeys')
    or not exists (select 1 from tallies where name = 'replaced_metric' and code = 'revenue')
