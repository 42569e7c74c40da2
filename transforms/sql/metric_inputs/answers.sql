-- Answers to surveys: of several to one survey the last counts. Input: touchpoints. Grain: one answer that counts.
-- An answer that names neither a survey nor a ticket nor an order answers a survey of its own.
select
    customer_no,
    seq as answer_seq,
    source,
    survey_type,
    score,
    scale_min,
    scale_max,
    context,
    easier_is_higher,
    survey_id,
    ticket_id,
    order_id,
    occurred_at,
    month,
    [event_id] as event_ids
from touchpoints
where event_type = 'survey_response'
qualify
    coalesce(survey_id, ticket_id, order_id) is null
    or row_number() over (
        partition by customer_no, survey_type, survey_id, ticket_id, if(ticket_id is null, order_id, null)
        order by seq desc
    ) = 1
