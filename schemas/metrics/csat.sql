-- Satisfaction. Input: answers, tickets. An answer about a known ticket counts in the month of the ticket's opening: the
-- ticket of its own source if there is one, else the customer's first of that id (a survey tool is a source of its own).
with rated as (
    select
        coalesce(t.opened_month, a.month) as month,
        (a.score - a.scale_min) / (a.scale_max - a.scale_min) >= 0.75
        or (a.scale_max - a.scale_min = 3 and a.score - a.scale_min >= 2) as is_satisfied
    from answers as a
    left join tickets as t
        on
            a.customer_no = t.customer_no
            and a.ticket_id = t.ticket_id
    where a.survey_type = 'csat'
    qualify
        row_number() over (
            partition by a.customer_no, a.answer_seq order by a.source is not distinct from t.source desc, t.opened_at
        ) = 1
)
select month, null::varchar as currency, count(*) filter (where is_satisfied) as numerator, count(*) as denominator,
    count(*) as n, 0 as pending
from rated
group by grouping sets ((month), ())
