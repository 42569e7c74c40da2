"""The setting `periods`: metrics by quarters, weeks and days, beside the months; worked out by hand, and held to the months."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.catalog import connect
from pipelines.cli import status_of
from pipelines.errors import UsageError
from pipelines.explain_metric import Asked, explain_metric, explaining
from pipelines.run import run
from pipelines.settings import load_settings

COMPANY = Path(__file__).parents[2] / "fixtures" / "company"
PERIODS = 'periods = ["week", "day", "quarter"]\n'

#: In Berlin the first order is of Monday 16 February, 00:30, and the last of 1 April. bob pays 30 a month from 10 January on,
#: cancels on Friday 20 March, and pays 30 again from 6 April on.
EVENTS = """
purchase             | 2026-02-15T23:30:00Z | ann | o1 | 10.00 |
purchase             | 2026-02-18T12:00:00Z | ann | o2 | 5.00  |
purchase             | 2026-03-31T22:00:00Z | ann | o3 | 1.00  |
subscription_started | 2026-01-10T12:00:00Z | bob |    | 30.00 | s1
cancellation         | 2026-03-20T12:00:00Z | bob |    |       | s1
subscription_started | 2026-04-06T12:00:00Z | bob |    | 30.00 | s2
"""


def events() -> Iterator[dict[str, Any]]:
    for number, line in enumerate(EVENTS.strip().splitlines()):
        kind, at, who, order, amount, subscription = (cell.strip() for cell in line.split("|"))
        event: dict[str, Any] = {"event_id": f"e{number}", "event_type": kind, "occurred_at": at, "customer_id": who}
        if amount:
            event |= {"amount": float(amount), "currency": "EUR"}
        if order:
            event["order_id"] = order
        if subscription:
            event["subscription_id"] = subscription
            event |= {"kind": "effective"} if kind == "cancellation" else {"period_months": 1, "plan": "pro"}
        yield event


def made(folder: Path, inputs: str, settings: str, as_of: str) -> str:
    (folder / "settings.toml").write_text(settings)
    run([inputs], str(folder / "lake"), load_settings(str(folder / "settings.toml"), as_of=as_of))
    return str(folder / "lake")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """ann and bob, in Berlin, as of Wednesday 8 April."""
    folder = tmp_path_factory.mktemp("periods")
    file = folder / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events()))
    return made(folder, str(file), PERIODS + 'timezone = "Europe/Berlin"\n', "2026-04-08T12:00:00Z")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("company"), str(COMPANY), PERIODS, "2026-03-31T00:00:00Z")


def told(lake: str, metric: str, kind: str) -> dict[str, tuple[float | None, str]]:
    """value and status by period_start, where there was something to tell."""
    with connect(lake) as con:
        found = con.execute(
            "select period_start::varchar, value, status from lifecycle_metrics where metric = ? and period_kind = ? "
            "and segment = 'all' and (numerator > 0 or denominator > 0)",
            [metric, kind],
        ).fetchall()
    return {start: (value, status) for start, value, status in found}


def test_an_order_counts_in_the_local_day_week_and_quarter(small: str) -> None:
    final = {"2026-02-16": (10.0, "final"), "2026-02-18": (5.0, "final"), "2026-04-01": (1.0, "final")}
    assert told(small, "revenue_orders", "day") == final
    assert told(small, "revenue_orders", "week") == {"2026-02-16": (15.0, "final"), "2026-03-30": (1.0, "final")}
    assert told(small, "revenue_orders", "quarter") == {
        "2026-01-01": (15.0, "final"),
        "2026-04-01": (1.0, "provisional"),
    }


def test_stocks_are_those_at_the_end_of_the_period(small: str) -> None:
    weeks = told(small, "mrr", "week")
    paid = [f"{datetime.date(2026, 1, 5) + datetime.timedelta(weeks=n)}" for n in range(10)]  # 5 January to 9 March
    assert weeks == {**dict.fromkeys(paid, (30.0, "final")), "2026-04-06": (30.0, "provisional")}
    assert told(small, "mrr", "quarter") == {"2026-04-01": (30.0, "provisional")}  # gone by the end of March


def test_churn_compares_the_ends_of_the_period(small: str) -> None:
    """Of those there at the beginning: bob was not on 1 January, and was on 16 March, a Monday, and on the 20th."""
    assert told(small, "churn_rate", "quarter") == {}
    weeks = told(small, "churn_rate", "week")
    assert [week for week, (value, _) in weeks.items() if value == 1] == ["2026-03-16"]
    assert len(weeks) == 10  # the weeks of 12 January to 16 March begin with him
    days = told(small, "churn_rate", "day")
    assert [day for day, (value, _) in days.items() if value] == ["2026-03-20"]
    assert len(days) == 21 + 28 + 20 + 2  # 11 January to 20 March, 7 and 8 April
    assert told(small, "mrr_reactivation", "week") == {"2026-04-06": (30.0, "provisional")}


def test_periods_follow_each_other(small: str) -> None:
    """Also over the day of 23 hours, Sunday 29 March; from the first event's to that of as-of."""
    with connect(small) as con:
        spans = con.execute(
            "select period_kind, count(distinct period_start), min(period_start)::varchar, max(period_end)::varchar "
            "from lifecycle_metrics where period_start is not null group by period_kind order by period_kind"
        ).fetchall()
    assert spans == [
        ("day", 89, "2026-01-10", "2026-04-09"), ("month", 4, "2026-01-01", "2026-05-01"),
        ("quarter", 2, "2026-01-01", "2026-07-01"), ("week", 14, "2026-01-05", "2026-04-13"),
    ]  # fmt: skip


