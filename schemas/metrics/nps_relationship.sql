-- Net promoter score of the relationship. Input: answers. Grain: one answer that counts.
select
    customer_no,
    month,
    (score >= 9)::int - (score <= 6)::int as numerator,
    1 as denominator,
    if(score >= 9 or score <= 6, event_ids, null) as numerator_events,
    event_ids as denominator_events
from answers
where survey_type = 'nps' and scale_min = 0 and scale_max = 10 and context = 'relationship'
