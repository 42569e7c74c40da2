-- Open tickets at each month's end. Input: tickets, months. Grain: one ticket open at a month's end.
select t.customer_no, m.month, 1 as numerator, [t.opened_event_id] as numerator_events
from (select customer_no, opened_event_id, unnest(open_periods) as p from tickets) as t
join months as m on t.p.started_at < m.edge and (t.p.ended_at is null or t.p.ended_at >= m.edge)
