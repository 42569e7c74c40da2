-- Conversion by stage. Input: journey_stages, customers, touchpoints; parameters $as_of, $conversion_days. Grain: one customer, stage and month
-- (null: of all), by the first entry. A later stage of the path within $conversion_days counts, unless the customer churned before;
-- service is off the path. Nobody goes on from the last step.
with path as (
    select unnest(['awareness', 'consideration', 'purchase', 'onboarding', 'usage', 'loyalty', 'advocacy']) as stage,
        unnest(range(7)) as step
),
entries as not materialized (
    select s.customer_no, s.stage, s.stage_no, s.month, s.entered_at, p.step
    from journey_stages as s
    join path as p on s.stage = p.stage
    where p.step < 6 and s.customer_no in (select customer_no from customers where is_known)
),
firsts as (
    select e.*, month as period from entries as e
    qualify row_number() over (partition by customer_no, stage, month order by stage_no) = 1
    union all
    select e.*, null from entries as e
    qualify row_number() over (partition by customer_no, stage order by stage_no) = 1
),
ends as (
    select
        f.customer_no,
        f.stage,
        f.stage_no,
        f.period,
        f.entered_at,
        min(l.stage_no) filter (where lp.step > f.step) as later_no,
        min(l.stage_no) filter (where l.stage = 'churned') as churned_no
    from firsts as f
    left join journey_stages as l
        on f.customer_no = l.customer_no and l.stage_no > f.stage_no and l.entered_at <= f.entered_at + to_days($conversion_days::int)
    left join path as lp on l.stage = lp.stage
    group by f.customer_no, f.stage, f.stage_no, f.period, f.entered_at
),
told as (
    select
        customer_no,
        stage,
        stage_no,
        period,
        later_no,
        later_no is not null and (churned_no is null or later_no < churned_no) as has_converted,
        entered_at + to_days($conversion_days::int) <= $as_of as is_mature
    from ends
),
-- The events that began a customer's runs, in the order of stage_no (null: no event did). Only an explanation asks for them:
-- where nobody does, DuckDB drops the join, as long as it is one, and `entries` is no table of its own.
begun as (
    select customer_no, list(event_id order by stage_no) as event_ids
    from (
        select s.customer_no, s.stage_no, arg_min(t.event_id, t.seq) as event_id
        from journey_stages as s
        left join touchpoints as t
            on s.customer_no = t.customer_no and s.stage = t.stage and s.entered_at = t.occurred_at
        group by s.customer_no, s.stage_no
    )
    group by customer_no
)
select
    t.customer_no,
    t.period as month,
    t.stage,
    (t.is_mature and t.has_converted)::int as numerator,
    t.is_mature::int as denominator,
    t.is_mature::int as n,
    (not t.is_mature)::int as pending,
    if(t.is_mature and t.has_converted, [b.event_ids[t.later_no]], null) as numerator_events,
    if(t.is_mature, [b.event_ids[t.stage_no]], null) as denominator_events
from told as t
left join begun as b on t.customer_no = b.customer_no
