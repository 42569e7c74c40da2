"""The numbers of the small company (fixtures/company), held against what was worked out by hand.

`_expected_numbers.json` has every month of every known customer, every cohort, every period of a subscription, and every
metric of the dictionary in every month and over all. One run makes the lake; what a reader could do with a pencil (months
that add up to the whole, MRR that moves from one month to the next) is asked of the file itself first.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.run import run
from pipelines.settings import load_settings
from schemas.dictionary import load_metrics
from tests.lake_tables import read_tables

COMPANY = Path(__file__).parent.parent / "fixtures" / "company"
EXPECTED: dict[str, Any] = json.loads(
    (COMPANY / "_expected_numbers.json").read_text(encoding="utf-8"), parse_float=Decimal
)
PERIODS: list[str] = EXPECTED["periods"]
MONTHS = PERIODS[:-1]
CUSTOMER_MONTHS = {name: given for name, given in EXPECTED["customer_months"].items() if name != "columns"}
DICTIONARY = load_metrics()
#: Segments of customers, of which some metrics are told by hand; the others are what a metric is told by.
OF_CUSTOMERS = {"first_channel", "plan"}

Row = dict[str, Any]
Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    lake = tmp_path_factory.mktemp("company_numbers") / "lake"
    run([str(COMPANY)], str(lake), load_settings(as_of=EXPECTED["as_of"]))
    return read_tables(lake)


# --- what was worked out, as rows -------------------------------------------------------------------------------------


def told(metric: str, series: Row) -> dict[str, Row]:
    """By period what lifecycle_metrics must say."""
    periods = series.get("periods", PERIODS)
    nothing = [None] * len(periods)
    numerator, denominator = series.get("numerator", nothing), series.get("denominator", nothing)
    n = series.get("n") or series.get("denominator") or numerator
    assert len(periods) == len(numerator) == len(denominator) == len(series["value"]) == len(n), metric
    provisional = {MONTHS[-1], *series.get("provisional", [])}
    return {
        period: {
            "numerator": numerator[i], "denominator": denominator[i], "value": series["value"][i], "n": n[i],
            "status": "provisional" if period in provisional else "final",
        }
        for i, period in enumerate(periods)
    }  # fmt: skip


def name_of(metric: str, series: Row) -> str:
    return " ".join(filter(None, (metric, series.get("segment"), series.get("segment_value"), series.get("currency"))))


def all_series() -> Iterator[tuple[str, Row]]:
    for metric, given in EXPECTED["metrics"].items():
        for series in given:
            yield metric, series


def series_of(metric: str, currency: str | None = None) -> dict[str, Row]:
    """Of everyone, by period."""
    (series,) = (s for s in EXPECTED["metrics"][metric] if "segment" not in s and s.get("currency") == currency)
    return told(metric, series)


def months_of(customer: str) -> dict[str, Row]:
    columns = EXPECTED["customer_months"]["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in CUSTOMER_MONTHS[customer]["months"]]
    return {row.pop("month"): {**row, "flags": set(row["flags"].split())} for row in rows}


# --- the numbers by hand agree with each other ------------------------------------------------------------------------


def test_every_metric_of_the_dictionary_is_worked_out() -> None:
    """A new metric needs its numbers here, too."""
    published = {name for metric in DICTIONARY.values() for name in metric.published_names}
    assert set(EXPECTED["metrics"]) == published


def test_values_are_numerators_over_denominators() -> None:
    for metric, series in all_series():
        if metric == "clv_simple" or "numerator" not in series:
            continue
        entry = next(entry for entry in DICTIONARY.values() if metric in entry.published_names)
        scale = Decimal(100 if entry.shape == "score" else 1) / entry.divisor
        for period, row in told(metric, series).items():
            if row["denominator"] is None:
                wanted = row["numerator"]
            else:
                wanted = row["numerator"] * scale / row["denominator"] if row["denominator"] else None
            by_hand = row["value"] if row["value"] is None else float(row["value"])
            assert by_hand == (None if wanted is None else pytest.approx(float(wanted), rel=1e-14)), (metric, period)


def test_the_months_add_up_to_the_whole() -> None:
    for metric, series in all_series():
        entry = next(entry for entry in DICTIONARY.values() if metric in entry.published_names)
        if "numerator" not in series or entry.shape == "lifetime":
            continue
        rows = told(metric, series)
        for part in ("numerator", "denominator"):
            months = [rows[month][part] for month in MONTHS if rows[month][part] is not None]
            if entry.accumulates or entry.over_all == "last":
                assert rows["all"][part] == (months[-1] if months else None), name_of(metric, series)
            elif entry.over_all == "sum":
                assert rows["all"][part] == (sum(months) if months else None), name_of(metric, series)


def test_segments_add_up_to_everyone() -> None:
    for metric, segment, currency in {
        (m, s["segment"], s.get("currency")) for m, s in all_series() if s.get("segment") in OF_CUSTOMERS
    }:
        parts = [
            told(metric, s)
            for s in EXPECTED["metrics"][metric]
            if (s.get("segment"), s.get("currency")) == (segment, currency)
        ]
        for period, whole in series_of(metric, currency).items():
            for part in ("numerator", "denominator", "n"):
                if whole[part] is not None:
                    assert sum(rows[period][part] for rows in parts) == whole[part], (metric, segment, period, part)


@pytest.mark.parametrize("currency", ["EUR", "USD"])
def test_mrr_moves_from_month_to_month(currency: str) -> None:
    at = {
        name: {month: series_of(f"mrr{name}", currency)[month]["numerator"] for month in MONTHS}
        for name in ("", "_new", "_expansion", "_contraction", "_churned", "_reactivation")
    }
    gross, net = series_of("grr", currency), series_of("nrr", currency)
    lost = series_of("mrr_churn_rate", currency)
    for before, month in pairwise([None, *MONTHS]):
        opening = at[""][before] if before else 0
        less = at["_contraction"][month] + at["_churned"][month]
        assert (
            at[""][month] == opening + at["_new"][month] + at["_expansion"][month] + at["_reactivation"][month] - less
        )
        assert (gross[month]["numerator"], gross[month]["denominator"]) == (opening - less, opening)
        assert net[month]["numerator"] == opening - less + at["_expansion"][month]
        assert (lost[month]["numerator"], lost[month]["denominator"]) == (at["_churned"][month], opening)


def test_the_month_table_and_the_metrics_agree() -> None:
    """Churn, retention and MRR are short sums of customer_months."""
    customers = [months_of(customer) for customer in CUSTOMER_MONTHS]
    for before, month in pairwise([None, *MONTHS]):
        rows = [rows[month] for rows in customers if month in rows]
        flags = Counter(flag for row in rows for flag in row["flags"])
        was = [rows[before]["flags"] if before and before in rows else set() for rows in customers if month in rows]
        left = [row for row, old in zip(rows, was, strict=True) if "subscriber" in old - row["flags"]]
        wanted = {
            "active_customers": flags["active"],
            "new_customers": flags["new"],
            "subscribers": flags["subscriber"],
            "backlog": sum(row["open_tickets"] for row in rows) + (month == MONTHS[-1]),  # and T-9, of nobody known
            "churn_rate": (len(left), sum("subscriber" in old for old in was)),
            "purchase_frequency": (sum(row["orders"] for row in rows), sum(row["orders"] > 0 for row in rows)),
        }
        for metric, by_months in wanted.items():
            row = series_of(metric)[month]
            assert (
                row["numerator"] if isinstance(by_months, int) else (row["numerator"], row["denominator"])
            ) == by_months
        for currency in ("EUR", "USD"):
            mrr = sum(Decimal(row["mrr"].get(currency, 0)) for row in rows)
            assert series_of("mrr", currency)[month]["numerator"] == mrr
            revenue = sum(Decimal(row["revenue"].get(currency, 0)) for row in rows)
            worth = series_of("clv_historic", currency)
            assert worth[month]["numerator"] - (worth[before]["numerator"] if before else 0) == revenue


def test_cohorts_and_active_customers_agree() -> None:
    active: Counter[str] = Counter()
    sizes, there = Counter[int](), Counter[int]()
    for name, cohort in EXPECTED["cohorts"]["activity"].items():
        if name == "together":
            continue
        for since, n in enumerate(cohort["active"]):
            month = MONTHS[MONTHS.index(name) + since]
            active[month] += n
            if month != MONTHS[-1]:
                sizes[since] += cohort["size"]
                there[since] += n
    assert active == {month: series_of("active_customers")[month]["numerator"] for month in MONTHS}
    together = EXPECTED["cohorts"]["activity"]["together"]
    assert (together["size"], together["active"]) == (
        [sizes[i] for i in sorted(sizes)],
        [there[i] for i in sorted(sizes)],
    )


# --- the run says the same --------------------------------------------------------------------------------------------


def test_subscription_periods(tables: Tables) -> None:
    found: dict[str, list[Row]] = {}
    for row in tables["subscription_periods"].to_pylist():
        found.setdefault(row["subscription_id"], []).append({name: plain(value) for name, value in row.items()})
    wanted = {
        name: [
            {
                "subscription_id": name,
                "source": given["source"],
                "customer_key": given["customer_key"],
                "is_ended_elsewhere": False,
                **period,
            }
            for period in given["periods"]
        ]
        for name, given in EXPECTED["subscription_periods"].items()
    }
    assert {name: sorted(rows, key=lambda row: row["period_no"]) for name, rows in found.items()} == wanted


def test_customer_months_are_of_known_customers(tables: Tables) -> None:
    assert set(tables["customer_months"]["customer_key"].to_pylist()) == set(CUSTOMER_MONTHS)


@pytest.mark.parametrize("customer", CUSTOMER_MONTHS)
def test_customer_months(tables: Tables, customer: str) -> None:
    """All columns but friction_points, which are those of the kinds of friction."""
    found = {}
    for row in tables["customer_months"].to_pylist():
        if row.pop("customer_key") == customer:
            del row["friction_points"]
            found[month_of(row.pop("month"))] = row
    assert found == {month: state(row) for month, row in months_of(customer).items()}


@pytest.mark.parametrize("kind", EXPECTED["cohorts"])
def test_cohorts(tables: Tables, kind: str) -> None:
    found = {
        (row["cohort_month"] and month_of(row["cohort_month"]), row["months_since"]): (
            row["month"] and month_of(row["month"]), row["cohort_size"], row["active"], row["retention"], row["status"],
        )
        for row in tables["cohorts"].to_pylist()
        if row["kind"] == kind
    }  # fmt: skip
    wanted = {}
    for cohort, cell in cohort_cells(kind):
        month = MONTHS[MONTHS.index(cohort) + cell["months_since"]] if cohort else None
        wanted[cohort, cell["months_since"]] = (
            month, cell["size"], cell["active"], cell["active"] / cell["size"], "provisional" if month == MONTHS[-1] else "final",
        )  # fmt: skip
    assert found == wanted


def together(kind: str) -> Any:
    return pytest.param(kind, None, id=f"{kind}-together")


@pytest.mark.parametrize(
    ("kind", "cohort"),
    [
        *((kind, cohort) for kind, given in EXPECTED["cohorts"].items() for cohort in given if cohort != "together"),
        *map(together, EXPECTED["cohorts"]),
    ],
)
def test_survival(tables: Tables, kind: str, cohort: str | None) -> None:
    """Rounded to 9 digits, as what is fitted is."""
    found = {
        row["months_since"]: row["survival"]
        for row in tables["cohorts"].to_pylist()
        if row["kind"] == kind and (row["cohort_month"] and month_of(row["cohort_month"])) == cohort
    }
    wanted = {cell["months_since"]: float(cell["survival"]) for name, cell in cohort_cells(kind) if name == cohort}
    assert found == pytest.approx(wanted, abs=1e-9)


def cases() -> Iterator[Any]:
    for metric, series in all_series():
        yield pytest.param(metric, series, id=name_of(metric, series))


@pytest.mark.parametrize(("metric", "series"), list(cases()))
def test_metric(tables: Tables, metric: str, series: Row) -> None:
    found = {
        period: row
        for (name, segment, value, currency, period), row in metric_rows(tables).items()
        if (name, segment, value, currency)
        == (metric, series.get("segment", "all"), series.get("segment_value"), series.get("currency"))
    }
    wanted = told(metric, series)
    parts = ("numerator", "denominator", "n", "status")
    assert {period: tuple(row[part] for part in parts) for period, row in found.items()} == {
        period: tuple(row[part] for part in parts) for period, row in wanted.items()
    }
    assert {period: row["value"] for period, row in found.items()} == {
        period: None if row["value"] is None else pytest.approx(float(row["value"]), rel=1e-12)
        for period, row in wanted.items()
    }


def test_no_other_number_is_told(tables: Tables) -> None:
    """Of everyone, and by what a metric is told by, nothing else; of a segment of customers nothing else but zeros."""
    stated = {
        (metric, series.get("segment", "all"), series.get("segment_value"), series.get("currency"))
        for metric, series in all_series()
    }
    by_hand = {key[:2] for key in stated}
    others = {}
    for (metric, segment, value, currency, period), row in metric_rows(tables).items():
        is_told = segment not in OF_CUSTOMERS or (metric, segment) in by_hand
        nothing = not row["value"] and segment in OF_CUSTOMERS
        if is_told and (metric, segment, value, currency) not in stated and not nothing:
            others[metric, segment, value, currency, period] = row["value"]
    assert others == {}


# --- small words ------------------------------------------------------------------------------------------------------


def metric_rows(tables: Tables) -> dict[tuple[str, str, str | None, str | None, str], Row]:
    rows = tables["lifecycle_metrics"].to_pylist()
    found = {
        (
            row["metric"],
            row["segment"],
            row["segment_value"],
            row["currency"],
            month_of(row["period_start"]) or "all",
        ): row
        for row in rows
    }
    assert len(found) == len(rows), "one row is one metric, period, segment and currency"
    return found


def cohort_cells(kind: str) -> Iterator[tuple[str | None, Row]]:
    for name, given in EXPECTED["cohorts"][kind].items():
        for since, (active, survival) in enumerate(zip(given["active"], given["survival"], strict=True)):
            size = given["size"][since] if name == "together" else given["size"]
            cell = {"months_since": since, "size": size, "active": active, "survival": survival}
            yield None if name == "together" else name, cell


def state(by_hand: Row) -> Row:
    """A row of customer_months, of what is told by hand: an amount is null where it is in several currencies."""
    amounts = {
        name: {currency: Decimal(amount) for currency, amount in by_hand[name].items()} for name in ("mrr", "revenue")
    }
    currencies = {currency for parts in amounts.values() for currency in parts}
    row: Row = {f"is_{flag}": flag in by_hand["flags"] for flag in ("new", "active", "subscriber", "buyer")}
    row["has_lapsed"] = "lapsed" in by_hand["flags"]
    for name, parts in amounts.items():
        row[name] = None if len(parts) > 1 else sum(parts.values())
        row[f"{name}_by_currency"] = [{"currency": c, "amount": amount} for c, amount in sorted(parts.items())]
    row["currency"] = min(currencies) if len(currencies) == 1 else None
    return row | {name: by_hand[name] for name in ("subscriptions", "plan", "orders", "stage", "open_tickets")}


def month_of(day: datetime.date | None) -> str | None:
    return None if day is None else f"{day:%Y-%m}"


def plain(value: Any) -> Any:
    """A value of a table as JSON can say it."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, Decimal) else value
