"""Metrics: the examples of the dictionary, quantiles against numpy, and that no cut into shards shows in a number."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dictionary import load_metrics
from transforms.measure import (
    EXACT_VALUES,
    SPAN,
    SUMS,
    TRANSITIONS,
    VALUES,
    MeasureRules,
    bucket_edges,
    merge,
    merge_transitions,
    quantile,
    to_buckets,
)
from transforms.time_zones import Months

Row = dict[str, Any]
JANUARY, FEBRUARY, MARCH, APRIL = (datetime.date(2026, n, 1) for n in range(1, 5))
AS_OF = "2026-03-31"


def values(rows: list[Row], metric: str, currency: str | None = None) -> dict[datetime.date | None, float | None]:
    """By month, None for all of it: the values of one metric in one currency."""
    own = [r for r in rows if r["metric"] == metric and r["currency"] == currency]
    found = {r["period_start"]: r["value"] for r in own}
    assert len(found) == len(own), "one row a period"
    return found


def measured(
    steps: Any, name: str, rows: list[Row], as_of: str = AS_OF, currency: str | None = None, **options: Any
) -> Any:
    return values(steps.metrics(rows, as_of, name, **options), name, currency)


def buys(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, **fields}


def answers(kind: str, score: float, low: float, high: float, at: str = "2026-01-05", **fields: Any) -> Row:
    return {
        "type": "survey_response", "at": at, "survey_type": kind, "score": float(score), "scale_min": float(low),
        "scale_max": float(high), **fields,
    }  # fmt: skip


# --- the examples of the dictionary ----------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[str, Callable[[Any], None]]] = {}


def example(text: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """The test of one metric's example; `text` is what the dictionary says."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        EXAMPLES[function.__name__] = text, function
        return function

    return register


@example("Ann visits in January and buys in February, Bob is only sent a survey: January 1, February 1, over all 1.")
def active_customers(steps: Any) -> None:
    rows = [
        {"type": "site_visit", "at": "2026-01-05"}, buys("2026-02-05"),
        {"type": "survey_sent", "at": "2026-01-05", "who": "bob", "survey_type": "nps"},
    ]  # fmt: skip
    assert measured(steps, "active_customers", rows, "2026-02-28") == {JANUARY: 1, FEBRUARY: 1, None: 1}


@example("Ann's first touchpoint is an ad view on 31 January, her first order in February: new in January.")
def new_customers(steps: Any) -> None:
    rows = [{"type": "ad_view", "at": "2026-01-31 23:59:59"}, buys("2026-02-05")]
    assert measured(steps, "new_customers", rows, "2026-02-28") == {JANUARY: 1, FEBRUARY: 0, None: 1}


@example("A cookie that never signs in visits twice in January: 1.")
def visitors(steps: Any) -> None:
    rows = [{"type": "site_visit", "at": f"2026-01-{day}", "who": "anon:c"} for day in ("05", "20")]
    assert measured(steps, "visitors", rows, "2026-01-31") == {JANUARY: 1, None: 1}


@example("100.00 bought in January, 30.00 of it refunded in February: January 100.00, February -30.00, over all 70.00.")
def revenue(steps: Any) -> None:
    rows = [
        buys("2026-01-05", order_id="o", amount="100.00"),
        {"type": "refund", "at": "2026-02-05", "order_id": "o", "amount": "30.00"},
    ]
    found = measured(steps, "revenue", rows, "2026-02-28", "EUR")
    assert found == {JANUARY: 100.0, FEBRUARY: -30.0, None: 70.0}


@example("An order of three lines in January and one of one line in February: January 1, February 1, over all 2.")
def orders(steps: Any) -> None:
    rows = [buys(f"2026-01-05 10:0{n}", order_id="o") for n in range(3)] + [buys("2026-02-05", order_id="p")]
    assert measured(steps, "orders", rows, "2026-02-28") == {JANUARY: 1, FEBRUARY: 1, None: 2}


