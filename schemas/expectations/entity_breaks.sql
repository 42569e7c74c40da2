-- Tickets and subscriptions that disagree with their events, and subscriptions with their periods. Input: touchpoints,
-- tickets, subscriptions, subscription_periods. Grain: one disagreement; rule, source, id, period_no, differs (in what).
-- An event may belong to another customer than its ticket or subscription; an id that means nobody names none.
with events as materialized (
    select
        customer_key,
        source,
        if(json_exists(ignored_identifiers, '$.ticket_id'), null, ticket_id) as ticket_id,
        if(json_exists(ignored_identifiers, '$.subscription_id'), null, subscription_id) as subscription_id,
        event_id,
        event_type,
        occurred_at,
        event_type = 'ticket_replied' and author = 'agent' and coalesce(public, true) as is_agent_reply,
        event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed' as is_renewal,
        plan,
        currency,
        -- amount / period_months, rounded half up, as in the subscriptions
        (((amount::decimal(38, 4) * 10000)::hugeint * 2 + period_months) // (2 * period_months))::decimal(18, 0)
            * 0.0001::decimal(5, 4) as mrr
    from touchpoints
    where
        event_type in (
            'ticket_opened', 'ticket_replied', 'ticket_resolved', 'ticket_reopened',
            'subscription_started', 'subscription_changed', 'renewal', 'cancellation', 'account_closed'
        )
),
-- What lies before the opening says nothing of a ticket. The times that end in _by are those of the events it names.
of_tickets as (
    select
        e.source,
        e.ticket_id,
        any_value(t.ticket_id) is not null as is_told,
        min(e.occurred_at) filter (where e.event_type = 'ticket_opened') as opened_at,
        min(e.occurred_at) filter (where e.is_agent_reply) as first_response_at,
        min(e.occurred_at) filter (where e.event_type = 'ticket_resolved') as first_resolved_at,
        max(e.occurred_at) filter (where e.event_type = 'ticket_resolved') as last_resolved_at,
        min(e.occurred_at) filter (where e.event_type = 'ticket_reopened') as first_reopened_at,
        count(*) filter (where e.event_type = 'ticket_reopened') as reopens,
        count(*) filter (where e.is_agent_reply) as agent_replies,
        min(e.customer_key) filter (where e.event_type = 'ticket_opened' and e.event_id = t.opened_event_id) as opener,
        min(e.occurred_at) filter (where e.event_type = 'ticket_opened' and e.event_id = t.opened_event_id) as opened_by,
        min(e.occurred_at) filter (where e.is_agent_reply and e.event_id = t.first_response_event_id) as first_response_by,
        min(e.occurred_at) filter (where e.event_type = 'ticket_resolved' and e.event_id = t.first_resolved_event_id)
            as first_resolved_by,
        min(e.occurred_at) filter (where e.event_type = 'ticket_resolved' and e.event_id = t.last_resolved_event_id)
            as last_resolved_by,
        min(e.occurred_at) filter (where e.event_type = 'ticket_reopened' and e.event_id = t.first_reopened_event_id)
            as first_reopened_by
    from events as e
    left join tickets as t on e.ticket_id = t.ticket_id and e.source is not distinct from t.source
    where e.ticket_id is not null and (t.ticket_id is null or e.occurred_at >= t.opened_at)
    group by e.source, e.ticket_id
    having count(*) filter (where e.event_type = 'ticket_opened') > 0
),
of_subscriptions as (
    select
        source,
        subscription_id,
        coalesce(min(occurred_at) filter (where event_type = 'subscription_started'), min(occurred_at)) as started_at,
        count(*) filter (where is_renewal) as renewals
    from events
    where subscription_id is not null
    group by source, subscription_id
),
of_periods as (
    select
        source,
        subscription_id,
        arg_min({'key': customer_key, 'at': started_at}, period_no) as first_one,
        arg_max({
            'at': ended_at, 'by': ended_by, 'started_at': started_at, 'plan': plan, 'mrr': mrr, 'currency': currency,
            'reason': reason, 'is_voluntary': is_voluntary, 'auto_renews': auto_renews,
            'is_ended_elsewhere': is_ended_elsewhere
        }, period_no) as last_one
    from subscription_periods
    group by source, subscription_id
),
period_pairs as (
    select a.*, b.period_no as next_no, b.started_at as next_at, b.opened_by as next_opened_by, b.start_event_id as next_id
    from subscription_periods as a
    left join subscription_periods as b
        on a.subscription_id = b.subscription_id and a.source is not distinct from b.source and b.period_no = a.period_no + 1
)
select
    'tickets_agree_with_their_events' as rule,
    coalesce(t.source, e.source) as source,
    coalesce(t.ticket_id, e.ticket_id) as id,
    null::bigint as period_no,
    case
        when t.ticket_id is null then 'it is no ticket'
        when e.ticket_id is null then 'no event opens it'
        else
            concat_ws(
                ', ',
                if(t.customer_key is distinct from e.opener, 'customer_key', null),
                if(t.opened_at is distinct from e.opened_at, 'opened_at', null),
                if(t.first_response_at is distinct from e.first_response_at, 'first_response_at', null),
                if(t.first_resolved_at is distinct from e.first_resolved_at, 'first_resolved_at', null),
                if(t.last_resolved_at is distinct from e.last_resolved_at, 'last_resolved_at', null),
                if(t.reopens <> e.reopens, 'reopens', null),
                if(t.agent_replies <> e.agent_replies, 'agent_replies', null),
                if(e.opened_by is distinct from t.opened_at, 'opened_event_id', null),
                if(
                    e.first_response_by is distinct from t.first_response_at
                    or (t.first_response_at is null) <> (t.first_response_event_id is null),
                    'first_response_event_id', null
                ),
                if(
                    e.first_resolved_by is distinct from t.first_resolved_at
                    or (t.first_resolved_at is null) <> (t.first_resolved_event_id is null),
                    'first_resolved_event_id', null
                ),
                if(
                    e.last_resolved_by is distinct from t.last_resolved_at
                    or (t.last_resolved_at is null) <> (t.last_resolved_event_id is null),
                    'last_resolved_event_id', null
                ),
                if(
                    e.first_reopened_by is distinct from e.first_reopened_at
                    or (e.first_reopened_at is null) <> (t.first_reopened_event_id is null),
                    'first_reopened_event_id', null
                )
            )
    end as differs
from tickets as t
full join of_tickets as e on t.ticket_id = e.ticket_id and t.source is not distinct from e.source
where differs <> ''
union all
select
    'subscriptions_agree_with_their_events',
    coalesce(s.source, e.source),
    coalesce(s.subscription_id, e.subscription_id),
    null,
    case
        when s.subscription_id is null then 'it is no subscription'
        when e.subscription_id is null then 'no event names it'
        else
            concat_ws(
                ', ',
                if(s.started_at <> e.started_at, 'started_at', null),
                if(s.renewals <> e.renewals, 'renewals', null)
            )
    end as differs
from subscriptions as s
full join of_subscriptions as e on s.subscription_id = e.subscription_id and s.source is not distinct from e.source
where differs <> ''
union all
select
    'subscriptions_agree_with_their_periods',
    coalesce(s.source, p.source),
    coalesce(s.subscription_id, p.subscription_id),
    null,
    case
        when s.subscription_id is null then 'it is no subscription'
        when p.subscription_id is null then 'it has no period'
        else
            concat_ws(
                ', ',
                if(s.customer_key <> p.first_one.key, 'customer_key', null),
                if(s.started_at <> p.first_one.at, 'started_at', null),
                if(s.ended_at is distinct from p.last_one.at, 'ended_at', null),
                if(s.status <> coalesce(p.last_one.by, 'active'), 'status', null),
                if(s.cancelled_reason is distinct from p.last_one.reason, 'cancelled_reason', null),
                if(s.is_voluntary is distinct from p.last_one.is_voluntary, 'is_voluntary', null),
                if(s.auto_renews <> p.last_one.auto_renews, 'auto_renews', null),
                if(s.is_ended_elsewhere <> p.last_one.is_ended_elsewhere, 'is_ended_elsewhere', null),
                if(s.plan is distinct from p.last_one.plan, 'plan', null),
                if(s.mrr is distinct from p.last_one.mrr or s.currency is distinct from p.last_one.currency, 'mrr', null)
            )
    end as differs
from subscriptions as s
full join of_periods as p on s.subscription_id = p.subscription_id and s.source is not distinct from p.source
where differs <> ''
union all
select
    'periods_agree_with_their_events',
    p.source,
    p.subscription_id,
    p.period_no,
    concat_ws(
        ', ',
        if(
            b.event_id is null
            or b.occurred_at <> p.started_at
            or b.subscription_id is distinct from p.subscription_id
            or b.source is distinct from p.source
            or case p.opened_by
                when 'started' then b.event_type <> 'subscription_started'
                when 'renewed' then not b.is_renewal
                when 'changed' then b.event_type <> 'subscription_changed'
                else b.event_type = 'subscription_started' or b.is_renewal
            end,
            'start_event_id', null
        ),
        if(
            p.end_event_id is not null
            and (
                e.event_id is null
                or e.occurred_at <> p.ended_at
                or (e.event_type <> 'account_closed' and e.subscription_id is distinct from p.subscription_id)
                or case p.ended_by
                    when 'cancelled' then e.event_type <> 'cancellation'
                    when 'declined' then e.event_type <> 'renewal' or e.is_renewal
                    when 'account_closed' then e.event_type <> 'account_closed'
                    when 'renewed' then not e.is_renewal
                    when 'restarted' then e.event_type <> 'subscription_started'
                    when 'changed' then e.event_type <> 'subscription_changed'
                end
            ),
            'end_event_id', null
        ),
        if(
            p.opened_by <> 'first_seen' and b.mrr is not null
            and (p.mrr is distinct from b.mrr or p.currency is distinct from b.currency),
            'mrr', null
        ),
        if(b.plan is not null and p.plan is distinct from b.plan, 'plan', null),
        if(
            p.is_ended_elsewhere
            <> coalesce(p.ended_by in ('cancelled', 'declined') and e.customer_key <> p.customer_key, false),
            'is_ended_elsewhere', null
        )
    ) as differs
from subscription_periods as p
left join events as b on p.start_event_id = b.event_id
left join events as e on p.end_event_id = e.event_id
where differs <> ''
union all
select
    'periods_follow_one_another',
    p.source,
    p.subscription_id,
    p.period_no,
    concat_ws(
        ', ',
        if(p.ended_at < p.started_at or p.next_at < p.ended_at, 'times', null),
        if((p.ended_at is null) <> (p.ended_by is null) or (p.ended_at is null and p.next_no is not null), 'ended_at', null),
        if(
            case
                when p.ended_by in ('renewed', 'restarted', 'changed') then
                    p.next_at is distinct from p.ended_at
                    or p.next_id is distinct from p.end_event_id
                    or (p.ended_by = 'changed') <> (p.next_opened_by = 'changed')
                when p.ended_by = 'expired' then p.end_event_id is not null or p.ended_at <> p.term_ends_at or p.auto_renews
                else (p.ended_by is null) <> (p.end_event_id is null)
            end
            or (p.ended_by not in ('renewed', 'restarted', 'changed') and p.next_opened_by not in ('started', 'renewed')),
            'ended_by', null
        ),
        if(p.opens_term <> (p.opened_by in ('started', 'renewed')), 'opens_term', null)
    ) as differs
from period_pairs as p
where differs <> ''
union all
select 'periods_follow_one_another', source, subscription_id, min(period_no), 'numbers from 1 on'
from subscription_periods
group by source, subscription_id
having min(period_no) <> 1 or max(period_no) <> count(*)
