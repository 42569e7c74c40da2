-- Subscriptions from start to end: from the first to the last of their periods, which have the rules.
-- Input: subscription_periods (with renewals_so_far). Grain: one subscription (source, subscription_id).
with summed as (
    select
        customer_no,
        source,
        subscription_id,
        any_value(customer_key) as customer_key,
        min(started_at) as started_at,
        -- one struct: arg_max passes by nulls
        arg_max({
            'ended_at': ended_at, 'ended_by': ended_by, 'plan': plan, 'mrr': mrr, 'currency': currency,
            'renewals': renewals_so_far, 'term_ends_at': term_ends_at, 'auto_renews': auto_renews, 'reason': reason,
            'is_voluntary': is_voluntary, 'is_ended_elsewhere': is_ended_elsewhere
        }, period_no) as last
    from subscription_periods
    group by customer_no, source, subscription_id
)
select
    subscription_id,
    source,
    customer_key,
    started_at,
    last.ended_at as ended_at,
    coalesce(last.ended_by, 'active') as status,
    last.plan as plan,
    last.mrr as mrr,
    last.currency as currency,
    last.renewals as renewals,
    last.term_ends_at as term_ends_at,
    last.auto_renews as auto_renews,
    last.reason as cancelled_reason,
    last.is_voluntary as is_voluntary,
    last.is_ended_elsewhere as is_ended_elsewhere,
    customer_no
from summed
order by customer_no, source nulls first, subscription_id
