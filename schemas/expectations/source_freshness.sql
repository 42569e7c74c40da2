-- How far each source lags behind as-of, against how far it usually does. Input: run_measures_now, this_run,
-- past_measures. Grain: one source that earlier runs had too; source, lag_days, usual_lag_days, late_days, n_past.
-- A source that gave nothing lags from the newest event that an earlier run had of it.
with past as (
    select source, as_of, value as newest
    from past_measures
    where measure = 'newest_event'
),
usual as (
    select
        source,
        median(epoch_us(as_of) / 1000000 - newest) as lag_s,
        max(newest) as newest,
        count(*) as n_past
    from past
    group by source
),
compared as (
    select
        u.source,
        epoch_us(r.as_of) / 1000000 - coalesce(n.value, u.newest) as lag_s,
        u.lag_s as usual_lag_s,
        u.n_past
    from usual as u
    cross join this_run as r
    left join run_measures_now as n on n.measure = 'newest_event' and n.source = u.source
)
select
    source,
    lag_s / 86400 as lag_days,
    usual_lag_s / 86400 as usual_lag_days,
    round((lag_s - usual_lag_s) / 86400, 9) as late_days,
    n_past
from compared
