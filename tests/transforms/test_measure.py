"""What the shipped metrics count, of whom and when; what a segment tells; and that no cut into shards shows in a number.

The worked example of each metric is held by tests/test_metric_examples.py, the arithmetic of rows by test_merge_metrics.py.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dictionary import load_metrics
from transforms.measure import MERGED, MERGED_OF, merge

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
    counts, means = ("orders", "active_customers", "new_customers"), ("aov", "arpu")
    found = steps.metrics(rows, "2026-04-02", *counts, *means, "revenue", "nps", "repurchase_rate")
    for name in counts:
        assert values(found, name) == {JANUARY: 1, FEBRUARY: 0, MARCH: 1, APRIL: 0, None: 2}
    for name in means:
        assert values(found, name, "EUR") == {
            JANUARY: 10, FEBRUARY: None, MARCH: 10, APRIL: None, None: 10,
        }, "null where the denominator is 0"  # fmt: skip
    assert values(found, "revenue", "EUR")[FEBRUARY] == 0
    assert values(found, "nps") == dict.fromkeys((JANUARY, FEBRUARY, MARCH, APRIL, None))
    assert values(found, "repurchase_rate") == dict.fromkeys((JANUARY, FEBRUARY, MARCH, APRIL, None), 0)


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
    found = steps.metrics(rows, "2026-01-31", "aov", "revenue")
    assert (values(found, "aov", "EUR")[None], values(found, "revenue", "EUR")[None]) == (30, 0)


def test_the_sum_of_money_is_exact(steps: Any) -> None:
    rows = [buys(f"2026-01-05 10:{n:02}", f"c{n}", amount="99999999999999.9999") for n in range(20)]
    rows += [buys("2026-01-06", amount="0.0001")] * 3
    (row, _) = steps.metrics(rows, "2026-01-31", "revenue", shards=2)
    assert row["numerator"] == 20 * Decimal("99999999999999.9999") + Decimal("0.0003")


def test_csat_of_a_ticket_counts_in_the_month_of_its_opening(steps: Any) -> None:
    rows: list[Row] = [{"type": "ticket_opened", "at": "2026-01-31", "ticket_id": "t", "source": "desk"}]
    rows += [answers("csat", 5, 1, 5, at="2026-02-02", ticket_id="t", source="desk")]
    rows += [answers("csat", 1, 1, 5, at="2026-02-02", ticket_id="of nobody", source="desk")]
    assert measured(steps, "csat", rows, "2026-02-28") == {JANUARY: 1, FEBRUARY: 0, None: 0.5}


def by_case(steps: Any, metric: str, cases: list[list[Row]]) -> list[float | None]:
    """The value over all of each case, a segment of its own: one run for all of them."""
    rows = [
        {**row, "who": f"{number}-{row.get('who', 'ann')}", "country": str(number)}
        for number, case in enumerate(cases)
        for row in case
    ]
    found = steps.metrics(rows, "2026-01-31", metric, segments={"case": "country"})
    told = {row["segment_value"]: row["value"] for row in found if row["segment"] == "case" and not row["period_start"]}
    return [told[str(number)] for number in range(len(cases))]


def test_csat_on_any_scale(steps: Any) -> None:
    expected = [
        (7.4, 0, 10, 0), (7.5, 0, 10, 1), (5, 1, 7, 0), (6, 1, 7, 1), (2, 1, 3, 0), (3, 1, 3, 1), (0, 0, 1, 0), (1, 0, 1, 1),
        (1, 0, 3, 0), (2, 0, 3, 1), (-1, -2, 2, 0), (1, -2, 2, 1), *((score, 1, 5, score >= 4) for score in range(1, 6)),
        *((score, 1, 4, score >= 3) for score in range(1, 5)),
    ]  # fmt: skip
    found = by_case(steps, "csat", [[answers("csat", score, low, high)] for score, low, high, _ in expected])
    for (*case, satisfied), value in zip(expected, found, strict=True):
        assert value == satisfied, case


def test_of_several_answers_to_one_survey_the_last_counts(steps: Any) -> None:
    cases: list[tuple[tuple[Row, ...], float, str]] = [
        (({"survey_id": "s"}, {"survey_id": "s"}), 100, "the last"),
        (({"ticket_id": "1"}, {"ticket_id": "1"}), 100, "the last"),
        (({"order_id": "1"}, {"order_id": "1"}), 100, "the last"),
        (({"survey_id": "s"}, {"survey_id": "s2"}), 0, "two surveys"),
        (({}, {}), 0, "who names nothing answers a survey of its own each time"),
        (({"survey_id": "s", "who": "bob"}, {"survey_id": "s"}), 0, "two customers"),
        (({"ticket_id": "1"}, {"order_id": "1"}), 0, "a ticket and an order may have one number"),
    ]
    rows = [
        [answers("nps", 10 * n, 0, 10, f"2026-01-0{n + 1}", **fields) for n, fields in enumerate(two)]
        for two, _, _ in cases
    ]
    for (two, expected, why), value in zip(cases, by_case(steps, "nps", rows), strict=True):
        assert value == expected, (two, why)


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
        ("2026-01-31 23:59:59.999998", "UTC", "provisional"), ("2026-01-31 23:59:59.999999", "UTC", "final"),
        ("2026-02-01", "UTC", "final"),
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
    # Resolved without a response: none is to come, and the ticket counts as waiting at least so long.
    rows += [{"type": "ticket_opened", "at": "2026-02-05", "ticket_id": "3", "who": "bob"}]
    rows += [{"type": "ticket_resolved", "at": "2026-02-05 12:00", "ticket_id": "3", "who": "bob"}]
    found = steps.metrics(rows, AS_OF + " 23:59:59", "first_response_minutes")

    def told(statistic: str) -> set[tuple[Any, ...]]:
        own = [r for r in found if r["metric"] == f"first_response_minutes_{statistic}"]
        return {(r["period_start"], r["status"], r["n"], r["value"]) for r in own}

    assert told("p50") == {
        (JANUARY, "provisional", 0, None), (FEBRUARY, "final", 1, 1440.0), (MARCH, "provisional", 0, None),
        (None, "provisional", 1, 1440.0),
    }  # fmt: skip
    # Over all, one waited 12 hours and more, one 24 hours, one still waits: at 24 hours half of the two left are answered.
    assert told("km_p50") == {
        (JANUARY, "provisional", 1, None), (FEBRUARY, "final", 2, 1440.0), (MARCH, "provisional", 0, None),
        (None, "provisional", 3, 1440.0),
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
    _, count, _, ratio = steps.metrics(rows, "2026-01-31", "orders", "repurchase_rate")
    assert (ratio["unit"], ratio["value"], count["denominator"], count["currency"]) == ("ratio", 1.0, None, None)


def test_no_touchpoint_at_all(steps: Any) -> None:
    rules = steps.rules("2026-01-01", *load_metrics())
    found = merge({name: [] for name in MERGED_OF}, rules, steps.tables)
    assert tuple(found) == MERGED
    rows = found["lifecycle_metrics"].to_pylist()
    assert {r["period_kind"] for r in rows} == {"all"}
    assert {r["metric"]: r["value"] for r in rows}["nps"] is None
    assert {r["metric"]: r["value"] for r in rows}["orders"] == 0
    assert found["cohorts"].num_rows == found["stage_transitions"].num_rows == 0
    assert found["stage_durations"].num_rows == found["channel_credit"].num_rows == 0
    assert set(found["service_loyalty"]["n"].to_pylist()) == {0}
    for name in MERGED:
        assert found[name].schema.equals(steps.tables[name].schema)


# --- segments --------------------------------------------------------------------------------------------------------


def test_a_segment_is_the_last_value_that_a_customer_has(steps: Any) -> None:
    """Also of what happened before; an event without a value takes none away."""
    visits = [
        ("ann", "2026-01-05", "de"),
        ("ann", "2026-02-05", "ch"),
        ("ann", "2026-02-06", None),
        ("bob", "2026-02-05", None),
    ]
    rows = [{"type": "site_visit", "who": who, "at": at, "country": country} for who, at, country in visits]
    found = steps.metrics(rows, "2026-02-28", "active_customers", segments={"country": "upper(country)"})
    told = {(r["segment"], r["segment_value"], r["period_start"]): r["value"] for r in found}
    assert told == {
        ("all", None, JANUARY): 1, ("all", None, FEBRUARY): 2, ("all", None, None): 2,
        ("country", "CH", JANUARY): 1, ("country", "CH", FEBRUARY): 1, ("country", "CH", None): 1,
        ("country", "(none)", JANUARY): 0, ("country", "(none)", FEBRUARY): 1, ("country", "(none)", None): 1,
    }, "and no first_channel or plan, of which nobody has a value"  # fmt: skip


def test_a_metric_of_subscriptions_is_told_by_the_plan_of_the_time(steps: Any) -> None:
    """One of customers by their last plan."""
    basic, pro = ({"subscription_id": "s", "source": "b", "plan": plan} for plan in ("basic", "pro"))
    rows = [
        {"type": "subscription_started", "at": "2026-01-05", "channel": "email", **basic},
        {"type": "subscription_changed", "at": "2026-02-10", **pro},
        {"type": "cancellation", "at": "2026-03-10", **pro},
    ]
    found = steps.metrics(rows, "2026-04-02", "subscribers", "churn_rate", "new_customers", segments={})

    def told(metric: str, value: str) -> dict[Any, float]:
        own = [r for r in found if (r["metric"], r["segment"], r["segment_value"]) == (metric, "plan", value)]
        return {r["period_start"]: r["numerator"] for r in own if r["numerator"]}

    assert (told("subscribers", "basic"), told("subscribers", "pro")) == ({JANUARY: 1}, {FEBRUARY: 1})
    assert (told("churn_rate", "basic"), told("churn_rate", "pro")) == ({}, {MARCH: 1, None: 1})
    assert (told("new_customers", "basic"), told("new_customers", "pro")) == ({}, {JANUARY: 1, None: 1})
    assert {r["segment_value"] for r in found if r["segment"] == "first_channel"} == {"email"}


def test_the_values_of_a_segment_add_up_to_everyone(steps: Any) -> None:
    rows: list[Row] = []
    for number in range(12):
        who = f"anon:{number}" if number % 5 == 0 else f"c{number}"
        own = {"country": "abc"[number % 3], "channel": ("email", None)[number % 2]}
        rows += [
            buys(f"2026-01-{number + 1:02}", who, **own),
            *([buys(f"2026-03-{number + 1:02}", who, amount="2.5")] if number % 4 else []),
            answers("nps", number % 11, 0, 10, f"2026-02-{number + 1:02}", who=who),
            {"type": "ticket_opened", "at": f"2026-01-{number + 1:02}", "who": who, "ticket_id": "t"},
            *([{"type": "ticket_replied", "at": "2026-02-20", "who": who, "ticket_id": "t"}] if number % 3 else []),
        ]
    names = (
        "active_customers", "aov", "arpu", "backlog", "clv_simple", "first_response_minutes", "nps", "orders",
        "repurchase_rate", "revenue", "visitors",
    )  # fmt: skip
    found = steps.metrics(rows, AS_OF, *names, segments={"country": "country"})
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0])
    for row in found:
        key = row["metric"], row["period_start"], row["currency"], row["segment"]
        for place, name in enumerate(("numerator", "denominator", "n")):
            sums[key][place] += row[name] or 0
    assert {segment for *_, segment in sums} == {"all", "first_channel", "country"}
    for (*key, segment), added in sums.items():
        assert added == sums[*key, "all"], (key, segment)


# --- any cut ---------------------------------------------------------------------------------------------------------

who = st.sampled_from(["ann", "bob", "cid", "dan", "anon:x", "anon:y"])
happened = st.tuples(st.integers(1, 28), st.integers(1, 3)).map(lambda d: f"2026-0{d[1]}-{d[0]:02}")
timeline = st.lists(
    st.one_of(
        st.builds(lambda w, a, o, m, c: buys(a, w, order_id=o, amount=m, currency=c, country=c[:2]), who, happened,
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
    whole = steps.merged(rows, AS_OF, *names, segments={"country": "country"})
    cut = steps.merged(rows, AS_OF, *names, segments={"country": "country"}, shards=3)
    for name in MERGED:
        assert cut[name].to_pylist() == whole[name].to_pylist(), name
