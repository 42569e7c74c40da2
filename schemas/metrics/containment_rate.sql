-- Self-service that was enough. Input: tickets; parameter $as_of. Grain: one self-service ticket, and the customer's next one.
-- While the ticket is open, or its 72 hours run, it is not decided, unless an agent has replied or another was opened.
with told as (
    select
        t.customer_no,
        t.opened_month,
        t.opened_event_id,
        t.last_resolved_event_id,
        t.is_open,
        t.last_resolved_at + interval 72 hours as runs_until,
        t.agent_replies = 0
        and (n.opened_at is null or (not t.is_open and n.opened_at > t.last_resolved_at + interval 72 hours)) as is_alone
    from (select * from tickets where is_self_service) as t
    asof left join (select distinct customer_no, opened_at from tickets) as n
        on t.customer_no = n.customer_no and t.opened_at < n.opened_at
)
select
    customer_no,
    opened_month as month,
    (is_alone and not is_open)::int as numerator,
    1 as denominator,
    (is_alone and (is_open or runs_until > $as_of))::int as pending,
    if(is_alone and not is_open, [last_resolved_event_id], null) as numerator_events,
    [opened_event_id] as denominator_events
from told
