-- Cohorts that disagree with the months of their customers, or with one another. Input: cohorts, customer_months.
-- Grain: one cell in disagreement; rule, kind, cohort_month (null: all together), months_since, found, expected.
with last_month as (select max(month) as month from customer_months),
acts as (
    select 'activity' as kind, customer_key, month from customer_months where is_active
    union all
    select 'order', customer_key, month from customer_months where orders > 0
),
firsts as (select kind, customer_key, min(month) as cohort_month from acts group by kind, customer_key),
sizes as (select kind, cohort_month, count(*) as customers from firsts group by kind, cohort_month),
counted as (
    select f.kind, f.cohort_month, a.month, count(*) as customers
    from acts as a
    join firsts as f on a.kind = f.kind and a.customer_key = f.customer_key
    group by f.kind, f.cohort_month, a.month
),
-- A cohort has a cell for each month from its own to that of as-of, also those in which nobody was there.
cells as (
    select
        s.kind,
        s.cohort_month,
        date_diff('month', s.cohort_month, m.month) as months_since,
        m.month,
        s.customers as cohort_size,
        coalesce(c.customers, 0) as active,
        if(m.month = l.month, 'provisional', 'final') as status
    from sizes as s
    cross join last_month as l
    join (select unnest(generate_series(min(cohort_month), max(l.month), interval 1 month))::date as month from sizes cross join last_month as l)
        as m
        on m.month >= s.cohort_month
    left join counted as c on s.kind = c.kind and s.cohort_month = c.cohort_month and c.month = m.month
),
-- All together: of each count of months since, the cohorts whose month then was over.
expected as (
    select * from cells
    union all
    select kind, null, months_since, null, sum(cohort_size)::bigint, sum(active)::bigint, 'final'
    from cells
    where status = 'final'
    group by kind, months_since
)
select
    'cohorts_agree_with_months' as rule,
    coalesce(c.kind, e.kind) as kind,
    coalesce(c.cohort_month, e.cohort_month) as cohort_month,
    coalesce(c.months_since, e.months_since) as months_since,
    coalesce(c.active || ' of ' || c.cohort_size || ', ' || c.status, 'no cell') as found,
    coalesce(e.active || ' of ' || e.cohort_size || ', ' || e.status, 'no cell') as expected
from cohorts as c
full join expected as e
    on c.kind = e.kind and c.cohort_month is not distinct from e.cohort_month and c.months_since = e.months_since
where
    c.active is distinct from e.active
    or c.cohort_size is distinct from e.cohort_size
    or c.status is distinct from e.status
    or c.month is distinct from e.month
union all
select 'cells_are_shares', kind, cohort_month, months_since, 'retention ' || retention, active || ' / ' || cohort_size
from cohorts
where active > cohort_size or abs(retention - active / cohort_size) > 1e-9
union all
select 'cells_are_shares', a.kind, a.cohort_month, a.months_since, 'survival ' || a.survival, 'at most ' || coalesce(b.survival, 1)
from cohorts as a
left join cohorts as b
    on a.kind = b.kind and a.cohort_month is not distinct from b.cohort_month and b.months_since = a.months_since - 1
where a.survival > coalesce(b.survival, 1)
