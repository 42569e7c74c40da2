-- How many events there are, against the median of the last runs, of which one without any has 0.
-- Input: run_measures_now, past_measures, past_runs, limits. Grain: one source (null: all together) that earlier runs had too;
-- source, events, usual_events, n_past, ratio. Left out is what usually has too few events to tell anything.
with past as (
    select run_id, null::varchar as source, value
    from past_measures
    where measure = 'rows' and table_name = 'touchpoints'
    union all
    select run_id, source, value
    from past_measures
    where measure = 'events'
),
sources as (select distinct source from past),
usual as (
    select s.source, median(coalesce(p.value, 0)) as events, count(*) as n_past
    from past_runs as r
    cross join sources as s
    left join past as p on p.run_id = r.run_id and p.source is not distinct from s.source
    group by s.source
),
now as (
    select null::varchar as source, value from run_measures_now where measure = 'rows' and table_name = 'touchpoints'
    union all
    select source, value from run_measures_now where measure = 'events'
)
select
    u.source,
    coalesce(n.value, 0) as events,
    u.events as usual_events,
    u.n_past,
    coalesce(n.value, 0) / u.events as ratio
from usual as u
left join now as n on n.source is not distinct from u.source
where u.events >= (select value from limits where name = 'compared_least_events')
