"""What `parcours explain` asks of a run, in SQL.

`own` are the customer's touchpoints, in the order of seq; $key is the customer_key. Lists end after SHOWN rows.
"""

from pipelines.explain_identity import SHOWN

# Grain: one friction point, with the event behind which it stands.
FRICTION_IN_PLACE = """
create temp table friction_in_place as
with points as (
    select *, coalesce(ended_at, started_at) as happened_at, row_number() over () as point_no
    from friction_points
    where customer_key = $key
),
-- Its last event, where the point names all of its events and ends with one of them.
by_event as (
    select p.point_no, e.seq
    from points as p
    join own as e on e.event_id = p.event_ids[-1] and e.occurred_at = p.happened_at
    where p.n_events = len(p.event_ids)
),
moments as (select occurred_at, max(seq) as seq from own group by occurred_at),
by_time as (
    select p.point_no, m.seq from points as p asof join moments as m on p.happened_at >= m.occurred_at
)
select p.* exclude (point_no), coalesce(e.seq, t.seq, 1) as after_seq
from points as p
left join by_event as e on p.point_no = e.point_no
left join by_time as t on p.point_no = t.point_no
"""
# A stage that no event gave: a lapse, or a term that ended unrenewed (transforms/sql/lapses.sql).
STAGES_WITHOUT_EVENT = """
with entered as (
    select * from journey_stages
    where customer_key = $key and stage = 'churned'
),
moments as (select occurred_at, max(seq) as seq from own group by occurred_at),
ended as (
    select ended_at, min(subscription_id) as subscription_id
    from subscriptions where customer_key = $key and status = 'expired' group by ended_at
)
select s.*, m.seq as after_seq, ended.subscription_id
from entered as s
asof join moments as m on s.entered_at >= m.occurred_at
left join ended on s.entered_at = ended.ended_at
where not exists (select 1 from own as e where e.occurred_at = s.entered_at and e.stage = 'churned')
order by s.stage_no
"""
IDENTIFIERS = f"""
with own_identifiers as (select * from identity_map where customer_key = $key)
select
    *,
    row_number() over (partition by identifier_kind order by n_events desc, identifier) as place,
    count(*) over (partition by identifier_kind) as total
from own_identifiers
qualify place <= {SHOWN}
order by identifier_kind, place
"""
REFUSED = """
select d.kind, d.identifier, d.reason, d.n_customers, d.n_events, m.n_events as own_events
from (select * from identity_decisions where decision = 'refused') as d
join (select * from identity_map where customer_key = $key) as m
    on d.kind = m.identifier_kind and d.identifier = m.identifier
order by d.kind, own_events desc, d.identifier
"""
# As transforms/sql/money.sql has it.
REVENUE = f"""
with money as (
    select
        seq,
        event_id,
        event_type,
        currency,
        if(event_type = 'refund', -amount, amount)::decimal(18, 4) as amount
    from own
    where
        event_type in ('purchase', 'refund', 'subscription_started')
        or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed')
),
placed as (select *, row_number() over (partition by currency order by seq) as place from money),
types as (
    select currency, event_type, count(*) as n_events, sum(amount) as amount, min(seq) as seq
    from money group by currency, event_type
)
select
    currency,
    sum(amount) as amount,
    count(*) as n_events,
    list({{'event_id': event_id, 'event_type': event_type, 'amount': amount}} order by seq)
        filter (place <= {SHOWN}) as events,
    (
        select list({{'event_type': t.event_type, 'n_events': t.n_events, 'amount': t.amount}} order by t.seq)
        from types as t where t.currency is not distinct from placed.currency
    ) as event_types
from placed
group by currency
order by currency
"""
ORDERS = f"""
select
    order_id,
    source,
    min(occurred_at) as opened_at,
    arg_min(event_id, seq) as event_id,
    count(*) as lines,
    if(count(distinct currency) = 1, sum(amount), null) as amount,
    if(count(distinct currency) = 1, min(currency), null) as currency
from own
where event_type = 'purchase' and order_id is not null
group by source, order_id
order by min(seq)
limit {SHOWN}
"""
TICKETS = f"""
with shown as (from tickets where customer_key = $key order by opened_at, source, ticket_id limit {SHOWN}),
events as (
    select t.ticket_id, t.source, e.event_id, e.seq,
        e.event_type = 'ticket_opened' and e.occurred_at = t.opened_at as opens,
        e.event_type = 'ticket_replied' and e.author = 'agent' and coalesce(e."public", true)
            and e.occurred_at = t.first_response_at as responds,
        e.event_type = 'ticket_resolved' and e.occurred_at = t.first_resolved_at as resolves
    from shown as t
    join own as e on t.ticket_id = e.ticket_id and t.source is not distinct from e.source
),
found as (
    select ticket_id, source,
        arg_min(event_id, seq) filter (opens) as opened_by,
        arg_min(event_id, seq) filter (responds) as first_response_by,
        arg_min(event_id, seq) filter (resolves) as first_resolved_by
    from events group by ticket_id, source
)
select t.*, f.opened_by, f.first_response_by, f.first_resolved_by
from shown as t
left join found as f on t.ticket_id = f.ticket_id and t.source is not distinct from f.source
order by t.opened_at, t.source, t.ticket_id
"""
SUBSCRIPTIONS = f"""
with shown as (from subscriptions where customer_key = $key order by started_at, source, subscription_id limit {SHOWN}),
events as (
    select s.subscription_id, s.source, e.event_id, e.event_type, e.seq,
        row_number() over (partition by s.subscription_id, s.source order by e.seq) as place
    from shown as s
    join own as e on s.subscription_id = e.subscription_id and s.source is not distinct from e.source
    where e.event_type in ('subscription_started', 'subscription_changed', 'renewal', 'cancellation')
),
found as (
    select subscription_id, source, count(*) as n_events,
        list({{'event_id': event_id, 'event_type': event_type}} order by seq) filter (place <= {SHOWN}) as events
    from events group by subscription_id, source
)
select s.*, f.n_events, f.events
from shown as s
left join found as f on s.subscription_id = f.subscription_id and s.source is not distinct from f.source
order by s.started_at, s.source, s.subscription_id
"""
SESSIONS = """
with numbered as (
    select *, row_number() over (order by started_at, session_id) as session_no
    from sessions where customer_key = $key
)
from numbered where ended_at >= $first and started_at <= $last
"""
