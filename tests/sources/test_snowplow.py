"""Snowplow's atomic events through the whole pipeline: a small export by hand, and the tables that the peer published."""

from __future__ import annotations

import csv
import datetime
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InputError
from schemas.source_descriptions import load_sources
from tests.real_command import run_command

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "snowplow"
AS_OF = "2026-02-01T00:00:00Z"

Published = Callable[..., duckdb.DuckDBPyConnection]


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


# ---- the small export, worked out by hand ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(published: Published) -> duckdb.DuckDBPyConnection:
    return published(f"snowplow.events:{FIXTURES}/*.csv", as_of=AS_OF)


def test_every_record_is_accounted_for(small: duckdb.DuckDBPyConnection) -> None:
    counts = small.sql(
        "select records_in, records_mapped, records_skipped, records_unreadable, events_in, touchpoints, quarantined from runs"
    ).fetchall()
    assert counts == [(13, 10, 3, 0, 12, 10, 2)]


def test_what_becomes_of_each_row(small: duckdb.DuckDBPyConnection) -> None:
    """The ping, the order's line and the structured event are skipped. A visit without a sign-in is of who signs in later."""
    found = small.sql("""
        select event_id, event_type, strftime(occurred_at, '%d %H:%M:%S'), customer_key, source_session_id, channel
        from touchpoints order by event_id
    """).fetchall()
    assert found == [
        ("e-01", "site_visit", "05 10:00:00", "ada", "session-a1", "Paid_Search_Brand"),
        ("e-03", "site_visit", "05 10:02:00", "ada", "session-a1", None),  # a step within the site
        ("e-04:purchase", "purchase", "05 10:05:00", "ada", "session-a1", None),
        ("e-06", "site_visit", "06 09:00:00", "anon:cookie-b", "session-b1", "Direct"),  # the null UUID is nobody
        ("e-07:purchase", "purchase", "06 09:10:00", "anon:cookie-b", "session-b2", None),
        ("e-08", "site_visit", "07 08:00:00", "anon:cookie-c", "session-c1", "Video"),
        ("e-08:purchase", "purchase", "07 08:00:00", "anon:cookie-c", "session-c1", "Video"),
        ("e-09", "site_visit", "07 08:30:00", "anon:cookie-c", "session-c1", "Unmatched_Channel"),
        ("e-11", "site_visit", "09 07:00:00", "bo", None, "Organic_Social"),
        ("e-13", "site_visit", "09 07:01:00", "bo", None, "Direct"),
    ]


def test_the_fields_of_a_visit(small: duckdb.DuckDBPyConnection) -> None:
    relation = small.sql("""
        select page_url, campaign_id, utm_source, utm_medium, device_type, country, received_at, extra
        from touchpoints where event_id = 'e-01'
    """)
    [(*fields, received_at, extra)] = relation.fetchall()
    assert fields == ["https://shop.example/?gclid=1", "Brand DE", "google", "cpc", "Mobile", "DE"]
    assert received_at == moment("2026-01-05 10:00:02.500")
    assert json.loads(extra) == {"app_id": "shop", "mkt_term": "beans", "page_referrer": "https://search.example/"}
    url = small.sql("select page_url from touchpoints where event_id = 'e-06'").fetchall()
    assert url == [("https://shop.example/tea",)], "put together where page_url is absent"


def test_orders(small: duckdb.DuckDBPyConnection) -> None:
    """Without tr_orderid an order is one of its own, without tr_currency its currency is XXX; 0 on a view is no order."""
    found = small.sql(
        "select order_id, amount, currency from touchpoints where event_type = 'purchase' order by event_id"
    )
    assert found.fetchall() == [
        ("o-1", Decimal("59.9000"), "EUR"), ("e-07", Decimal("20.0000"), "XXX"), ("e-08", Decimal("12.5000"), "EUR"),
    ]  # fmt: skip


def test_what_is_wrong_is_in_quarantine(small: duckdb.DuckDBPyConnection) -> None:
    found = small.sql(
        "select event_id, list_transform(errors, lambda e: e.code || ' ' || e.path) from quarantine order by 1"
    )
    assert found.fetchall() == [("e-09:purchase", ["field.type amount"]), ("e-10", ["identity.missing "])]


