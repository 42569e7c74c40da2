-- The yardstick: what a good analytics engineer would write in plain DuckDB SQL to get Parcours' tables out of
-- the same JSON lines. One statement a step; window functions for everything that depends on order. Only
-- `parsed` is as wide as an event: the windows run on narrow rows that point back to it by rowid, because wide
-- rows in a window cost several times the memory.
-- Parameters (variables): input, a glob pattern; as_of, a timestamp with time zone.
-- README.md beside this file lists what Parcours does and this does not.

-- One row a line: typed fields, and the codes of all broken rules (empty where the line is good).
create table parsed as
with lines as (
    select filename as file, line
    from read_csv(
        getvariable('input'), columns = {'line': 'varchar'}, header = false, auto_detect = false,
        delim = '\x01', quote = '', escape = '', max_line_size = 16777216, filename = true
    )
    where trim(line) <> ''
), checked as (
    select file, line, json_valid(line) and starts_with(ltrim(line), '{') as is_object
    from lines
), read as (
    select
        file,
        line,
        is_object,
        json_transform(
            case when is_object then line end,
            '{"event_id": "VARCHAR", "event_type": "VARCHAR", "schema_version": "VARCHAR",
              "occurred_at": "VARCHAR", "received_at": "VARCHAR", "source": "VARCHAR",
              "source_session_id": "VARCHAR", "anonymous_id": "VARCHAR", "customer_id": "VARCHAR",
              "email": "VARCHAR", "account_id": "VARCHAR", "channel": "VARCHAR", "campaign_id": "VARCHAR",
              "utm_source": "VARCHAR", "utm_medium": "VARCHAR", "device_type": "VARCHAR", "country": "VARCHAR",
              "creative_id": "VARCHAR", "clicked": "BOOLEAN", "cost": "DECIMAL(18, 4)", "currency": "VARCHAR",
              "page_url": "VARCHAR", "page_kind": "VARCHAR", "load_ms": "DOUBLE", "http_status": "BIGINT",
              "error_code": "VARCHAR", "element": "VARCHAR", "feature": "VARCHAR", "task": "VARCHAR",
              "task_outcome": "VARCHAR", "duration_s": "DOUBLE", "error_count": "BIGINT",
              "order_id": "VARCHAR", "amount": "DECIMAL(18, 4)", "product_id": "VARCHAR", "quantity": "BIGINT",
              "offer_id": "VARCHAR", "subscription_id": "VARCHAR", "failure_code": "VARCHAR",
              "provider": "VARCHAR", "ticket_id": "VARCHAR", "topic": "VARCHAR", "priority": "VARCHAR",
              "team": "VARCHAR", "self_service": "BOOLEAN", "author": "VARCHAR", "public": "BOOLEAN",
              "survey_type": "VARCHAR", "survey_id": "VARCHAR", "score": "DOUBLE", "scale_min": "DOUBLE",
              "scale_max": "DOUBLE", "context": "VARCHAR", "easier_is_higher": "BOOLEAN", "comment": "VARCHAR",
              "period_months": "BIGINT", "plan": "VARCHAR", "auto_renews": "BOOLEAN", "outcome": "VARCHAR",
              "kind": "VARCHAR", "reason": "VARCHAR", "voluntary": "BOOLEAN", "rating": "DOUBLE",
              "referred_email": "VARCHAR"}'
        ) as e,
        json_type(
            case when is_object then line end,
            ['$.load_ms', '$.http_status', '$.cost', '$.amount', '$.quantity', '$.duration_s', '$.error_count',
             '$.score', '$.scale_min', '$.scale_max', '$.rating', '$.period_months']
        ) as number_types
    from checked
), typed as (
    select
        file,
        line,
        is_object,
        e,
        list_has_any(number_types, ['VARCHAR', 'BOOLEAN', 'ARRAY', 'OBJECT']) as has_wrong_type,
        try_cast(e.occurred_at as timestamptz) as occurred_at,
        try_cast(e.received_at as timestamptz) as received_at,
        nullif(trim(e.customer_id), '') as customer_id,
        nullif(trim(e.anonymous_id), '') as anonymous_id,
        nullif(lower(trim(e.email)), '') as email
    from read
), judged as (
    select
        *,
        case when not is_object then 'json.malformed' else concat_ws(
            ',',
            case when e.event_type is not null and e.event_type not in (
                'ad_view', 'site_visit', 'product_usage', 'purchase', 'offer_redeemed', 'payment_failed', 'refund',
                'ticket_opened', 'ticket_replied', 'ticket_resolved', 'ticket_reopened', 'survey_sent',
                'survey_response', 'subscription_started', 'subscription_changed', 'renewal', 'cancellation',
                'account_closed', 'review', 'referral'
            ) then 'type.unknown' end,
            case when e.event_id is null or e.event_type is null or e.occurred_at is null or not case e.event_type
                when 'site_visit' then e.page_url is not null
                when 'product_usage' then e.feature is not null
                when 'ad_view' then e.campaign_id is not null
                when 'purchase' then e.order_id is not null and e.amount is not null and e.currency is not null
                when 'refund' then e.order_id is not null and e.amount is not null and e.currency is not null
                when 'ticket_opened' then e.ticket_id is not null
                when 'ticket_replied' then e.ticket_id is not null and e.author is not null
                when 'ticket_resolved' then e.ticket_id is not null
                when 'ticket_reopened' then e.ticket_id is not null
                when 'survey_sent' then e.survey_type is not null
                when 'survey_response' then e.survey_type is not null and e.score is not null
                    and e.scale_min is not null and e.scale_max is not null
                when 'subscription_started' then e.subscription_id is not null and e.amount is not null
                    and e.currency is not null and e.period_months is not null
                when 'subscription_changed' then e.subscription_id is not null and e.amount is not null
                    and e.currency is not null and e.period_months is not null
                when 'renewal' then e.subscription_id is not null and e.amount is not null
                    and e.currency is not null and e.period_months is not null
                when 'cancellation' then e.subscription_id is not null and e.kind is not null
                when 'review' then e.rating is not null and e.scale_min is not null and e.scale_max is not null
                else true
            end then 'field.missing' end,
            case when has_wrong_type then 'field.type' end,
            case when e.occurred_at is not null and not regexp_full_match(
                e.occurred_at, '.*([Zz]|[+-][0-9]{2}:[0-9]{2})'
            ) then 'time.no_offset' when e.occurred_at is not null and occurred_at is null then 'time.invalid' end,
            case when e.amount < 0 or (e.event_type = 'refund' and e.amount = 0) or e.cost < 0 or e.load_ms < 0
                or e.duration_s < 0 or e.error_count < 0 or e.quantity < 0 or e.http_status < 0
                or e.period_months < 1 or e.scale_min >= e.scale_max
                or e.score not between e.scale_min and e.scale_max
                or e.rating not between e.scale_min and e.scale_max then 'field.range' end,
            case when coalesce(
                customer_id, email, anonymous_id, e.ticket_id, e.subscription_id, e.order_id
            ) is null then 'identity.missing' end
        ) end as codes
    from typed
)
select
    codes,
    case when codes <> '' then file end as bad_file,
    case when codes <> '' then line end as bad_line,
    occurred_at,
    received_at,
    customer_id,
    anonymous_id,
    email,
    hash(e) as content_hash,
    e.event_id, e.event_type, e.schema_version, e.source, e.source_session_id, e.account_id, e.channel,
    e.campaign_id, e.utm_source, e.utm_medium, e.device_type, e.country, e.creative_id, e.clicked, e.cost,
    e.currency, e.page_url, e.page_kind, e.load_ms, e.http_status, e.error_code, e.element, e.feature,
    e.task, e.task_outcome, e.duration_s, e.error_count, e.order_id, e.amount, e.product_id, e.quantity,
    e.offer_id, e.subscription_id, e.failure_code, e.provider, e.ticket_id, e.topic, e.priority, e.team,
    e.self_service, e.author, e.public, e.survey_type, e.survey_id, e.score, e.scale_min, e.scale_max,
    e.context, e.easier_is_higher, e.comment, e.period_months, e.plan, e.auto_renews, e.outcome, e.kind,
    e.reason, e.voluntary, e.rating, e.referred_email
