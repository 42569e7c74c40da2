-- Answers to nps that are on another scale than 0 to 10. Input: answers. Grain: one answer that counts.
select customer_no, month, 1 as numerator, event_ids as numerator_events
from answers
where survey_type = 'nps' and not (scale_min = 0 and scale_max = 10)
