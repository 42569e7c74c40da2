"""RavenStack's five files through the whole pipeline: a small export by hand, and the real one held against plain SQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.real_command import run_command

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "ravenstack"
FILES = ("accounts", "subscriptions", "feature_usage", "support_tickets", "churn_events")

Published = Callable[..., duckdb.DuckDBPyConnection]


def inputs(folder: Path, *files: str) -> list[str]:
    return [f"ravenstack.{name}:{folder}/ravenstack_{name}.csv" for name in files or FILES]


# ---- the small export, worked out by hand ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(published: Published) -> duckdb.DuckDBPyConnection:
    return published(*inputs(FIXTURES), as_of="2024-07-01T00:00:00Z")


def test_every_record_is_accounted_for(small: duckdb.DuckDBPyConnection) -> None:
    counts = small.sql(
        "select records_in, records_mapped, records_skipped, events_in, touchpoints, duplicates, quarantined from runs"
    ).fetchall()
    assert counts == [(16, 14, 2, 21, 20, 1, 0)]


def test_the_timeline_of_an_account(small: duckdb.DuckDBPyConnection) -> None:
    """Day by day: a start is at midnight, an end at noon, so that on one day the start comes first."""
    found = small.sql("""
        select strftime(occurred_at, '%m-%d %H:%M'), event_id, stage
        from touchpoints where customer_key = 'A-1' order by seq
    """).fetchall()
    assert found == [
        ("12-24 00:00", "U-1:product_usage", "consideration"),  # used before the subscription began
        ("01-05 00:00", "S-3:subscription_started", "purchase"),
        ("01-05 12:00", "S-3:cancellation", "churned"),
        ("01-10 00:00", "S-1:subscription_started", "loyalty"),
        ("02-01 00:00", "U-2:product_usage", "onboarding"),
        ("02-03 00:00", "T-1:ticket_opened", "service"),
        ("02-03 01:14", "T-1:ticket_replied", "service"),
        ("02-04 03:00", "T-1:survey_response", "service"),
        ("02-04 03:00", "T-1:ticket_resolved", "service"),
        ("02-05 00:00", "T-2:ticket_opened", "service"),
        ("02-05 01:00", "T-2:ticket_resolved", "service"),
        ("02-05 01:30", "T-2:ticket_replied", "service"),  # as the export has it
        ("02-20 12:00", "C-1:account_closed", "churned"),
        ("03-15 00:00", "S-2:subscription_started", "loyalty"),  # the account came back
        ("03-15 12:00", "C-2:account_closed", "churned"),
    ]


def test_usage_finds_its_customer_by_the_subscription(small: duckdb.DuckDBPyConnection) -> None:
    """The earlier U-3 is kept and the other is the duplicate. Of S-9 no file tells whose it is."""
    found = small.sql("""
        select event_id, customer_key, is_known, subscription_id, feature, duration_s, error_count
        from touchpoints where event_type = 'product_usage' order by event_id
    """).fetchall()
    assert found == [
        ("U-1:product_usage", "A-1", True, "S-1", "feature_7", 5004.0, 0),
        ("U-2:product_usage", "A-1", True, "S-1", "feature_7", 120.0, 2),
        ("U-3:product_usage", "A-2", True, "S-4", "feature_2", 600.0, 0),
        ("U-4:product_usage", "subscription:ravenstack:S-9", False, "S-9", "feature_2", 30.0, 0),
    ]


def test_subscriptions(small: duckdb.DuckDBPyConnection) -> None:
    """S-1 outlives its month although it does not renew by itself: it ends with the account, not with its term."""
    found = small.sql("""
        select subscription_id, customer_key, status, strftime(ended_at, '%m-%d %H:%M'), plan, mrr, currency, auto_renews
        from subscriptions order by 1
    """).fetchall()
    assert found == [
        ("S-1", "A-1", "account_closed", "02-20 12:00", "Basic", Decimal("171.0000"), "USD", True),
        ("S-2", "A-1", "account_closed", "03-15 12:00", "Pro", Decimal("100.0000"), "USD", True),
        ("S-3", "A-1", "cancelled", "01-05 12:00", "Basic", Decimal("0.0000"), "USD", True),
        ("S-4", "A-2", "cancelled", "05-31 12:00", "Pro", Decimal("882.0000"), "USD", True),
    ]


def test_tickets(small: duckdb.DuckDBPyConnection) -> None:
    found = small.sql(
        "select ticket_id, customer_key, priority, first_response_s, resolution_s, is_open from tickets order by 1"
    )
    assert found.fetchall() == [
        ("T-1", "A-1", "high", 74 * 60, 27 * 3600, False), ("T-2", "A-1", "low", 90 * 60, 3600, False),
        ("T-3", "A-2", "urgent", None, None, True),
    ]  # fmt: skip
    answers = small.sql(
        "select customer_key, survey_type, score, scale_min, scale_max, ticket_id from touchpoints where score is not null"
    )
    assert answers.fetchall() == [("A-1", "csat", 4.0, 1.0, 5.0, "T-1")]


def test_why_and_whence(small: duckdb.DuckDBPyConnection) -> None:
    churned = small.sql(
        "select event_id, reason, extra from touchpoints where event_type = 'account_closed' order by 1"
    ).fetchall()
    assert [(event_id, reason) for event_id, reason, _ in churned] == [
        ("C-1:account_closed", "pricing"), ("C-2:account_closed", "features"),
    ]  # fmt: skip
    assert json.loads(churned[0][2]) == {
        "feedback_text": "too expensive", "is_reactivation": False, "preceding_downgrade_flag": False,
        "preceding_upgrade_flag": False, "refund_amount_usd": 4.03,
    }  # fmt: skip
    found = small.sql(
        "select customer_key, first_channel, churn_reason from customers where is_known order by 1"
    ).fetchall()
    assert found == [("A-1", "partner", "features"), ("A-2", "ads", None)]


def test_through_the_real_command(tmp_path: Path) -> None:
    named = [word for text in inputs(FIXTURES) for word in ("--input", text)]
    done = run_command(["run", *named, "--output", str(tmp_path / "lake"), "--as-of", "2024-07-01T00:00:00Z"], tmp_path)
    assert done.status == 0, done.err
    assert "records in  16  = 14 mapped + 2 skipped + 0 unreadable" in done.out


def test_nothing_wrong_goes_by_in_silence(published: Published, tmp_path: Path) -> None:
    """What a description cannot read is null, and the event that needs it is quarantined with its row."""
    wrong = {
        "subscriptions": [
            "S-5,A-1,2024-02-30,,Basic,9,171,2052,FALSE,FALSE,FALSE,FALSE,monthly,TRUE",
            "S-6,A-1,2024-02-20,31.5.24,Basic,9,171,2052,FALSE,FALSE,FALSE,FALSE,weekly,TRUE",
        ],
        "support_tickets": ["T-4,A-1,2024-02-20,2024-02-21,soon,low,soon,9,FALSE"],
        "feature_usage": ["U-5,S-1,2024-02-20,feature_1,1,-3,x,FALSE"],
        "churn_events": ["C-3,,2024-02-20,pricing,,,,,"],
    }
    for file in FIXTURES.glob("*.csv"):
        rows = wrong.get(file.stem.removeprefix("ravenstack_"), [])
        (tmp_path / file.name).write_text(file.read_text() + "".join(f"{row}\n" for row in rows))
    connection = published(*inputs(tmp_path), as_of="2024-07-01T00:00:00Z")
    found = connection.sql("select event_id, list_transform(errors, lambda e: e.code || ' ' || e.path) from quarantine")
    assert {event_id: sorted(errors) for event_id, errors in found.fetchall()} == {
        "S-5:subscription_started": ["field.missing occurred_at"],
        "S-6:subscription_started": ["field.type period_months"],
        "S-6:cancellation": ["field.missing occurred_at"],
        "T-4:ticket_replied": ["field.missing occurred_at"],
        "T-4:survey_response": ["field.range score"],
        "U-5:product_usage": ["field.range duration_s", "field.type error_count"],
        "C-3:account_closed": ["identity.missing "],
    }
    resolved = connection.sql("select occurred_at::date::text from touchpoints where event_id = 'T-4:ticket_resolved'")
    assert resolved.fetchall() == [("2024-02-21",)], "by closed_at, where the hours cannot be read"


# ---- the real export -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(published: Published, exports: Path) -> duckdb.DuckDBPyConnection:
    connection = published(*inputs(exports / "ravenstack"), as_of="2025-01-01T00:00:00Z")
    for name in FILES:
        file = exports / "ravenstack" / f"ravenstack_{name}.csv"
        connection.execute(f"create temp view raw_{name} as select * from read_csv('{file}')")
    return connection


def test_it_goes_through_whole(real: duckdb.DuckDBPyConnection) -> None:
    counts = real.sql(
        "select records_in, records_mapped, records_skipped, records_unreadable, quarantined, duplicates from runs"
    )
    assert counts.fetchall() == [(33_100, 32_600, 500, 0, 0, 21)]
    assert real.sql("select count(*), count(*) filter (where is_known) from customers").fetchall() == [(500, 500)]


def test_every_usage_row_has_its_customer(real: duckdb.DuckDBPyConnection) -> None:
    """25,000 rows less 21 duplicates, each with the account of its subscription, 19,142 of them before it began."""
    found = real.sql("""
        select count(*), count(*) filter (where t.customer_key = s.account_id), count(*) filter (where t.occurred_at < s.start_date)
        from touchpoints as t join raw_subscriptions as s using (subscription_id)
        where event_type = 'product_usage'
    """).fetchall()
    early = real.sql("""
        select count(*) from (select * from raw_feature_usage qualify row_number() over (partition by usage_id order by usage_date) = 1)
        join raw_subscriptions using (subscription_id) where usage_date < start_date
    """).fetchall()
    assert found == [(24_979, 24_979, early[0][0])]
    every = "select count(*) from raw_feature_usage join raw_subscriptions using (subscription_id) where usage_date < start_date"
    assert real.sql(every).fetchall() == [(19_142,)]


def test_why_accounts_left(real: duckdb.DuckDBPyConnection) -> None:
    found = real.sql(
        "select reason, count(*) from touchpoints where event_type = 'account_closed' group by 1"
    ).fetchall()
    assert dict(found) == {
        "features": 114,
        "support": 104,
        "budget": 104,
        "unknown": 95,
        "competitor": 92,
        "pricing": 91,
    }
    assert real.sql("select count(*) from journeys where outcome = 'account_closed'").fetchall() == [(600,)]
    running = real.sql("""
        select count(*) from touchpoints as t where event_type = 'account_closed' and exists (
            select 1 from raw_subscriptions as s where s.account_id = t.customer_key and start_date <= t.occurred_at::date
                and (end_date is null or end_date >= t.occurred_at::date))
    """).fetchall()
    assert running == [(545,)]


def test_support(real: duckdb.DuckDBPyConnection) -> None:
    found = real.sql("""
        select metric, round(value, 4), denominator from lifecycle_metrics
        where period_kind = 'all' and segment = 'all' and metric in ('first_response_minutes_mean', 'resolution_hours_mean', 'csat')
    """).fetchall()
    raw = real.sql("""
        select round(avg(first_response_time_minutes), 4), round(avg(resolution_time_hours), 4),
            round(count(*) filter (where satisfaction_score >= 4) / count(satisfaction_score), 4) from raw_support_tickets
    """).fetchall()
    assert sorted(found) == [
        ("csat", raw[0][2], 1175), ("first_response_minutes_mean", 88.48, 2000), ("resolution_hours_mean", raw[0][1], 2000),
    ]  # fmt: skip
    days = real.sql(
        "select count(*) from tickets join raw_support_tickets using (ticket_id) where last_resolved_at::date = closed_at"
    )
    assert days.fetchall() == [(2000,)], "each is resolved on the day that the export says"


#: (customers with a subscription at a month's start, those without one at its end, subscriptions running, ended in it, MRR)
MONTHS = """
    with months as (
        select unnest(generate_series(timestamptz '2023-02-01', timestamptz '2024-12-01', interval 1 month)) as opens,
            opens + interval 1 month as closes
    ),
    states as (
        select opens, customer,
            count(*) filter (where begins < opens and ends >= opens) as running,
            count(*) filter (where begins < opens and ends >= opens and ends < closes) as ended,
            count(*) filter (where begins < closes and ends >= closes) as at_close,
            coalesce(sum(mrr) filter (where begins < closes and ends >= closes), 0)::bigint as mrr
        from {subscriptions}, months group by opens, customer
    )
    select strftime(opens, '%Y-%m'), count(*) filter (where running > 0), count(*) filter (where running > 0 and at_close = 0),
        sum(running)::bigint, sum(ended)::bigint, sum(mrr)::bigint
    from states group by opens order by opens