from judged;

-- Bad lines, with every broken rule and the raw text.
create table quarantine as
select bad_file as file, event_id, event_type, string_split(codes, ',') as codes, bad_line as raw
from parsed
where codes <> '';

-- One row an event that counts: up to as-of, the earliest copy of each event_id, with its customer.
create table kept as
select
    rowid as event_row,
    event_id,
    event_type,
    occurred_at,
    case
        when customer_id is not null then customer_id
        when email is not null then 'email:' || email
        when anonymous_id is not null then 'anon:' || anonymous_id
        when ticket_id is not null then 'ticket:' || coalesce(source, '') || ':' || ticket_id
        when subscription_id is not null then 'subscription:' || coalesce(source, '') || ':' || subscription_id
        else 'order:' || coalesce(source, '') || ':' || order_id
    end as customer_key,
    customer_id is not null or email is not null as is_known,
    anonymous_id,
    source_session_id,
    order_id,
    event_type in (
        'ad_view', 'site_visit', 'product_usage', 'purchase', 'offer_redeemed', 'payment_failed'
    ) as in_session
from parsed
where codes = '' and occurred_at <= getvariable('as_of')
qualify row_number() over (
    partition by event_id order by occurred_at, received_at nulls last, content_hash
) = 1;

-- Sessions: a gap of more than 30 minutes, or another session of the source, starts a new one.
create table event_sessions as
with starts as (
    select
        event_row,
        customer_key,
        anonymous_id,
        occurred_at,
        event_id,
        coalesce(
            occurred_at - lag(occurred_at) over track > interval 30 minutes
            or coalesce(source_session_id <> lag(source_session_id) over track, false),
            true
        ) as is_start
    from kept
    where in_session
    window track as (partition by customer_key, anonymous_id order by occurred_at, event_id)
)
select
    event_row,
    last_value(case when is_start then 's:' || event_id end ignore nulls) over (
        partition by customer_key, anonymous_id order by occurred_at, event_id
        rows between unbounded preceding and current row
    ) as session_id
