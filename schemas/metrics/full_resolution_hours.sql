-- Hours from a ticket's opening to its last resolution. Input: tickets; parameters $as_of, $as_of_month. Grain: one ticket;
-- one that is open, never resolved or open again, has waited until as-of, and counts in the month of as-of.
select
    customer_no,
    if(tickets.is_open, $as_of_month, last_resolved_month) as month,
    if(tickets.is_open, (epoch_us($as_of) - epoch_us(opened_at)) // 1000000, full_resolution_s) as value,
    tickets.is_open as is_open,
    false as pending,
    if(tickets.is_open, [opened_event_id], [opened_event_id, last_resolved_event_id]) as numerator_events
from tickets
