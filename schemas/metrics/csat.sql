-- Satisfaction. Input: answers, tickets. Grain: one answer. An answer about a known ticket counts in the month of the
-- ticket's opening: the ticket of its own source if there is one, else the customer's first of that id (a survey tool is a
-- source of its own).
with rated as (
    select
        a.customer_no,
        coalesce(t.opened_month, a.month) as month,
        (a.score - a.scale_min) / (a.scale_max - a.scale_min) >= 0.75
        or (a.scale_max - a.scale_min = 3 and a.score - a.scale_min >= 2) as is_satisfied,
        a.event_ids
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
select customer_no, month, is_satisfied::int as numerator, 1 as denominator, if(is_satisfied, event_ids, null) as numerator_events,
    event_ids as denominator_events
from rated