from starts;

-- An order may come one line at a time: which event is its first?
create table order_lines as
select
    event_row,
    customer_key,
    order_id,
    row_number() over (partition by customer_key, order_id order by occurred_at, event_id) as line_no
from kept
where event_type = 'purchase';

-- What came before each event, and the stage that it shows by itself.
create table counted as
with facts as (
    select
        k.event_row,
        k.event_id,
        k.event_type,
        k.occurred_at,
        k.customer_key,
        k.is_known,
        k.anonymous_id,
        k.order_id,
        s.session_id,
        p.channel,
        l.line_no,
        coalesce(l.line_no > 1, false) or r.order_id is not null as follows_order,
        case
            when k.event_type = 'cancellation' and p.kind = 'effective' then 'cancellation'
            when k.event_type = 'account_closed' then 'account_closed'
            when k.event_type = 'renewal' and coalesce(p.outcome, 'renewed') = 'renewed' then 'renewal'
            when k.event_type = 'subscription_started' then 'subscription_started'
            when l.line_no = 1 then 'order'
        end as outcome,
        k.event_type = 'renewal' and p.outcome = 'declined' as is_declined,
        k.event_type = 'survey_response' and p.survey_type = 'nps' and p.score >= 9
            and p.scale_min = 0 and p.scale_max = 10 as is_promoter
    from kept k
    join parsed p on p.rowid = k.event_row
    left join event_sessions s on s.event_row = k.event_row
    left join order_lines l on l.event_row = k.event_row
    left join order_lines r
        on k.event_type = 'refund' and r.customer_key = k.customer_key and r.order_id = k.order_id and r.line_no = 1
), before as (
    select
        *,
        row_number() over (partition by customer_key order by occurred_at, event_id) as seq,
        count(*) filter (where line_no = 1) over prior as orders_before,
        count(*) filter (where event_type = 'subscription_started') over prior as subscriptions_before,
        count(*) filter (where event_type = 'site_visit') over prior as visits_before,
        min(case when line_no = 1 or event_type = 'subscription_started' then occurred_at end)
            over prior as first_bought_at,
        occurred_at - lag(occurred_at) over (partition by customer_key order by occurred_at, event_id)
            > interval 90 days as after_silence
    from facts
    window prior as (
        partition by customer_key order by occurred_at, event_id
        rows between unbounded preceding and 1 preceding
    )
)
select
    *,
    case
        when outcome in ('cancellation', 'account_closed') or is_declined then 'churned'
        when event_type in (
            'ticket_opened', 'ticket_replied', 'ticket_resolved', 'ticket_reopened', 'refund', 'payment_failed'
        ) then 'service'
        when event_type in ('review', 'referral') or is_promoter then 'advocacy'
        when event_type in ('purchase', 'subscription_started')
            and subscriptions_before = 0 and orders_before - coalesce(line_no > 1, false)::int = 0 then 'purchase'
        when event_type in ('purchase', 'subscription_started', 'renewal', 'subscription_changed') then 'loyalty'
        when event_type = 'product_usage' and first_bought_at is not null
            then case when occurred_at <= first_bought_at + interval 30 days then 'onboarding' else 'usage' end
        when event_type in ('site_visit', 'product_usage') and first_bought_at is null then 'consideration'
        when event_type = 'ad_view' and visits_before = 0 then 'awareness'
    end as own_stage
