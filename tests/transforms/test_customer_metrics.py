"""Metrics of customers, money and stages: each edge of their definitions, by hand.

The plain case of each stands in its entry of the dictionary, as a worked example that tests/test_metric_examples.py runs.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.lifespan import LifetimeRules
from transforms.lifetime_value import Gathered
from transforms.measure import FITTED_ON, MERGED_OF, measure, merge, partials_of, value

Row = dict[str, Any]
Month = datetime.date | None
JANUARY, FEBRUARY, MARCH, APRIL, MAY, JUNE = (datetime.date(2026, n, 1) for n in range(1, 7))


def told(
    rows: list[Row], metric: str, currency: str | None = None, segment_value: str | None = None
) -> dict[Month, Row]:
    """The rows of one metric, currency and segment or dimension by month; None: over all."""
    own = [
        r for r in rows if (r["metric"], r["currency"], r["segment_value"]) == (metric, currency, segment_value)
    ]  # fmt: skip
    found = {r["period_start"]: r for r in own}
    assert found and len(found) == len(own), "one row a period"
    return found


def values(
    rows: list[Row], metric: str, currency: str | None = None, segment_value: str | None = None
) -> dict[Month, Any]:
    return {month: row["value"] for month, row in told(rows, metric, currency, segment_value).items()}


def parts(
    rows: list[Row], metric: str, currency: str | None = None, segment_value: str | None = None
) -> dict[Month, Any]:
    """numerator and denominator by month."""
    found = told(rows, metric, currency, segment_value)
    return {month: (row["numerator"], row["denominator"]) for month, row in found.items()}


def buys(at: str, who: str = "ann", amount: str = "10", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, "amount": amount, **fields}


def visits(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "site_visit", "at": at, "who": who, **fields}


def subscribes(at: str, who: str = "ann", subscription_id: str = "s", **fields: Any) -> Row:
    return {"type": "subscription_started", "at": at, "who": who, "subscription_id": subscription_id, **fields}


def refunds(at: str, who: str = "ann", amount: str = "1", order_id: str = "o", **fields: Any) -> Row:
    return {"type": "refund", "at": at, "who": who, "amount": amount, "order_id": order_id, **fields}


def cancels(at: str, who: str = "ann", subscription_id: str = "s") -> Row:
    return {"type": "cancellation", "at": at, "who": who, "subscription_id": subscription_id}


# --- customers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timezone", "last", "first", "earlier", "later"),
    [
        ("America/New_York", "2026-02-01 04:59:59.999999", "2026-02-01 05:00", JANUARY, FEBRUARY),
        # summer time since 29 March: midnight is two hours before that of UTC, and not one
        ("Europe/Berlin", "2026-03-31 21:59:59.999999", "2026-03-31 22:00", MARCH, APRIL),
    ],
)
def test_a_month_begins_at_midnight_of_the_time_zone(
    steps: Any, timezone: str, last: str, first: str, earlier: datetime.date, later: datetime.date
) -> None:
    rows = [buys(last), buys(first, "bob"), buys(first, "cid"), visits(last, "anon:c"), visits(first, "anon:d")]
    names = ("active_customers", "new_customers", "orders", "revenue", "purchase_frequency", "visitors", "clv_historic")
    found = steps.metrics(rows, "2026-06-01", *names, timezone=timezone)
    for name in ("active_customers", "new_customers", "orders"):
        assert (values(found, name)[earlier], values(found, name)[later]) == (1, 2), name
    assert (values(found, "visitors")[earlier], values(found, "visitors")[later]) == (1, 1)
    assert parts(found, "purchase_frequency")[later] == (2, 2)
    assert (values(found, "revenue", "EUR")[earlier], values(found, "revenue", "EUR")[later]) == (10, 20)
    assert (parts(found, "clv_historic", "EUR")[earlier], parts(found, "clv_historic", "EUR")[later]) == (
        (10, 1),
        (30, 3),
    )


def test_over_all_a_customer_counts_once(steps: Any) -> None:
    rows = [visits(f"2026-0{n}-05", who) for n in (1, 2, 3) for who in ("ann", "anon:c")] + [
        visits("2026-02-06", "bob")
    ]
    found = steps.metrics(rows, "2026-03-31", "active_customers", "visitors", "new_customers")
    assert values(found, "active_customers") == {JANUARY: 1, FEBRUARY: 2, MARCH: 1, None: 2}
    assert values(found, "visitors") == {JANUARY: 1, FEBRUARY: 1, MARCH: 1, None: 1}
    assert values(found, "new_customers") == {JANUARY: 1, FEBRUARY: 1, MARCH: 0, None: 2}


def test_who_is_only_acted_upon_is_new_but_never_active(steps: Any) -> None:
    rows: list[Row] = [{"type": "survey_sent", "at": "2026-01-05", "survey_type": "nps"}, refunds("2026-02-05")]
    rows += [{"type": "ad_view", "at": "2026-01-05", "who": "anon:c"}]
    found = steps.metrics(rows, "2026-02-28", "active_customers", "visitors", "new_customers", "arpu")
    assert values(found, "new_customers") == {JANUARY: 1, FEBRUARY: 0, None: 1}
    assert set(values(found, "active_customers").values()) == set(values(found, "visitors").values()) == {0}
    assert parts(found, "arpu", "EUR") == {JANUARY: (0, 0), FEBRUARY: (-1, 0), None: (-1, 0)}
    assert set(values(found, "arpu", "EUR").values()) == {None}


# --- money -----------------------------------------------------------------------------------------------------------


def test_what_is_money_and_what_is_not(steps: Any) -> None:
    """Each kind of event in a month of its own."""
    plan = {"subscription_id": "s", "amount": "8"}
    kinds: list[tuple[Row, int, int]] = [  # what it brings to orders, and to subscriptions
        ({"type": "purchase", "amount": "8"}, 8, 0),
        ({"type": "refund", "amount": "8", "order_id": "none"}, -8, 0),
        ({"type": "subscription_started", **plan}, 0, 8),
        ({"type": "renewal", **plan, "outcome": "renewed"}, 0, 8),
        ({"type": "renewal", **plan, "outcome": None}, 0, 8),
        ({"type": "renewal", **plan, "outcome": "declined"}, 0, 0),
        ({"type": "subscription_changed", **plan}, 0, 0),
        ({"type": "payment_failed", "amount": "8", "currency": "EUR"}, 0, 0),
        ({"type": "cancellation", "subscription_id": "s", "kind": "requested"}, 0, 0),
        ({"type": "ad_view", "cost": Decimal(8), "currency": "EUR"}, 0, 0),
    ]
    months = [datetime.date(2026, n, 1) for n in range(1, len(kinds) + 1)]
    rows = [
        {**row, "at": f"{month} 10:00", "who": who}
        for month, (row, _, _) in zip(months, kinds, strict=True)
        for who in ("ann", "anon:c")
    ]
    found = steps.metrics(rows, "2026-10-31", "revenue", "revenue_orders", "revenue_subscriptions")
    brought: dict[str, list[int]] = {
        "revenue_orders": [2 * orders for _, orders, _ in kinds],
        "revenue_subscriptions": [2 * subscriptions for _, _, subscriptions in kinds],
        "revenue": [2 * (orders + subscriptions) for _, orders, subscriptions in kinds],
    }
    for name, of_months in brought.items():
        by_month: dict[Month, int] = dict(zip(months, of_months, strict=True))
        assert values(found, name, "EUR") == {**by_month, None: sum(of_months)}, name


def test_money_is_told_in_each_currency_and_never_converted(steps: Any) -> None:
    rows = [
        buys("2026-01-05", amount="10", order_id="o"), refunds("2026-02-05", amount="3", currency="CHF"),
        subscribes("2026-02-06", "bob", amount="0.0001", currency="JPY"),
    ]  # fmt: skip
    found = steps.metrics(rows, "2026-02-28", "revenue", "revenue_orders", "revenue_subscriptions")
    assert (
        values(found, "revenue", "EUR")
        == values(found, "revenue_orders", "EUR")
        == {JANUARY: 10, FEBRUARY: 0, None: 10}
    )
    assert (
        values(found, "revenue", "CHF")
        == values(found, "revenue_orders", "CHF")
        == {JANUARY: 0, FEBRUARY: -3, None: -3}
    )
    assert told(found, "revenue_subscriptions", "JPY")[None]["numerator"] == Decimal("0.0001")
    currencies = {name: {r["currency"] for r in found if r["metric"] == name} for name in ("revenue", "revenue_orders")}
    assert currencies == {"revenue": {"EUR", "CHF", "JPY"}, "revenue_orders": {"EUR", "CHF"}}


def test_an_order_is_a_number_of_one_customer_in_one_source(steps: Any) -> None:
    rows = [buys("2026-01-05", order_id="o", source="web")] * 2
    rows += [buys("2026-02-05", order_id="o", source="web")]  # a later line
    rows += [buys("2026-02-05", order_id="o", source="till"), buys("2026-02-05", "bob", order_id="o", source="web")]
    rows += [buys("2026-02-05", "anon:c", order_id="o", source="web"), refunds("2026-02-06", order_id="unseen")]
    rows += [{"type": "offer_redeemed", "at": "2026-02-07", "order_id": "unseen"}, subscribes("2026-02-08")]
    found = steps.metrics(rows, "2026-02-28", "orders", "purchase_frequency")
    assert values(found, "orders") == {JANUARY: 1, FEBRUARY: 3, None: 4}
    assert parts(found, "purchase_frequency") == {JANUARY: (1, 1), FEBRUARY: (2, 2), None: (3, 2)}, (
        "without the cookie's"
    )


def test_of_lines_at_one_moment_the_lowest_event_id_opens_the_order(steps: Any) -> None:
    rows = [
        buys("2026-01-05", order_id="o", event_id="b", amount="1", currency="CHF"),
        buys("2026-01-05", order_id="o", event_id="a", amount="2", currency="EUR"),
    ]
    found = steps.metrics(rows, "2026-01-31", "aov", "orders")
    assert values(found, "orders")[None] == 1
    assert parts(found, "aov", "EUR")[None] == (2, 1)
    assert parts(found, "aov", "CHF")[None] == (1, 0), "money of an order that began in another currency"
    assert values(found, "aov", "CHF")[None] is None


def test_aov_takes_money_by_the_line_and_orders_by_the_first(steps: Any) -> None:
    rows = [
        buys("2026-01-31 23:59", order_id="o", amount="20"), buys("2026-02-01", order_id="o", amount="10"),
        buys("2026-01-10", "anon:c", amount="0"), refunds("2026-01-20", amount="20"), subscribes("2026-01-21"),
    ]  # fmt: skip
    found = steps.metrics(rows, "2026-02-28", "aov")
    assert parts(found, "aov", "EUR") == {JANUARY: (20, 2), FEBRUARY: (10, 0), None: (30, 2)}
    assert values(found, "aov", "EUR") == {JANUARY: 10, FEBRUARY: None, None: 15}
    assert told(found, "aov", "EUR")[JANUARY]["n"] == 2


def test_active_customers_count_under_every_currency(steps: Any) -> None:
    rows = [
        buys("2026-01-05", currency="EUR"),
        buys("2026-01-06", "anon:c", currency="CHF"),
        visits("2026-02-05", "bob"),
    ]
    found = steps.metrics(rows, "2026-03-31", "arpu")
    assert parts(found, "arpu", "EUR") == {JANUARY: (10, 1), FEBRUARY: (0, 1), MARCH: (0, 0), None: (10, 2)}
    assert parts(found, "arpu", "CHF") == {JANUARY: (10, 1), FEBRUARY: (0, 1), MARCH: (0, 0), None: (10, 2)}
    assert values(found, "arpu", "CHF") == {JANUARY: 10, FEBRUARY: 0, MARCH: None, None: 5}


def test_who_paid_counts_in_the_currencies_paid_in(steps: Any) -> None:
    rows = [
        buys("2026-01-05", amount="10", currency="EUR"), buys("2026-01-06", amount="4", currency="CHF"),
        buys("2026-01-07", "bob", amount="20", currency="EUR", order_id="o"),
        buys("2026-01-08", "cid", amount="0", currency="EUR"),
        buys("2026-02-05", "anon:c", amount="6", currency="EUR"), refunds("2026-02-06", "bob", amount="5"),
        subscribes("2026-03-05", amount="9"), subscribes("2026-03-06", subscription_id="t", amount="9"),
    ]  # fmt: skip
    found = steps.metrics(rows, "2026-03-31", "arppu")
    assert parts(found, "arppu", "EUR") == {JANUARY: (30, 2), FEBRUARY: (1, 0), MARCH: (18, 1), None: (49, 2)}
    assert values(found, "arppu", "EUR") == {JANUARY: 15, FEBRUARY: None, MARCH: 18, None: 24.5}
    assert parts(found, "arppu", "CHF") == {JANUARY: (4, 1), FEBRUARY: (0, 0), MARCH: (0, 0), None: (4, 1)}


def test_a_second_order_counts_once_and_for_good(steps: Any) -> None:
    rows = [visits("2026-01-05"), buys("2026-02-05"), buys("2026-04-05"), buys("2026-04-06"), buys("2026-05-05")]
    rows += [buys("2026-03-05", "bob", event_id="x"), buys("2026-03-05", "bob", event_id="y")]  # two at one moment
    rows += [
        buys("2026-02-05", "cid", order_id="o"),
        buys("2026-03-05", "cid", order_id="o"),
        subscribes("2026-03-06", "cid"),
    ]
    rows += [buys("2026-02-05", "anon:c"), buys("2026-02-06", "anon:c")]
    found = steps.metrics(rows, "2026-06-15", "repurchase_rate")
    assert parts(found, "repurchase_rate") == {
        JANUARY: (0, 0), FEBRUARY: (0, 2), MARCH: (1, 3), APRIL: (2, 3), MAY: (2, 3), JUNE: (2, 3), None: (2, 3),
    }  # fmt: skip
    assert values(found, "repurchase_rate")[JANUARY] is None
    assert told(found, "repurchase_rate")[None]["n"] == 3


# --- carts -----------------------------------------------------------------------------------------------------------


def carts(steps: Any, cases: Mapping[str, list[Row]], as_of: str = "2026-02-28") -> dict[str, tuple[int, int, str]]:
    """Of each case, which is a customer of its own: numerator, denominator and status over all."""
    rows = [{"who": case, **row, "country": case} for case, own in cases.items() for row in own]
    found = steps.metrics(rows, as_of, "cart_abandonment_rate", segments={"case": "country"})
    every = {case: told(found, "cart_abandonment_rate", None, case)[None] for case in cases}
    return {case: (int(r["numerator"]), int(r["denominator"]), r["status"]) for case, r in every.items()}


def sees(at: str, page_kind: str | None = "cart", **fields: Any) -> Row:
    return {"type": "site_visit", "at": at, "page_kind": page_kind, **fields}


def test_which_pages_make_a_cart(steps: Any) -> None:
    kinds = ("cart", "checkout", "payment", "home", "search", "product", "help", "account", "other")
    found = carts(steps, {kind: [sees("2026-01-05", kind), sees("2026-01-08", "cart")] for kind in kinds})
    assert [kind for kind in kinds if found[kind] == (2, 2, "final")] == ["cart", "checkout", "payment"]
    assert {found[kind] for kind in kinds[3:]} == {(1, 1, "final")}


def test_a_purchase_settles_a_cart_from_the_sessions_start_to_24_hours_after_its_end(steps: Any) -> None:
    """The session is from 10:00 to 10:20. They buy on another device, so no purchase makes the session longer."""
    session = [
        sees(f"2026-01-05 10:{at}", kind, anonymous_id="phone")
        for at, kind in (("00", None), ("05", "cart"), ("20", None))
    ]
    moments = {
        "before_the_session": ("2026-01-05 09:59:59.999999", 1),
        "at_its_start_before_the_cart": ("2026-01-05 10:00", 0),
        "in_it": ("2026-01-05 10:10", 0),
        "24_hours_after_its_end": ("2026-01-06 10:20", 0),
        "later": ("2026-01-06 10:20:00.000001", 1),
    }
    cases = {
        case: [
            *({**row, "anonymous_id": case} for row in session),
            {"type": "purchase", "at": at, "anonymous_id": f"{case}s laptop"},
        ]
        for case, (at, _) in moments.items()
    }
    cases["another_one_bought"] = [*session, buys("2026-01-05 10:30", "bob")]
    cases["a_subscription_is_no_purchase"] = [*session, subscribes("2026-01-05 10:30", "a_subscription_is_no_purchase")]
    expected = {case: (is_abandoned, 1, "final") for case, (_, is_abandoned) in moments.items()}
    expected |= {"another_one_bought": (1, 1, "final"), "a_subscription_is_no_purchase": (1, 1, "final")}
    assert carts(steps, cases) == expected


def test_one_purchase_settles_every_cart_within_a_day(steps: Any) -> None:
    rows = [sees(f"2026-01-05 {hour}:00") for hour in (10, 12, 14, 21)]
    unknown = [{**row, "who": "anon:c"} for row in rows]
    found = carts(steps, {"known": [*rows, {"type": "purchase", "at": "2026-01-05 20:00"}], "unknown": unknown})
    assert found == {"known": (1, 4, "final"), "unknown": (4, 4, "final")}


def test_a_cart_is_provisional_until_its_24_hours_are_over(steps: Any) -> None:
    bought: Row = {"type": "purchase", "at": "2026-01-05 11:00"}
    cases = {"waits": [sees("2026-01-05 10:00")], "bought": [sees("2026-01-05 10:00"), bought]}
    before = carts(steps, cases, "2026-01-06 09:59:59.999999")
    assert before == {"waits": (1, 1, "provisional"), "bought": (0, 1, "final")}
    # a purchase at that very moment would be in the data
    assert carts(steps, cases, "2026-01-06 10:00") == {"waits": (1, 1, "final"), "bought": (0, 1, "final")}


def test_a_cart_counts_in_the_month_in_which_its_session_began(steps: Any) -> None:
    rows = [
        visits("2026-02-01 04:50"),
        visits("2026-02-01 05:10", page_kind="cart"),
        visits("2026-02-01 05:10", "bob", page_kind="cart"),
    ]
    found = steps.metrics(rows, "2026-02-28", "cart_abandonment_rate", timezone="America/New_York")
    assert parts(found, "cart_abandonment_rate") == {JANUARY: (1, 1), FEBRUARY: (1, 1), None: (2, 2)}


# --- lifetime value --------------------------------------------------------------------------------------------------


class Lifetime:
    """clv_simple and the churn that it takes, of some rows."""

    def __init__(self, steps: Any, rows: list[Row], as_of: str) -> None:
        self._tables = steps.tables
        self._rules = steps.rules(as_of, "churn_rate", "churn_rate_lapsed", "clv_simple")
        self._partials = partials_of(measure(steps.customers(rows, as_of), self._rules, steps.connection))

    def rows(self, **lifetime: float) -> list[Row]:
        rules = dataclasses.replace(self._rules, lifetime=LifetimeRules(**lifetime))
        merged = merge(
            {name: [self._partials[name]] for name in MERGED_OF if name in self._partials}, rules, self._tables
        )["lifecycle_metrics"]
        return [row for row in merged.to_pylist() if row["segment"] == "all"]

    def row(self, currency: str | None = "EUR", **lifetime: float) -> Row:
        (row,) = told(self.rows(**lifetime), "clv_simple", currency).values()
        return row


def test_a_customer_who_never_leaves_stays_for_the_longest_lifespan(steps: Any) -> None:
    """100.00 in 50 days, and in March nobody lapses."""
    rows = [buys("2026-02-01", amount="60"), buys("2026-03-01", amount="40"), buys("2026-01-05", "anon:c", amount="9")]
    found = Lifetime(steps, rows, "2026-03-23")
    assert parts(found.rows(), "churn_rate_lapsed")[None] == (0, 1)
    assert (found.row()["numerator"], found.row()["denominator"], found.row()["n"]) == (100, 50, 1)
    assert found.row()["value"] == pytest.approx(100 / 50 * 365.25 * 5)
    assert found.row(max_years=2.0)["value"] == pytest.approx(100 / 50 * 365.25 * 2)
    assert found.row(margin=0.3)["value"] == pytest.approx(100 / 50 * 365.25 * 5 * 0.3)


def test_an_expected_lifespan_is_cut_at_the_longest(steps: Any) -> None:
    """20 subscribers at the beginning of February, 19 of March; one goes: of 39 chances one, so 39 / 12 = 3.25 years."""
    rows = [subscribes("2026-01-05", f"c{n}", f"s{n}") for n in range(20)] + [cancels("2026-02-05", "c0", "s0")]
    found = Lifetime(steps, [*rows, buys("2026-03-11", "c1", amount="2")], "2026-03-31")
    assert parts(found.rows(), "churn_rate")[None] == (1, 39)
    assert found.row()["value"] == pytest.approx(2 / 20 * 365.25 * 3.25)
    assert found.row(max_years=3.0)["value"] == pytest.approx(2 / 20 * 365.25 * 3)


def test_subscribers_churn_tells_the_lifespan_where_there_are_any(steps: Any) -> None:
    """Ann never lapses, but of two subscribers at the beginning of January one is left at its end: 1 / 2 a month, 2 months."""
    rows = [buys("2025-11-15"), subscribes("2025-12-05", "bob", "s"), subscribes("2025-12-05", "cid", "t")]
    found = Lifetime(steps, [*rows, cancels("2026-01-05", "bob", "s")], "2026-01-31")
    assert (parts(found.rows(), "churn_rate")[None], parts(found.rows(), "churn_rate_lapsed")[None]) == ((1, 2), (0, 2))
    days = 77  # 15 November to 31 January
    assert found.row()["value"] == pytest.approx(10 / days * 365.25 * 2 / 12)


def test_who_never_had_a_plan_stays_by_their_own_lapses(steps: Any) -> None:
    """A shop with both: ann and dan only buy, and dan lapses on 15 May; bob and cid subscribe, and bob leaves in February.

    Over all it is the subscribers' churn: of 2 + 1 + 1 + 1 + 1 chances from February to June one, so 6 months. Those without
    a plan could lapse 2 + 2 + 2 + 1 times from March to June: 7 months. 30.00 in 119 days of each.
    """
    rows = [buys("2026-02-14", "dan"), buys("2026-02-14"), buys("2026-05-14"), visits("2026-01-20")]
    rows += [subscribes("2026-01-20", who, who, plan="pro") for who in ("bob", "cid")] + [
        cancels("2026-02-05", "bob", "bob")
    ]
    found = steps.metrics(rows, "2026-06-13", "churn_rate", "churn_rate_lapsed", "clv_simple", segments={})
    by_plan = {row["segment_value"]: row for row in found if (row["metric"], row["segment"]) == ("clv_simple", "plan")}
    money = 30 / (2 * 119) * 365.25
    everyone = told([row for row in found if row["segment"] == "all"], "clv_simple", "EUR")[None]
    assert everyone["value"] == pytest.approx(money * 6 / 12)
    assert by_plan["(none)"]["value"] == pytest.approx(money * 7 / 12)


def test_nobody_could_leave_yet_and_nobody_was_observed(steps: Any) -> None:
    assert Lifetime(steps, [buys("2026-01-05"), buys("2026-01-06")], "2026-01-31").row()["value"] is None
    just_now = Lifetime(steps, [buys("2025-12-01", "anon:c"), buys("2026-01-05")], "2026-01-05").row()
    assert (just_now["numerator"], just_now["denominator"], just_now["value"], just_now["n"]) == (10, 0, None, 1)


def test_the_days_observed_are_the_same_in_every_currency(steps: Any) -> None:
    rows = [
        buys("2026-01-01", amount="30"),
        buys("2026-01-11", "bob", amount="8", currency="CHF"),
        refunds("2026-01-12"),
    ]
    found = Lifetime(steps, rows, "2026-02-10")
    assert parts(found.rows(), "clv_simple", "EUR") == {None: (30, 40 + 30)}, "and there is no row a month"
    assert parts(found.rows(), "clv_simple", "CHF") == {None: (8, 40 + 30)}
    assert found.row("CHF")["value"] == pytest.approx(8 / 70 * 365.25 * 5)


def test_what_customers_were_worth_so_far(steps: Any) -> None:
    rows = [visits("2026-01-05", "anon:c"), buys("2026-01-06", "anon:c", amount="50"), visits("2026-02-05")]
    rows += [buys("2026-03-05", "bob", amount="9", currency="CHF"), buys("2026-03-06", amount="10", order_id="o")]
    rows += [refunds("2026-04-05", amount="4")]
    found = steps.metrics(rows, "2026-05-15", "clv_historic")
    assert parts(found, "clv_historic", "EUR") == {
        JANUARY: (0, 0), FEBRUARY: (0, 1), MARCH: (10, 2), APRIL: (6, 2), MAY: (6, 2), None: (6, 2),
    }  # fmt: skip
    assert values(found, "clv_historic", "EUR")[JANUARY] is None
    assert values(found, "clv_historic", "CHF")[None] == 4.5


def order_days(customer: int) -> list[datetime.date]:
    """As BG/NBD supposes: a rate of orders, and after each repeated one a chance to stop for good."""
    chance = np.random.default_rng(customer)
    wait, stops = 1 / chance.gamma(1, 1 / 10), chance.beta(0.8, 2)
    days = [datetime.date(2026, 1, 1) + datetime.timedelta(days=int(chance.integers(60)))]
    while (following := days[-1] + datetime.timedelta(days=1 + int(chance.exponential(wait)))) < datetime.date(
        2026, 5, 20
    ):
        days.append(following)
        if chance.random() < stops:
            break
    return days


def test_the_forecast_is_the_mean_of_those_who_have_one(steps: Any) -> None:
    """60 buyers have one; who pays in two currencies has none, and a cookie is no customer."""
    rows = [buys(str(day), f"c{n}", amount=str(10 + n + day.day % 9)) for n in range(60) for day in order_days(n)]
    rows += [buys("2026-02-03", "two", currency="CHF"), buys("2026-03-03", "two"), buys("2026-03-05", "anon:c")]
    as_of = "2026-05-20"
    rules = steps.rules(as_of, "clv_predicted")
    shard = measure(steps.customers(rows, as_of), rules, steps.connection)
    partials: Mapping[str, list[pa.Table]] = {name: [table] for name, table in partials_of(shard).items()}
    gathered = Gathered(rules.forecast)
    for name in FITTED_ON:
        gathered.add(name, partials[name][0])
    fitted = gathered.fit()
    assert fitted.purchases.converged
    assert fitted.spends["EUR"].converged
    customers, forecasts = value(shard, fitted, rules, steps.connection)
    partials["sums"].append(forecasts["sums"])
    found = merge({name: partials[name] for name in MERGED_OF if name in partials}, rules, steps.tables)[
        "lifecycle_metrics"
    ].to_pylist()
    found = [row for row in found if row["segment"] == "all"]

    worth = {c["customer_key"]: c["clv_predicted"] for c in customers.to_pylist() if c["clv_predicted"] is not None}
    assert sorted(worth) == sorted(f"c{n}" for n in range(60))
    assert (
        parts(found, "clv_predicted", "EUR")[MAY]
        == parts(found, "clv_predicted", "EUR")[None]
        == (sum(worth.values()), 60)
    )
    assert values(found, "clv_predicted", "EUR")[None] == pytest.approx(float(sum(worth.values())) / 60)
    assert values(found, "clv_predicted", "EUR")[APRIL] is None, "nobody knows what was expected then"


# --- stages ----------------------------------------------------------------------------------------------------------


def converted(rows: list[Row], stage: str) -> dict[Month, tuple[int, int, str]]:
    """Of a stage by month: numerator, denominator and status."""
    found = told(rows, "conversion_rate", None, stage)
    return {month: (int(row["numerator"]), int(row["denominator"]), row["status"]) for month, row in found.items()}


def opens_ticket(at: str, who: str = "ann") -> Row:
    return {"type": "ticket_opened", "at": at, "who": who, "ticket_id": f"t{at}{who}"}


def test_a_later_stage_counts_for_30_days(steps: Any) -> None:
    """Each case has a month of its own. At one moment, the order of the events decides: it is that of their ids."""
    rows = [visits("2026-01-01 10:00", "in time"), buys("2026-01-31 10:00", "in time")]
    rows += [visits("2026-02-01 10:00", "late"), buys("2026-03-03 10:00:00.000001", "late")]
    rows += [visits("2026-03-01 10:00", "at once", event_id="x"), buys("2026-03-01 10:00", "at once", event_id="y")]
    rows += [visits("2026-04-01 10:00", "reversed", event_id="q"), buys("2026-04-01 10:00", "reversed", event_id="p")]
    found = converted(steps.metrics(rows, "2026-06-30", "conversion_rate"), "consideration")
    assert [found[month] for month in (JANUARY, FEBRUARY, MARCH)] == [(1, 1, "final"), (0, 1, "final"), (1, 1, "final")]
    assert (found[APRIL], found[None]) == ((0, 0, "final"), (2, 3, "final")), (
        "a buyer who visits is not in consideration"
    )


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [("2026-01-31 09:59:59.999999", (0, 0, "provisional")), ("2026-01-31 10:00", (1, 1, "final"))],
)
def test_an_entry_counts_once_it_is_30_days_old_even_if_it_converted_at_once(
    steps: Any, as_of: str, expected: tuple[int, int, str]
) -> None:
    found = steps.metrics([visits("2026-01-01 10:00"), buys("2026-01-02")], as_of, "conversion_rate")
    assert converted(found, "consideration")[None] == expected


def test_the_settings_can_give_another_window(steps: Any) -> None:
    """Of 2 days: who buys after 2 days goes on, who takes a moment longer does not, and who came yesterday is too young."""
    rows = [visits("2026-01-01 10:00", "in time"), buys("2026-01-03 10:00", "in time")]
    rows += [
        visits("2026-02-01 10:00", "late"),
        buys("2026-02-03 10:00:00.000001", "late"),
        visits("2026-02-09", "young"),
    ]
    rules = dataclasses.replace(steps.rules("2026-02-10", "conversion_rate"), conversion_days=2)
    partials = partials_of(measure(steps.customers(rows, "2026-02-10"), rules, steps.connection))
    merged = merge({name: [partials[name]] for name in MERGED_OF if name in partials}, rules, steps.tables)[
        "lifecycle_metrics"
    ]
    found = converted(merged.to_pylist(), "consideration")
    assert found == {JANUARY: (1, 1, "final"), FEBRUARY: (0, 1, "provisional"), None: (1, 2, "provisional")}


def test_any_later_step_counts_and_an_earlier_or_the_same_one_does_not(steps: Any) -> None:
    """Each case is of a stage of its own, or of a month of its own."""
    rows: list[Row] = [{"type": "ad_view", "at": "2026-01-01", "who": "skips one"}, buys("2026-01-05", "skips one")]
    rows += [buys("2026-02-05", "praises"), {"type": "review", "at": "2026-02-06", "who": "praises"}]
    rows += [buys("2026-03-05", "goes back"), buys("2026-03-07", "goes back")]
    rows += [{"type": "product_usage", "at": "2026-03-08", "who": "goes back"}]
    rows += [visits("2026-01-01", "stays"), opens_ticket("2026-01-02", "stays"), visits("2026-01-03", "stays")]
    found = steps.metrics(rows, "2026-06-30", "conversion_rate")
    assert converted(found, "awareness")[JANUARY] == (1, 1, "final"), "consideration was passed over"
    assert converted(found, "purchase")[FEBRUARY] == (1, 1, "final"), "all the way to advocacy"
    assert converted(found, "loyalty")[MARCH] == (0, 1, "final"), "onboarding comes before loyalty"
    assert converted(found, "consideration")[JANUARY] == (0, 1, "final"), "through service and back again"


def test_service_ends_nothing_and_churn_does(steps: Any) -> None:
    """Each case has a month of its own: a first subscription on the 1st, and a second one on the 10th."""
    rows = [subscribes(f"2026-0{n}-01", f"c{n}", f"s{n}") for n in range(1, 5)]
    rows += [subscribes(f"2026-0{n}-10", f"c{n}", f"t{n}") for n in range(1, 5)]
    rows += [opens_ticket("2026-01-05", "c1"), cancels("2026-02-05", "c2", "s2"), cancels("2026-03-11", "c3", "s3")]
    rows += [{**cancels("2026-04-05", "c4", "s4"), "kind": "requested"}]
    found = converted(steps.metrics(rows, "2026-06-30", "conversion_rate"), "purchase")
    assert found[JANUARY] == (1, 1, "final"), "a ticket between"
    assert found[FEBRUARY] == (0, 1, "final"), "churned before"
    assert found[MARCH] == (1, 1, "final"), "churned only after"
    assert found[APRIL] == (1, 1, "final"), "to ask is not to churn"


def test_the_first_entry_of_the_month_tells_and_over_all_the_first_of_all(steps: Any) -> None:
    """Ann comes on 1 January, 20 January and 1 February, each time anew; the order comes less than 30 days after the last two."""
    rows = [visits("2026-01-01"), opens_ticket("2026-01-02"), visits("2026-01-20")]
    rows += [opens_ticket("2026-01-25"), visits("2026-02-01"), buys("2026-02-18")]
    found = converted(steps.metrics(rows, "2026-06-30", "conversion_rate"), "consideration")
    assert (found[JANUARY], found[FEBRUARY], found[None]) == ((0, 1, "final"), (1, 1, "final"), (0, 1, "final"))


def test_conversion_is_told_by_stage_alone_of_known_customers(steps: Any) -> None:
    rows = [
        visits("2026-01-01"),
        buys("2026-01-02"),
        {"type": "review", "at": "2026-01-03"},
        visits("2026-01-01", "anon:c"),
    ]
    rows += [{"type": "ticket_opened", "at": "2026-01-04", "ticket_id": "t"}, visits("2026-06-10", "bob")]
    rows += [subscribes("2026-01-05", "cid"), cancels("2026-01-06", "cid")]
    found = steps.metrics(rows, "2026-06-30", "conversion_rate", segments={})
    assert {r["segment"] for r in found} == {"stage"}
    assert {r["segment_value"] for r in found} == {"consideration", "purchase"}, (
        "advocacy, service and churned have no rate"
    )
    consideration = {
        month: (row["value"], row["status"])
        for month, row in told(found, "conversion_rate", None, "consideration").items()
    }
    assert consideration == {
        JANUARY: (1, "final"), FEBRUARY: (None, "final"), MARCH: (None, "final"), APRIL: (None, "final"),
        MAY: (None, "final"), JUNE: (None, "provisional"), None: (1, "provisional"),
    }  # fmt: skip


def days(rows: list[Row], stage: str, statistic: str) -> dict[Month, tuple[Any, int, str]]:
    """Of a stage by month: value, n and status."""
    found = told(rows, f"stage_days_{statistic}", None, stage)
    return {month: (row["value"], row["n"], row["status"]) for month, row in found.items()}


def test_days_in_a_stage_are_whole_seconds_of_the_runs_that_ended(steps: Any) -> None:
    rows = [visits("2026-01-01"), buys("2026-01-02 00:00:00.999999")]  # a day
    rows += [visits("2026-01-01", "bob"), visits("2026-01-03", "bob"), buys("2026-01-04", "bob")]  # three
    rows += [visits("2026-01-01", "anon:c"), buys("2026-01-21", "anon:c")]
    rows += [visits("2026-01-31 23:59:59", "cid"), opens_ticket("2026-02-05 23:59:59", "cid")]  # five
    found = steps.metrics(rows, "2026-02-20", "stage_days")
    assert days(found, "consideration", "p50") == {
        JANUARY: (3, 3, "final"),
        FEBRUARY: (None, 0, "provisional"),
        None: (3, 3, "final"),
    }
    assert days(found, "consideration", "p90")[None][0] == pytest.approx(3 + 0.8 * 2)
    assert days(found, "service", "km_p50") == {
        JANUARY: (None, 0, "final"), FEBRUARY: (None, 1, "provisional"), None: (None, 1, "provisional"),
    }, "nobody has left it"  # fmt: skip


def test_a_lapse_ends_a_stage_and_the_time_since_counts_as_a_wait(steps: Any) -> None:
    """Ann lapses after 90 days. Bob has been there for 40: of those still there after 90 days, all go."""
    found = steps.metrics([buys("2026-01-01"), buys("2026-03-01", "bob")], "2026-04-10", "stage_days")
    assert days(found, "purchase", "p50") == {
        JANUARY: (90, 1, "final"), FEBRUARY: (None, 0, "final"), MARCH: (None, 0, "provisional"),
        APRIL: (None, 0, "provisional"), None: (90, 1, "provisional"),
    }  # fmt: skip
    assert days(found, "purchase", "km_p50")[None] == (90, 2, "provisional")


# --- shards and segments ---------------------------------------------------------------------------------------------

COUNTED = ("active_customers", "new_customers", "visitors", "orders")
MONEY = ("revenue", "revenue_orders", "revenue_subscriptions", "aov", "arpu", "arppu", "clv_historic")
RATES = ("purchase_frequency", "repurchase_rate", "cart_abandonment_rate")
STAGES = ("conversion_rate", "stage_days")

who = st.sampled_from(["ann", "bob", "cid", "dan", "anon:x", "anon:y"])
when = st.builds(
    lambda day, month, hour: f"2026-0{month}-{day:02} {hour:02}:00",
    st.integers(1, 28),
    st.integers(1, 4),
    st.integers(0, 23),
)
where = st.sampled_from(["DE", "FR", None])
timeline = st.lists(
    st.one_of(
        st.builds(lambda w, a, o, m, c, at: buys(a, w, m, order_id=o, currency=c, country=at), who, when, st.sampled_from("ab"),
                  st.sampled_from(["0", "0.1", "7"]), st.sampled_from(["EUR", "CHF"]), where),
        st.builds(lambda w, a, m: refunds(a, w, m, order_id="a"), who, when, st.sampled_from(["0.1", "2"])),
        st.builds(lambda w, a, kind, at: visits(a, w, page_kind=kind, country=at), who, when, st.sampled_from(["cart", None]), where),
        st.builds(lambda w, a, s: subscribes(a, w, s), who, when, st.sampled_from("st")),
        st.builds(lambda w, a, s: cancels(a, w, s), who, when, st.sampled_from("st")),
        st.builds(lambda w, a: {"type": "product_usage", "at": a, "who": w}, who, when),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(max_examples=3, deadline=None)
@given(timeline)
def test_no_cut_into_shards_shows_and_segments_add_up(steps: Any, rows: list[Row]) -> None:
    names = (*COUNTED, *MONEY, *RATES, *STAGES, "churn_rate", "churn_rate_lapsed", "clv_simple")
    found = steps.metrics(rows, "2026-04-30", *names, segments={"country": "country"})
    assert steps.metrics(rows, "2026-04-30", *names, shards=3, segments={"country": "country"}) == found

    everyone = {(r["metric"], r["period_start"], r["currency"]): r for r in found if r["segment"] == "all"}
    for segment in {r["segment"] for r in found} - {"all", "stage", "reason", "voluntary"}:
        for (metric, month, currency), whole in everyone.items():
            cut = [
                r for r in found
                if (r["metric"], r["period_start"], r["currency"], r["segment"]) == (metric, month, currency, segment)
            ]  # fmt: skip
            for name in ("numerator", "denominator"):
                if whole[name] is not None and metric in (*COUNTED, *MONEY, *RATES):
                    assert sum(r[name] for r in cut) == whole[name], (metric, month, currency, segment, name)
    for (metric, month, currency), row in everyone.items():
        if metric == "revenue":
            kinds = [everyone.get((kind, month, currency)) for kind in ("revenue_orders", "revenue_subscriptions")]
            assert row["numerator"] == sum(kind["numerator"] for kind in kinds if kind)
