-- What later runs are compared with. Input: all tables of the run, footers, quarantine_shares.
-- Grain: one measure; measure, table_name, column_name, source, value. These are the rows that run_measures keeps.
with of_sources as (
    select coalesce(source, '') as source, count(*) as events, max(occurred_at) as newest_at
    from touchpoints
    group by 1
)
select 'rows' as measure, 'touchpoints' as table_name, null::varchar as column_name, null::varchar as source,
    count(*)::double as value
from touchpoints
union all
select 'rows', 'sessions', null, null, count(*) from sessions
union all
select 'rows', 'journeys', null, null, count(*) from journeys
union all
select 'rows', 'journey_stages', null, null, count(*) from journey_stages
union all
select 'rows', 'customers', null, null, count(*) from customers
union all
select 'rows', 'customer_months', null, null, count(*) from customer_months
union all
select 'rows', 'tickets', null, null, count(*) from tickets
union all
select 'rows', 'subscriptions', null, null, count(*) from subscriptions
union all
select 'rows', 'subscription_periods', null, null, count(*) from subscription_periods
union all
select 'rows', 'friction_points', null, null, count(*) from friction_points
union all
select 'rows', 'friction_summary', null, null, count(*) from friction_summary
union all
select 'rows', 'stage_transitions', null, null, count(*) from stage_transitions
union all
select 'rows', 'stage_durations', null, null, count(*) from stage_durations
union all
select 'rows', 'journey_paths', null, null, count(*) from journey_paths
union all
select 'rows', 'channel_credit', null, null, count(*) from channel_credit
union all
select 'rows', 'lifecycle_metrics', null, null, count(*) from lifecycle_metrics
union all
select 'rows', 'cohorts', null, null, count(*) from cohorts
union all
select 'rows', 'service_loyalty', null, null, count(*) from service_loyalty
union all
select 'rows', 'funnels', null, null, count(*) from funnels
union all
select 'rows', 'model_parameters', null, null, count(*) from model_parameters
union all
select 'rows', 'identity_map', null, null, count(*) from identity_map
union all
select 'rows', 'identity_decisions', null, null, count(*) from identity_decisions
union all
select 'rows', 'quarantine', null, null, count(*) from quarantine
union all
select 'events', 'touchpoints', null, source, events from of_sources
union all
select 'newest_event', 'touchpoints', 'occurred_at', source, epoch_us(newest_at) / 1000000 from of_sources
union all
select 'null_share', 'touchpoints', column_name, null, sum(nulls) / sum(rows)
from footers
where table_name = 'touchpoints'
group by column_name
having sum(rows) > 0
union all
select 'quarantine_share', 'quarantine', null, source, share
from quarantine_shares
where code is null
