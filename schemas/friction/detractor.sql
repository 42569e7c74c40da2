-- Detractors. Input: answers_about; parameter $score. Grain: one answer that counts.
-- Only scales from 0 to 10, as in the metric nps.
select
    customer_no,
    seq,
    about as subject,
    occurred_at as started_at,
    occurred_at as ended_at,
    occurred_at as known_at,
    1 as n_events,
    event_ids,
    null::decimal(18, 4) as minutes_lost
from answers_about
where survey_type = 'nps' and scale_min = 0 and scale_max = 10 and score <= $score
