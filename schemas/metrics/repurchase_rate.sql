-- Repurchase rate; what each month adds. Input: orders (customer_no, is_known, month, nth), one row an order.
select month, null::varchar as currency, count(*) filter (where nth = 2) as numerator,
    count(*) filter (where nth = 1) as denominator, count(*) filter (where nth = 1) as n, 0 as pending
from orders
where is_known and nth <= 2
group by grouping sets ((month), ())
