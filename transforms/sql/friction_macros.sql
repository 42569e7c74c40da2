-- What the SQL of a kind of friction may use beside DuckDB's own functions.

-- The path of a page's address: without host, query and fragment.
create or replace temp macro page_path(url) as
    if(url is null, null, coalesce(nullif(regexp_extract(url, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?([^?#]*)', 1), ''), '/'));

-- True if the text is like one of a list of patterns (of SQL's like), in small letters or capitals; false without a text.
create or replace temp macro matches_any(given_text, patterns) as
    coalesce(list_bool_or(list_transform(patterns, lambda pattern: lower(given_text) like lower(pattern))), false);

-- A span of time from a number, to the microsecond.
create or replace temp macro span_of_seconds(number) as to_microseconds((number * 1000000)::bigint);
create or replace temp macro span_of_hours(number) as to_microseconds((number * 3600000000)::bigint);
create or replace temp macro span_of_days(number) as to_microseconds((number * 86400000000)::bigint);

-- Minutes from whole microseconds, cut to four digits: a decimal, so that no order of summing changes it.
create or replace temp macro minutes_of(microseconds) as
    ((microseconds // 6000)::decimal(18, 0) * 0.0001::decimal(5, 4))::decimal(18, 4);
