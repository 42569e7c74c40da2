-- Hours from a ticket's opening to its first resolution. Input: tickets; parameters $as_of, $as_of_month. Grain: one ticket;
-- one that was never resolved has waited until as-of, and counts in the month of as-of.
select
    customer_no,
    coalesce(resolved_month, $as_of_month) as month,
    coalesce(resolution_s, (epoch_us($as_of) - epoch_us(opened_at)) // 1000000) as value,
    resolution_s is null as is_open,
    false as pending,
    if(resolution_s is null, [opened_event_id], [opened_event_id, first_resolved_event_id]) as numerator_events
from tickets