@example("Orders of 30.00 (in three lines) and 10.00: 20.00.")
def aov(steps: Any) -> None:
    rows = [buys(f"2026-01-05 10:0{n}", order_id="o", amount="10.00") for n in range(3)]
    rows += [buys("2026-01-06", order_id="p", amount="10.00")]
    assert measured(steps, "aov", rows, "2026-01-31", "EUR") == {JANUARY: 20.0, None: 20.0}


@example("90.00 of revenue and three active customers in January, one of whom paid: 30.00.")
def arpu(steps: Any) -> None:
    rows = [buys("2026-01-05", amount="90.00")]
    rows += [{"type": "site_visit", "at": "2026-01-05", "who": who} for who in ("bob", "cid")]
    assert measured(steps, "arpu", rows, "2026-01-31", "EUR") == {JANUARY: 30.0, None: 30.0}


@example("Ann orders in January and March, Bob in February: January 0/1, February 0/2, March 1/2 = 0.5.")
def repurchase_rate(steps: Any) -> None:
    rows = [buys("2026-01-05"), buys("2026-03-05"), buys("2026-02-05", "bob")]
    found = steps.metrics(rows, AS_OF, "repurchase_rate", shards=2)
    assert [(r["period_start"], r["numerator"], r["denominator"], r["value"]) for r in found if r["period_start"]] == [
        (JANUARY, 0, 1, 0.0), (FEBRUARY, 0, 2, 0.0), (MARCH, 1, 2, 0.5),
    ]  # fmt: skip
    assert values(found, "repurchase_rate")[None] == 0.5


