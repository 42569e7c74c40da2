"""Churn, renewals and recurring revenue: each rule at its edge, and the identities between them.

Cases that do not meet go through one run, each as a segment of its own: `case` is an event's country.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.test_subscription_periods import as_events, lives, numbered, utc

Row = dict[str, Any]
Month = datetime.date | None
JANUARY, FEBRUARY, MARCH, APRIL, MAY = (datetime.date(2026, n, 1) for n in range(1, 6))
RATES = ("churn_rate", "subscription_churn_rate", "mrr_churn_rate")
MOVEMENTS = ("mrr_new", "mrr_reactivation", "mrr_expansion", "mrr_contraction", "mrr_churned")
ALL = (*RATES, "mrr", *MOVEMENTS, "grr", "nrr", "subscribers", "renewal_rate", "churn_rate_lapsed", "churn_events")
FIXED: Row = {"auto_renews": False}


def day(at: str) -> str:
    """Of 2026, unless it says another year."""
    return at if at.startswith("20") else f"2026-{at}"


def starts(at: str, subscription: str = "s", who: str = "ann", **fields: Any) -> Row:
    return {"type": "subscription_started", "at": day(at), "who": who, "subscription_id": subscription, **fields}


def changes(at: str, subscription: str = "s", who: str = "ann", **fields: Any) -> Row:
    return {"type": "subscription_changed", "at": day(at), "who": who, "subscription_id": subscription, **fields}


def renews(at: str, subscription: str = "s", who: str = "ann", **fields: Any) -> Row:
    return {"type": "renewal", "at": day(at), "who": who, "subscription_id": subscription, **fields}


def ends(at: str, subscription: str = "s", who: str = "ann", **fields: Any) -> Row:
    return {"type": "cancellation", "at": day(at), "who": who, "subscription_id": subscription, **fields}


def closes(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "account_closed", "at": day(at), "who": who, **fields}


def buys(at: str, who: str = "ann") -> Row:
    return {"type": "purchase", "at": day(at), "who": who}


class Found:
    """The rows of lifecycle_metrics by metric, cut, period and currency."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {(r["metric"], r["segment"], r["segment_value"], r["period_start"], r["currency"]): r for r in rows}
        assert len(self.rows) == len(rows), "one row a metric, cut, period and currency"

    def of(
        self, metric: str, case: str | None, month: Month, currency: str | None = None, segment: str = "case"
    ) -> Row:
        return self.rows[metric, segment if case is not None else "all", case, month, currency]

    def parts(
        self, metric: str, case: str | None, *months: Month, currency: str | None = None, segment: str = "case"
    ) -> list[Any]:
        """(numerator, denominator) by month."""
        rows = [self.of(metric, case, month, currency, segment) for month in months]
        return [(row["numerator"], row["denominator"]) for row in rows]

    def amounts(
        self, metric: str, case: str | None, *months: Month, currency: str | None = None, segment: str = "case"
    ) -> list[Any]:
        return [self.of(metric, case, month, currency, segment)["numerator"] for month in months]


def run(
    steps: Any, cases: dict[str, list[Row]], as_of: str, *names: str, timezone: str = "UTC", shards: int = 1
) -> Found:
    """Each case with customers of its own."""
    rows = []
    for case, own in cases.items():
        for row in own:
            who = row.get("who", "ann")
            whose = f"anon:{case}.{who}" if who.startswith("anon:") else f"{case}.{who}"
            rows.append({**row, "who": whose, "country": case})
    return Found(steps.metrics(rows, as_of, *names, timezone=timezone, shards=shards, segments={"case": "country"}))


# --- churn -----------------------------------------------------------------------------------------------------------


