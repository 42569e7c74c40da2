-- Revenue per active customer. Input: money; activity. A row without a currency counts below the line of every one.
select month, currency, sum(amount) as numerator, 0 as denominator, 0 as n, 0 as pending
from money
group by grouping sets ((month, currency), (currency))
union all
select month, null, 0, count(distinct customer_no), count(distinct customer_no), 0
from activity
where is_known
group by grouping sets ((month), ())
