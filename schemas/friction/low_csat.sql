-- Dissatisfied answers. Input: answers_about; parameter $below. Grain: one answer that counts.
-- Rescaled to 0..1, as in the metric csat.
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
where survey_type = 'csat' and (score - scale_min) / (scale_max - scale_min) < $below
