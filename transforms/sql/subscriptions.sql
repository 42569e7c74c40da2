-- Subscriptions from start to end.
-- Input: entity_events (event_no: their order); parameter $as_of (timestamptz). Grain: one subscription
-- (source, subscription_id).
-- A term runs period_months from its start; a renewal up to 7 days after a term's end continues it, a later one
-- starts anew. A term that does not renew by itself and stays unrenewed for 7 days ends the subscription at its end.
with subscription_events as (
    select
        customer_no,
        customer_key,
        source,
        subscription_id,
        event_no,
        seq,
        occurred_at,
        event_type,
        amount,
        currency,
        period_months,
        plan,
        auto_renews,
        reason,
        voluntary,
        event_type = 'subscription_started'
        or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed') as begins_term,
        (event_type = 'cancellation' and kind = 'effective')
        or (event_type = 'renewal' and outcome = 'declined') as ends
    from entity_events
    where event_type in ('subscription_started', 'subscription_changed', 'renewal', 'cancellation')
),
closed as (
    select customer_no, event_no, occurred_at, reason from entity_events where event_type = 'account_closed'
),
summed as (
    select
        customer_no,
        any_value(customer_key) as customer_key,
        source,
        subscription_id,
        coalesce(min(occurred_at) filter (where event_type = 'subscription_started'), min(occurred_at)) as started_at,
        coalesce(max(event_no) filter (where begins_term), 0) as last_begin,
        min(event_no) as first_seq,
        -- what a declined renewal offered was never paid
        arg_max(plan, event_no) as plan,
        arg_max(amount, event_no) filter (where period_months is not null and not ends) as amount,
        arg_max(period_months, event_no) filter (where amount is not null and not ends) as period_months,
        arg_max(currency, event_no) filter (where amount is not null and not ends) as currency,
        count(*) filter (where event_type = 'renewal' and begins_term) as renewals,
        coalesce(arg_max(auto_renews, event_no), true) as auto_renews,
        -- no term is longer than a thousand years: what is sent may be any whole number
        list({'at': occurred_at, 'months': least(period_months, 12000)::int} order by event_no)
            filter (where begins_term) as terms
    from subscription_events
    group by customer_no, source, subscription_id
),
with_term as (
    select
        *,
        list_reduce(
            terms[2:],
            lambda term, next: {
                'at': least(
                    case when next.at <= term.at + interval 7 days then term.at else next.at end + to_months(next.months),
                    timestamptz '9999-12-31 00:00:00+00'
                ),
                'months': next.months
            },
            {
                'at': least(terms[1].at + to_months(terms[1].months), timestamptz '9999-12-31 00:00:00+00'),
                'months': terms[1].months
            }
        ).at as term_ends_at
    from summed
),
first_end as (
    select
        s.customer_no,
        s.source,
        s.subscription_id,
        arg_min(e.occurred_at, e.event_no) as at,
        arg_min(e.status, e.event_no) as status,
        arg_min(e.is_own, e.event_no) as is_own,
        arg_min(coalesce(e.reason, ''), e.event_no) as reason,
        arg_min(coalesce(e.voluntary::int, -1), e.event_no) as voluntary
    from summed as s
    join (
        select
            customer_no,
            source,
            subscription_id,
            event_no,
            occurred_at,
            if(event_type = 'cancellation', 'cancelled', 'declined') as status,
            reason,
            voluntary,
            seq is not null as is_own,
            false as of_account
        from subscription_events
        where ends
        union all
        select customer_no, null, null, event_no, occurred_at, 'account_closed', reason, null, true, true
        from closed
    ) as e
        on
            s.customer_no = e.customer_no
            and (e.of_account or (s.subscription_id = e.subscription_id and s.source is not distinct from e.source))
            and e.event_no > s.last_begin
            and e.event_no >= s.first_seq  -- an account closed before is not this subscription's end
    group by s.customer_no, s.source, s.subscription_id
),
ended as (
    select
        t.*,
        f.reason,
        f.voluntary,
        -- without a term there is nothing to run out
        coalesce(
            not t.auto_renews
            and t.term_ends_at + interval 7 days <= $as_of
            and (f.at is null or f.at > t.term_ends_at),
            false
        ) as is_expired,
        f.at as end_event_at,
        f.status as end_event_status,
        f.is_own as end_event_is_own
    from with_term as t
    left join first_end as f
        on
            t.customer_no = f.customer_no
            and t.subscription_id = f.subscription_id
            and t.source is not distinct from f.source
)
select
    subscription_id,
    source,
    customer_key,
    started_at,
    case when is_expired then term_ends_at else end_event_at end as ended_at,
    case when is_expired then 'expired' else coalesce(end_event_status, 'active') end as status,
    plan,
    -- amount / period_months, rounded half up in whole numbers: a double would not be the same on every machine
    (((amount::decimal(38, 4) * 10000)::hugeint * 2 + period_months) // (2 * period_months))::decimal(18, 0) * 0.0001::decimal(5, 4)
        as mrr,
    currency,
    renewals,
    term_ends_at,
    auto_renews,
    case when not is_expired then nullif(reason, '') end as cancelled_reason,
    case when not is_expired and voluntary >= 0 then voluntary = 1 end as is_voluntary,
    -- by an event on another customer's timeline: on the owner's there is none that says so
    not is_expired and not coalesce(end_event_is_own, true) as is_ended_elsewhere,
    customer_no
from ended
order by customer_no, source nulls first, subscription_id
