-- What the forecast of a customer's purchases knows. Input: touchpoints; parameter $timezone. Grain: one known buyer.
-- A purchase is a day (of the time zone) on which an order began: x of them after the first, the last t_x days after it;
-- what was ordered on a later day than the first is what the repeat purchases came to.
with lines as (
    select
        customer_no,
        timezone($timezone, occurred_at)::date as day,
        opens_order,
        currency,
        amount,
        min(timezone($timezone, occurred_at)::date) filter (where opens_order) over (partition by customer_no) as first_day
    from touchpoints
    where event_type = 'purchase' and is_known
)
select
    customer_no,
    any_value(first_day) as first_day,
    count(distinct day) filter (where opens_order) - 1 as x,
    date_diff('day', any_value(first_day), max(day) filter (where opens_order)) as t_x,
    case when count(distinct currency) = 1 then any_value(currency) end as currency,
    sum(amount) filter (where day > first_day)::decimal(38, 4) as repeat_amount
from lines
group by customer_no
order by customer_no
