-- Tickets that were opened again. Input: touchpoints, tickets. Grain: one reopening, as tickets.reopens counts them.
select
    e.customer_no,
    e.seq,
    coalesce(t.team, t.topic) as subject,
    e.occurred_at as started_at,
    e.occurred_at as ended_at,
    e.occurred_at as known_at,
    1 as n_events,
    [e.event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from touchpoints as e
join tickets as t
    on e.customer_no = t.customer_no and e.ticket_id = t.ticket_id and e.source is not distinct from t.source
where e.event_type = 'ticket_reopened' and e.occurred_at >= t.opened_at
