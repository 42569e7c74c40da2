-- Monthly recurring revenue at the end of each month, and at the end of the month before.
-- Input: customer_months, subscription_periods, months; parameter $as_of.
-- Grain: one customer, month and currency that pays at either end.
-- first_paid_month is that of the first such month; plan and plan_before are the customer's at the two ends. A term that has
-- run out may still be renewed for 7 days, so whether its MRR is there is not known yet: is_due says so in the month in
-- which it ran out, still_due from then on. The events: what began the periods that cost something and are active at either
-- end, and what ended those that ended in the month.
with paying as (
    select customer_no, month, m.currency as currency, m.amount as mrr
    from (select customer_no, month, unnest(mrr_by_currency) as m from customer_months)
    where m.amount > 0
),
both_ends as (
    select customer_no, month, currency, mrr as closing, 0::decimal(38, 4) as opening
    from paying
    union all
    select p.customer_no, c.month, p.currency, 0, p.mrr
    from paying as p
    join months as t on p.month = t.month_before
    join customer_months as c on p.customer_no = c.customer_no and c.month = t.month
),
moved as (
    select
        customer_no,
        month,
        currency,
        sum(opening)::decimal(38, 4) as opening,
        sum(closing)::decimal(38, 4) as closing,
        min(min(month)) over (partition by customer_no, currency) as first_paid_month
    from both_ends
    group by customer_no, month, currency
),
due as (
    select customer_no, currency, list(distinct due_month) as months, min(due_month) as first_month
    from subscription_periods
    where not auto_renews and ended_at is null and term_ends_at <= $as_of and mrr > 0
    group by customer_no, currency
),
paid as (
    select
        customer_no,
        currency,
        list(
            {'start': started_at, 'stop': ended_at, 'start_id': start_event_id, 'stop_id': end_event_id}
            order by started_at, start_event_id
        ) as periods
    from subscription_periods
    where mrr > 0
    group by customer_no, currency
)
select
    m.customer_no,
    m.month,
    m.currency,
    m.opening,
    m.closing,
    m.first_paid_month,
    c.plan,
    b.plan as plan_before,
    coalesce(list_contains(d.months, m.month), false) as is_due,
    coalesce(m.month >= d.first_month, false) as still_due,
    [x.start_id for x in p.periods if x.start < t.begins and (x.stop is null or x.stop >= t.begins)] as opening_event_ids,
    [x.start_id for x in p.periods if x.start < t.edge and (x.stop is null or x.stop >= t.edge)] as closing_event_ids,
    [x.start_id for x in p.periods if x.start >= t.begins and x.start < t.edge and (x.stop is null or x.stop >= t.edge)]
        as new_event_ids,
    list_sort(list_distinct([
        x.stop_id for x in p.periods if x.stop >= t.begins and x.stop < t.edge and x.stop_id is not null
    ])) as ended_event_ids
from moved as m
join months as t on m.month = t.month
left join customer_months as c on m.customer_no = c.customer_no and m.month = c.month
left join customer_months as b on m.customer_no = b.customer_no and b.month = t.month_before
left join due as d on m.customer_no = d.customer_no and m.currency = d.currency
left join paid as p on m.customer_no = p.customer_no and m.currency = p.currency
