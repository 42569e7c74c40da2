-- Surveys answered. Input: touchpoints. Grain: one survey sent; one sent again with the same ids is one survey.
-- An answer is to a survey sent before it that has all the ids that the answer names; of several to the one with the very
-- same ids, or else to the last sent. Without any id each sending is a survey of its own, and an answer without ids answers
-- the last one sent before it. Of several answers to one survey the last is named as the one that counts.
with surveys as (
    select
        customer_no,
        month,
        seq,
        event_type,
        event_id,
        survey_type,
        survey_id,
        ticket_id,
        order_id,
        coalesce(survey_id, ticket_id, order_id) is not null as has_id,
        -- where a ticket is named an order says no more
        if(ticket_id is null, order_id, null) as order_ref
    from touchpoints
    where event_type in ('survey_sent', 'survey_response')
),
sent as (
    select *, if(has_id, min(seq) over same_survey, seq) as survey_seq
    from surveys
    where event_type = 'survey_sent'
    window same_survey as (partition by customer_no, survey_type, survey_id, ticket_id, order_ref)
),
chosen as (
    select
        a.customer_no,
        a.seq,
        any_value(a.event_id) as event_id,
        arg_max(
            s.survey_seq,
            (
                a.survey_id is not distinct from s.survey_id
                and a.ticket_id is not distinct from s.ticket_id
                and a.order_ref is not distinct from s.order_ref,
                s.seq
            )
        ) as survey_seq
    from surveys as a
    join sent as s
        on
            a.customer_no = s.customer_no
            and a.survey_type = s.survey_type
            and a.seq > s.seq
            and a.has_id = s.has_id
            and coalesce(a.survey_id = s.survey_id, a.survey_id is null)
            and coalesce(a.ticket_id = s.ticket_id, a.ticket_id is null)
            and coalesce(a.order_ref = s.order_id, a.order_ref is null)
    where a.event_type = 'survey_response'
    group by a.customer_no, a.seq
),
answered as (
    select customer_no, survey_seq, arg_max(event_id, seq) as answer_id
    from chosen
    group by customer_no, survey_seq
)
select
    s.customer_no,
    s.month,
    (a.customer_no is not null)::int as numerator,
    1 as denominator,
    if(a.customer_no is not null, [a.answer_id], null) as numerator_events,
    [s.event_id] as denominator_events
from sent as s
left join answered as a on s.customer_no = a.customer_no and s.survey_seq = a.survey_seq
where s.seq = s.survey_seq
