-- Touchpoints whose customer_key is not what their rule of identity gives, and rows of identity_map that are not those of the
-- touchpoints. Input: touchpoints, identity_map. Grain: one kind of disagreement; rule, customer_key, what, found, expected.
with keyed as (
    select distinct
        customer_key,
        identity_rule,
        coalesce(source, '') as source,
        customer_id,
        email,
        anonymous_id,
        if(identity_rule = 'entity_id', ticket_id, null) as ticket_id,
        if(identity_rule = 'entity_id', subscription_id, null) as subscription_id,
        if(identity_rule = 'entity_id', order_id, null) as order_id
    from touchpoints
),
-- A customer_id that begins like a key of another kind is written id:<customer_id>.
expected_keys as (
    select
        customer_key,
        identity_rule,
        case
            when customer_id is not null
                then if(regexp_matches(customer_id, '^(id|email|anon|ticket|subscription|order):'), 'id:', '') || customer_id
            when identity_rule in ('email', 'shared_email') then 'email:' || email
            when identity_rule = 'anonymous_id' then 'anon:' || anonymous_id
            when identity_rule = 'entity_id' and starts_with(customer_key, 'ticket:') then 'ticket:' || source || ':' || ticket_id
            when identity_rule = 'entity_id' and starts_with(customer_key, 'subscription:')
                then 'subscription:' || source || ':' || subscription_id
            when identity_rule = 'entity_id' then 'order:' || source || ':' || order_id
            when (identity_rule = 'linked_email' and email is null) or (identity_rule = 'device' and anonymous_id is null) then null
            else customer_key
        end as expected,
        (identity_rule = 'customer_id') = (customer_id is not null) as rule_fits
    from keyed
),
-- An e-mail that one customer_id stands beside is that customer's; the input may hold more than the touchpoints, so it is
-- only said what they cannot mean.
owners as (
    select email, min(customer_key) as first_key, max(customer_key) as last_key
    from keyed
    where email is not null and customer_id is not null
    group by email
),
carried as (
    select customer_key, 'customer_id' as kind, customer_id as identifier, occurred_at from touchpoints where customer_id is not null
    union all
    select customer_key, 'email', email, occurred_at from touchpoints where email is not null
    union all
    select customer_key, 'anonymous_id', anonymous_id, occurred_at from touchpoints where anonymous_id is not null
    union all
    select customer_key, 'ticket_id', coalesce(source, '') || ':' || ticket_id, occurred_at
    from touchpoints
    where ticket_id is not null and not coalesce(json_exists(ignored_identifiers, '$.ticket_id'), false)
    union all
    select customer_key, 'subscription_id', coalesce(source, '') || ':' || subscription_id, occurred_at
    from touchpoints
    where subscription_id is not null and not coalesce(json_exists(ignored_identifiers, '$.subscription_id'), false)
    union all
    select customer_key, 'order_id', coalesce(source, '') || ':' || order_id, occurred_at
    from touchpoints
    where order_id is not null and not coalesce(json_exists(ignored_identifiers, '$.order_id'), false)
),
of_touchpoints as (
    select customer_key, kind, identifier, count(*) as n, min(occurred_at) as first_at, max(occurred_at) as last_at
    from carried
    group by customer_key, kind, identifier
)
select
    'key_follows_its_rule' as rule,
    customer_key,
    identity_rule as what,
    customer_key as found,
    coalesce(expected, 'another rule') as expected
from expected_keys
where expected is distinct from customer_key or not rule_fits
union all
select 'key_follows_its_rule', k.customer_key, k.identity_rule || ' ' || k.email, k.customer_key, o.first_key
from keyed as k
join owners as o on k.email = o.email
where k.identity_rule = 'email' or (k.identity_rule = 'linked_email' and (o.first_key <> k.customer_key or o.last_key <> k.customer_key))
union all
select
    'identity_map_agrees',
    coalesce(m.customer_key, t.customer_key),
    coalesce(m.identifier_kind, t.kind) || ' ' || coalesce(m.identifier, t.identifier),
    coalesce(m.n_events || ' events from ' || m.valid_from || ' to ' || m.valid_to, 'none'),
    coalesce(t.n || ' events from ' || t.first_at || ' to ' || t.last_at, 'none')
from identity_map as m
full join of_touchpoints as t
    on m.customer_key = t.customer_key and m.identifier_kind = t.kind and m.identifier = t.identifier
where
    m.n_events is distinct from t.n
    or m.valid_from is distinct from t.first_at
    or m.valid_to is distinct from t.last_at
