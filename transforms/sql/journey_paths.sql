-- What one shard knows of its paths. Input: units (path_no, customer_no, journey_id, touchpoints, seconds, is_converted,
-- is_open): a row a journey for the paths of stages and of pages, a row a window for those of channels
-- (channel_windows.sql); paths (path_no, path_kind, path); money (journey_id, currency, amount).
-- Grain: one path, and what is counted of it (journey_paths.py, PATH_CELLS). All numbers add up; a customer is in one shard.
with counted as (
    select path_no, count(*) as count, count(distinct customer_no) as customers, count(*) filter (is_converted) as converted,
        count(*) filter (is_open) as still_open
    from units
    group by path_no
),
touchpoints as (
    select path_no, touchpoints as value, count(*) as count, sum(touchpoints) as total
    from units
    where is_converted
    group by path_no, touchpoints
),
seconds as (
    select path_no, seconds as value, count(*) as count, sum(seconds) as total
    from units
    where is_converted and seconds is not null
    group by path_no, seconds
),
paid as (select journey_id, currency, sum(amount) as amount from money group by journey_id, currency),
revenue as (
    select u.path_no, p.currency, sum(p.amount) as amount
    from units as u
    join paid as p on u.journey_id = p.journey_id
    where u.is_converted
    group by u.path_no, p.currency
),
cells as (
    select path_no, 'paths' as what, null as currency, null as value, count, 0 as total, customers, converted, still_open, 0 as amount
    from counted
    union all
    select path_no, 'touchpoints', null, value, count, total, 0, 0, 0, 0 from touchpoints
    union all
    select path_no, 'seconds', null, value, count, total, 0, 0, 0, 0 from seconds
    union all
    select path_no, 'revenue', currency, null, 0, 0, 0, 0, 0, amount from revenue
)
select p.path_kind, p.path, c.what, c.currency, c.value, c.count, c.total, c.customers, c.converted, c.still_open, c.amount
from cells as c
join paths as p on c.path_no = p.path_no
-- Rows of one path stand together, so that its text costs next to nothing where it travels compressed.
order by c.path_no, c.what, c.currency, c.value