from before;

drop table kept;

drop table event_sessions;

-- The stage carried forward, and where journeys begin: after an outcome or 90 days of silence.
-- The other lines and refunds of an order begin nothing.
create table staged as
with carried as (
    select
        event_row,
        event_id,
        event_type,
        occurred_at,
        customer_key,
        is_known,
        anonymous_id,
        order_id,
        session_id,
        channel,
        seq,
        orders_before,
        visits_before,
        first_bought_at,
        outcome,
        follows_order,
        last_value(own_stage ignore nulls) over (
            partition by customer_key order by seq rows between unbounded preceding and current row
        ) as stage,
        not follows_order and (seq = 1 or after_silence or last_value(
            case when not follows_order then outcome is not null end ignore nulls
        ) over (
            partition by customer_key order by seq rows between unbounded preceding and 1 preceding
        )) as begins_journey
    from counted
)
select
    *,
    stage is distinct from lag(stage) over customer as is_stage_change,
    count(*) filter (where begins_journey) over (
        partition by customer_key order by seq rows between unbounded preceding and current row
    ) as journey_no
from carried
window customer as (partition by customer_key order by seq);

drop table counted;

-- The other lines and refunds of an order belong to the journey that its first line closed.
update staged
set journey_no = first_line.journey_no
from (
    select l.customer_key, l.order_id, s.journey_no
    from order_lines l
    join staged s on s.event_row = l.event_row
    where l.line_no = 1
) as first_line
where staged.follows_order
    and staged.customer_key = first_line.customer_key
    and staged.order_id = first_line.order_id;

-- All columns of each event that counts: wide, so it is a view that is written once and read by column.
create view touchpoints as
select
    s.event_id,
    s.event_type,
    p.schema_version,
    s.occurred_at,
    p.received_at,
    p.source,
    p.source_session_id,
    s.customer_key,
    s.is_known,
    s.anonymous_id,
    p.customer_id,
    p.email,
    s.session_id,
    s.seq,
    s.journey_no,
    s.stage,
    s.orders_before,
    s.visits_before,
    s.first_bought_at,
    p.account_id, p.channel, p.campaign_id, p.utm_source, p.utm_medium, p.device_type, p.country,
    p.creative_id, p.clicked, p.cost, p.currency, p.page_url, p.page_kind, p.load_ms, p.http_status,
    p.error_code, p.element, p.feature, p.task, p.task_outcome, p.duration_s, p.error_count, p.order_id,
    p.amount, p.product_id, p.quantity, p.offer_id, p.subscription_id, p.failure_code, p.provider,
    p.ticket_id, p.topic, p.priority, p.team, p.self_service, p.author, p.public, p.survey_type,
    p.survey_id, p.score, p.scale_min, p.scale_max, p.context, p.easier_is_higher, p.comment,
    p.period_months, p.plan, p.auto_renews, p.outcome, p.kind, p.reason, p.voluntary, p.rating,
    p.referred_email
