-- Lifetime value as the models expect it. Input: customers, with what they expect of each. Grain: one customer.
select customer_no, month, currency, clv_predicted as numerator, 1 as denominator
from customers
where clv_predicted is not null
