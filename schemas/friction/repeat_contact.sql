-- Contacts about the same again. Input: tickets; parameter $days. Grain: one ticket that is not the first of its topic.
-- What came last of the customer's earlier tickets of the topic, an opening or a resolution, lies at most $days before.
with moments as (
    select customer_no, topic, opened_seq, opened_at as happened_at, true as is_opening from tickets
    union all
    select customer_no, topic, opened_seq, unnest(open_periods).ended_at as happened_at, false as is_opening from tickets
),
followed as (
    select
        customer_no,
        opened_seq,
        is_opening,
        -- a ticket's own resolution comes behind its opening, an earlier ticket's of the same moment before it
        lag(happened_at) over (
            partition by customer_no, topic order by happened_at, opened_seq, is_opening desc
        ) as earlier_at
    from moments
    where topic is not null and happened_at is not null
)
select
    t.customer_no,
    t.opened_seq as seq,
    t.topic as subject,
    t.opened_at as started_at,
    t.opened_at as ended_at,
    t.opened_at as known_at,
    1 as n_events,
    [t.opened_event_id] as event_ids,
    null::decimal(18, 4) as minutes_lost
from followed as f
join tickets as t on f.customer_no = t.customer_no and f.opened_seq = t.opened_seq
where f.is_opening and t.opened_at <= f.earlier_at + span_of_days($days)
