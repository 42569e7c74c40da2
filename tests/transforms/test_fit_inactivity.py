"""The days after which a buyer has lapsed, read from the data."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.cli import status_of
from pipelines.run import run
from pipelines.settings import load_settings
from pipelines.summary import render
from tests.lake_tables import read_tables
from transforms.fit_inactivity import GAPS, fit_inactivity, order_gaps

AS_OF = datetime.datetime(2026, 6, 30, tzinfo=datetime.UTC)


def gaps(*rows: tuple[int, bool, int, int]) -> pa.Table:
    """(days, is_open, gaps of the customer, count)."""
    return pa.Table.from_pylist([dict(zip(GAPS.names, row, strict=True)) for row in rows], GAPS)


def test_gaps_are_whole_days_and_the_last_one_is_open(steps: Any) -> None:
    """Ann: exactly 2 days, then 2 days and a second (within 3), then 10.5 days until as-of: she has waited 10."""
    rows = [
        {"type": "purchase", "at": at} for at in ("2026-06-15 12:00", "2026-06-17 12:00", "2026-06-19 12:00:01")
    ] + [{"type": "purchase", "at": "2026-06-01", "who": "anon:x"}]
    found = order_gaps(steps.stitch(rows)["touchpoints"], AS_OF, steps.connection).to_pylist()
    assert sorted((row["days"], row["is_open"], row["gaps"], row["count"]) for row in found) == [
        (2, False, 3, 1), (3, False, 3, 1), (10, True, 3, 1),
    ]  # fmt: skip


def test_the_95th_percentile_by_hand() -> None:
    """40 customers with two orders 10 days apart and 100 days of silence, 40 with 30 days: each gap weighs a half.

    Of the 80 gaps that ended (weight 40 of 80) 20 by day 10, 20 by day 30; then 40 wait to day 100: S(10) = 60/80, S(30) =
    60/80 x 40/60 = 1/2. Never 95 %: no lapse can be told.
    """
    table = gaps((10, False, 2, 40), (30, False, 2, 40), (100, True, 2, 80))
    found = fit_inactivity([table])
    assert (found.days, found.customers) == (None, 80)
    assert found.reason == "fewer than 95% of orders are followed by another"
    # With the silence cut at 5 days, before anything came, all that is seen comes by day 30: S(10) = 1/2, S(30) = 0.
    early = gaps((10, False, 2, 40), (30, False, 2, 40), (5, True, 2, 80))
    assert fit_inactivity([early]).days == 30


def test_each_customer_weighs_the_same() -> None:
    """One who orders every day a hundred times does not outvote ninety-nine who come back after 50 days."""
    table = gaps((1, False, 100, 99), (0, True, 100, 1), (50, False, 2, 99), (0, True, 2, 99))
    assert fit_inactivity([table]).days == 50


def test_too_few_buyers_say_nothing() -> None:
    found = fit_inactivity([gaps((10, False, 2, 29), (0, True, 2, 29))])
    assert (found.days, found.reason) == (None, "fewer than 30 buyers")
    assert fit_inactivity([]).customers == 0


def test_the_cut_does_not_matter() -> None:
    rows = [(n % 37 + 1, False, n % 5 + 1, 1) for n in range(200)] + [(n % 11, True, n % 5 + 1, 1) for n in range(200)]
    whole = fit_inactivity([gaps(*rows)])
    assert whole == fit_inactivity([gaps(*rows[n::3]) for n in (2, 0, 1)])
    assert whole.days is not None


@pytest.mark.parametrize("days_apart", [20, 45])
def test_a_run_that_fits_lapses_buyers_by_it(days_apart: int, tmp_path: Path) -> None:
    """Forty buyers order every so many days until as-of, but for two who stopped half a year before: these have lapsed."""
    start = datetime.datetime(2025, 1, 1, 12, tzinfo=datetime.UTC)
    with (tmp_path / "events.jsonl").open("w") as out:
        for who in range(40):
            number = 0
            at = start + datetime.timedelta(hours=who)
            end = AS_OF - datetime.timedelta(days=180 if who < 2 else 0)
            while at < end:
                order = f"o{who}-{number}"
                event = {"event_id": order, "event_type": "purchase", "occurred_at": at.isoformat(), "order_id": order,
                         "customer_id": f"c{who}", "amount": 10, "currency": "EUR"}  # fmt: skip
                out.write(json.dumps(event) + "\n")
                at, number = at + datetime.timedelta(days=days_apart), number + 1
    (tmp_path / "settings.toml").write_text('inactivity_days = "fit"\n')
    settings = load_settings(str(tmp_path / "settings.toml"), as_of=AS_OF)
    run([str(tmp_path / "events.jsonl")], str(tmp_path / "lake"), settings)
    tables = read_tables(tmp_path / "lake")
    [row] = [row for row in tables["model_parameters"].to_pylist() if row["model"] == "inactivity"]
    assert (row["parameter"], row["value"], row["n"]) == ("inactivity_days", days_apart, 40)
    churned = {row["customer_key"] for row in tables["customers"].to_pylist() if row["churned_at"] is not None}
    assert churned == {"c0", "c1"}


def test_where_nothing_is_fitted_no_lapse_is_told_and_the_reason_stands_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three buyers are too few. Nobody knows who has lapsed: that is no churn of 0, and no longest lifespan."""
    with (tmp_path / "events.jsonl").open("w") as out:
        for who in range(3):
            event = {"event_id": f"e{who}", "event_type": "purchase", "occurred_at": "2026-01-10T10:00:00Z",
                     "order_id": f"o{who}", "customer_id": f"c{who}", "amount": 10, "currency": "EUR"}  # fmt: skip
            out.write(json.dumps(event) + "\n")
    (tmp_path / "settings.toml").write_text('inactivity_days = "fit"\n')
    settings = load_settings(str(tmp_path / "settings.toml"), as_of=AS_OF)
    lake = str(tmp_path / "lake")
    result = run([str(tmp_path / "events.jsonl")], lake, settings)
    assert 'inactivity_days = "fit" found no days (fewer than 30 buyers)' in render(result)
    tables = read_tables(tmp_path / "lake")
    [row] = [row for row in tables["model_parameters"].to_pylist() if row["model"] == "inactivity"]
    assert (row["converged"], row["reason"], row["n"]) == (False, "fewer than 30 buyers", 3)
    assert {row["has_lapsed"] for row in tables["customer_months"].to_pylist()} == {None}
    for name in ("churn_rate_lapsed", "clv_simple"):
        told = [row for row in tables["lifecycle_metrics"].to_pylist() if row["metric"] == name]
        assert told and {row["value"] for row in told} == {None}
        assert status_of(["explain", "--lake", lake, "--metric", name]) == 0
        text = capsys.readouterr().out
        assert 'No value     inactivity_days = "fit" found no days: fewer than 30 buyers' in text
        assert "DO NOT ADD UP" not in text