def test_what_is_added_up_agrees_with_the_months(company: str) -> None:
    """Days add up to their month and quarter, in every segment and currency, where each event counts once."""
    metrics = ("revenue", "revenue_orders", "revenue_subscriptions", "orders", "new_customers", "churn_events", "csat")
    with connect(company) as con:
        sums = con.execute(
            """
            select period_kind, metric, segment, segment_value, currency,
                date_trunc(if(period_kind = 'quarter', 'quarter', 'month'), period_start)::date as period,
                sum(numerator) as numerator, sum(denominator) as denominator, sum(n) as n
            from lifecycle_metrics
            where metric in (select unnest(?)) and period_kind in ('day', 'month', 'quarter')
            group by all having sum(n) > 0
            order by all
            """,
            [metrics],
        ).fetchall()
        quarters = con.execute(
            """
            select metric, count(*) from (
                select metric, segment, segment_value, currency, date_trunc('quarter', period_start) as quarter, sum(numerator) as a
                from lifecycle_metrics where period_kind = 'month' and metric in (select unnest($m)) group by all
            ) as m
            join (select * from lifecycle_metrics where period_kind = 'quarter') as q
                on m.metric = q.metric and m.segment = q.segment and m.segment_value is not distinct from q.segment_value
                and m.currency is not distinct from q.currency and m.quarter = q.period_start
            where m.a <> q.numerator
            group by m.metric
            """.replace("select metric, count(*)", "select m.metric, count(*)"),
            {"m": metrics},
        ).fetchall()
    of_kind = {kind: [row[1:] for row in sums if row[0] == kind] for kind in ("day", "month")}
    assert of_kind["day"] == of_kind["month"] and len(of_kind["day"]) > 100
    assert quarters == []


def test_every_number_is_explained(company: str) -> None:
    """Of everyone, in each kind of period: what explain adds up is published."""
    samples = {"day": "2025-11-20", "week": "2026-01-26", "quarter": "2025-10-01"}
    wrong, looked_at = [], 0
    with connect(company) as con:
        numbers = con.execute(
            "select distinct period_kind, metric, segment, segment_value, period_start from lifecycle_metrics where period_start "
            "is not null and n > 0 and segment in ('all', 'stage', 'reason') order by all"
        ).fetchall()
    for kind, day in samples.items():
        start = datetime.date.fromisoformat(day)
        name = {"day": day, "week": f"{start:%G-W%V}", "quarter": f"{start.year}-Q{(start.month + 2) // 3}"}[kind]
        with explaining(company, None, kind) as explain:
            for of_kind, metric, segment, value, first in numbers:
                if (of_kind, first) == (kind, start):
                    found = explain(Asked(metric, name, None, segment if segment != "all" else None, value))
                    looked_at += 1
                    if found.agree is not True:
                        wrong.append((name, metric, segment, value, found.published, found.sums))
    assert wrong == [] and looked_at > 100


def test_a_day_is_not_the_month_that_begins_with_it(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain_metric(small, Asked("revenue", "2026-04-01")).published[0]["value"] == 1
    assert explain_metric(small, Asked("revenue", "2026-04")).published[0]["value"] == 31
    assert status_of(["explain", "--lake", small, "--metric", "revenue", "--period", "2026-W15"]) == 0
    assert "revenue, 2026-W15" in capsys.readouterr().out


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-W54", "2026-Q5", "2026-02-30", "week", ""])
def test_what_is_no_period_is_named(small: str, period: str) -> None:
    with pytest.raises(UsageError, match="is no period") as caught:
        explain_metric(small, Asked("revenue", period))
    assert "2026-W07" in caught.value.mend


def test_a_run_without_them_says_how_to_have_them(tmp_path: Path) -> None:
    lake = made(tmp_path, str(COMPANY), "", "2026-03-31T00:00:00Z")
    with connect(lake) as con:
        kinds = con.execute("select distinct period_kind from lifecycle_metrics order by 1").fetchall()
    assert kinds == [("all",), ("month",)]
    with pytest.raises(UsageError, match="no revenue of 2026-W07") as caught:
        explain_metric(lake, Asked("revenue", "2026-W07"))
    assert 'periods = ["week"]' in caught.value.mend


def test_other_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('periods = ["year"]\n')
    with pytest.raises(UsageError, match="periods"):
        load_settings(str(tmp_path / "settings.toml"))
