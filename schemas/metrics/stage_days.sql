-- Days in a stage, as seconds. Input: journey_stages, customers, touchpoints; parameter $as_of. Grain: one run of a stage; open
-- ones count up to as-of.
-- begun is the event that began a run. Only an explanation asks for it: where nobody does, DuckDB drops the join.
with begun as (
    select s.customer_no, s.stage_no, [arg_min(t.event_id, t.seq)] as event_ids
    from journey_stages as s
    join touchpoints as t on s.customer_no = t.customer_no and s.stage = t.stage and s.entered_at = t.occurred_at
    group by s.customer_no, s.stage_no
)
select
    s.customer_no,
    s.month,
    s.stage,
    coalesce(s.duration_s, (epoch_us($as_of) - epoch_us(s.entered_at)) // 1000000) as value,
    s.is_open,
    b.event_ids as numerator_events
from journey_stages as s
join customers as c on s.customer_no = c.customer_no
left join begun as b on s.customer_no = b.customer_no and s.stage_no = b.stage_no
where c.is_known
