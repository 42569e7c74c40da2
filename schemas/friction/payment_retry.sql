-- Payments that fail again. Input: touchpoints; parameters $failures, $hours. Grain: one chain of failures, each at most $hours
-- after the one before, of one order, else of one subscription, else of the customer's payments that name neither. An order
-- or subscription is one of its source; an identifier that means nobody names none.
with named as (
    select
        customer_no,
        seq,
        event_id,
        occurred_at,
        source,
        coalesce(provider, failure_code) as subject,
        if(contains(coalesce(ignored_identifiers, ''), '"order_id":'), null, order_id) as order_id,
        if(contains(coalesce(ignored_identifiers, ''), '"subscription_id":'), null, subscription_id) as subscription_id
    from touchpoints
    where event_type = 'payment_failed'
),
paid_for as (
    select
        *,
        case when order_id is not null then 'order' when subscription_id is not null then 'subscription' else 'any' end as what,
        coalesce(order_id, subscription_id) as id,
        if(coalesce(order_id, subscription_id) is null, null, source) as of_source
    from named
),
linked as (
    select
        *,
        coalesce(occurred_at > lag(occurred_at) over one_thing + span_of_hours($hours), true) as begins_chain
    from paid_for
    window one_thing as (partition by customer_no, what, id, of_source order by seq)
),
chained as (
    select *, sum(begins_chain::int) over (partition by customer_no, what, id, of_source order by seq) as chain_no
    from linked
)
select
    customer_no,
    min(seq) as seq,
    arg_min(subject, seq) as subject,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    list(occurred_at order by seq)[$failures::int] as known_at,
    count(*) as n_events,
    list(event_id order by seq)[1:10] as event_ids,
    null::decimal(18, 4) as minutes_lost
from chained
group by customer_no, what, id, of_source, chain_no
having count(*) >= $failures
