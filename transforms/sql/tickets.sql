-- Tickets from opening to resolution.
-- Input: entity_events (event_no: their order). Grain: one ticket (source, ticket_id) that was opened
-- in the data; its events may be of several customers, it belongs to the one who opened it first.
-- A bot's reply does not stop the clock of the first response; a private note is no reply to the customer.
with ticket_events as (
    select
        customer_no,
        customer_key,
        source,
        ticket_id,
        event_no,
        seq,
        occurred_at,
        event_id,
        event_type,
        event_type = 'ticket_replied' and author = 'agent' and coalesce(public, true) as is_agent_reply,
        topic,
        priority,
        team,
        self_service
    from entity_events
    where event_type in ('ticket_opened', 'ticket_replied', 'ticket_resolved', 'ticket_reopened')
),
opened as (
    select
        customer_no,
        source,
        ticket_id,
        min(occurred_at) as opened_at,
        arg_min(seq, event_no) as opened_seq,
        arg_min(event_id, event_no) as opened_event_id
    from ticket_events
    where event_type = 'ticket_opened'
    group by customer_no, source, ticket_id
),
summed as (
    select
        e.customer_no,
        any_value(e.customer_key) as customer_key,
        e.source,
        e.ticket_id,
        o.opened_at,
        o.opened_seq,
        o.opened_event_id,
        min(e.occurred_at) filter (where e.is_agent_reply and e.occurred_at >= o.opened_at) as first_response_at,
        min(e.occurred_at) filter (where e.event_type = 'ticket_resolved' and e.occurred_at >= o.opened_at)
            as first_resolved_at,
        max(e.occurred_at) filter (where e.event_type = 'ticket_resolved' and e.occurred_at >= o.opened_at)
            as last_resolved_at,
        count(*) filter (where e.event_type = 'ticket_reopened') as reopens,
        count(*) filter (where e.is_agent_reply) as agent_replies,
        arg_min(e.topic, e.event_no) as topic,
        arg_min(e.priority, e.event_no) as priority,
        arg_min(e.team, e.event_no) as team,
        coalesce(bool_or(e.self_service), false) as is_self_service,
        arg_max(e.event_type, e.event_no) filter (where e.event_type <> 'ticket_replied') <> 'ticket_resolved' as is_open
    from ticket_events as e
    join opened as o
        on e.customer_no = o.customer_no and e.ticket_id = o.ticket_id and e.source is not distinct from o.source
    group by e.customer_no, e.source, e.ticket_id, o.opened_at, o.opened_seq, o.opened_event_id
)
select
    ticket_id,
    source,
    customer_key,
    opened_at,
    first_response_at,
    first_resolved_at,
    last_resolved_at,
    reopens,
    agent_replies,
    (epoch_us(first_response_at) - epoch_us(opened_at)) // 1000000 as first_response_s,
    (epoch_us(first_resolved_at) - epoch_us(opened_at)) // 1000000 as resolution_s,
    (epoch_us(last_resolved_at) - epoch_us(opened_at)) // 1000000 as full_resolution_s,
    topic,
    priority,
    team,
    is_self_service,
    is_open,
    customer_no,
    opened_seq,
    opened_event_id
from summed
order by customer_no, source nulls first, ticket_id
