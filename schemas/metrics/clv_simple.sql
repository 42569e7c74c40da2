-- Lifetime value by the textbook. Input: purchases, orders; parameter $as_of. Grain: one purchase line, and one known buyer.
-- Order value times orders a year is money a year: the number of orders cancels out.
select customer_no, null::date as month, currency, amount as numerator, 0::decimal(38, 4) as denominator, 0 as n,
    event_ids as numerator_events, null as denominator_events
from purchases
where is_known
union all
-- in days, which begin with the buyer's first order
select customer_no, null, null, 0, ((epoch_us($as_of) - epoch_us(occurred_at)) / 86400000000)::decimal(38, 4), 1, null, event_ids
from orders
where is_known and nth = 1
