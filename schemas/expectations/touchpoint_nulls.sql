-- How often a column of touchpoints has no value, against the median of the last runs.
-- Input: run_measures_now, past_measures, limits. Grain: one column that earlier runs had too;
-- column_name, share, usual_share, rise, n_past, kept_ratio: of the values that there usually are how many there still
-- are; null where they were too few to tell anything. Left out is a run of too few touchpoints to tell anything, and so are
-- the columns that only the setting `currency` fills: to take it back empties them, and nothing is lost.
with usual as (
    select
        c.column_name,
        median(c.value) as share,
        median((1 - c.value) * r.value) as filled,
        count(*) as n_past
    from past_measures as c
    join past_measures as r
        on c.run_id = r.run_id and r.measure = 'rows' and r.table_name = 'touchpoints'
    where c.measure = 'null_share' and c.table_name = 'touchpoints'
    group by c.column_name
)
select
    n.column_name,
    n.value as share,
    u.share as usual_share,
    round(n.value - u.share, 9) as rise,
    u.n_past,
    -- fewer in number and rarer as well: a flood of other events makes a column rare, and takes nothing from it
    if(
        u.filled >= l.value,
        greatest((1 - n.value) * r.value / u.filled, (1 - n.value) / (1 - u.share)),
        null
    ) as kept_ratio
from run_measures_now as n
join usual as u on n.column_name = u.column_name
cross join (select value from run_measures_now where measure = 'rows' and table_name = 'touchpoints') as r
cross join (select value from limits where name = 'compared_least_events') as l
where n.measure = 'null_share' and n.table_name = 'touchpoints' and r.value >= l.value
    and n.column_name not in ('original_amount', 'original_cost', 'original_currency')
