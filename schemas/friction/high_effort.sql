-- Answers that tell of much effort. Input: answers_about; parameter $effort. Grain: one answer that counts.
-- 1 (least effort) to 7 (most), to 4 digits, as in the metric ces_mean.
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
where
    survey_type = 'ces'
    and try_cast(
        1 + 6 * if(coalesce(easier_is_higher, false), scale_max - score, score - scale_min) / (scale_max - scale_min)
        as decimal(18, 4)
    ) >= $effort
