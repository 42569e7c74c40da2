-- Time to the first response. Input: tickets, one row a ticket; null while there is none.
select opened_month as month, first_response_s as value
from tickets
