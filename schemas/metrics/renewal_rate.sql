-- Renewals of what was due. Input: subscription_periods, customers; parameter $as_of. Grain: one term that has ended.
-- Renewed is a term that a renewal follows in time, and not another start.
with terms as (
    select
        *,
        lead(started_at) over terms_of_one as next_at,
        lead(opened_by) over terms_of_one as next_by,
        lead(start_event_id) over terms_of_one as next_id
    from subscription_periods
    where opens_term
    window terms_of_one as (partition by customer_no, source, subscription_id order by period_no)
),
told as (
    select
        *,
        coalesce(
            next_by = 'renewed' and next_at between term_ends_at - interval 60 days and term_ends_at + interval 7 days, false
        ) as is_renewed
    from terms
    where term_ends_at <= $as_of and customer_no in (select customer_no from customers where is_known)
)
select
    customer_no,
    due_month as month,
    plan,
    is_renewed::int as numerator,
    1 as denominator,
    -- the renewal may still come
    (next_at is null and term_ends_at + interval 7 days > $as_of)::int as pending,
    if(is_renewed, [next_id], null) as numerator_events,
    [start_event_id] as denominator_events
from told
