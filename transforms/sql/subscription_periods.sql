-- Subscriptions over time: periods in which one was active on one plan for one price. The rules of a subscription stand
-- here, and here only: sql/subscriptions.sql adds up its periods.
-- Input: entity_events (event_no: their order); parameter $as_of (timestamptz). Grain: one period of a subscription.
-- A period begins with a start, a renewal or a change, and lasts until the next of them or the subscription's end. What
-- changes after an end is no period.
-- A term runs period_months from its start. A start or renewal up to 7 days after a term's end continues it, a later one
-- begins anew; and so does a start after an end, whenever it comes: who comes back pays from that day on. A term that does
-- not renew by itself and that nothing continues for 7 days ends the subscription at the term's end.
with subscription_events as (
    select
        *,
        event_type = 'subscription_started'
        or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed') as begins_term,
        -- never null: an absent outcome is no decline
        (event_type = 'cancellation' and kind is not distinct from 'effective')
        or (event_type = 'renewal' and outcome is not distinct from 'declined') as ends
    from entity_events
    where event_type in ('subscription_started', 'subscription_changed', 'renewal', 'cancellation')
),
firsts as (
    -- Where no event starts it, a subscription is known from its first event on.
    select
        customer_no,
        source,
        subscription_id,
        row_number() over (order by customer_no, source nulls first, subscription_id) as subscription_no,
        coalesce(min(event_no) filter (where event_type = 'subscription_started'), min(event_no)) as first_no
    from subscription_events
    group by customer_no, source, subscription_id
),
-- Its own events, and the closings of its customer's account.
life as (
    select
        f.subscription_no, f.first_no, e.event_no, e.event_id, e.occurred_at, e.event_type, e.begins_term, e.ends, e.seq,
        e.amount, e.currency, e.period_months, e.plan, e.auto_renews, e.reason, e.voluntary
    from subscription_events as e
    join firsts as f
        on
            e.customer_no = f.customer_no
            and e.subscription_id = f.subscription_id
            and e.source is not distinct from f.source
    union all
    select
        f.subscription_no, f.first_no, c.event_no, c.event_id, c.occurred_at, c.event_type, false, true, c.seq,
        null, null, null, null, null, c.reason, null
    from entity_events as c
    join firsts as f on c.customer_no = f.customer_no
    where c.event_type = 'account_closed'
),
-- What the events have said so far. A span lasts from one start or renewal to the next; the first event of a subscription
-- that nothing begins opens one without a term.
heard as (
    select
        *,
        last_value(plan ignore nulls) over so_far as plan_now,
        -- what a declined renewal offered was never paid
        last_value(if(period_months is not null and amount is not null and not ends, {
            'amount': amount, 'months': period_months, 'currency': currency
        }, null) ignore nulls) over so_far as price_now,
        coalesce(last_value(auto_renews ignore nulls) over so_far, true) as auto_renews_now,
        count(*) filter (where event_type = 'renewal' and begins_term) over so_far as renewals_so_far,
        count(*) filter (where begins_term or event_no = first_no) over so_far as span_no
    from life
    window so_far as (
        partition by subscription_no order by event_no rows between unbounded preceding and current row
    )
),
spans as (
    select
        subscription_no,
        span_no,
        min(first_no) as first_no,
        min(event_no) as event_no,
        min(occurred_at) as begins_at,
        bool_or(begins_term) as begins_term,
        bool_or(event_type = 'subscription_started') as is_start,
        -- no term is longer than a thousand years: what is sent may be any whole number
        max(least(period_months, 12000)::int) filter (where begins_term) as months,
        -- the first end counts (an event that began nothing may itself be the end)
        arg_min({
            'no': event_no, 'at': occurred_at, 'event_id': event_id, 'reason': reason, 'voluntary': voluntary,
            'status': case event_type
                when 'cancellation' then 'cancelled' when 'renewal' then 'declined' else 'account_closed'
            end,
            'is_elsewhere': seq is null
        }, event_no) filter (where ends) as closing,
        -- in its course it may have been said that the term renews by itself, or does not
        arg_max(auto_renews_now, event_no) as auto_renews
    from heard
    where span_no > 0
    group by subscription_no, span_no
),
neighbours as (
    select
        *,
        is_start and coalesce(lag(closing is not null) over in_order, false) as is_back,
        count(*) filter (where begins_term) over (in_order rows between unbounded preceding and current row) as term_no,
        lead(begins_at) over in_order as next_at,
        coalesce(lead(is_start) over in_order and closing is not null, false) as next_is_back
    from spans
    window in_order as (partition by subscription_no order by span_no)
),
-- No term ends after November 9999: the month in which one ends has a next month.
term_ends as (
    select
        subscription_no,
        list_reduce(
            terms[2:],
            lambda term, next: {
                'at': least(
                    case when next.at <= term.at + interval 7 days and not next.is_back then term.at else next.at end
                        + to_months(next.months),
                    timestamptz '9999-11-30 00:00:00+00'
                ),
                'months': next.months,
                'is_back': next.is_back,
                'ends': list_append(term.ends, term.at)
            },
            {
                'at': least(terms[1].at + to_months(terms[1].months), timestamptz '9999-11-30 00:00:00+00'),
                'months': terms[1].months,
                'is_back': terms[1].is_back,
                'ends': []::timestamptz[]
            }
        ) as last_term
    from (
        select
            subscription_no,
            list({'at': begins_at, 'months': months, 'is_back': is_back, 'ends': []::timestamptz[]} order by span_no) as terms
        from neighbours
        where begins_term
        group by subscription_no
    )
),
terms as (
    select
        n.*,
        case when n.begins_term then list_append(t.last_term.ends, t.last_term.at)[n.term_no] end as term_ends_at
    from neighbours as n
    left join term_ends as t on n.subscription_no = t.subscription_no
    where n.event_no >= n.first_no
),
ended_terms as (
    select
        *,
        coalesce(
            not auto_renews
            and term_ends_at + interval 7 days <= $as_of
            and (next_at is null or next_at > term_ends_at + interval 7 days or next_is_back)
            and (closing is null or closing.at > term_ends_at),
            false
        ) as is_expired
    from terms
),
-- The beginning of each term, and the changes in it until it stops.
marks as (
    select
        h.subscription_no,
        h.event_no,
        h.event_id,
        h.occurred_at,
        h.event_type,
        h.plan_now,
        h.price_now,
        h.renewals_so_far,
        h.span_no,
        t.event_no as begun_no,
        t.term_ends_at,
        t.begins_term,
        t.auto_renews,
        t.is_expired,
        t.closing,
        case when t.is_expired then t.term_ends_at else t.closing.at end as term_stops_at
    from heard as h
    join ended_terms as t on h.subscription_no = t.subscription_no and h.span_no = t.span_no
    where
        h.event_no = t.event_no
        or (
            h.event_type = 'subscription_changed'
            and (h.amount is not null or h.plan is not null)
            and case
                when t.is_expired then h.occurred_at < t.term_ends_at
                when t.closing is not null then h.event_no < t.closing.no
                else true
            end
        )
),
periods as (
    select
        *,
        row_number() over in_order as period_no,
        lead(occurred_at) over in_order as next_at,
        lead(event_type) over in_order as next_type,
        lead(event_id) over in_order as next_id,
        -- the last mark of a term that stops
        term_stops_at is not null and lead(span_no) over in_order is distinct from span_no as stops
    from marks
    window in_order as (partition by subscription_no order by event_no)
),
keys as (select customer_no, any_value(customer_key) as customer_key from entity_events group by customer_no)
select
    f.subscription_id,
    f.source,
    k.customer_key,
    p.period_no,
    p.occurred_at as started_at,
    case when p.stops then p.term_stops_at else p.next_at end as ended_at,
    case
        when p.event_type = 'subscription_started' then 'started'
        when p.event_no <> p.begun_no then 'changed'
        when p.begins_term then 'renewed'
        else 'first_seen'
    end as opened_by,
    case
        when p.stops and p.is_expired then 'expired'
        when p.stops then p.closing.status
        when p.next_type = 'subscription_changed' then 'changed'
        when p.next_type = 'subscription_started' then 'restarted'
        when p.next_type is not null then 'renewed'
    end as ended_by,
    p.plan_now as plan,
    -- amount / period_months, rounded half up in whole numbers: a double would not be the same on every machine
    (((p.price_now.amount::decimal(38, 4) * 10000)::hugeint * 2 + p.price_now.months) // (2 * p.price_now.months))::decimal(18, 0)
        * 0.0001::decimal(5, 4) as mrr,
    p.price_now.currency as currency,
    p.term_ends_at,
    p.begins_term and p.event_no = p.begun_no as opens_term,
    p.auto_renews,
    case when p.stops and not p.is_expired then p.closing.reason end as reason,
    case when p.stops and not p.is_expired then p.closing.voluntary end as is_voluntary,
    -- by an event on another customer's timeline: on the owner's there is none that says so
    p.stops and not p.is_expired and p.closing.is_elsewhere as is_ended_elsewhere,
    p.event_id as start_event_id,
    case when p.stops and p.is_expired then null when p.stops then p.closing.event_id else p.next_id end as end_event_id,
    p.renewals_so_far,
    f.customer_no
from periods as p
join firsts as f on p.subscription_no = f.subscription_no
join keys as k on f.customer_no = k.customer_no
order by p.subscription_no, p.period_no
