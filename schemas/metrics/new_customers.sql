-- New customers. Input: first_seen (customer_no, is_known, month), one row a customer.
select month, null::varchar as currency, count(*) as numerator, null as denominator, count(*) as n, 0 as pending
from first_seen
where is_known
group by grouping sets ((month), ())
