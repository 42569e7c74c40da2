-- Revenue of each group. Input: money_of_group (group_no, currency, amount). Grain: one group with money.
-- In one currency the amount stands alone; in several it is null and the list says each.
with by_currency as (
    select
        group_no,
        currency,
        sum(amount)::decimal(38, 4) as amount
    from money_of_group
    group by group_no, currency
)
select
    group_no,
    case when count(*) = 1 then any_value(amount) end as revenue,
    case when count(*) = 1 then any_value(currency) end as currency,
    list({'currency': currency, 'amount': amount} order by currency) as revenue_by_currency
from by_currency
group by group_no
order by group_no
