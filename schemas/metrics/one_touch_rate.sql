-- Share of resolved tickets that took one public reply or none. Input: tickets. Grain: one ticket that was resolved.
select
    customer_no,
    resolved_month as month,
    (agent_replies <= 1 and reopens = 0)::int as numerator,
    1 as denominator,
    if(agent_replies <= 1 and reopens = 0, [first_resolved_event_id], null) as numerator_events,
    [first_resolved_event_id] as denominator_events
from tickets
where first_resolved_at is not null
