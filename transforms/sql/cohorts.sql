-- Cohorts of one shard: who came in which month, and in which later months they were there again.
-- Input: activity, orders, customers, months. Grain: one kind, cohort month, count of months since, and what is counted.
-- what: size (months_since 0), active (in exactly that month), departed and censored (how long they stayed: until they
-- churned for good, or until as-of). All columns add up.
with acts as (
    select 'activity' as kind, customer_no, month from activity where is_known
    union all
    select distinct 'order', customer_no, month from orders where is_known
),
placed as (
    select a.kind, a.customer_no, m.month_no, min(m.month_no) over (partition by a.kind, a.customer_no) as first_no
    from acts as a
    join months as m on a.month = m.month
),
last_month as (select max(month_no) as month_no from months),
stays as (
    select p.kind, p.first_no, if(c.churned_month is null, l.month_no, h.month_no) - p.first_no as months_since,
        c.churned_month is not null as has_left
    from placed as p
    join customers as c on p.customer_no = c.customer_no
    left join months as h on c.churned_month = h.month
    cross join last_month as l
    where p.month_no = p.first_no
),
counted as (
    select kind, first_no, 0 as months_since, 'size' as what, count(*) as customers
    from placed where month_no = first_no group by all
    union all
    select kind, first_no, month_no - first_no, 'active', count(*) from placed group by all
    union all
    select kind, first_no, greatest(months_since, 0), if(has_left, 'departed', 'censored'), count(*) from stays group by all
)
select c.kind, m.month as cohort_month, c.months_since, c.what, c.customers
from counted as c
join months as m on c.first_no = m.month_no
