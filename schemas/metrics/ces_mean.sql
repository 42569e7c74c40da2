-- Customer effort. Input: answers. Grain: one answer that counts. One whose scale is too wide for a double has no effort.
with efforts as (
    select
        customer_no,
        month,
        -- 1 (least effort) to 7 (most), to 4 digits
        try_cast(
            1 + 6 * if(coalesce(easier_is_higher, false), scale_max - score, score - scale_min) / (scale_max - scale_min)
            as decimal(18, 4)
        ) as effort,
        event_ids
    from answers
    where survey_type = 'ces'
)
select
    customer_no,
    month,
    effort as numerator,
    1 as denominator,
    event_ids as numerator_events,
    event_ids as denominator_events
from efforts
where effort is not null
