-- Time to the first response, of the support team's working time. Input: tickets. Grain: one ticket that has a response,
-- or may still get one: that is one more to come and has no value yet, 0 only stands in its place.
select
    customer_no,
    opened_month as month,
    coalesce(first_response_business_s, 0) as value,
    first_response_business_s is null as is_open,
    if(first_response_business_s is null, [opened_event_id], [opened_event_id, first_response_event_id]) as numerator_events
from tickets
where first_response_business_s is not null or (first_response_s is null and tickets.is_open)
