-- Net promoter score. Input: answers (survey_type, score, scale_min, scale_max, month), the last one of each survey.
select
    month,
    null::varchar as currency,
    count(*) filter (where score >= 9) - count(*) filter (where score <= 6) as numerator,
    count(*) as denominator,
    count(*) as n,
    0 as pending
from answers
where survey_type = 'nps' and scale_min = 0 and scale_max = 10
group by grouping sets ((month), ())
