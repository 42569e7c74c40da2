-- Visitors. Input: activity (customer_no, is_known, month), one row a customer and month with an activity.
select month, null::varchar as currency, count(distinct customer_no) as numerator, null as denominator,
    count(distinct customer_no) as n, 0 as pending
from activity
where not is_known
group by grouping sets ((month), ())
