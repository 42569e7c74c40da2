-- Paths, credit and times in stages that are not the sums of what they are made of. Input: journey_paths, channel_credit,
-- stage_durations, journeys, journey_stages, sessions, customers; this_run.
-- Grain: one sum in disagreement; rule, what is summed, found, expected.
with conversions as (
    select customer_key, revenue_by_currency from journeys where outcome in ('order', 'subscription_started')
),
n_conversions as (select count(*) as n from conversions),
touched as (select distinct customer_key from sessions where entry_channel is not null),
not_converted as (
    select count(*) as n from touched where customer_key not in (select customer_key from conversions)
),
revenue as (
    select m.currency as currency, sum(m.amount) as amount
    from (select unnest(revenue_by_currency) as m from conversions)
    group by m.currency
),
kinds as (select unnest(['channel', 'page', 'stage']) as path_kind),
of_paths as (
    select
        k.path_kind,
        coalesce(sum(p.paths), 0) as paths,
        coalesce(sum(p.converted), 0) as converted,
        coalesce(sum(p.still_open), 0) as still_open
    from kinds as k
    left join journey_paths as p on k.path_kind = p.path_kind
    group by k.path_kind
),
of_journeys as (select count(*) as n, count(*) filter (status = 'open') as n_open from journeys),
path_revenue as (
    select path_kind, m.currency as currency, sum(m.amount) as amount
    from (select path_kind, unnest(revenue_by_currency) as m from journey_paths)
    group by path_kind, m.currency
),
expected_revenue as (select k.path_kind, r.currency, r.amount from kinds as k cross join revenue as r),
models as (select unnest(['first_touch', 'last_touch', 'linear', 'position']) as model),
credit as (
    select m.model, coalesce(sum(c.conversions), 0) as conversions
    from models as m
    left join channel_credit as c on m.model = c.model
    group by m.model
),
credit_revenue as (select model, currency, sum(revenue) as amount from channel_credit group by model, currency),
expected_credit as (select m.model, r.currency, r.amount from models as m cross join revenue as r),
runs as (
    select
        stage,
        count(*) as entries,
        count(*) filter (is_open) as open_now,
        coalesce(sum(duration_s), 0) as left_s,
        sum(coalesce(duration_s, (epoch_us(r.as_of) - epoch_us(entered_at)) // 1000000)) as spent_s,
        max(coalesce(duration_s, (epoch_us(r.as_of) - epoch_us(entered_at)) // 1000000)) as longest_s
    from journey_stages
    cross join this_run as r
    group by stage
),
durations as (
    select segment, stage, sum(entries) as entries, sum(open_now) as open_now, sum(exits) as n_left,
        coalesce(sum(mean_left_s * exits), 0) as left_s, sum(round(customer_days * 86400)::bigint) as spent_s, max(p90_s) as longest_p90_s
    from stage_durations
    group by segment, stage
),
segments as (select distinct segment from stage_durations union select 'all'),
expected_durations as (select s.segment, r.* from segments as s cross join runs as r),
standing as (select current_stage as stage, count(*) as n from customers where current_stage is not null group by current_stage),
checks as (
    select 'paths_add_up' as rule, p.path_kind || ' paths' as what, p.paths::varchar as found,
        case p.path_kind when 'channel' then c.n + o.n else j.n end::varchar as expected
    from of_paths as p
    cross join n_conversions as c
    cross join not_converted as o
    cross join of_journeys as j
    union all
    select 'paths_add_up', p.path_kind || ' paths that converted', p.converted::varchar, c.n::varchar
    from of_paths as p
    cross join n_conversions as c
    union all
    select 'paths_add_up', p.path_kind || ' paths that are open', p.still_open::varchar, j.n_open::varchar
    from of_paths as p
    cross join of_journeys as j
    where p.path_kind <> 'channel'
    union all
    select 'paths_add_up', 'revenue of ' || coalesce(p.path_kind, e.path_kind) || ' paths in ' || coalesce(p.currency, e.currency),
        coalesce(p.amount, 0)::varchar, coalesce(e.amount, 0)::varchar
    from path_revenue as p
    full join expected_revenue as e on p.path_kind = e.path_kind and p.currency = e.currency
    union all
    select 'credit_adds_up', 'conversions by ' || m.model, m.conversions::decimal(38, 6)::varchar, c.n::decimal(38, 6)::varchar
    from credit as m
    cross join n_conversions as c
    union all
    select 'credit_adds_up', 'revenue by ' || coalesce(m.model, e.model) || ' in ' || coalesce(m.currency, e.currency),
        coalesce(m.amount, 0)::decimal(38, 4)::varchar, coalesce(e.amount, 0)::decimal(38, 4)::varchar
    from credit_revenue as m
    full join expected_credit as e on m.model = e.model and m.currency = e.currency
    union all
    select 'stages_are_left_or_open', 'entries of ' || coalesce(d.stage, e.stage) || ' by ' || coalesce(d.segment, e.segment),
        coalesce(d.entries, 0)::bigint::varchar, coalesce(e.entries, 0)::varchar
    from durations as d
    full join expected_durations as e on d.segment = e.segment and d.stage = e.stage
    union all
    select 'stages_are_left_or_open', 'seconds of those who left ' || d.stage || ' by ' || d.segment,
        round(d.left_s)::bigint::varchar, r.left_s::bigint::varchar
    from durations as d
    join runs as r on d.stage = r.stage
    union all
    select 'stages_are_left_or_open', 'seconds spent in ' || d.stage || ' by ' || d.segment,
        d.spent_s::bigint::varchar, r.spent_s::bigint::varchar
    from durations as d
    join runs as r on d.stage = r.stage
    union all
    -- where there are many, p90_s is told from buckets half a per cent wide
    select 'stages_are_left_or_open', 'nine of ten have left ' || d.stage || ' by ' || d.segment || ' by the longest stay',
        greatest(d.longest_p90_s / 1.01, r.longest_s)::bigint::varchar, r.longest_s::bigint::varchar
    from durations as d
    join runs as r on d.stage = r.stage
    union all
    select 'stages_are_left_or_open', 'customers in ' || coalesce(d.stage, s.stage) || ' now by ' || coalesce(d.segment, 'all'),
        coalesce(d.open_now, 0)::bigint::varchar, coalesce(s.n, 0)::varchar
    from durations as d
    full join standing as s on d.stage = s.stage
)
select rule, what, found, expected from checks where found is distinct from expected
