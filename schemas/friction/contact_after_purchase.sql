-- Contacts soon after a purchase. Input: touchpoints, tickets; parameter $hours. Grain: one ticket.
with orders as (
    select customer_no, occurred_at as ordered_at from touchpoints where event_type = 'purchase' and opens_order
)
select
    t.customer_no,
    t.opened_seq as seq,
    coalesce(t.topic, t.team) as subject,
    t.opened_at as started_at,
    t.opened_at as ended_at,
    t.opened_at as known_at,
    1 as n_events,
    [t.opened_event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from tickets as t
-- the last order before it
asof join orders as o on t.customer_no = o.customer_no and t.opened_at >= o.ordered_at
where t.opened_at <= o.ordered_at + span_of_hours($hours)
