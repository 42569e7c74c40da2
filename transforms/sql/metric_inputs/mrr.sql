-- Monthly recurring revenue at the end of each month, and at the end of the month before. Input: customer_months.
-- Grain: one customer, month and currency that pays at either end; first_paid_month is that of the first such month.
with paying as (
    select customer_no, month, m.currency as currency, m.amount as mrr
    from (select customer_no, month, unnest(mrr_by_currency) as m from customer_months)
    where m.amount > 0
),
both_ends as (
    select customer_no, month, currency, mrr as closing, 0::decimal(38, 4) as opening
    from paying
    union all
    select p.customer_no, (p.month + interval 1 month)::date, p.currency, 0, p.mrr
    from paying as p
    join customer_months as c on p.customer_no = c.customer_no and c.month = p.month + interval 1 month
)
select
    b.customer_no,
    b.month,
    b.currency,
    sum(b.opening)::decimal(38, 4) as opening,
    sum(b.closing)::decimal(38, 4) as closing,
    min(min(b.month)) over (partition by b.customer_no, b.currency) as first_paid_month
from both_ends as b
group by b.customer_no, b.month, b.currency