from staged s
join parsed p on p.rowid = s.event_row;

-- Money in and out: few rows, used by customers, journeys and metrics. Refunds count against their own month.
create table payments as
select
    customer_key,
    is_known,
    journey_no,
    occurred_at,
    event_type,
    order_id,
    currency,
    case when event_type = 'refund' then -amount else amount end as amount
from touchpoints
where event_type in ('purchase', 'subscription_started', 'refund')
    or (event_type = 'renewal' and coalesce(outcome, 'renewed') = 'renewed');

create table sessions as
select
    session_id,
    any_value(customer_key) as customer_key,
    any_value(anonymous_id) as anonymous_id,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    count(*) as touchpoints,
    arg_min(channel, seq) as entry_channel,
    min(journey_no) as journey_no,
    bool_or(event_type = 'purchase') as has_purchase
from staged
where session_id is not null
group by session_id;

-- One row for each maximal run of one stage; a run that nothing follows is open.
create table journey_stages as
with runs as (
    select
        *,
        count(*) filter (where is_stage_change) over (
            partition by customer_key order by seq rows between unbounded preceding and current row
        ) as stage_no
    from staged
    where stage is not null
), stages as (
    select
        customer_key,
        stage_no,
        any_value(stage) as stage,
        min(occurred_at) as entered_at,
        max(occurred_at) as last_at,
        count(*) as touchpoints,
        count(distinct session_id) as sessions
    from runs
    group by customer_key, stage_no
)
select
    customer_key,
    stage_no,
    stage,
    entered_at,
    lead(entered_at) over following as left_at,
    lead(stage) over following as next_stage,
    date_sub('second', entered_at, coalesce(lead(entered_at) over following, last_at)) as duration_s,
    touchpoints,
    sessions,
    lead(stage) over following is null as is_open
from stages
window following as (partition by customer_key order by stage_no);

create table stage_transitions as
select
    stage as from_stage,
    next_stage as to_stage,
    count(*) as transitions,
    count(distinct customer_key) as customers,
    median(duration_s) as duration_s_p50
from journey_stages
where next_stage is not null
group by stage, next_stage;

create table tickets as
select
    ticket_id,
    source,
    arg_min(customer_key, occurred_at) as customer_key,
    arg_min(team, occurred_at) as team,
    min(occurred_at) filter (where event_type = 'ticket_opened') as opened_at,
    min(occurred_at) filter (where is_answer) as first_response_at,
    min(occurred_at) filter (where event_type = 'ticket_resolved') as first_resolved_at,
    max(occurred_at) filter (where event_type = 'ticket_resolved') as last_resolved_at,
    count(*) filter (where event_type = 'ticket_reopened') as reopens,
    count(*) filter (where is_answer) as agent_replies,
    date_sub('second', opened_at, first_response_at) as first_response_s,
    date_sub('second', opened_at, first_resolved_at) as resolution_s
from (
    select
        *,
        event_type = 'ticket_replied' and author = 'agent' and coalesce(public, true) as is_answer
    from touchpoints
    where event_type in ('ticket_opened', 'ticket_replied', 'ticket_resolved', 'ticket_reopened')
)
group by ticket_id, source;

create table subscriptions as
select
    subscription_id,
    source,
    arg_min(customer_key, occurred_at) as customer_key,
    min(occurred_at) filter (where event_type = 'subscription_started') as started_at,
    min(occurred_at) filter (where is_end) as ended_at,
    case when bool_or(is_end) then 'ended' else 'active' end as status,
    arg_max(amount / period_months, occurred_at)::decimal(18, 4) as mrr,
    arg_max(currency, occurred_at) as currency,
    count(*) filter (where event_type = 'renewal' and not is_end) as renewals,
    arg_min(coalesce(reason, event_type), occurred_at) filter (where is_end) as cancelled_reason,
    bool_or(voluntary) filter (where is_end) as is_voluntary
