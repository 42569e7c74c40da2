-- Orders. Input: orders (customer_no, is_known, month, nth), one row an order, in the month of its first line.
select month, null::varchar as currency, count(*) as numerator, null as denominator, count(*) as n, 0 as pending
from orders
group by grouping sets ((month), ())