"""
PUBLISHED = """(
    select customer_key as customer, started_at as begins, coalesce(ended_at, timestamptz '9999-01-01') as ends, mrr
    from subscriptions
)"""


def test_months_with_the_churn_events(real: duckdb.DuckDBPyConnection) -> None:
    """Subscriptions end with end_date, or with the first churn event of the account on or after their first day."""
    raw = """(
        select account_id as customer, start_date::timestamptz as begins, mrr_amount as mrr,
            least(coalesce(end_date, date '9999-01-01'), coalesce(
                (select min(churn_date) from raw_churn_events as c where c.account_id = s.account_id and churn_date >= start_date),
                date '9999-01-01'))::timestamptz + interval 12 hours as ends
        from raw_subscriptions as s
    )"""
    found = real.sql(MONTHS.format(subscriptions=PUBLISHED)).fetchall()
    assert found[-1] == ("2024-12", 424, 41, 2335, 381, 6_023_960)
    assert found == real.sql(MONTHS.format(subscriptions=raw)).fetchall()


def test_months_as_billing_has_them(published: Published, exports: Path, real: duckdb.DuckDBPyConnection) -> None:
    """Without the churn events: each subscription runs to its own end_date, and one in ten ever ends."""
    connection = published(*inputs(exports / "ravenstack", "subscriptions"), as_of="2025-01-01T00:00:00Z")
    raw = """(
        select account_id as customer, start_date::timestamptz as begins, mrr_amount as mrr,
            coalesce(end_date, date '9999-01-01')::timestamptz + interval 12 hours as ends
        from raw_subscriptions
    )"""
    found = connection.sql(MONTHS.format(subscriptions=PUBLISHED)).fetchall()
    assert found[-1] == ("2024-12", 475, 0, 3754, 90, 10_159_608)
    assert found == real.sql(MONTHS.format(subscriptions=raw)).fetchall()