from (
    select
        *,
        (event_type = 'cancellation' and kind = 'effective')
            or (event_type = 'renewal' and coalesce(outcome, '') = 'declined') as is_end
    from touchpoints
    where event_type in ('subscription_started', 'subscription_changed', 'renewal', 'cancellation')
)
group by subscription_id, source;

-- Three kinds of friction: a slow page, a checkout without a purchase in 24 h, a first response after 24 h.
create table friction_points as
with checkouts as (
    select
        customer_key,
        session_id,
        min(journey_no) as journey_no,
        arg_max(stage, seq) as stage,
        arg_max(page_kind, seq) as page_kind,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        list(event_id order by seq) as event_ids
    from touchpoints
    where event_type = 'site_visit' and page_kind in ('checkout', 'payment')
    group by customer_key, session_id
), points as (
    select
        'slow_page:' || event_id as friction_id,
        customer_key,
        'web' as area,
        'slow_page' as kind,
        split_part(page_url, '?', 1) as subject,
        stage,
        journey_no,
        occurred_at as started_at,
        occurred_at as ended_at,
        1 as n_events,
        [event_id] as event_ids,
        load_ms / 60000 as minutes_lost
    from touchpoints
    where load_ms > 4000
    union all
    select
        'checkout_abandoned:' || session_id,
        customer_key,
        'web',
        'checkout_abandoned',
        page_kind,
        stage,
        journey_no,
        started_at,
        ended_at,
        len(event_ids),
        event_ids[1:10],
        date_sub('second', started_at, ended_at) / 60
    from checkouts c
    where started_at + interval 24 hours <= getvariable('as_of') and not exists (
        from payments p
        where p.customer_key = c.customer_key
            and p.event_type = 'purchase'
            and p.occurred_at between c.started_at and c.started_at + interval 24 hours
    )
    union all
    select
        'slow_first_response:' || coalesce(t.source, '') || ':' || t.ticket_id,
        t.customer_key,
        'support',
        'slow_first_response',
        t.team,
        s.stage,
        s.journey_no,
        t.opened_at,
        coalesce(t.first_response_at, getvariable('as_of')),
        1,
        [s.event_id],
        date_sub('second', t.opened_at, coalesce(t.first_response_at, getvariable('as_of'))) / 60
    from tickets t
    join touchpoints s
        on s.event_type = 'ticket_opened' and s.ticket_id = t.ticket_id and s.source is not distinct from t.source
    where coalesce(t.first_response_at, getvariable('as_of')) - t.opened_at > interval 24 hours
)
select
    *,
    (
        select o.outcome
        from staged o
        where o.outcome is not null and o.customer_key = points.customer_key and o.journey_no = points.journey_no
    ) as next_outcome
from points;

create table journeys as
with revenue as (
    select
        customer_key,
        journey_no,
        case when min(currency) = max(currency) then sum(amount) end as revenue,
        case when min(currency) = max(currency) then min(currency) end as currency
    from payments
    group by customer_key, journey_no
), friction as (
    select customer_key, journey_no, count(*) as friction_points
    from friction_points
    group by customer_key, journey_no
), entries as (
    select
        customer_key,
        journey_no,
        started_at,
        entry_channel,
        entry_channel is distinct from lag(entry_channel) over (
            partition by customer_key, journey_no order by started_at, session_id
        ) as is_change
    from sessions
    where entry_channel is not null
), channels as (
    select customer_key, journey_no, string_agg(entry_channel, ' > ' order by started_at) as channel_path
    from entries
    where is_change
    group by customer_key, journey_no
), spans as (
    select
        customer_key,
        journey_no,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        max(outcome) as outcome,
        string_agg(stage, ' > ' order by seq) filter (where is_stage_change or begins_journey) as stage_path,
        count(*) as touchpoints,
        count(distinct session_id) as sessions,
        bool_or(event_type in ('site_visit', 'product_usage')) as has_considered
    from staged
    group by customer_key, journey_no
)
select
    s.customer_key,
    s.journey_no,
    s.started_at,
    s.ended_at,
    case
        when s.outcome is not null then 'closed'
        when lead(s.journey_no) over following is null
            and getvariable('as_of') - s.ended_at <= interval 90 days then 'open'
        when s.has_considered then 'abandoned'
        else 'ended'
    end as status,
    s.outcome,
    s.stage_path,
    c.channel_path,
    s.touchpoints,
    s.sessions,
    coalesce(f.friction_points, 0) as friction_points,
    r.revenue,
    r.currency
