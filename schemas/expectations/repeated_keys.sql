-- Keys that stand more than once in the two largest tables; each other table has a rule of its own.
-- Input: touchpoints, sessions. Grain: one repeated key; table_name, key, rows.
-- Millions of ids are grouped by their 64-bit hashes, and only the few that repeat by themselves.
with repeated_hashes as (
    select hash(event_id) as event_hash from touchpoints group by event_hash having count(*) > 1
),
repeated_events as (
    select event_id, count(*) as n
    from touchpoints
    where hash(event_id) in (select event_hash from repeated_hashes)
    group by event_id
    having count(*) > 1
),
repeated_sessions as (select session_id, count(*) as n from sessions group by session_id having count(*) > 1)
select 'touchpoints' as table_name, event_id as key, n as rows from repeated_events
union all
select 'sessions', session_id, n from repeated_sessions
