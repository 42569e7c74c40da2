-- Revenue. Input: money (month, currency, amount; refunds negative), one row an event.
select month, currency, sum(amount) as numerator, null as denominator, count(*) as n, 0 as pending
from money
group by grouping sets ((month, currency), (currency))
