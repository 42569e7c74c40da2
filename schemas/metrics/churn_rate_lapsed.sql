-- Churn of buyers without a contract. Input: customer_months, lapses, months, purchases. Grain: one buyer and month.
-- Of those who had bought, had not lapsed and had no subscription at the month's beginning, who lapsed in the month. Where no
-- days of inactivity could be fitted has_lapsed is null, and nobody is counted.
with lapsed as (select distinct customer_no, month from lapses where kind = 'lapsed')
select
    c.customer_no,
    c.month,
    (l.customer_no is not null)::int as numerator,
    1 as denominator,
    if(l.customer_no is not null, o.event_ids, null) as numerator_events,
    o.event_ids as denominator_events
from customer_months as c
join months as m on c.month = m.month
join customer_months as b on c.customer_no = b.customer_no and b.month = m.month_before
left join lapsed as l on c.customer_no = l.customer_no and c.month = l.month
asof left join (select customer_no, occurred_at, event_ids from orders) as o
    on c.customer_no = o.customer_no and m.begins > o.occurred_at
where b.is_buyer and not b.has_lapsed and not b.is_subscriber
