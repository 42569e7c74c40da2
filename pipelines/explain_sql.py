"""What `parcours explain` asks of a run, in SQL.

`own` are the customer's touchpoints, in the order of seq; $key is the customer_key. Lists end after SHOWN rows.
"""

from pipelines.explain_identity import SHOWN

#: The events that make a ticket or a subscription, as transforms/find_owners.py has them, which imports Beam.
LIFE: dict[str, tuple[str, ...]] = {
    "ticket_id": ("ticket_opened", "ticket_replied", "ticket_resolved", "ticket_reopened"),
    "subscription_id": ("subscription_started", "subscription_changed", "renewal", "cancellation"),
}

# Grain: one friction point, with the event at which it begins: the first that it names, or the last one until then.
FRICTION_IN_PLACE = """
create temp table friction_in_place as
with points as (
    select *, row_number() over () as point_no
    from friction_points
    where customer_key = $key
),
by_event as (select p.point_no, e.seq from points as p join own as e on e.event_id = p.event_ids[1]),
moments as (select occurred_at, max(seq) as seq from own group by occurred_at),
by_time as (
    select p.point_no, m.seq from points as p asof join moments as m on p.started_at >= m.occurred_at
)
select p.* exclude (point_no), coalesce(e.seq, t.seq, 1) as after_seq
from points as p
left join by_event as e on p.point_no = e.point_no
left join by_time as t on p.point_no = t.point_no
"""
# Grain: one run of a stage with friction points; a point is in the run in which its first event lies. At one moment two
# runs may meet, and the point's own stage tells them apart.
FRICTION_IN_STAGES = """
with placed as (
    select f.friction_id, min(s.stage_no) as stage_no
    from friction_in_place as f
    join own as e on f.after_seq = e.seq
    join journey_stages as s
        on s.customer_key = $key and s.stage = f.stage and e.occurred_at >= s.entered_at
        and e.occurred_at <= coalesce(s.left_at, e.occurred_at)
    group by f.friction_id
)
select s.stage, s.entered_at, count(*) as friction_points
from placed as p
join journey_stages as s on s.customer_key = $key and p.stage_no = s.stage_no
group by s.stage, s.entered_at
"""
# A stage that no event of the customer's own gave (transforms/sql/lapses.sql).
STAGES_WITHOUT_EVENT = """
with entered as (
    select * from journey_stages
    where customer_key = $key and stage = 'churned'
),
moments as (select occurred_at, max(seq) as seq from own group by occurred_at),
ended as (
    select ended_at, min(subscription_id) as subscription_id
    from subscription_periods where customer_key = $key and ended_by = 'expired' group by ended_at
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
-- an order_id that means nobody names no order: each such line is one of its own
group by source, order_id, if(contains(coalesce(ignored_identifiers, ''), '"order_id":'), event_id, null)
order by min(seq)
limit {SHOWN}
"""


def _with_life(table: str, began: str, name: str, told: dict[str, str]) -> str:
    """The first rows of a table with the events that they are made of, whoever's these are.

    Each has `n_events`, the first `events`, and for each moment of `told` the event that gave it (`..._by`), with
    its customer where that is another one (`..._by_customer`).
    """
    moments = "".join(
        f""",
        arg_min(event_id, place) filter ({moment}) as {moment}_by,
        nullif(arg_min(customer_key, place) filter ({moment}), $key) as {moment}_by_customer"""
        for moment in told
    )
    return f"""
with shown as (from {table} where customer_key = $key order by {began}, source, {name} limit {SHOWN}),
life as (
    select s.{name}, s.source, e.event_id, e.event_type, e.customer_key,
        row_number() over (partition by s.source, s.{name} order by e.occurred_at, e.event_id) as place,
        {", ".join(f"{condition} as {moment}" for moment, condition in told.items())}
    from shown as s
    join touchpoints as e on s.{name} = e.{name} and s.source is not distinct from e.source
    where e.event_type in {LIFE[name]} and not contains(coalesce(e.ignored_identifiers, ''), '"{name}":')
),
found as (
    select {name}, source, count(*) as n_events,
        list({{'event_id': event_id, 'event_type': event_type, 'customer_key': customer_key}} order by place)
            filter (place <= {SHOWN}) as events{moments}
    from life group by {name}, source
)
select s.*, f.* exclude ({name}, source)
from shown as s
left join found as f on s.{name} = f.{name} and s.source is not distinct from f.source
order by s.{began}, s.source, s.{name}
"""


_ENDS = """
    e.occurred_at = s.ended_at and (
        (s.status = 'cancelled' and e.event_type = 'cancellation' and e.kind = 'effective')
        or (s.status = 'declined' and e.event_type = 'renewal' and e.outcome = 'declined')
    )"""
TICKETS = _with_life("tickets", "opened_at", "ticket_id", {
    "opened": "e.event_type = 'ticket_opened' and e.occurred_at = s.opened_at",
    "first_response": """e.event_type = 'ticket_replied' and e.author = 'agent' and coalesce(e."public", true)
            and e.occurred_at = s.first_response_at""",
    "first_resolved": "e.event_type = 'ticket_resolved' and e.occurred_at = s.first_resolved_at",
})  # fmt: skip
SUBSCRIPTIONS = _with_life("subscriptions", "started_at", "subscription_id", {"ended": _ENDS})
# At the moments $at, subscriptions that an event of another customer ended. Grain: one moment.
ENDED_ELSEWHERE = """
select
    s.ended_at,
    arg_min(s.subscription_id, e.event_id) as subscription_id,
    min(e.event_id) as ended_by,
    arg_min(e.customer_key, e.event_id) as ended_by_customer
from (
    from subscription_periods where customer_key = $key and is_ended_elsewhere and list_contains($at, ended_at)
) as s
join touchpoints as e on s.end_event_id = e.event_id
group by s.ended_at
"""
SESSIONS = """
with numbered as (
    select *, row_number() over (order by started_at, session_id) as session_no
    from sessions where customer_key = $key
)
from numbered where ended_at >= $first and started_at <= $last
"""
