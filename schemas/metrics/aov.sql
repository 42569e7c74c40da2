-- Average order value. Input: money; purchases (month, currency, opens_order), one row a purchase line.
with spent as (
    select month, currency, sum(amount) as amount
    from money
    where kind = 'order'
    group by grouping sets ((month, currency), (currency))
),
counted as (
    select month, currency, count(*) as orders
    from purchases
    where opens_order
    group by grouping sets ((month, currency), (currency))
)
select
    coalesce(s.month, c.month) as month,
    coalesce(s.currency, c.currency) as currency,
    coalesce(s.amount, 0) as numerator,
    coalesce(c.orders, 0) as denominator,
    coalesce(c.orders, 0) as n,
    0 as pending
from spent as s
full join counted as c on s.month is not distinct from c.month and s.currency = c.currency
