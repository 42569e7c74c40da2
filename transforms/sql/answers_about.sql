-- Survey answers that count, with what each is about. Input: answers, tickets. Grain: one answer that counts.
-- about: the team or topic of the ticket that the answer names (of its own source if there is one, else the customer's first
-- of that id, as in the metric csat), else the answer's context.
select
    a.customer_no,
    a.answer_seq as seq,
    a.survey_type,
    a.score,
    a.scale_min,
    a.scale_max,
    a.easier_is_higher,
    a.occurred_at,
    a.event_ids,
    coalesce(t.team, t.topic, a.context) as about
from answers as a
left join tickets as t on a.customer_no = t.customer_no and a.ticket_id = t.ticket_id
qualify
    row_number() over (
        partition by a.customer_no, a.answer_seq order by a.source is not distinct from t.source desc, t.opened_at
    ) = 1
