-- Tickets from opening to resolution.
-- Input: entity_events (event_no: their order). Grain: one ticket (source, ticket_id) that was opened
-- in the data; its events may be of several customers, it belongs to the one who opened it first.
-- A bot's reply does not stop the clock of the first response; a private note is no reply to the customer.
-- What lies before the first opening says nothing of the ticket: neither a reply, nor a resolution, nor a reopening.
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
        min(event_no) as opened_no,
        arg_min(seq, event_no) as opened_seq,
        arg_min(event_id, event_no) as opened_event_id
    from ticket_events
    where event_type = 'ticket_opened'
    group by customer_no, source, ticket_id
),
-- The ticket's life. It begins with the opening, also where others of the same moment stand before it by their names:
-- a source that knows days only resolves on the day of the opening, and not before it.
lived as (
    select
        e.*,
        o.opened_at,
        o.opened_seq,
        o.opened_event_id,
        if(e.event_no = o.opened_no, 0, e.event_no) as life_no
    from ticket_events as e
    join opened as o
        on e.customer_no = o.customer_no and e.ticket_id = o.ticket_id and e.source is not distinct from o.source
    where e.occurred_at >= o.opened_at
),
-- Where it opens and where it is resolved, in turns.
turns as (
    select customer_no, source, ticket_id, life_no, occurred_at, event_type <> 'ticket_resolved' as is_open
    from lived
    where event_type <> 'ticket_replied'
    qualify is_open is distinct from lag(is_open) over (partition by customer_no, source, ticket_id order by life_no)
),
-- From an opening or reopening to the next resolution.
open_periods as (
    select
        customer_no,
        source,
        ticket_id,
        list({'started_at': occurred_at, 'ended_at': ended_at} order by life_no) filter (where is_open) as open_periods
    from (
        select *, lead(occurred_at) over (partition by customer_no, source, ticket_id order by life_no) as ended_at
        from turns
    )
    group by customer_no, source, ticket_id
),
summed as (
    select
        customer_no,
        any_value(customer_key) as customer_key,
        source,
        ticket_id,
        opened_at,
        opened_seq,
        opened_event_id,
        min(occurred_at) filter (where is_agent_reply) as first_response_at,
        arg_min(event_id, life_no) filter (where is_agent_reply) as first_response_event_id,
        min(occurred_at) filter (where event_type = 'ticket_resolved') as first_resolved_at,
        arg_min(event_id, life_no) filter (where event_type = 'ticket_resolved') as first_resolved_event_id,
        max(occurred_at) filter (where event_type = 'ticket_resolved') as last_resolved_at,
        arg_max(event_id, life_no) filter (where event_type = 'ticket_resolved') as last_resolved_event_id,
        count(*) filter (where event_type = 'ticket_reopened') as reopens,
        arg_min(event_id, life_no) filter (where event_type = 'ticket_reopened') as first_reopened_event_id,
        count(*) filter (where is_agent_reply) as agent_replies,
        arg_min(topic, life_no) as topic,
        arg_min(priority, life_no) as priority,
        arg_min(team, life_no) as team,
        coalesce(bool_or(self_service), false) as is_self_service,
        arg_max(event_type, life_no) filter (where event_type <> 'ticket_replied') <> 'ticket_resolved' as is_open
    from lived
    group by customer_no, source, ticket_id, opened_at, opened_seq, opened_event_id
)
select
    s.ticket_id,
    s.source,
    s.customer_key,
    s.opened_at,
    s.first_response_at,
    s.first_resolved_at,
    s.last_resolved_at,
    s.reopens,
    s.agent_replies,
    (epoch_us(s.first_response_at) - epoch_us(s.opened_at)) // 1000000 as first_response_s,
    (epoch_us(s.first_resolved_at) - epoch_us(s.opened_at)) // 1000000 as resolution_s,
    (epoch_us(s.last_resolved_at) - epoch_us(s.opened_at)) // 1000000 as full_resolution_s,
    s.topic,
    s.priority,
    s.team,
    s.is_self_service,
    s.is_open,
    p.open_periods,
    s.customer_no,
    s.opened_seq,
    s.opened_event_id,
    s.first_response_event_id,
    s.first_resolved_event_id,
    s.last_resolved_event_id,
    s.first_reopened_event_id
from summed as s
left join open_periods as p
    on s.customer_no = p.customer_no and s.ticket_id = p.ticket_id and s.source is not distinct from p.source
order by s.customer_no, s.source nulls first, s.ticket_id
