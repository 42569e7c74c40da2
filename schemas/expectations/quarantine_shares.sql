-- How much of what a source gave went to quarantine. Input: tallies, limits; source is the source description it was read with.
-- Grain: one source (code null), and below it one broken rule of a source; source, code, refused, given, share,
-- judged_share: the share, and null where fewer records were refused than tell anything.
-- An event can break one rule twice: of a rule, refused is at most what the source had refused in all.
with of_sources as (
    select
        source,
        coalesce(sum(count) filter (where name in ('events_in', 'records_unreadable')), 0)::bigint as given,
        coalesce(sum(count) filter (where name in ('quarantined_events', 'records_unreadable')), 0)::bigint as refused
    from tallies
    where name in ('events_in', 'records_unreadable', 'quarantined_events')
    group by source
),
of_rules as (
    select source, code, sum(count)::bigint as refused
    from tallies
    where name = 'quarantined'
    group by source, code
),
shares as (
    select source, null::varchar as code, refused, given, refused / given as share
    from of_sources
    where given > 0
    union all
    select r.source, r.code, least(r.refused, s.refused), s.given, least(r.refused, s.refused) / s.given
    from of_rules as r
    join of_sources as s on r.source is not distinct from s.source
    where s.given > 0
)
select source, code, refused, given, share, if(refused >= least.value, share, null) as judged_share
from shares
cross join (select value from limits where name = 'quarantine_least_records') as least