from spans s
left join revenue r on r.customer_key = s.customer_key and r.journey_no = s.journey_no
left join friction f on f.customer_key = s.customer_key and f.journey_no = s.journey_no
left join channels c on c.customer_key = s.customer_key and c.journey_no = s.journey_no
window following as (partition by s.customer_key order by s.journey_no);

create table customers as
with seen as (
    select
        customer_key,
        bool_or(is_known) as is_known,
        min(occurred_at) as first_seen_at,
        max(occurred_at) as last_seen_at,
        arg_min(channel, seq) as first_channel,
        arg_max(stage, seq) as current_stage,
        count(*) filter (where outcome = 'order') as orders
    from staged
    group by customer_key
), revenue as (
    select
        customer_key,
        case when min(currency) = max(currency) then sum(amount) end as revenue,
        case when min(currency) = max(currency) then min(currency) end as currency
    from payments
    group by customer_key
), subscribed as (
    select
        customer_key,
        bool_or(status = 'active') as is_subscriber,
        max(ended_at) as ended_at,
        arg_max(cancelled_reason, ended_at) as reason
    from subscriptions
    group by customer_key
)
select
    s.customer_key,
    s.is_known,
    s.first_seen_at,
    s.last_seen_at,
    s.first_channel,
    s.current_stage,
    s.orders,
    r.revenue,
    r.currency,
    coalesce(u.is_subscriber, false) as is_subscriber,
    case when not u.is_subscriber then u.ended_at end as churned_at,
    case when not u.is_subscriber then u.reason end as churn_reason
from seen s
left join revenue r on r.customer_key = s.customer_key
left join subscribed u on u.customer_key = s.customer_key;

