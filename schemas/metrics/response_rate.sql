-- Surveys answered. Input: touchpoints. Grain: one survey sent; one sent again with the same ids is one survey.
-- Without any id each sending is a survey of its own, and an answer without ids answers the last one sent before it.
-- Of several answers to one survey the last is named as the one that counts.
with surveys as (
    select
        customer_no,
        month,
        seq,
        event_type,
        event_id,
        survey_type,
        coalesce(survey_id, ticket_id, order_id) is not null as has_id,
        coalesce(survey_id, '') as survey,
        coalesce(ticket_id, '') as ticket,
        if(ticket_id is null, coalesce(order_id, ''), '') as order_ref
    from touchpoints
    where event_type in ('survey_sent', 'survey_response')
),
sent as (
    select
        *,
        lead(seq) over same_survey as next_seq,
        row_number() over same_survey as nth
    from surveys
    where event_type = 'survey_sent'
    window same_survey as (partition by customer_no, survey_type, survey, ticket, order_ref order by seq)
),
told as (
    select
        s.customer_no,
        s.month,
        s.event_id,
        count(a.seq) > 0 as is_answered,
        arg_max(a.event_id, a.seq) as answer_id
    from sent as s
    left join surveys as a
        on
            a.event_type = 'survey_response'
            and s.customer_no = a.customer_no
            and s.survey_type = a.survey_type
            and s.survey = a.survey
            and s.ticket = a.ticket
            and s.order_ref = a.order_ref
            and a.seq > s.seq
            and (s.has_id or s.next_seq is null or a.seq < s.next_seq)
    where s.nth = 1 or not s.has_id
    group by s.customer_no, s.month, s.seq, s.event_id
)
select
    customer_no,
    month,
    is_answered::int as numerator,
    1 as denominator,
    if(is_answered, [answer_id], null) as numerator_events,
    [event_id] as denominator_events
from told
