-- MRR of customers who left.
-- Input: mrr, customer_months, subscription_periods, months; parameter $as_of. Grain: one customer, month and currency.
-- Who did not move adds 0, so that each currency has its row. The plan is the customer's at the month's beginning.
with due as (
    -- a term that has run out may still be renewed for 7 days: whether its MRR is there is not known yet
    select customer_no, currency, due_month as month
    from subscription_periods
    where not auto_renews and ended_at is null and term_ends_at <= $as_of and mrr > 0
    group by customer_no, currency, due_month
),
-- What the customer paid for, by the events that say so.
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
    s.plan,
    m.currency,
    if(m.closing = 0, m.opening, 0) as numerator,
    (m.closing = 0)::int as n,
    (m.opening > 0 and d.month is not null)::int as pending,
    list_concat(
        [x.start_id for x in p.periods if x.start < t.begins and (x.stop is null or x.stop >= t.begins)],
        list_sort(list_distinct([
            x.stop_id for x in p.periods if x.stop >= t.begins and x.stop < t.edge and x.stop_id is not null
        ]))
    ) as numerator_events
from mrr as m
join months as t on m.month = t.month
left join customer_months as s on m.customer_no = s.customer_no and s.month = m.month - interval 1 month
left join due as d on m.customer_no = d.customer_no and m.currency = d.currency and m.month = d.month
left join paid as p on m.customer_no = p.customer_no and m.currency = p.currency