def test_who_has_churned(steps: Any) -> None:
    """February of each, (churned, those who could): by customers, by subscriptions, by money."""
    two = [starts("01-10", "a", amount="10"), starts("01-10", "b", amount="20")]
    cases: dict[str, tuple[list[Row], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
        "left": ([starts("01-10"), ends("02-10")], (1, 1), (1, 1), (30, 30)),
        "declined": ([starts("01-10"), renews("02-10", outcome="declined")], (1, 1), (1, 1), (30, 30)),
        "closed": ([*two, closes("02-10")], (1, 1), (2, 2), (30, 30)),
        "ran out": ([starts("01-20", **FIXED)], (1, 1), (1, 1), (30, 30)),
        "asked": ([starts("01-10"), ends("02-10", kind="requested")], (0, 1), (0, 1), (0, 30)),
        "one of two": ([*two, ends("02-10", "a")], (0, 1), (1, 2), (10, 30)),
        "back": ([starts("01-10"), ends("02-10"), starts("02-20", "t")], (0, 1), (1, 1), (30, 30)),
        "back, and gone": ([starts("01-10"), ends("02-10"), starts("02-20"), ends("02-25")], (1, 1), (1, 1), (30, 30)),
        "back too late": ([starts("01-10"), ends("02-10"), starts("03-01")], (1, 1), (1, 1), (30, 30)),
        "between": ([starts("02-01"), ends("02-28 23:59:59")], (0, 0), (0, 0), (0, 0)),
        "at the first instant": ([starts("01-10"), ends("02-01")], (1, 1), (1, 1), (30, 30)),
        "just before": ([starts("01-10"), ends("01-31 23:59:59.999999")], (0, 0), (0, 0), (0, 0)),
        "next month": ([starts("01-10"), ends("03-01")], (0, 1), (0, 1), (0, 30)),
        "began with the month": ([starts("02-01"), ends("03-10")], (0, 0), (0, 0), (0, 0)),
        "trial": ([starts("01-10", amount="0"), ends("02-10")], (1, 1), (1, 1), (0, 0)),
        "changed, then left": ([starts("01-10"), changes("02-05", amount="50"), ends("02-10")], (1, 1), (1, 1), (30, 30)),
        "renewed": ([starts("01-10"), renews("02-10")], (0, 1), (0, 1), (0, 30)),
        "unknown": ([starts("01-10", who="anon:c"), ends("02-10", who="anon:c")], (0, 0), (0, 0), (0, 0)),
        "of another source": ([starts("01-10"), ends("02-10", source="crm")], (0, 1), (0, 1), (0, 30)),
    }  # fmt: skip
    found = run(steps, {case: rows for case, (rows, *_) in cases.items()}, "2026-05-31", *RATES)
    for case, (_, *expected) in cases.items():
        for metric, (churned, opening) in zip(RATES, expected, strict=True):
            currency = "EUR" if metric == "mrr_churn_rate" else None
            if (metric, "case", case, FEBRUARY, currency) not in found.rows:
                assert opening == 0, (case, metric, "nobody, in no month")
                continue
            row = found.of(metric, case, FEBRUARY, currency)
            assert (row["numerator"], row["denominator"], row["status"]) == (churned, opening, "final"), (case, metric)
            assert row["value"] == (churned / opening if opening else None), (case, metric)
            assert row["n"] == (
                opening if metric != "mrr_churn_rate" else min(opening, 2 if "two" in case or case == "closed" else 1)
            )
    assert found.parts("churn_rate", "back too late", JANUARY, FEBRUARY, MARCH, APRIL, None) == [
        (0, 0), (1, 1), (0, 0), (0, 1), (1, 3),
    ]  # fmt: skip
    assert found.of("churn_rate", "back too late", MARCH)["value"] is None, "nobody was there: not 0, and not 1"


def test_over_all_is_the_churned_of_all_months_over_all_openings(steps: Any) -> None:
    rows = [starts("01-10"), starts("01-10", who="bob"), ends("03-10", who="bob"), starts("05-05", who="cid")]
    found = run(steps, {"c": rows}, "2026-05-31", "churn_rate")
    assert found.parts("churn_rate", None, JANUARY, FEBRUARY, MARCH, APRIL, MAY, None) == [
        (0, 0), (0, 2), (1, 2), (0, 1), (0, 1), (1, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("as_of", "month", "over_all"),
    [
        ("2026-03-15", "provisional", "provisional"),
        ("2026-03-31 23:59:59.999998", "provisional", "provisional"),
        ("2026-03-31 23:59:59.999999", "final", "final"),  # the month's last instant
        ("2026-04-01", "final", "provisional"),  # April has begun, with those who are left
    ],
)
def test_a_rate_over_all_waits_for_the_end_of_the_month(steps: Any, as_of: str, month: str, over_all: str) -> None:
    """Who was there at March's beginning may still leave in it, and who has left may come back: the value may change."""
    rows = [starts("01-10"), ends("03-10"), starts("01-10", who="bob"), buys("01-10", "cid"), buys("01-10", "cid")]
    names = (*RATES, *MOVEMENTS, "churn_rate_lapsed", "grr", "nrr", "clv_simple", "mrr", "subscribers", "churn_events")
    found = Found(steps.metrics(rows, as_of, *names))
    currency = {"churn_rate": None, "subscription_churn_rate": None, "churn_rate_lapsed": None}
    waiting = (*RATES, "churn_rate_lapsed", "grr", "nrr")
    for metric in waiting:
        of = currency.get(metric, "EUR")
        assert found.of(metric, None, MARCH, of)["status"] == month, metric
        assert found.of(metric, None, None, of)["status"] == over_all, metric
    assert found.of("clv_simple", None, None, "EUR")["status"] == over_all, "it takes the churn"
    assert found.of("mrr_churned", None, None, "EUR")["status"] == month, "nobody has left in April yet"
    assert found.of("mrr_new", None, None, "EUR")["status"] == "final", "all of it is of January"
    for metric, of in (("mrr", "EUR"), ("subscribers", None), ("churn_events", None)):
        assert found.of(metric, None, None, of)["status"] == "final", "it is what it is at as-of"
    churned, there = found.parts("churn_rate", None, None)[0]
    assert (churned, there) == (1, 5 if as_of.startswith("2026-04") else 4)


def test_a_month_in_another_time_zone(steps: Any) -> None:
    """In New York March begins at 05:00 UTC."""
    cases = {
        "february": [starts("02-01 04:59"), ends("03-01 04:59")],
        "march": [starts("02-01 04:59"), ends("03-01 05:00")],
        "began in february": [starts("02-01 05:00"), ends("03-01 05:00")],
    }
    found = run(steps, cases, "2026-03-31 12:00", "churn_rate", "subscription_churn_rate", timezone="America/New_York")
    for metric in ("churn_rate", "subscription_churn_rate"):
        assert found.parts(metric, "february", JANUARY, FEBRUARY, MARCH) == [(0, 0), (1, 1), (0, 0)]
        assert found.parts(metric, "march", JANUARY, FEBRUARY, MARCH) == [(0, 0), (0, 1), (1, 1)]
        assert found.parts(metric, "began in february", JANUARY, FEBRUARY, MARCH) == [(0, 0), (0, 0), (1, 1)]


def test_a_churned_customer_is_put_to_the_last_end(steps: Any) -> None:
    """One customer in a month of their own for each case: so the reason of the month is that of the case."""
    two = [("a", "b"), ("b", "a")]
    cases: list[tuple[list[Row], str, str]] = [
        ([starts("01-10"), ends("02-10", reason="price", voluntary=True)], "price", "true"),
        ([starts("01-10"), ends("02-10", reason="unpaid", voluntary=False)], "unpaid", "false"),
        ([starts("01-10"), renews("02-10", outcome="declined")], "(none)", "(none)"),
        ([starts("01-10", **FIXED)], "term_ended", "(none)"),
        # the last of two to end counts
        *(([starts("01-10", x), starts("01-10", y), ends("02-05", x, reason="first", voluntary=True), ends("02-10", y)], "(none)", "(none)") for x, y in two),
        # at one moment the one that says why: an account that is closed, and a term that ran out
        *(([starts("01-10", x), starts("01-10", y), ends("02-10", x, voluntary=True), closes("02-10", reason="why")], "why", "(none)") for x, y in two),
        *(([starts("01-10", x, **FIXED), starts("01-10", y), ends("02-10", y, voluntary=True)], "term_ended", "(none)") for x, y in two),
        # also one that was not there at the beginning
        ([starts("01-10"), ends("02-10", reason="price"), starts("02-12", "t"), ends("02-15", "t", reason="again")], "again", "(none)"),
        # what ended within the month before it came back, and an end without a subscription, are no churn
        ([starts("01-10"), ends("02-10", reason="no"), starts("02-12", "t"), ends("01-20", "u", reason="no")], "", ""),
    ]  # fmt: skip
    rows = [{**row, "who": f"c{n:02}"} for n, (own, *_) in enumerate(cases) for row in own]
    found = Found(steps.metrics(rows, "2026-03-31", "churn_rate", shards=2))
    for dimension, place in (("reason", 1), ("voluntary", 2)):
        expected: dict[str, int] = defaultdict(int)
        for case in cases:
            if case[place]:
                expected[case[place]] += 1
        by_hand = {value: (count, len(cases)) for value, count in expected.items()}
        told = {
            value: (row["numerator"], row["denominator"])
            for (_, segment, value, month, _), row in found.rows.items()
            if (segment, month) == (dimension, FEBRUARY)
        }
        assert told == by_hand
    assert found.parts("churn_rate", None, FEBRUARY) == [(len(cases) - 1, len(cases))]
    assert found.parts("churn_rate", "price", MARCH, None, segment="reason") == [(0, 1), (1, len(cases) + 1)]


def test_of_one_subscription_that_ends_twice_at_one_moment_the_first_event_counts(steps: Any) -> None:
    cancelled, closed = ends("02-10", voluntary=True), closes("02-10", reason="why")
    rows = [{**row, "who": who} for who, order in (("ann", [cancelled, closed]), ("bob", [closed, cancelled]))
            for row in (starts("01-10"), *order)]  # fmt: skip
    found = Found(steps.metrics(rows, "2026-03-31", "churn_rate"))
    assert {value for _, segment, value, *_ in found.rows if segment == "reason"} == {"(none)", "why"}
    assert {value for _, segment, value, *_ in found.rows if segment == "voluntary"} == {"true", "(none)"}


def test_events_that_say_that_a_customer_left(steps: Any) -> None:
    cases = {
        "ends": [ends("02-01", reason="x"), ends("02-28 23:59:59", "t")],  # of subscriptions that nothing began
        "asks": [ends("02-10", kind="requested", reason="x")],
        "declines": [renews("02-10", outcome="declined"), renews("02-11")],
        "closes": [closes("02-10", reason="x"), closes("02-11", reason="x")],
        "unknown": [ends("02-10", who="anon:c", reason="x", voluntary=False)],
        "runs out": [starts("01-05", **FIXED)], "lapses": [buys("01-05")],
        "late": [ends("03-01", reason="x", voluntary=True)],
    }  # fmt: skip
    found = run(steps, cases, "2026-05-31", "churn_events", shards=3)
    counts = {
        case: found.amounts("churn_events", case, FEBRUARY)[0]
        for case in cases
        if ("churn_events", "case", case, FEBRUARY, None) in found.rows
    }
    assert {case: n for case, n in counts.items() if n} == {"ends": 2, "declines": 1, "closes": 2, "unknown": 1}
    assert found.amounts("churn_events", None, JANUARY, FEBRUARY, MARCH, APRIL, None) == [0, 6, 1, 0, 7]
    assert found.amounts("churn_events", "x", FEBRUARY, MARCH, None, segment="reason") == [4, 1, 5]
    assert found.amounts("churn_events", "(none)", FEBRUARY, None, segment="reason") == [2, 2]
    assert found.amounts("churn_events", "true", None, segment="voluntary") == [1]
    assert found.amounts("churn_events", "false", None, segment="voluntary") == [1]
    assert found.amounts("churn_events", "(none)", None, segment="voluntary") == [5]


# --- buyers without a contract ---------------------------------------------------------------------------------------


def test_lapses_of_buyers(steps: Any) -> None:
    """90 days after 10 January is 10 April, after 1 January 1 April, after 31 January 1 May."""
    cases = {
        "gone": [buys("01-10")],
        "back that day": [buys("01-10"), buys("04-10")],
        "back a moment later": [buys("01-10"), buys("04-10 00:00:00.000001")],
        "gone with a month's beginning": [buys("01-01")],
        "gone just before": [buys("01-30 23:59:59.999999")],
        "twice": [buys("01-01"), buys("04-05"), buys("04-06")],
        "subscriber": [buys("01-10"), starts("02-10")],
        "subscribed before": [buys("01-10"), starts("01-05"), ends("02-10")],
        "subscribed for a month": [buys("01-10"), starts("03-01"), ends("03-20")],
        "days over under one": [buys("01-10"), starts("02-10"), ends("05-10")],
        "days over in its gap": [buys("01-10"), starts("01-15"), ends("03-20"), starts("05-01")],
        "came and went": [buys("01-10"), starts("04-05"), ends("04-20")],
        "came, went and bought": [buys("01-10"), starts("04-05"), buys("04-19"), ends("04-20")],
        "first order": [{"type": "site_visit", "at": "2026-01-01", "who": "ann"}, buys("03-31 23:59:59")],
        "no buyer": [{"type": "site_visit", "at": "2026-01-10", "who": "ann"}, starts("01-10")],
        "unknown": [buys("01-10", "anon:c")],
    }
    found = run(steps, cases, "2026-07-31", "churn_rate_lapsed", shards=2)
    months = [datetime.date(2026, n, 1) for n in range(2, 8)]
    by_case = {
        case: found.parts("churn_rate_lapsed", case, *months)
        for case in cases
        if ("churn_rate_lapsed", "case", case, None, None) in found.rows
    }
    assert by_case == {
        "gone": [(0, 1), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        "back that day": [(0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (1, 1)],
        "back a moment later": [(0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (1, 1)],
        "gone with a month's beginning": [(0, 1), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        "gone just before": [(0, 1), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        "twice": [(0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (1, 1)],
        "subscriber": [(0, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
        "subscribed before": [(0, 0), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        "subscribed for a month": [(0, 1), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        # churned with its subscription, not lapsed beside that; and no more a buyer who could lapse
        "days over under one": [(0, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)],
        "days over in its gap": [(0, 0), (0, 0), (1, 1), (0, 0), (0, 0), (0, 0)],
        "came and went": [(0, 1), (0, 1), (1, 1), (0, 0), (0, 0), (0, 0)],
        "came, went and bought": [(0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (1, 1)],
        "first order": [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (0, 0)],
    }


# --- renewals --------------------------------------------------------------------------------------------------------


def test_what_is_a_renewal_in_time(steps: Any) -> None:
    """Terms that end on 10 April at noon, (renewed, ended) in April."""
    month, half = starts("03-10 12:00"), starts("01-10 12:00", period_months=3)
    year: Row = {"period_months": 12}
    cases: dict[str, tuple[list[Row], tuple[int, int]]] = {
        "in time": ([month, renews("04-10 12:00", **year)], (1, 1)),
        "seven days late": ([month, renews("04-17 12:00", **year)], (1, 1)),
        "later": ([month, renews("04-17 12:00:00.000001", **year)], (0, 1)),
        "sixty days early": ([half, renews("02-09 12:00", **year)], (1, 1)),
        "earlier": ([half, renews("02-09 11:59:59.999999", **year)], (0, 1)),
        "declined": ([month, renews("04-10", outcome="declined", **year)], (0, 1)),
        "declined, then not": ([month, renews("04-10", outcome="declined", **year), renews("04-12", **year)], (1, 1)),
        "started anew": ([month, ends("04-01"), starts("04-10", **year)], (0, 1)),
        "changed in between": ([month, changes("03-20", amount="5"), renews("04-10", **year)], (1, 1)),
        "only changed": ([month, changes("04-10", amount="5")], (0, 1)),
        "cancelled before": ([month, ends("03-20")], (0, 1)),
        "goes on by itself": ([month], (0, 1)),
        "unknown": ([{**month, "who": "anon:c"}], (0, 0)),
        "known from a change": ([changes("03-10 12:00")], (0, 0)),
        "known from a renewal": ([renews("03-10 12:00"), renews("04-09", **year)], (1, 1)),
        "another's renewal": ([month, renews("04-10", source="crm", **year)], (0, 1)),
    }
    found = run(steps, {case: rows for case, (rows, _) in cases.items()}, "2026-05-05", "renewal_rate", shards=2)
    told = {
        case: found.parts("renewal_rate", case, APRIL)[0]
        for case in cases
        if ("renewal_rate", "case", case, APRIL, None) in found.rows
    }
    assert told == {case: expected for case, (_, expected) in cases.items() if expected != (0, 0)}
    assert found.parts("renewal_rate", None, APRIL, None)[0] == (5 + 1, 14)
    assert found.of("renewal_rate", None, APRIL)["status"] == "final"


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2026-03-25 11:59:59.999999", {}),  # no term has ended yet
        ("2026-04-01 11:59:59.999999", {"goes on": "provisional", "changed": "provisional", "left": "provisional", "renewed": "final"}),
        ("2026-04-01 12:00", {"goes on": "final", "changed": "final", "left": "final", "renewed": "final"}),
    ],
)  # fmt: skip
def test_a_renewal_may_still_come_for_seven_days(steps: Any, as_of: str, expected: dict[str, str]) -> None:
    """Terms that end on 25 March at noon. A renewal undoes an end too, so one that was cancelled is not decided either."""
    begun = starts("02-25 12:00")
    cases = {
        "goes on": [begun], "changed": [begun, changes("03-05", amount="5")], "left": [begun, ends("03-20")],
        "renewed": [begun, renews("03-20")],
    }  # fmt: skip
    found = run(steps, cases, as_of, "renewal_rate")
    rows = {
        case: found.of("renewal_rate", case, MARCH)
        for case in cases
        if ("renewal_rate", "case", case, MARCH, None) in found.rows
    }
    assert {case: row["status"] for case, row in rows.items()} == expected
    assert {row["denominator"] for row in rows.values()} <= {1}


# --- what is not known yet -------------------------------------------------------------------------------------------

#: Its term ended on 28 January.
DUE = starts("2025-12-28", **FIXED)


def test_a_fixed_term_may_still_be_renewed_for_seven_days(steps: Any) -> None:
    """Until then what it would end is provisional, in the month in which the term ended, and over all. Then it is final."""
    cases = {
        "due": [DUE],
        "two due": [DUE, {**DUE, "subscription_id": "t"}],
        "beside another": [DUE, starts("2025-12-28", "t")],
        "free": [{**DUE, "amount": "0"}],
        "unknown": [{**DUE, "who": "anon:c"}],
        "renewed": [DUE, renews("01-30", auto_renews=None)],
        "by itself": [starts("2025-12-28")],
        "cancelled": [DUE, ends("01-20")],
    }
    decided = dict.fromkeys(cases, "final")
    money = {**decided, "due": "provisional", "two due": "provisional", "beside another": "provisional"}
    customers = {**decided, "due": "provisional", "two due": "provisional", "free": "provisional"}
    expected = {
        "churn_rate": customers, "subscribers": customers, "subscription_churn_rate": {**money, "free": "provisional"},
        "mrr_churn_rate": money, "mrr": money, "grr": money, "nrr": money, "mrr_churned": money, "mrr_contraction": money,
    }  # fmt: skip
    before = run(steps, cases, "2026-02-03 23:59:59", *expected)
    after = run(steps, cases, "2026-02-04", *expected)
    for metric, statuses in expected.items():
        for case, status in statuses.items():
            currency = "EUR" if "mrr" in metric or metric in ("grr", "nrr") else None
            if (metric, "case", case, JANUARY, currency) not in before.rows:
                assert status == "final", (metric, case, "nothing of it, and nothing to come")
                continue
            assert before.of(metric, case, JANUARY, currency)["status"] == status, (metric, case)
            assert after.of(metric, None, JANUARY, currency)["status"] == "final", (metric, case)
            if metric in ("mrr", "subscribers"):  # as it is at as-of; the others wait for the end of February
                assert before.of(metric, case, None, currency)["status"] == status, (metric, case)
                assert after.of(metric, None, None, currency)["status"] == "final", (metric, case)
    assert before.parts("churn_rate", "due", JANUARY) == [(0, 1)]
    assert after.parts("churn_rate", "due", JANUARY) == [(1, 1)]
    assert (
        before.amounts("mrr", "due", JANUARY, currency="EUR"),
        after.amounts("mrr", "due", JANUARY, currency="EUR"),
    ) == ([30], [0])
    assert before.parts("churn_rate", "term_ended", JANUARY, segment="reason") == [(0, 7)], (
        "a reason that may still come"
    )
    assert before.of("churn_rate", "term_ended", JANUARY, segment="reason")["status"] == "provisional"
    # nothing can be new again, and nobody can have added: what has come is certain
    for metric in ("mrr_new", "mrr_reactivation", "mrr_expansion"):
        found = run(steps, {"due": [DUE]}, "2026-02-03", metric)
        assert found.of(metric, None, JANUARY, "EUR")["status"] == "final"


def test_new_and_added_money_that_may_not_stay(steps: Any) -> None:
    trial = {**DUE, "amount": "0"}
    cases = {
        "new": [trial, changes("01-10", amount="10", **FIXED)],
        "back": [starts("2025-11-01", "t"), ends("2025-12-01", "t"), trial, changes("01-10", amount="10", **FIXED)],
        "more": [DUE, changes("01-10", amount="40", **FIXED)],
    }  # fmt: skip
    found = run(steps, cases, "2026-02-03", "mrr_new", "mrr_reactivation", "mrr_expansion")
    for case, metric in (("new", "mrr_new"), ("back", "mrr_reactivation"), ("more", "mrr_expansion")):
        row = found.of(metric, case, JANUARY, "EUR")
        assert (row["numerator"], row["status"]) == (10, "provisional")


# --- money -----------------------------------------------------------------------------------------------------------


def test_the_movements_of_each_customer(steps: Any) -> None:
    """The same as the sums by hand in tests/sources/test_ravenstack_by_hand.py: January to April, and over all."""
    rows = [
        starts("01-05", "a", "A", amount="100"), starts("02-05", "b", "A", amount="30"), ends("04-10", "a", "A"),
        starts("01-05", "a", "B", amount="50"), ends("02-10", "a", "B"), starts("04-10", "b", "B", amount="70"),
        starts("02-05", "a", "C", amount="0"), starts("03-05", "b", "C", amount="20"),
        starts("01-05", "a", "D", amount="60"), ends("02-10", "a", "D"), starts("02-10", "b", "D", amount="40"),
        starts("01-05", "a", "E", amount="80"), ends("01-20", "a", "E"), starts("03-10", "b", "E", amount="9"),
        starts("01-05", "a", "anon:c", amount="1000"),
    ]  # fmt: skip
    found = run(steps, {"c": rows}, "2026-04-30", "mrr", *MOVEMENTS, "grr", "nrr", shards=3)
    periods = (JANUARY, FEBRUARY, MARCH, APRIL, None)
    assert {metric: found.amounts(metric, None, *periods, currency="EUR") for metric in ("mrr", *MOVEMENTS)} == {
        "mrr": [210, 170, 199, 169, 169],
        "mrr_new": [210, 0, 29, 0, 239],
        "mrr_expansion": [0, 30, 0, 0, 30],
        "mrr_contraction": [0, 20, 0, 100, 120],
        "mrr_churned": [0, 50, 0, 0, 50],
        "mrr_reactivation": [0, 0, 0, 70, 70],
    }
    assert found.parts("grr", None, *periods, currency="EUR") == [(0, 0), (140, 210), (170, 170), (99, 199), (409, 579)]
    assert found.parts("nrr", None, *periods, currency="EUR") == [(0, 0), (170, 210), (170, 170), (99, 199), (439, 579)]
    assert found.of("grr", None, JANUARY, "EUR")["value"] is None


def test_a_customer_who_changes_the_currency_leaves_in_one_and_is_new_in_the_other(steps: Any) -> None:
    rows = [starts("01-05", amount="30"), changes("02-05", amount="40", currency="CHF"), changes("03-05", amount="50")]
    found = run(steps, {"c": rows}, "2026-03-31", "mrr", *MOVEMENTS, "nrr", "mrr_churn_rate", "churn_rate")
    periods = (JANUARY, FEBRUARY, MARCH, None)
    moved = {
        (metric, currency): found.amounts(metric, None, *periods, currency=currency)
        for metric in ("mrr", *MOVEMENTS)
        for currency in ("EUR", "CHF")
    }
    nothing = [0, 0, 0, 0]
    assert moved == {
        ("mrr", "EUR"): [30, 0, 50, 50], ("mrr", "CHF"): [0, 40, 0, 0],
        ("mrr_new", "EUR"): [30, 0, 0, 30], ("mrr_new", "CHF"): [0, 40, 0, 40],
        ("mrr_churned", "EUR"): [0, 30, 0, 30], ("mrr_churned", "CHF"): [0, 0, 40, 40],
        ("mrr_reactivation", "EUR"): [0, 0, 50, 50], ("mrr_reactivation", "CHF"): nothing,
        ("mrr_expansion", "EUR"): nothing, ("mrr_expansion", "CHF"): nothing,
        ("mrr_contraction", "EUR"): nothing, ("mrr_contraction", "CHF"): nothing,
    }, "and a movement that nobody made is 0 in each currency"  # fmt: skip
    assert found.parts("mrr_churn_rate", None, FEBRUARY, MARCH, currency="EUR") == [(0, 30), (0, 0)], (
        "the subscription goes on"
    )
    assert found.parts("churn_rate", None, FEBRUARY, MARCH) == [(0, 1), (0, 1)]


def test_a_plan_is_the_one_at_the_time(steps: Any) -> None:
    """What was there at the beginning counts under the plan of then, what came under its own; the last plan is `pro`."""
    rows = [starts("01-05", amount="30", plan="basic"), changes("02-10", amount="50", plan="pro"), ends("04-10")]
    names = ("mrr", *MOVEMENTS, "grr", "nrr", *RATES, "subscribers")
    found = Found(steps.metrics(rows, "2026-04-30", *names, segments={}))

    def by_plan(metric: str, month: Month) -> dict[str, Any]:
        return {
            value: row["numerator"] if row["denominator"] is None else (row["numerator"], row["denominator"])
            for (name, segment, value, period, _), row in found.rows.items()
            if (name, segment, period) == (metric, "plan", month) and (row["numerator"] or row["denominator"])
        }

    assert [by_plan("mrr", month) for month in (JANUARY, FEBRUARY, MARCH, APRIL)] == [
        {"basic": 30},
        {"pro": 50},
        {"pro": 50},
        {},
    ]
    assert [by_plan("subscribers", month) for month in (JANUARY, FEBRUARY, APRIL)] == [{"basic": 1}, {"pro": 1}, {}]
    assert (by_plan("mrr_new", JANUARY), by_plan("mrr_expansion", FEBRUARY)) == ({"basic": 30}, {"basic": 20})
    assert by_plan("mrr_churned", APRIL) == {"pro": 50}
    assert (by_plan("grr", FEBRUARY), by_plan("nrr", FEBRUARY)) == ({"basic": (30, 30)}, {"basic": (50, 30)})
    for metric in RATES:
        amount = 30 if metric == "mrr_churn_rate" else 1
        assert by_plan(metric, FEBRUARY) == {"basic": (0, amount)}
        amount = 50 if metric == "mrr_churn_rate" else 1
        assert by_plan(metric, APRIL) == {"pro": (amount, amount)}


# --- identities ------------------------------------------------------------------------------------------------------


def months_by_hand(customer_months: list[Row]) -> dict[tuple[str, datetime.date, str], tuple[Decimal, Decimal]]:
    """(metric, month, currency) -> (numerator, denominator), from the months of the customers, in plain Python."""
    paid: dict[tuple[str, str], dict[datetime.date, Decimal]] = defaultdict(dict)
    months = sorted({row["month"] for row in customer_months})
    for row in customer_months:
        for part in row["mrr_by_currency"]:
            paid[row["customer_key"], part["currency"]][row["month"]] = part["amount"]
    sums: dict[tuple[str, datetime.date, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for (_, currency), by_month in paid.items():
        opening, has_paid = Decimal(0), False
        for month in months:
            closing = by_month.get(month, Decimal(0))
            moved = {
                "mrr": closing,
                "mrr_new": closing if not opening and not has_paid else 0,
                "mrr_reactivation": closing if not opening and has_paid else 0,
                "mrr_expansion": max(closing - opening, 0) if opening else 0,
                "mrr_contraction": max(opening - closing, 0) if closing else 0,
                "mrr_churned": opening if not closing else 0,
                "grr": min(opening, closing),
                "nrr": closing if opening else 0,
            }
            for metric, amount in moved.items():
                sums[metric, month, currency][0] += amount
                sums[metric, month, currency][1] += opening
            opening, has_paid = closing, has_paid or closing > 0
    return {key: (numerator, denominator) for key, (numerator, denominator) in sums.items()}


@settings(max_examples=2)
@given(st.lists(lives(), min_size=12, max_size=16), st.integers(150, 170), st.sampled_from((2, 3)))
def test_the_movements_add_up_and_no_cut_into_shards_shows(
    steps: Any, customers: list[list[Row]], as_of_day: int, shards: int
) -> None:
    as_of = utc(1, 1) + datetime.timedelta(days=as_of_day)
    rows = [{**row, "country": row["who"][-1]} for row in as_events(numbered(customers))]
    found = steps.metrics(rows, as_of, *ALL, segments={"country": "country"})
    assert steps.metrics(rows, as_of, *ALL, segments={"country": "country"}, shards=shards) == found
    told = Found(found)
    by_hand = months_by_hand(steps.measured(rows, as_of)["customer_months"].to_pylist())
    for (metric, month, currency), (numerator, denominator) in by_hand.items():
        row = told.rows.get((metric, "all", None, month, currency))
        if row is None:
            assert numerator == 0 and (denominator == 0 or metric not in ("grr", "nrr")), (metric, month, currency)
            continue
        assert row["numerator"] == numerator, (metric, month, currency)
        if metric in ("grr", "nrr"):
            assert row["denominator"] == denominator
            assert row["value"] == (float(Fraction(numerator) / Fraction(denominator)) if denominator else None)
    hold_together(told)
    add_up_over_segments(found)


def hold_together(told: Found) -> None:
    """closing = opening + new + reactivation + expansion - contraction - churned, of every month and currency."""
    months = sorted({month for _, _, _, month, _ in told.rows if month is not None})
    for currency in {row["currency"] for row in told.rows.values()} - {None}:

        def amount(metric: str, month: datetime.date, currency: str = currency) -> Decimal:
            row = told.rows.get((metric, "all", None, month, currency))
            return row["numerator"] if row else Decimal(0)

        opening = Decimal(0)
        for month in months:
            new, reactivation, expansion, contraction, churned = (amount(metric, month) for metric in MOVEMENTS)
            closing = amount("mrr", month)
            assert closing == opening + new + reactivation + expansion - contraction - churned
            if opening:
                assert told.of("grr", None, month, currency)["denominator"] == opening
                assert amount("grr", month) == opening - contraction - churned
                assert amount("nrr", month) == opening + expansion - contraction - churned
                assert told.of("mrr_churn_rate", None, month, currency)["denominator"] == opening
            opening = closing
    opening_customers = Decimal(0)
    for month in months:
        churn = told.of("churn_rate", None, month)
        assert churn["denominator"] == opening_customers, "what a month ends with opens the next one"
        assert (
            sum(
                row["numerator"]
                for (metric, segment, _, period, _), row in told.rows.items()
                if (metric, segment, period) == ("churn_rate", "reason", month)
            )
            == churn["numerator"]
        )
        opening_customers = told.of("subscribers", None, month)["numerator"]


def add_up_over_segments(found: list[Row]) -> None:
    """Each segment's values together are everyone."""
    for segment in ("country", "plan", "first_channel"):
        sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0])
        for row in found:
            if row["segment"] == segment:
                key = row["metric"], row["period_start"], row["currency"]
                for place, name in enumerate(("numerator", "denominator", "n")):
                    sums[key][place] += row[name] or 0
        for row in found:
            if row["segment"] == "all" and (row["n"] or row["numerator"]) and sums:
                together = sums[row["metric"], row["period_start"], row["currency"]]
                assert together == [row["numerator"], row["denominator"] or 0, row["n"]], (segment, row)
