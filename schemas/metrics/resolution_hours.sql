-- Time to the first resolution. Input: tickets, one row a ticket.
select resolved_month as month, resolution_s as value
from tickets
where resolution_s is not null