-- Every metric by month and over all. Rates keep numerator and denominator; money is a row a currency.
create table lifecycle_metrics as
with active as (
    select date_trunc('month', occurred_at) as month, count(distinct customer_key) as n
    from touchpoints
    where is_known and (
        event_type in (
            'site_visit', 'product_usage', 'purchase', 'offer_redeemed', 'ticket_opened', 'survey_response', 'review',
            'referral', 'subscription_started', 'subscription_changed'
        ) or (event_type = 'ad_view' and clicked) or (event_type = 'ticket_replied' and author = 'customer')
    )
    group by grouping sets ((date_trunc('month', occurred_at)), ())
), new as (
    select date_trunc('month', first_seen_at) as month, count(*) as n
    from customers
    where is_known
    group by grouping sets ((date_trunc('month', first_seen_at)), ())
), money as (
    select
        date_trunc('month', occurred_at) as month,
        currency,
        sum(amount) as revenue,
        sum(amount) filter (where event_type = 'purchase') as purchased,
        count(distinct order_id) filter (where event_type = 'purchase') as orders
    from payments
    group by grouping sets ((date_trunc('month', occurred_at), currency), (currency))
), order_counts as (
    select date_trunc('month', occurred_at) as month, count(distinct order_id) as n
    from payments
    where event_type = 'purchase'
    group by grouping sets ((date_trunc('month', occurred_at)), ())
), nth_orders as (
    select
        date_trunc('month', occurred_at) as month,
        row_number() over (partition by customer_key order by occurred_at, event_id) as order_no
    from staged
    where outcome = 'order' and is_known
), buyers as (
    select
        month,
        sum(count(*) filter (where order_no = 2)) over (order by month) as repeated,
        sum(count(*) filter (where order_no = 1)) over (order by month) as bought
    from nth_orders
    group by month
    union all
    select null, count(*) filter (where order_no = 2), count(*) filter (where order_no = 1)
    from nth_orders
), answers as (
    select occurred_at, survey_type, score, scale_min, scale_max
    from touchpoints
    where event_type = 'survey_response'
    qualify row_number() over (
        partition by customer_key, survey_type, survey_id, coalesce(ticket_id, order_id)
        order by occurred_at desc, event_id desc
    ) = 1
), surveys as (
    select
        date_trunc('month', occurred_at) as month,
        count(*) filter (where survey_type = 'nps' and scale_min = 0 and scale_max = 10 and score >= 9)
            - count(*) filter (where survey_type = 'nps' and scale_min = 0 and scale_max = 10 and score <= 6)
            as nps_net,
        count(*) filter (where survey_type = 'nps' and scale_min = 0 and scale_max = 10) as nps_n,
        count(*) filter (where survey_type = 'csat' and (score - scale_min) / (scale_max - scale_min) >= case
            when scale_max - scale_min = 3 then 0.6 else 0.75 end) as satisfied,
        count(*) filter (where survey_type = 'csat') as csat_n
    from answers
    group by grouping sets ((date_trunc('month', occurred_at)), ())
), responses as (
    select
        date_trunc('month', opened_at) as month,
        median(first_response_s / 60) as p50,
        quantile_cont(first_response_s / 60, 0.9) as p90,
        sum(first_response_s) / 60 as total,
        count(*) as n
    from tickets
    where first_response_s is not null
    group by grouping sets ((date_trunc('month', opened_at)), ())
), resolutions as (
    select
        date_trunc('month', first_resolved_at) as month,
        median(resolution_s / 3600) as p50,
        quantile_cont(resolution_s / 3600, 0.9) as p90,
        sum(resolution_s) / 3600 as total,
        count(*) as n
    from tickets
    where resolution_s is not null
    group by grouping sets ((date_trunc('month', first_resolved_at)), ())
), measured as (
    select 'active_customers' as metric, month, null as currency, n::double as numerator, null::double as denominator,
        n::double as value, 'customers' as unit, n
    from active
    union all
    select 'new_customers', month, null, n, null, n, 'customers', n from new
    union all
    select 'revenue', month, currency, revenue, null, revenue, 'money', null from money
    union all
    select 'orders', month, null, n, null, n, 'orders', n from order_counts
    union all
    select 'aov', month, currency, purchased, orders, purchased::double / nullif(orders, 0), 'money', orders
    from money
    union all
    select 'arpu', m.month, m.currency, m.revenue, a.n, m.revenue::double / nullif(a.n, 0), 'money', a.n
    from money m
    left join active a on a.month is not distinct from m.month
    union all
    select 'repurchase_rate', month, null, repeated, bought, repeated::double / nullif(bought, 0), 'ratio', bought
    from buyers
    union all
    select 'nps', month, null, nps_net, nps_n, 100 * nps_net::double / nullif(nps_n, 0), 'points', nps_n
    from surveys
    union all
    select 'csat', month, null, satisfied, csat_n, satisfied::double / nullif(csat_n, 0), 'ratio', csat_n
    from surveys
    union all
    select 'first_response_minutes_p50', month, null, null, null, p50, 'minutes', n from responses
    union all
    select 'first_response_minutes_p90', month, null, null, null, p90, 'minutes', n from responses
    union all
    select 'first_response_minutes_mean', month, null, total, n, total / nullif(n, 0), 'minutes', n from responses
    union all
    select 'resolution_hours_p50', month, null, null, null, p50, 'hours', n from resolutions
    union all
    select 'resolution_hours_p90', month, null, null, null, p90, 'hours', n from resolutions
    union all
    select 'resolution_hours_mean', month, null, total, n, total / nullif(n, 0), 'hours', n from resolutions
)
select
    metric,
    case when month is null then 'all' else 'month' end as period_kind,
    month as period_start,
    month + interval 1 month as period_end,
    'all' as segment,
    currency,
    numerator::decimal(24, 4) as numerator,
    denominator,
    value,
    unit,
    n,
    case when month + interval 1 month > getvariable('as_of') then 'provisional' else 'final' end as status
from measured;
