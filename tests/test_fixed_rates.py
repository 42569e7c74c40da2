"""A company that sells in euros and dollars, through the real command: with fixed rates all of its money is in one currency."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.lake_tables import in_order_of_key, read_tables
from tests.real_command import run_command

SETTINGS = 'as_of = "2026-03-01T00:00:00Z"\n'
RATES = '[currency]\nbase = "EUR"\nrates = { USD = "0.92", GBP = 1.17 }\n'
LARGE = '{"event_id": "p9", "event_type": "purchase", "occurred_at": "2026-01-05T10:00:00Z", "customer_id": "bob", '
LARGE += '"order_id": "o-9", "amount": 99999999999999, "currency": "GBP"}'


def event(event_id: str, event_type: str, at: str, who: str, **fields: Any) -> str:
    own = {"event_id": event_id, "event_type": event_type, "occurred_at": f"2026-{at}:00Z", "customer_id": who}
    return json.dumps(own | fields)


EVENTS = [
    event("p1", "purchase", "01-05T10:00", "ann", order_id="o-1", amount=10, currency="EUR"),
    event("p2", "purchase", "01-06T10:00", "ann", order_id="o-2", amount=100, currency="USD"),  # 92.00
    event("r2", "refund", "01-07T10:00", "ann", order_id="o-2", amount=25, currency="USD"),  # 23.00
    event("p2", "purchase", "01-06T10:00", "ann", order_id="o-2", amount=100, currency="USD"),  # a copy
    event("p3", "purchase", "01-08T10:00", "bob", order_id="o-3", amount=50, currency="CHF"),  # without a rate
    # A subscriber who changes the currency, and pays what she paid: 30 dollars are 27.60 euros.
    event("s1", "subscription_started", "01-10T10:00", "cleo", subscription_id="s-1", amount=30, currency="USD",
          period_months=1),
    event("s2", "renewal", "02-10T10:00", "cleo", subscription_id="s-1", amount=27.6, currency="EUR", period_months=1),
    # Two copies of one id at one moment, of one worth: which of them is kept is decided by what was sent.
    event("p4", "purchase", "01-12T10:00", "dan", order_id="o-6", amount=50, currency="USD"),  # 46.00
    event("p4", "purchase", "01-12T10:00", "dan", order_id="o-6", amount=46, currency="EUR"),
    # A currency, and no money in it: nothing is converted, and nothing lacks a rate.
    event("v1", "ad_view", "01-05T09:00", "eve", campaign_id="c", currency="USD"),
    event("v2", "ad_view", "01-05T09:01", "eve", campaign_id="c", currency="CHF"),
    LARGE,
]  # fmt: skip


def run(folder: Path, settings: str, pieces: list[list[str]]) -> Path:
    (folder / "events").mkdir(parents=True)
    for number, lines in enumerate(pieces):
        (folder / "events" / f"{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "settings.toml").write_text(settings, encoding="utf-8")
    done = run_command(
        ["run", "--input", f"{folder}/events", "--output", f"{folder}/lake", "--settings", f"{folder}/settings.toml"],
        folder,
    )
    assert done.status == 0, done.err
    (folder / "summary.txt").write_text(done.out, encoding="utf-8")
    return folder / "lake"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rates")


@pytest.fixture(scope="module")
def lake(folder: Path) -> Path:
    return run(folder / "with", SETTINGS + RATES, [EVENTS])


@pytest.fixture(scope="module")
def without(folder: Path) -> Path:
    return run(folder / "without", SETTINGS, [EVENTS[:-1]])


def told(tables: dict[str, pa.Table], metric: str, period_kind: str = "all") -> list[tuple[Any, ...]]:
    rows = [
        (row["currency"], row["value"])
        for row in tables["lifecycle_metrics"].to_pylist()
        if (row["metric"], row["period_kind"], row["segment"]) == (metric, period_kind, "all")
    ]
    return sorted(rows, key=str)


def test_all_money_with_a_rate_is_in_one_row(lake: Path, without: Path) -> None:
    converted, plain = read_tables(lake), read_tables(without)
    # Euros, from January on: 10 + 92 - 23 + 27.60 + 46 + 27.60. Francs have no rate and stay francs.
    assert told(converted, "revenue") == [("CHF", 50.0), ("EUR", 180.2)]
    # By currency: 10 + 27.60 and 100 - 25 + 30 + 50.
    assert told(plain, "revenue") == [("CHF", 50.0), ("EUR", 37.6), ("USD", 155.0)]
    # Who changes the currency is no more lost in one and won in the other.
    assert [row for row in told(converted, "mrr") if row[1]] == [("EUR", 27.6)]
    assert told(converted, "nrr", "month") == [("EUR", 1.0), ("EUR", 1.0), ("EUR", None)]
    assert ("USD", 0.0) in told(plain, "nrr", "month")
    ann = next(row for row in converted["customers"].to_pylist() if row["customer_key"] == "ann")
    assert (ann["revenue"], ann["currency"]) == (Decimal("79.0000"), "EUR")


def test_customers_and_all_that_is_no_money_stay_what_they_were(lake: Path, without: Path) -> None:
    converted, plain = read_tables(lake), read_tables(without)
    for name, columns in (
        ("touchpoints", ["customer_key", "seq", "event_id", "journey_no", "stage"]),
        ("customers", ["customer_key", "orders", "journeys", "current_stage", "first_seen_at"]),
        ("journeys", ["customer_key", "journey_no", "stage_path", "status"]),
        ("sessions", ["session_id"]),
    ):
        assert converted[name].select(columns).equals(plain[name].select(columns)), name
    originals = ["original_cost", "original_amount", "original_currency"]
    assert all(plain["touchpoints"][name].null_count == plain["touchpoints"].num_rows for name in originals)


def test_what_was_sent_stands_beside_what_was_made_of_it(lake: Path, without: Path) -> None:
    converted = {row["event_id"]: row for row in read_tables(lake)["touchpoints"].to_pylist()}
    plain = {row["event_id"]: row for row in read_tables(without)["touchpoints"].to_pylist()}
    assert {
        name: (row["amount"], row["currency"], row["original_amount"], row["original_currency"])
        for name, row in converted.items()
        if name != "p4"
    } == {
        "p1": (Decimal(10), "EUR", None, None),
        "p2": (Decimal(92), "EUR", Decimal(100), "USD"),
        "r2": (Decimal(23), "EUR", Decimal(25), "USD"),
        "p3": (Decimal(50), "CHF", None, None),
        "s1": (Decimal("27.6"), "EUR", Decimal(30), "USD"),
        "s2": (Decimal("27.6"), "EUR", None, None),
        "v1": (None, "EUR", None, "USD"),
        "v2": (None, "CHF", None, None),
    }
    for name, row in converted.items():
        sent = (row["original_amount"] or row["amount"], row["original_currency"] or row["currency"])
        assert sent == (plain[name]["amount"], plain[name]["currency"]), "the same copy is kept with rates and without"


def test_what_no_longer_fits_is_quarantined_as_it_was_sent(lake: Path) -> None:
    [row] = read_tables(lake)["quarantine"].to_pylist()
    assert row["raw"] == LARGE
    assert [(e["code"], e["path"], e["observed"]) for e in row["errors"]] == [
        ("field.range", "amount", "99999999999999.0000")
    ]


def test_any_cut_gives_the_same_tables(folder: Path, lake: Path) -> None:
    pieces = [[line] for line in reversed(EVENTS)]
    again = run(folder / "cut", SETTINGS + "shards = 3\n" + RATES, pieces)
    assert in_order_of_key(again) == in_order_of_key(lake)


def test_explain_shows_the_original_beside_the_converted_amount(folder: Path, lake: Path) -> None:
    done = run_command(["explain", "--lake", str(lake), "ann"], folder)
    words = " ".join(done.out.replace("\u00a0", " ").split())
    assert "amount 92.00 EUR (sent as 100.00 USD)" in words
    assert "amount 10.00 EUR;" in words or "amount 10.00 EUR," in words
    assert "original_" not in words


def test_a_wrong_rate_ends_the_command_with_its_mend(folder: Path) -> None:
    (folder / "wrong.toml").write_text('[currency]\nbase = "EUR"\nrates = { USD = "0,92" }\n', encoding="utf-8")
    done = run_command(["check", "--input", "events.jsonl", "--settings", f"{folder}/wrong.toml"], folder)
    assert done.status == 2
    assert "currency.rates.USD = '0,92': is not a number; write what one unit is worth in the base" in done.err
    assert "\nmend: rates: What one unit of each other currency is worth" in done.err


def test_the_summary_counts_what_was_converted_and_what_was_not(lake: Path, without: Path) -> None:
    title, *rows = (lake.parent / "summary.txt").read_text(encoding="utf-8").partition("Money by")[2].splitlines()[:3]
    assert "the rates of the setting currency" in title
    assert [row.split(maxsplit=2) for row in rows] == [
        ["CHF", "1", "without a rate, as sent"],
        ["USD", "5", "converted"],  # p2 and its copy, r2, s1, p4
    ]
    assert "Money by" not in (without.parent / "summary.txt").read_text(encoding="utf-8")
