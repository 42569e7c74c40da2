-- Service and loyalty: how a customer's first ticket went, and what the customer did afterwards.
-- Input: touchpoints, tickets, answers; parameter $as_of (timestamptz). Grain: one exposure, outcome, value and result,
-- with the number of customers that have it; result is null for outcomes that may still arrive.
-- Known customers only, and each counts once for an exposure and outcome, by the first ticket of all. One whose first
-- ticket lacks the exposure is left out: a later ticket that has it would be one chosen for how it went.
-- An exposure counts from the moment at which it is known, and an outcome only if it comes strictly later: what came
-- before cannot be the work of the service. Values are whole seconds, 0 or 1, or whole 1/10000 of the scale.
with first_tickets as (
    select customer_no, source, ticket_id, opened_at, first_response_at, first_response_s, first_resolved_at, resolution_s
    from tickets
    where customer_no in (select customer_no from touchpoints where is_known)
    qualify row_number() over (partition by customer_no order by opened_at, source nulls first, ticket_id) = 1
),
-- Of all who were resolved, seven days later, and not of the reopened at their reopening: else the quiet ones would be
-- known as such only by their future.
reopened as (
    select
        f.customer_no,
        f.opened_at,
        coalesce(bool_or(e.occurred_at between f.first_resolved_at and f.first_resolved_at + interval 7 days), false)
            as is_reopened,
        f.first_resolved_at + interval 7 days as known_at
    from first_tickets as f
    left join touchpoints as e
        on
            f.customer_no = e.customer_no
            and f.ticket_id = e.ticket_id
            and f.source is not distinct from e.source
            and e.event_type = 'ticket_reopened'
    where f.first_resolved_at + interval 7 days <= $as_of
    group by f.customer_no, f.opened_at, f.first_resolved_at
),
-- The first answer about the ticket. It belongs to a ticket, and it satisfies, as in the metric csat: to the one of its
-- own source, else to the customer's first of that id; on a scale of four points the upper two satisfy.
rated as (
    select
        f.customer_no,
        f.opened_at,
        greatest(
            floor((a.score - a.scale_min) / (a.scale_max - a.scale_min) * 10000),
            if(a.scale_max - a.scale_min = 3 and a.score - a.scale_min >= 2, 7500, 0)
        ) as satisfaction,
        e.occurred_at as known_at
    from first_tickets as f
    join answers as a on f.customer_no = a.customer_no and f.ticket_id = a.ticket_id and a.survey_type = 'csat'
    join touchpoints as e on a.customer_no = e.customer_no and a.answer_seq = e.seq and e.occurred_at >= f.opened_at
    where
        a.source is not distinct from f.source
        or not exists (
            select 1 from tickets as t
            where
                t.customer_no = a.customer_no and t.ticket_id = a.ticket_id
                and t.source is not distinct from a.source
        )
    qualify row_number() over (partition by f.customer_no order by a.answer_seq) = 1
),
exposures as (
    select customer_no, opened_at, 'first_response_minutes' as exposure, first_response_s as value, first_response_at as known_at
    from first_tickets
    union all
    select customer_no, opened_at, 'resolution_hours', resolution_s, first_resolved_at from first_tickets
    union all
    select customer_no, opened_at, 'reopened', is_reopened::bigint, known_at from reopened
    union all
    select customer_no, opened_at, 'csat', try_cast(satisfaction as bigint), known_at from rated
),
-- What loyalty is read from, each kind with a time of its own. NPS in tenths of a point: a score may have a decimal.
facts as (
    select
        customer_no,
        seq,
        case when event_type = 'subscription_started' then occurred_at end as subscribed_at,
        case when event_type = 'purchase' then occurred_at end as ordered_at,
        case when event_type not in ('subscription_started', 'purchase') then occurred_at end as decided_at,
        (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed')::bigint as stays,
        null::timestamptz as recommended_at,
        null::bigint as nps
    from touchpoints
    where
        event_type in ('subscription_started', 'renewal', 'account_closed')
        or (event_type = 'purchase' and opens_order)
        or (event_type = 'cancellation' and kind = 'effective')
    union all
    select a.customer_no, a.answer_seq, null, null, null, null, e.occurred_at, round(a.score * 10)::bigint
    from answers as a
    join touchpoints as e on a.customer_no = e.customer_no and a.answer_seq = e.seq
    where a.survey_type = 'nps' and a.scale_min = 0 and a.scale_max = 10
),
observed as (
    select
        x.exposure,
        x.value,
        min(f.subscribed_at) <= x.known_at as had_subscribed,
        arg_min(f.stays, f.seq) filter (where f.decided_at > x.known_at) as stays,
        min(f.ordered_at) <= x.known_at as had_ordered,
        coalesce(min(f.ordered_at) filter (where f.ordered_at > x.known_at) <= x.known_at + interval 90 days, false)
            as orders_again,
        x.known_at + interval 90 days <= $as_of as is_over,
        arg_max(f.nps, f.seq) filter (where f.recommended_at <= x.opened_at) as nps_before,
        arg_min(f.nps, f.seq) filter (where f.recommended_at > x.known_at) as nps_after
    from exposures as x
    join facts as f on x.customer_no = f.customer_no
    where x.value is not null and x.known_at is not null
    group by x.customer_no, x.exposure, x.value, x.opened_at, x.known_at
),
-- Until the 90 days are over, whoever has ordered is pending too: else only the quick ones would be seen early.
outcomes as (
    select exposure, 'renewal' as outcome, value, stays as result from observed where had_subscribed
    union all
    select exposure, 'repurchase_90d', value, if(is_over, orders_again::bigint, null) from observed where had_ordered
    union all
    select exposure, 'nps_change', value, nps_after - nps_before from observed where nps_before is not null
)
select exposure, outcome, if(result is null, null, value) as value, result, count(*) as count
from outcomes
group by all
order by all
