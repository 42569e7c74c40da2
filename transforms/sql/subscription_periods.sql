-- Subscriptions over time: periods in which one was active on one plan for one price.
-- Input: entity_events (event_no: their order); parameter $as_of (timestamptz). Grain: one period of a subscription.
-- A period begins with a start, a renewal or a change, and lasts until the next of them or the subscription's end. The
-- rules of terms and ends are those of sql/subscriptions.sql, for each term and not for the last one only; the last
-- period ends when the subscription does (a test holds them together). What changes after an end is no period.
with subscription_events as (
    select
        customer_no,
        customer_key,
        source,
        subscription_id,
        event_no,
        event_id,
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
        coalesce(min(event_no) filter (where event_type = 'subscription_started'), min(event_no)) as first_no
    from subscription_events
    group by customer_no, source, subscription_id
),
known as (
    select
        e.*,
        f.first_no,
        last_value(e.plan ignore nulls) over so_far as plan_now,
        last_value(if(e.period_months is not null and e.amount is not null and not e.ends, {
            'amount': e.amount, 'months': e.period_months, 'currency': e.currency
        }, null) ignore nulls) over so_far as price_now,
        coalesce(last_value(e.auto_renews ignore nulls) over so_far, true) as auto_renews_now
    from subscription_events as e
    join firsts as f
        on
            e.customer_no = f.customer_no
            and e.subscription_id = f.subscription_id
            and e.source is not distinct from f.source
    window so_far as (
        partition by e.customer_no, e.source, e.subscription_id order by e.event_no
        rows between unbounded preceding and current row
    )
),
-- Terms begin here; the first mark of a subscription that nothing begins has no term.
begins as (
    select
        *,
        count(*) filter (where begins_term) over (of_subscription rows between unbounded preceding and current row) as term_no,
        lead(event_no) over of_subscription as next_no,
        lead(occurred_at) over of_subscription as next_at
    from known
    where begins_term or event_no = first_no
    window of_subscription as (partition by customer_no, source, subscription_id order by event_no)
),
term_lists as (
    select
        customer_no,
        source,
        subscription_id,
        list({'at': occurred_at, 'months': least(period_months, 12000)::int, 'ends': []::timestamptz[]} order by event_no)
            filter (where begins_term) as terms
    from begins
    group by customer_no, source, subscription_id
),
-- A start or renewal up to 7 days after a term's end continues it, a later one starts anew. No term ends after November
-- 9999: the month in which one ends has a next month.
term_ends as (
    select
        customer_no,
        source,
        subscription_id,
        list_reduce(
            terms[2:],
            lambda term, next: {
                'at': least(
                    case when next.at <= term.at + interval 7 days then term.at else next.at end + to_months(next.months),
                    timestamptz '9999-11-30 00:00:00+00'
                ),
                'months': next.months,
                'ends': list_append(term.ends, term.at)
            },
            {
                'at': least(terms[1].at + to_months(terms[1].months), timestamptz '9999-11-30 00:00:00+00'),
                'months': terms[1].months,
                'ends': []::timestamptz[]
            }
        ) as last_term
    from term_lists
    where terms is not null
),
terms as (
    select
        b.customer_no,
        b.source,
        b.subscription_id,
        b.event_no,
        b.begins_term,
        b.next_no,
        b.next_at,
        case when b.begins_term then list_append(t.last_term.ends, t.last_term.at)[b.term_no] end as term_ends_at
    from begins as b
    left join term_ends as t
        on
            b.customer_no = t.customer_no
            and b.subscription_id = t.subscription_id
            and b.source is not distinct from t.source
    where b.event_no >= b.first_no
),
closings as (
    select customer_no, source, subscription_id, event_no, event_id, occurred_at,
        if(event_type = 'cancellation', 'cancelled', 'declined') as status, reason, voluntary
    from subscription_events
    where ends
    union all
    select c.customer_no, f.source, f.subscription_id, c.event_no, c.event_id, c.occurred_at, 'account_closed', c.reason, null
    from entity_events as c
    join firsts as f on c.customer_no = f.customer_no
    where c.event_type = 'account_closed'
),
-- The first end in each term (a mark that began nothing may itself be the end).
first_ends as (
    select
        t.customer_no,
        t.source,
        t.subscription_id,
        t.event_no,
        arg_min({
            'no': c.event_no, 'at': c.occurred_at, 'status': c.status, 'event_id': c.event_id, 'reason': c.reason,
            'voluntary': c.voluntary
        }, c.event_no) as closing
    from terms as t
    join closings as c
        on
            t.customer_no = c.customer_no
            and t.subscription_id = c.subscription_id
            and t.source is not distinct from c.source
            and c.event_no >= t.event_no
            and (t.next_no is null or c.event_no < t.next_no)
    group by t.customer_no, t.source, t.subscription_id, t.event_no
),
-- By then, whether the term renews by itself: its own later changes may have said so.
renewing as (
    select t.customer_no, t.source, t.subscription_id, t.event_no, arg_max(k.auto_renews_now, k.event_no) as auto_renews
    from terms as t
    join known as k
        on
            t.customer_no = k.customer_no
            and t.subscription_id = k.subscription_id
            and t.source is not distinct from k.source
            and k.event_no >= t.event_no
            and (t.next_no is null or k.event_no < t.next_no)
    group by t.customer_no, t.source, t.subscription_id, t.event_no
),
ended_terms as (
    select
        t.*,
        r.auto_renews,
        e.closing,
        coalesce(
            not r.auto_renews
            and t.term_ends_at + interval 7 days <= $as_of
            and (t.next_at is null or t.next_at > t.term_ends_at + interval 7 days)
            and (e.closing is null or e.closing.at > t.term_ends_at),
            false
        ) as is_expired
    from terms as t
    join renewing as r
        on
            t.customer_no = r.customer_no
            and t.subscription_id = r.subscription_id
            and t.source is not distinct from r.source
            and t.event_no = r.event_no
    left join first_ends as e
        on
            t.customer_no = e.customer_no
            and t.subscription_id = e.subscription_id
            and t.source is not distinct from e.source
            and t.event_no = e.event_no
),
-- The beginning of each term, and the changes in it until it stops.
marks as (
    select
        k.customer_no,
        k.customer_key,
        k.source,
        k.subscription_id,
        k.event_no,
        k.event_id,
        k.occurred_at,
        k.event_type,
        k.plan_now,
        k.price_now,
        t.event_no as term,
        t.term_ends_at,
        t.begins_term,
        t.auto_renews,
        t.is_expired,
        t.closing,
        case when t.is_expired then t.term_ends_at else t.closing.at end as term_stops_at
    from known as k
    join ended_terms as t
        on
            k.customer_no = t.customer_no
            and k.subscription_id = t.subscription_id
            and k.source is not distinct from t.source
            and k.event_no >= t.event_no
            and (t.next_no is null or k.event_no < t.next_no)
    where
        k.event_no = t.event_no
        or (
            k.event_type = 'subscription_changed'
            and (k.amount is not null or k.plan is not null)
            and case
                when t.is_expired then k.occurred_at < t.term_ends_at
                when t.closing is not null then k.event_no < t.closing.no
                else true
            end
        )
),
periods as (
    select
        *,
        lead(occurred_at) over of_subscription as next_at,
        lead(event_type) over of_subscription as next_type,
        lead(event_id) over of_subscription as next_id,
        -- the last mark of a term that stops
        term_stops_at is not null and lead(term) over of_subscription is distinct from term as stops
    from marks
    window of_subscription as (partition by customer_no, source, subscription_id order by event_no)
)
select
    subscription_id,
    source,
    customer_key,
    row_number() over (partition by customer_no, source, subscription_id order by event_no) as period_no,
    occurred_at as started_at,
    case when stops then term_stops_at else next_at end as ended_at,
    case
        when event_type = 'subscription_started' then 'started'
        when event_no <> term then 'changed'
        when begins_term then 'renewed'
        else 'first_seen'
    end as opened_by,
    case
        when stops and is_expired then 'expired'
        when stops then closing.status
        when next_at is not null then if(next_type = 'subscription_changed', 'changed', 'renewed')
    end as ended_by,
    plan_now as plan,
    -- amount / period_months, rounded half up in whole numbers: a double would not be the same on every machine
    (((price_now.amount::decimal(38, 4) * 10000)::hugeint * 2 + price_now.months) // (2 * price_now.months))::decimal(18, 0)
        * 0.0001::decimal(5, 4) as mrr,
    price_now.currency as currency,
    term_ends_at,
    begins_term and event_no = term as opens_term,
    auto_renews,
    case when stops and not is_expired then closing.reason end as reason,
    case when stops and not is_expired then closing.voluntary end as is_voluntary,
    event_id as start_event_id,
    case when stops and is_expired then null when stops then closing.event_id else next_id end as end_event_id,
    customer_no
from periods
order by customer_no, source nulls first, subscription_id, period_no
