-- Time to the first response. Input: tickets; parameter $as_of. Grain: one ticket. A ticket without a response has waited
-- until as-of while it is open; once it is resolved it has waited until then, and no response is to come.
select
    customer_no,
    opened_month as month,
    coalesce(
        first_response_s, (epoch_us(if(tickets.is_open, $as_of, last_resolved_at)) - epoch_us(opened_at)) // 1000000
    ) as value,
    first_response_s is null as is_open,
    first_response_s is null and tickets.is_open as pending,
    case
        when first_response_s is not null then [opened_event_id, first_response_event_id]
        when tickets.is_open then [opened_event_id]
        else [opened_event_id, last_resolved_event_id]
    end as numerator_events
from tickets