def test_through_the_real_command(tmp_path: Path) -> None:
    inputs = [word for file in sorted(FIXTURES.glob("*.csv")) for word in ("--input", f"snowplow.events:{file}")]
    done = run_command(["run", *inputs, "--output", str(tmp_path / "lake"), "--as-of", AS_OF], tmp_path)
    assert done.status == 0, done.err
    assert "records in  13  = 10 mapped + 3 skipped + 0 unreadable" in done.out


def test_some_other_file_is_refused(published: Published, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("event_id,event,domain_userid,user_id,page_url\ne-1,page_view,cookie-a,,/\n")
    with pytest.raises(InputError, match='visits.csv .*"collector_tstamp" not found'):
        published(f"snowplow.events:{file}", as_of=AS_OF)


def test_the_same_select_reads_parquet(published: Published, tmp_path: Path, small: duckdb.DuckDBPyConnection) -> None:
    """A warehouse's Parquet has typed columns: the description is the same but for its format (docs/sources.md)."""
    shipped = load_sources()["snowplow.events"]
    (tmp_path / "sources" / "snowplow").mkdir(parents=True)
    text = Path(shipped.file).read_text(encoding="utf-8").replace('format = "csv"', 'format = "parquet"')
    (tmp_path / "sources" / "snowplow" / "events.toml").write_text(text, encoding="utf-8")
    for file in FIXTURES.glob("*.csv"):
        table = pa_csv.read_csv(
            file, convert_options=pa_csv.ConvertOptions(null_values=["NULL", ""], strings_can_be_null=True)
        )
        pq.write_table(table, tmp_path / f"{file.stem}.parquet")
    connection = published(f"snowplow.events:{tmp_path}/*.parquet", as_of=AS_OF, sources=str(tmp_path / "sources"))
    sql = "select * from touchpoints order by event_id"
    assert connection.sql(sql).to_arrow_table().equals(small.sql(sql).to_arrow_table())


# ---- the peer's data: attribution ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attribution(published: Published, exports: Path) -> duckdb.DuckDBPyConnection:
    return published(f"snowplow.events:{exports}/snowplow_fractribution/source/*.csv", as_of="2022-08-02T00:00:00Z")


@pytest.fixture
def expected(exports: Path) -> Callable[[str], list[dict[str, str]]]:
    folder = exports / "snowplow_fractribution" / "expected"
    return lambda name: read(folder / f"snowplow_fractribution_{name}_expected.csv")


#: The first page view of each session. The peer writes f and the cookie for a customer that only a cookie knows.
TOUCHES = """
    select
        'f' || anonymous_id as customer, occurred_at as happened_at, channel, campaign_id as campaign, utm_source, utm_medium
    from touchpoints
    where event_type = 'site_visit'
    qualify row_number() over (partition by session_id order by seq) = 1
"""
CONVERSIONS = """
    select 'f' || anonymous_id as customer, occurred_at as happened_at, amount::double as revenue
    from touchpoints where event_type = 'purchase'
"""
#: The channels up to 30 days before a conversion, or before the last touch of a customer without one.
PATHS = f"""
    with touches as ({TOUCHES}),
    conversions as ({CONVERSIONS}),
    ends as (
        from conversions
        union all
        select customer, max(happened_at), null from touches anti join conversions using (customer) group by customer
    ),
    steps as (
        select
            customer, e.happened_at, revenue, t.happened_at as touched_at, channel,
            lag(channel) over (partition by customer, e.happened_at order by t.happened_at) as channel_before
        from ends as e join touches as t using (customer)
        where t.happened_at between e.happened_at - interval 30 days and e.happened_at
    ),
    paths as (
        select
            string_agg(channel, ' > ' order by touched_at) filter (where channel is distinct from channel_before) as path,
            any_value(revenue) as revenue
        from steps group by customer, happened_at
    )
    select path, count(revenue), count(*) - count(revenue), coalesce(sum(revenue), 0) from paths group by path
"""


def test_all_98_events_go_through(attribution: duckdb.DuckDBPyConnection) -> None:
    found = attribution.sql(
        "select records_in, records_skipped, touchpoints, duplicates, quarantined from runs"
    ).fetchall()
    assert found == [(98, 0, 103, 0, 0)]  # five page views carry an order, and become two events


def test_sessions_by_channel(
    attribution: duckdb.DuckDBPyConnection, expected: Callable[[str], list[dict[str, str]]]
) -> None:
    counted = attribution.sql(
        f"select channel, campaign, utm_source, utm_medium, count(*) from ({TOUCHES}) group by all"
    )
    assert set(counted.fetchall()) == {
        (r["channel"], r["campaign"], r["source"], r["medium"], int(r["number_of_sessions"]))
        for r in expected("channel_counts")
    }
    found = attribution.sql(
        f"select customer, happened_at, channel, campaign, utm_source, utm_medium from ({TOUCHES})"
    ).fetchall()
    assert Counter(found) == Counter(
        (r["customer_id"], moment(r["visit_start_tstamp"]), r["channel"], r["campaign"], r["source"], r["medium"])
        for r in expected("sessions_by_customer_id")
    )
    by_table = attribution.sql("select entry_channel, count(*) from sessions group by all").fetchall()
    assert dict(by_table) == {
        "Direct": 46, "Organic_Search": 39, "Paid_Search_Other": 3, "Referral": 5, "Video": 3, "Unmatched_Channel": 1,
        None: 1,  # the checkout, which no page view came with
    }  # fmt: skip


def test_six_conversions(
    attribution: duckdb.DuckDBPyConnection, expected: Callable[[str], list[dict[str, str]]]
) -> None:
    found = attribution.sql(CONVERSIONS).fetchall()
    assert len(found) == 6
    assert set(found) == {
        (r["customer_id"], moment(r["conversion_tstamp"]), float(r["revenue"]))
        for r in expected("conversions_by_customer_id")
    }
    closed = attribution.sql("select count(*), sum(revenue) from journeys where outcome = 'order'").fetchall()
    assert closed == [(6, Decimal("500.92"))]


def test_nine_paths(attribution: duckdb.DuckDBPyConnection, expected: Callable[[str], list[dict[str, str]]]) -> None:
    found = {(path, yes, no, round(revenue, 2)) for path, yes, no, revenue in attribution.sql(PATHS).fetchall()}
    assert len(found) == 9
    assert found == {
        (r["transformed_path"], int(r["conversions"]), int(r["non_conversions"]), float(r["revenue"] or 0))
        for r in expected("path_summary")
    }


def test_nine_paths_as_published(
    attribution: duckdb.DuckDBPyConnection, expected: Callable[[str], list[dict[str, str]]]
) -> None:
    """journey_paths says what the peer's path summary says, without any SQL but a select."""
    found = attribution.sql("""
        select path, converted, not_converted, revenue, customers
        from journey_paths where path_kind = 'channel' order by rank
    """).fetchall()
    assert {(path, yes, no, float(revenue)) for path, yes, no, revenue, _ in found} == {
        (r["transformed_path"], int(r["conversions"]), int(r["non_conversions"]), float(r["revenue"] or 0))
        for r in expected("path_summary")
    }
    assert len(found) == 9, "and no row (other)"
    assert found[0] == ("Direct", 3, 25, Decimal("94.42"), 28)
    assert found[1] == ("Organic_Search", 1, 26, Decimal("66.5"), 27)


def test_last_touch_as_published(
    attribution: duckdb.DuckDBPyConnection, expected: Callable[[str], list[dict[str, str]]]
) -> None:
    """Channels that the peer credits with nothing are those that touched no conversion: they have no row."""
    found = attribution.sql(
        "select channel, conversions, revenue from channel_credit where model = 'last_touch'"
    ).fetchall()
    assert {(channel, float(n), float(revenue)) for channel, n, revenue in found} == {
        (r["CHANNEL"], float(r["CONVERSIONS"]), round(float(r["REVENUE"]), 2))
        for r in expected("channel_attribution")
        if r["ATTRIBUTION_TYPE"] == "last_touch" and float(r["CONVERSIONS"])
    }
    assert set(found) == {
        ("Direct", 4, Decimal("234.42")), ("Organic_Search", 1, Decimal("66.5")), ("Video", 1, Decimal("200")),
    }  # fmt: skip


def test_the_other_models_by_hand(attribution: duckdb.DuckDBPyConnection) -> None:
    """Only the order of 140.00 was touched by two channels: Organic_Search twice, then Direct."""
    found = attribution.sql("select model, channel, conversions, revenue from channel_credit").fetchall()
    told = {(model, channel): (n, revenue) for model, channel, n, revenue in found}
    assert told["first_touch", "Direct"] == (3, Decimal("94.42"))
    assert told["first_touch", "Organic_Search"] == (2, Decimal("206.5"))
    assert told["linear", "Direct"] == (Decimal("3.333333"), Decimal("141.0867"))  # 94.42 + 140 / 3
    assert told["linear", "Organic_Search"] == (Decimal("1.666667"), Decimal("159.8333"))
    assert told["position", "Direct"] == (Decimal("3.4"), Decimal("150.42"))  # 94.42 + 0.4 x 140
    assert told["position", "Organic_Search"] == (Decimal("1.6"), Decimal("150.5"))  # 40 % and 20 %
    assert all(told[model, "Video"] == (1, 200) for model in ("first_touch", "last_touch", "linear", "position"))
    sums = attribution.sql(
        "select distinct sum(conversions), sum(revenue) from channel_credit group by model"
    ).fetchall()
    assert sums == [(6, Decimal("500.92"))]


# ---- the peer's data: who a visitor is -------------------------------------------------------------------------------


def identity_inputs(exports: Path) -> list[str]:
    """The first load, and the one that came later and names user_3 for the first time."""
    return [f"snowplow.events:{exports}/identity/{name}.csv" for name in ("sp_event", "sp_event_update")]


@pytest.mark.parametrize("policy", ["device_split", "last_auth"])
def test_stitching_and_sessions(published: Published, exports: Path, policy: str) -> None:
    """Both policies agree with the peer, who takes a cookie's last user: here no cookie has two. Its times are New York's."""
    connection = published(
        *identity_inputs(exports), as_of="2018-02-01T00:00:00Z", identity_policy=policy, sessions="source"
    )
    found = connection.sql("""
        with first_visit as (
            select session_id, arg_min(utm_medium, seq) as medium, arg_min(utm_source, seq) as source,
                arg_min(campaign_id, seq) as campaign, arg_min(extra ->> 'mkt_term', seq) as term,
                arg_min(extra ->> 'mkt_content', seq) as content
            from touchpoints where event_type = 'site_visit' group by session_id
        )
        select
            source_session_id, if(starts_with(customer_key, 'anon:'), anonymous_id, customer_key), anonymous_id,
            timezone('America/New_York', started_at), timezone('America/New_York', ended_at), medium, source, campaign, term, content
        from sessions join first_visit using (session_id)
    """).fetchall()
    absent = {"NULL": None}
    wanted = read(exports / "identity" / "snowplow_sessions_expected.csv")
    assert sorted(found) == sorted(
        (
            r["session_id"], r["inferred_user_id"], r["user_snowplow_domain_id"],
            datetime.datetime.strptime(r["session_start"], "%Y-%m-%d %H:%M:%S"),
            datetime.datetime.strptime(r["session_end"], "%Y-%m-%d %H:%M:%S"),
            *(absent.get(r[f"marketing_{name}"], r[f"marketing_{name}"])
              for name in ("medium", "source", "campaign", "term", "content")),
        )
        for r in wanted
    )  # fmt: skip
    assert connection.sql("select customer_key from touchpoints where anonymous_id = 'domain_userid_4'").fetchall() == [
        ("anon:domain_userid_4",)
    ]


def test_page_views(published: Published, exports: Path) -> None:
    """Seven, each with its session and what the event itself said of the user; the two pings are skipped."""
    connection = published(*identity_inputs(exports), as_of="2018-02-01T00:00:00Z")
    found = connection.sql("""
        select coalesce(customer_id, 'NULL'), anonymous_id, source_session_id, timezone('America/New_York', occurred_at),
            coalesce(utm_medium, 'NULL'), coalesce(utm_source, 'NULL'), coalesce(campaign_id, 'NULL')
        from touchpoints where event_type = 'site_visit'
    """).fetchall()
    assert Counter(found) == Counter(
        (
            r["user_custom_id"], r["user_snowplow_domain_id"], r["session_id"],
            datetime.datetime.strptime(r["page_view_start"], "%Y-%m-%d %H:%M:%S"),
            r["marketing_medium"], r["marketing_source"], r["marketing_campaign"],
        )
        for r in read(exports / "identity" / "snowplow_page_views_expected.csv")
    )  # fmt: skip
    assert connection.sql("select records_in, records_skipped from runs").fetchall() == [(9, 2)]


def test_without_linking_a_visit_before_the_sign_in_stays_with_the_cookie(published: Published, exports: Path) -> None:
    connection = published(*identity_inputs(exports), as_of="2018-02-01T00:00:00Z", identity_policy="none")
    found = connection.sql(
        "select distinct customer_key from touchpoints where anonymous_id = 'domain_userid_2'"
    ).fetchall()
    assert set(found) == {("anon:domain_userid_2",), ("user_id_2",)}
