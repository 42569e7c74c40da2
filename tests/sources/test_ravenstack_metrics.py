"""RavenStack's numbers through the whole pipeline, each month and over all, held against a second working in plain Python.

The oracle (ravenstack_by_hand.py) reads the real export by itself and shares no line with the project.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.sources.ravenstack_by_hand import MOVEMENTS, RATES, Company, Figures, load
from tests.sources.test_ravenstack import inputs

Published = Callable[..., duckdb.DuckDBPyConnection]

AS_OF = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
#: These have rows in the currency that money is in.
MONEY = ("mrr", *MOVEMENTS, "mrr_churn_rate", "grr", "nrr")


@pytest.fixture(scope="module")
def company(exports: Path) -> Company:
    return load(exports / "ravenstack")


@pytest.fixture(scope="module")
def by_hand(company: Company) -> Figures:
    return company.lifecycle(AS_OF)


@pytest.fixture(scope="module")
def real(published: Published, exports: Path) -> duckdb.DuckDBPyConnection:
    return published(*inputs(exports / "ravenstack"), as_of="2025-01-01T00:00:00Z")


@pytest.mark.parametrize("metric", [*RATES, "mrr", *MOVEMENTS])
def test_every_month_and_over_all(real: duckdb.DuckDBPyConnection, by_hand: Figures, metric: str) -> None:
    """Numerator and denominator exactly; the value is their quotient, and null where there is nothing to divide by."""
    rows = real.execute(
        "select period_start, numerator, denominator, value, currency from lifecycle_metrics where metric = ? and segment = 'all'",
        [metric],
    ).fetchall()
    assert {row[4] for row in rows} == {"USD" if metric in MONEY else None}
    found = {month: (numerator, denominator) for month, numerator, denominator, *_ in rows}
    assert len(found) == len(rows), "one row a period"
    assert found == {month: figure for (name, month), figure in by_hand.items() if name == metric}
    assert len(found) == 26, "January 2023 to January 2025, and over all"
    for _, numerator, denominator, value, _ in rows:
        if denominator is None:
            assert value == float(numerator)
        else:
            assert value == (float(numerator / denominator) if denominator else None)


def test_what_is_final(real: duckdb.DuckDBPyConnection) -> None:
    """All months but that of as-of, which has lasted a moment: nothing in the export is still to come."""
    rows = real.execute(
        "select distinct period_start, status from lifecycle_metrics where metric in (select unnest(?)) and period_kind = 'month'",
        [[*RATES, "mrr", *MOVEMENTS]],
    ).fetchall()
    assert {month for month, status in rows if status == "provisional"} == {datetime.date(2025, 1, 1)}
    assert len(rows) == 25


def test_why_customers_churned(real: duckdb.DuckDBPyConnection, company: Company, by_hand: Figures) -> None:
    """By reason: the churned of every month; the openings are the same for each. A cancellation gives no reason."""
    rows = real.execute("""
        select period_start, segment_value, numerator, denominator from lifecycle_metrics
        where metric = 'churn_rate' and segment = 'reason'
    """).fetchall()
    expected: dict[tuple[str, datetime.date | None], int] = defaultdict(int)
    for (reason, month), churned in company.churn_by_reason(AS_OF).items():
        for period in (month, None):
            expected[reason or "(none)", period] += churned
    assert {(reason, month): numerator for month, reason, numerator, _ in rows if numerator} == expected
    assert {reason for _, reason, *_ in rows} == {
        "features", "support", "budget", "unknown", "competitor", "pricing", "(none)",
    }  # fmt: skip
    for month, _, _, denominator in rows:
        assert denominator == by_hand["churn_rate", month][1]


def test_a_closing_says_why_where_a_cancellation_of_that_moment_does_not(
    real: duckdb.DuckDBPyConnection, exports: Path
) -> None:
    """On 19 July 2024 at noon A-6a4e2d cancels a subscription, and the account is closed: the closing counts."""
    raw = f"read_csv('{exports}/ravenstack/ravenstack_"
    [(cancelled, reason)] = real.execute(f"""
        select s.subscription_id, c.reason_code from {raw}subscriptions.csv') as s join {raw}churn_events.csv') as c using (account_id)
        where account_id = 'A-6a4e2d' and end_date = date '2024-07-19' and churn_date = date '2024-07-19'
    """).fetchall()
    ends = real.execute("""
        select subscription_id, ended_by, reason from subscription_periods
        where customer_key = 'A-6a4e2d' and ended_at = timestamptz '2024-07-19 12:00:00+00'
    """).fetchall()
    assert cancelled in {subscription for subscription, *_ in ends}
    assert {(ended_by, why) for _, ended_by, why in ends} == {("account_closed", reason)}


def test_churn_events_by_reason(real: duckdb.DuckDBPyConnection, company: Company) -> None:
    """The closings by the reason they give, and the cancellations, which give none."""
    found = dict(
        real.execute("""
            select segment_value, numerator from lifecycle_metrics
            where metric = 'churn_events' and segment = 'reason' and period_kind = 'all'
        """).fetchall()
    )
    cancelled = sum(s.cancelled is not None and s.cancelled <= AS_OF for s in company.subscriptions)
    assert found == {**company.churn_events_by_reason(), "(none)": cancelled}
    assert {reason: n for reason, n in found.items() if reason != "(none)"} == {
        "features": 114, "support": 104, "budget": 104, "unknown": 95, "competitor": 92, "pricing": 91,
    }  # fmt: skip
    months = real.execute("""
        select period_start, numerator from lifecycle_metrics
        where metric = 'churn_events' and segment = 'all' and period_kind = 'month'
    """).fetchall()
    by_month: dict[datetime.date, int] = defaultdict(int)
    for at in [c.at for c in company.closings] + [s.cancelled for s in company.subscriptions if s.cancelled]:
        by_month[at.date().replace(day=1)] += 1
    assert {month: n for month, n in months if n} == by_month


def test_the_mean_first_response(real: duckdb.DuckDBPyConnection, company: Company) -> None:
    [(value, numerator, denominator)] = real.execute("""
        select value, numerator, denominator from lifecycle_metrics
        where metric = 'first_response_minutes_mean' and segment = 'all' and period_kind = 'all'
    """).fetchall()
    assert round(value, 2) == 88.48
    assert (numerator, denominator) == (sum(company.response_minutes) * 60, len(company.response_minutes))
    assert Decimal(round(value, 9)) == pytest.approx(Decimal(float(company.mean_first_response_minutes())))


def test_customers_and_subscriptions_churn_at_rates_of_their_own(real: duckdb.DuckDBPyConnection) -> None:
    """Accounts have several subscriptions and come back within the month: both rates are right, and they differ."""
    rates = dict(
        real.execute("""
            select metric, value from lifecycle_metrics
            where metric in ('churn_rate', 'subscription_churn_rate') and segment = 'all' and period_kind = 'all'
        """).fetchall()
    )
    assert 0 < rates["churn_rate"] < rates["subscription_churn_rate"] < 1
