-- Time to the first response. Input: tickets, one row a ticket; null while it may still come: a ticket that was resolved
-- without a response waits for none.
select opened_month as month, first_response_s as value
from tickets
where first_response_s is not null or first_resolved_at is null