@example(
    "On 1 to 5: 4 and 5 are satisfied, 3 is not. On 1 to 4: 3 and 4 are. Scores 5, 4, 3 of five and 3 of four: 3/4 = 0.75."
)
def csat(steps: Any) -> None:
    def share(*scores: tuple[float, float]) -> float | None:
        rows = [answers("csat", score, 1, high, survey_id=str(n)) for n, (score, high) in enumerate(scores)]
        return measured(steps, "csat", rows, "2026-01-31")[None]

    assert [share((score, 5)) for score in (1, 2, 3, 4, 5)] == [0, 0, 0, 1, 1]
    assert [share((score, 4)) for score in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert share((5, 5), (4, 5), (3, 5), (3, 4)) == 0.75


@example("The scores 0, 1, ..., 10 once each: 2 promoters, 7 detractors, 11 answers: -45.45.")
def nps(steps: Any) -> None:
    rows = [answers("nps", score, 0, 10, who=f"c{score}") for score in range(11)]
    (month, all_time) = steps.metrics(rows, "2026-01-31", "nps")[::-1]
    assert (month["numerator"], month["denominator"], month["n"]) == (2 - 7, 11, 11)
    assert round(month["value"], 2) == round(all_time["value"], 2) == -45.45


@example("Opened 09:00; a bot answers 09:01, an agent 10:30: 90.")
def first_response_minutes(steps: Any) -> None:
    rows = [
        {"type": "ticket_opened", "at": "2026-01-05 09:00", "ticket_id": "t"},
        {"type": "ticket_replied", "at": "2026-01-05 09:01", "ticket_id": "t", "author": "bot"},
        {"type": "ticket_replied", "at": "2026-01-05 10:30", "ticket_id": "t", "author": "agent"},
    ]
    found = steps.metrics(rows, "2026-01-31", "first_response_minutes")
    for statistic in ("mean", "p50", "p90"):
        assert values(found, f"first_response_minutes_{statistic}") == {JANUARY: 90.0, None: 90.0}


@example("Opened Monday 09:00, resolved Tuesday 12:00, reopened and resolved again on Friday: 27.")
def resolution_hours(steps: Any) -> None:
    rows = [
        {"type": f"ticket_{what}", "at": f"2026-01-{at}", "ticket_id": "t"}
        for what, at in (
            ("opened", "05 09:00"), ("resolved", "06 12:00"), ("reopened", "07 09:00"), ("resolved", "09 09:00"),
        )
    ]  # fmt: skip
    found = steps.metrics(rows, "2026-01-31", "resolution_hours")
    assert values(found, "resolution_hours_p50") == {JANUARY: 27.0, None: 27.0}


@pytest.mark.parametrize("name", sorted(load_metrics()))
def test_the_example_of_the_dictionary(steps: Any, name: str) -> None:
    assert name in EXAMPLES, "each metric's example is a test"
    text, test = EXAMPLES[name]
    assert load_metrics()[name].example == text
    test(steps)


# --- rules -----------------------------------------------------------------------------------------------------------


DONE_BY_THE_CUSTOMER: list[Row] = [
    {"type": "ad_view", "clicked": True}, {"type": "site_visit"}, {"type": "product_usage"}, {"type": "purchase"},
    {"type": "offer_redeemed"}, {"type": "ticket_opened", "ticket_id": "t"}, answers("nps", 5, 0, 10),
    {"type": "ticket_replied", "author": "customer"}, {"type": "review"}, {"type": "referral"},
    {"type": "subscription_started", "subscription_id": "s"}, {"type": "subscription_changed"},
]  # fmt: skip
DONE_TO_THE_CUSTOMER: list[Row] = [
    {"type": "ad_view", "clicked": False}, {"type": "ad_view"}, {"type": "ticket_replied", "author": "agent"},
    {"type": "ticket_replied", "author": "bot"}, {"type": "ticket_resolved", "ticket_id": "t"}, {"type": "renewal"},
    {"type": "cancellation"}, {"type": "account_closed"}, {"type": "payment_failed"}, {"type": "survey_sent"},
    {"type": "refund", "order_id": "o"},
]  # fmt: skip


def test_activity_is_what_the_customer_did(steps: Any) -> None:
    """Each kind of event in a month of its own."""
    kinds = [(row, 1) for row in DONE_BY_THE_CUSTOMER] + [(row, 0) for row in DONE_TO_THE_CUSTOMER]
    months = [datetime.date(2025 + n // 12, n % 12 + 1, 1) for n in range(len(kinds))]
    rows = [
        {**row, "at": f"{month} 10:00", "who": who}
        for month, (row, _) in zip(months, kinds, strict=True)
        for who in ("ann", "anon:c")
    ]
    found = steps.metrics(rows, f"{months[-1]} 12:00", "active_customers", "visitors")
    for name in ("active_customers", "visitors"):
        by_month = values(found, name)
        for month, (row, active) in zip(months, kinds, strict=True):
            assert by_month[month] == active, (name, row)


def test_a_month_without_data_has_its_rows(steps: Any) -> None:
    rows = [buys("2026-01-05"), buys("2026-03-05", "bob")]
    for name, gap in (("orders", 0), ("active_customers", 0), ("new_customers", 0)):
        assert measured(steps, name, rows, "2026-04-02") == {JANUARY: 1, FEBRUARY: gap, MARCH: 1, APRIL: gap, None: 2}
    for name in ("aov", "arpu"):
        assert measured(steps, name, rows, "2026-04-02", "EUR") == {
            JANUARY: 10, FEBRUARY: None, MARCH: 10, APRIL: None, None: 10,
        }, "null where the denominator is 0"  # fmt: skip
    assert measured(steps, "revenue", rows, "2026-04-02", "EUR")[FEBRUARY] == 0
    assert measured(steps, "nps", rows, "2026-04-02") == dict.fromkeys((JANUARY, FEBRUARY, MARCH, APRIL, None))
    assert measured(steps, "repurchase_rate", rows, "2026-04-02") == {
        JANUARY: 0, FEBRUARY: 0, MARCH: 0, APRIL: 0, None: 0,
    }  # fmt: skip


def test_each_currency_has_its_rows_and_the_customers_count_in_each(steps: Any) -> None:
    rows = [buys("2026-01-05", amount="10", currency="EUR"), buys("2026-02-05", "bob", amount="7", currency="CHF")]
    rows += [{"type": "site_visit", "at": "2026-01-06", "who": "bob"}]
    found = steps.metrics(rows, "2026-02-28", "revenue", "arpu", "aov", "orders", shards=2)
    assert values(found, "revenue", "EUR") == {JANUARY: 10, FEBRUARY: 0, None: 10}
    assert values(found, "revenue", "CHF") == {JANUARY: 0, FEBRUARY: 7, None: 7}
    assert values(found, "arpu", "EUR") == {JANUARY: 5, FEBRUARY: 0, None: 5}
    assert values(found, "arpu", "CHF") == {JANUARY: 0, FEBRUARY: 7, None: 3.5}
    assert values(found, "aov", "EUR") == {JANUARY: 10, FEBRUARY: None, None: 10}
    assert values(found, "orders") == {JANUARY: 1, FEBRUARY: 1, None: 2}
    assert {(r["metric"], r["currency"]) for r in found} == {
        ("revenue", "EUR"), ("revenue", "CHF"), ("arpu", "EUR"), ("arpu", "CHF"), ("aov", "EUR"), ("aov", "CHF"),
        ("orders", None),
    }  # fmt: skip


def test_who_is_not_known_is_no_customer_but_pays(steps: Any) -> None:
    rows = [buys("2026-01-05", amount="10")] + [buys(f"2026-01-{day}", "anon:c", amount="20") for day in ("06", "07")]
    found = steps.metrics(rows, "2026-01-31", "repurchase_rate", "orders", "revenue", "arpu", "new_customers")
    assert values(found, "repurchase_rate")[None] == 0
    assert (values(found, "orders")[None], values(found, "new_customers")[None]) == (3, 1)
    assert (values(found, "revenue", "EUR")[None], values(found, "arpu", "EUR")[None]) == (50, 50)


def test_refunds_lower_no_order_value(steps: Any) -> None:
    rows = [
        buys("2026-01-05", order_id="o", amount="30"),
        {"type": "refund", "at": "2026-01-06", "order_id": "o", "amount": "30"},
    ]
    assert measured(steps, "aov", rows, "2026-01-31", "EUR")[None] == 30
    assert measured(steps, "revenue", rows, "2026-01-31", "EUR")[None] == 0


def test_the_sum_of_money_is_exact(steps: Any) -> None:
    rows = [buys(f"2026-01-05 10:{n:02}", f"c{n}", amount="99999999999999.9999") for n in range(20)]
    rows += [buys("2026-01-06", amount="0.0001")] * 3
    (row, _) = steps.metrics(rows, "2026-01-31", "revenue", shards=3)[::-1]
    assert row["numerator"] == 20 * Decimal("99999999999999.9999") + Decimal("0.0003")


def test_csat_of_a_ticket_counts_in_the_month_of_its_opening(steps: Any) -> None:
    rows: list[Row] = [{"type": "ticket_opened", "at": "2026-01-31", "ticket_id": "t", "source": "desk"}]
    rows += [answers("csat", 5, 1, 5, at="2026-02-02", ticket_id="t", source="desk")]
    rows += [answers("csat", 1, 1, 5, at="2026-02-02", ticket_id="of nobody", source="desk")]
    assert measured(steps, "csat", rows, "2026-02-28") == {JANUARY: 1, FEBRUARY: 0, None: 0.5}


@pytest.mark.parametrize(
    ("score", "low", "high", "satisfied"),
    [(7.4, 0, 10, 0), (7.5, 0, 10, 1), (5, 1, 7, 0), (6, 1, 7, 1), (2, 1, 3, 0), (3, 1, 3, 1), (0, 0, 1, 0), (1, 0, 1, 1),
     (1, 0, 3, 0), (2, 0, 3, 1), (-1, -2, 2, 0), (1, -2, 2, 1)],
)  # fmt: skip
def test_csat_on_any_scale(steps: Any, score: float, low: float, high: float, satisfied: int) -> None:
    assert measured(steps, "csat", [answers("csat", score, low, high)], "2026-01-31")[None] == satisfied


def test_of_several_answers_to_one_survey_the_last_counts(steps: Any) -> None:
    def score(*given: dict[str, Any]) -> float | None:
        rows = [
            answers("nps", 10 if n else 0, 0, 10, at=f"2026-01-0{n + 1}", **fields) for n, fields in enumerate(given)
        ]
        return measured(steps, "nps", rows, "2026-01-31")[None]

    assert score({"survey_id": "s"}, {"survey_id": "s"}) == 100
    assert score({"ticket_id": "1"}, {"ticket_id": "1"}) == 100
    assert score({"order_id": "1"}, {"order_id": "1"}) == 100
    assert score({"survey_id": "s"}, {"survey_id": "s2"}) == 0
    assert score({}, {}) == 0, "who names nothing answers a survey of its own each time"
    assert score({"survey_id": "s", "who": "bob"}, {"survey_id": "s"}) == 0
    assert score({"ticket_id": "1"}, {"order_id": "1"}) == 0, "a ticket and an order may have one number"


def test_nps_counts_only_scales_from_0_to_10(steps: Any) -> None:
    rows = [answers("nps", 10, 1, 10), answers("nps", 10, 0, 11), answers("csat", 0, 0, 10), answers("nps", 7, 0, 10)]
    found = steps.metrics(rows, "2026-01-31", "nps")[0]
    assert (found["numerator"], found["denominator"], found["value"]) == (0, 1, 0.0)


def test_months_are_those_of_the_time_zone(steps: Any) -> None:
    rows = [buys("2026-02-01 04:30"), buys("2026-02-01 05:00", "bob")]
    assert measured(steps, "orders", rows, "2026-02-28", timezone="America/New_York") == {
        JANUARY: 1,
        FEBRUARY: 1,
        None: 2,
    }


@pytest.mark.parametrize(
    ("as_of", "timezone", "status"),
    [
        ("2026-01-31 23:59:59.999999", "UTC", "provisional"), ("2026-02-01", "UTC", "final"),
        ("2026-01-31 23:00", "Europe/Berlin", "final"), ("2026-02-01 04:59", "America/New_York", "provisional"),
    ],
)  # fmt: skip
def test_a_month_is_provisional_until_it_is_over(steps: Any, as_of: str, timezone: str, status: str) -> None:
    rows = steps.metrics([buys("2026-01-05")], as_of, "orders", timezone=timezone)
    assert {r["period_start"]: r["status"] for r in rows if r["period_start"] in (JANUARY, None)} == {
        JANUARY: status, None: "final",
    }  # fmt: skip


def test_an_unanswered_ticket_makes_its_month_and_the_whole_provisional(steps: Any) -> None:
    rows = [{"type": "ticket_opened", "at": f"2026-0{n}-05", "ticket_id": str(n)} for n in (1, 2)]
    rows += [{"type": "ticket_replied", "at": "2026-02-06", "ticket_id": "2"}]
    found = steps.metrics(rows, AS_OF + " 23:59:59", "first_response_minutes")
    assert {(r["period_start"], r["status"], r["n"], r["value"]) for r in found if r["metric"].endswith("p50")} == {
        (JANUARY, "provisional", 0, None), (FEBRUARY, "final", 1, 1440.0), (MARCH, "provisional", 0, None),
        (None, "provisional", 1, 1440.0),
    }  # fmt: skip


def test_the_columns_of_a_row(steps: Any) -> None:
    rows = [buys("2026-01-05", amount="10"), buys("2026-01-06", amount="15"), buys("2026-01-07", amount="15")]
    all_time, month = steps.metrics(rows, "2026-01-31", "aov")
    assert month == {
        "metric": "aov", "period_kind": "month", "period_start": JANUARY, "period_end": FEBRUARY, "segment": "all",
        "segment_value": None, "currency": "EUR", "numerator": Decimal("40.0000"), "denominator": Decimal("3.0000"),
        "value": 40 / 3, "unit": "currency", "n": 3, "method": "exact", "status": "provisional",
    }  # fmt: skip
    assert (all_time["period_kind"], all_time["period_start"], all_time["period_end"]) == ("all", None, None)
    ratio, count = (steps.metrics(rows, "2026-01-31", name)[0] for name in ("repurchase_rate", "orders"))
    assert (ratio["unit"], ratio["value"], count["denominator"], count["currency"]) == ("ratio", 1.0, None, None)


def test_no_touchpoint_at_all(steps: Any) -> None:
    rules = MeasureRules(
        tuple(load_metrics().values()), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), Months("UTC")
    )
    found = merge({"sums": [], "values": [], "span": []}, rules, steps.tables["lifecycle_metrics"]).to_pylist()
    assert {r["period_kind"] for r in found} == {"all"}
    assert {r["metric"]: r["value"] for r in found}["nps"] is None


who = st.sampled_from(["ann", "bob", "cid", "dan", "anon:x", "anon:y"])
happened = st.tuples(st.integers(1, 28), st.integers(1, 3)).map(lambda d: f"2026-0{d[1]}-{d[0]:02}")
timeline = st.lists(
    st.one_of(
        st.builds(lambda w, a, o, m, c: buys(a, w, order_id=o, amount=m, currency=c), who, happened,
                  st.sampled_from("ab"), st.sampled_from(["0.1", "0.2", "7"]), st.sampled_from(["EUR", "CHF"])),
        st.builds(lambda w, a, s: answers("nps", s, 0, 10, a, who=w), who, happened, st.integers(0, 10)),
        st.builds(lambda w, a: {"type": "ticket_opened", "at": a, "who": w, "ticket_id": "t"}, who, happened),
        st.builds(lambda w, a: {"type": "ticket_replied", "at": a, "who": w, "ticket_id": "t"}, who, happened),
    ),
    min_size=1, max_size=20,
)  # fmt: skip


@settings(max_examples=3)
@given(timeline)
def test_no_cut_into_shards_shows(steps: Any, rows: list[Row]) -> None:
    names = ("aov", "arpu", "revenue", "nps", "orders", "repurchase_rate", "first_response_minutes", "active_customers")
    whole = steps.metrics(rows, AS_OF, *names)
    assert steps.metrics(rows, AS_OF, *names, shards=2) == whole
    assert steps.metrics(rows, AS_OF, *names, shards=6) == whole


def test_transitions_add_up_over_shards(steps: Any) -> None:
    def part(*rows: tuple[str, str, int, int, int | None]) -> pa.Table:
        return pa.Table.from_pylist([dict(zip(TRANSITIONS.names, row, strict=True)) for row in rows], TRANSITIONS)

    parts = [
        part(("purchase", "loyalty", 2, 1, 10), ("loyalty", "(open)", 1, 1, None)),
        part(("purchase", "loyalty", 1, 1, 11), ("(start)", "purchase", 1, 1, None)),
    ]
    table = steps.tables["stage_transitions"]
    found = merge_transitions(parts, table)
    assert merge_transitions(parts[::-1], table).equals(found)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("(start)", "purchase", 1, 1, None, None), ("loyalty", "(open)", 1, 1, None, None),
        ("purchase", "loyalty", 3, 2, 21, 7.0),
    ]  # fmt: skip


# --- quantiles -------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.sampled_from([0, 1, 10, 25, 50, 75, 90, 99, 100]))
def test_a_quantile_is_numpys(sample: list[int], percent: int) -> None:
    counted = sorted({v: sample.count(v) for v in sample}.items())
    found = quantile(counted, len(sample), Fraction(percent, 100))
    assert float(found) == pytest.approx(float(np.percentile(sample, percent, method="linear")), abs=1e-9)


def test_the_median_of_an_even_number_is_the_middle_of_two() -> None:
    assert quantile([(1, 1), (2, 1), (5, 1), (100, 1)], 4, Fraction(1, 2)) == Fraction(7, 2)
    assert quantile([(1, 2), (100, 2)], 4, Fraction(1, 2)) == Fraction(101, 2)


def test_buckets_are_half_a_per_cent_wide() -> None:
    edges = bucket_edges(10**9)
    assert edges[:4] == [0, 1, 2, 3]
    assert all(b - a == 1 or 200 * b <= 201 * a for a, b in pairwise(edges))
    assert edges == bucket_edges(10**12)[: len(edges)], "the same buckets whatever the largest value"


def distribution(values: np.ndarray, month: datetime.date = JANUARY, metric: str = "resolution_hours") -> pa.Table:
    unique, counts = np.unique(values, return_counts=True)
    n = len(unique)
    columns = {
        "metric": [metric] * n, "month": [month] * n, "value": unique, "count": counts, "is_bucket": [False] * n,
        "total": unique * counts,
    }  # fmt: skip
    return pa.table([pa.array(columns[f.name], f.type) for f in VALUES], schema=VALUES)


def merged(parts: list[pa.Table], steps: Any) -> dict[tuple[str, Any], Row]:
    rules = MeasureRules(
        (load_metrics()["resolution_hours"],), datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC), Months("UTC")
    )
    span = [pa.Table.from_pylist([{"month": JANUARY}], SPAN)]
    rows = merge(
        {"sums": [SUMS.empty_table()], "values": parts, "span": span}, rules, steps.tables["lifecycle_metrics"]
    )
    return {(r["metric"], r["period_start"]): r for r in rows.to_pylist()}


