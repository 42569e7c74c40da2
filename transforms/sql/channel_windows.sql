-- The windows in which touches may have led to a conversion. Input: touches (customer_no, touched_at), journeys (journey_id,
-- customer_no, outcome, ended_at, currency); parameters $as_of, $timezone, $look_back_days.
-- Grain: one journey that closed with a conversion, or one customer with touches and no conversion at all (journey_id null:
-- the window then ends with the last touch), in order. Both ends belong to it; it begins at the local midnight so many
-- calendar days before.
with conversions as (
    select customer_no, journey_id, ended_at, currency
    from journeys
    where outcome in ('order', 'subscription_started')
),
others as (
    select customer_no, null::bigint as journey_id, max(touched_at) as ended_at, null::varchar as currency
    from touches
    where customer_no not in (select customer_no from conversions)
    group by customer_no
),
windows as (
    select customer_no, journey_id, ended_at, currency from conversions
    union all
    select customer_no, journey_id, ended_at, currency from others
),
-- A conversion now would still count the touches from here on.
still_open as (
    select timezone($timezone, date_trunc('day', timezone($timezone, $as_of::timestamptz)) - to_days($look_back_days::int))
        as since
)
select
    w.customer_no,
    w.journey_id,
    w.ended_at,
    timezone($timezone, date_trunc('day', timezone($timezone, w.ended_at)) - to_days($look_back_days::int)) as begins_at,
    w.currency,
    w.journey_id is not null as is_converted,
    w.journey_id is null and w.ended_at >= s.since as is_open
from windows as w
cross join still_open as s
order by w.customer_no, w.ended_at, w.journey_id