def sample(n: int) -> np.ndarray:
    return np.random.default_rng(7).lognormal(10, 2, n).astype(np.int64)


def test_up_to_100_000_values_are_exact(steps: Any) -> None:
    found = merged([distribution(sample(EXACT_VALUES))], steps)
    for percent in (50, 90):
        row = found[f"resolution_hours_p{percent}", JANUARY]
        assert row["method"] == "exact"
        assert row["value"] == pytest.approx(np.percentile(sample(EXACT_VALUES), percent) / 3600, rel=1e-12)


def test_one_more_comes_from_buckets_and_says_so(steps: Any) -> None:
    everything = sample(EXACT_VALUES + 1)
    found = merged([distribution(everything)], steps)
    for percent in (50, 90):
        row = found[f"resolution_hours_p{percent}", JANUARY]
        assert (row["method"], row["n"]) == ("buckets", EXACT_VALUES + 1)
        assert row["value"] == pytest.approx(np.percentile(everything, percent) / 3600, rel=0.005)
        assert row["value"] != np.percentile(everything, percent) / 3600


def test_a_mean_is_exact_however_many_values(steps: Any) -> None:
    everything = sample(EXACT_VALUES + 1)
    row = merged([distribution(everything)], steps)["resolution_hours_mean", None]
    assert (row["numerator"], row["denominator"]) == (int(everything.sum()), len(everything))
    assert row["value"] == float(Fraction(int(everything.sum()), len(everything) * 3600))
    assert row["method"] == "exact"


@pytest.mark.parametrize("cuts", [[1], [50_000], [100_001], [10, 100_011], [60_000, 120_000, 180_000]])
def test_buckets_are_the_same_for_any_split(steps: Any, cuts: list[int]) -> None:
    everything = sample(200_023)
    whole = merged([distribution(everything)], steps)
    parts = [distribution(part) for part in np.split(everything, cuts)]
    # A shard that has too many values by itself sends buckets; the others send values.
    sent = [to_buckets(part) if part["count"].to_numpy().sum() > EXACT_VALUES else part for part in parts]
    assert merged(sent[::-1], steps) == whole


def test_outcomes_still_to_come_stay_in_buckets(steps: Any) -> None:
    pending = pa.Table.from_pylist(
        [{"metric": "resolution_hours", "month": JANUARY, "value": None, "count": 3, "is_bucket": False}], VALUES
    )
    found = merged([distribution(sample(EXACT_VALUES + 1)), to_buckets(pending)], steps)
    assert found["resolution_hours_p50", JANUARY]["status"] == "provisional"
    assert found["resolution_hours_p50", JANUARY]["n"] == EXACT_VALUES + 1
