"""The state of each known customer at each month's end: every column by hand, and what happens just at a month's edge."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

Row = dict[str, Any]
JANUARY, FEBRUARY, MARCH, APRIL, MAY = (datetime.date(2026, n, 1) for n in range(1, 6))
SLOW_PAGE: Row = {"type": "site_visit", "load_ms": 5000}


def months(
    steps: Any, rows: list[Row], as_of: str, timezone: str = "UTC", friction: Sequence[str] = ()
) -> dict[tuple[str, datetime.date], Row]:
    found = steps.measured(rows, as_of, timezone=timezone, kinds=friction)["customer_months"].to_pylist()
    by_key = {(row["customer_key"], row["month"]): row for row in found}
    assert len(by_key) == len(found), "one row a customer and month"
    keys = list(dict.fromkeys(who for who, _ in by_key))
    assert list(by_key) == sorted(by_key, key=lambda key: (keys.index(key[0]), key[1])), "a customer's months in order"
    return by_key


def column(found: dict[tuple[str, datetime.date], Row], name: str, who: str = "ann") -> list[Any]:
    """Month by month."""
    return [row[name] for (key, _), row in found.items() if key == who]


def starts(at: str, who: str = "ann", subscription: str = "s", **fields: Any) -> Row:
    return {"type": "subscription_started", "at": at, "who": who, "subscription_id": subscription, **fields}


def ends(at: str, who: str = "ann", subscription: str = "s") -> Row:
    return {"type": "cancellation", "at": at, "who": who, "subscription_id": subscription}


def visits(at: str, who: str = "ann") -> Row:
    return {"type": "site_visit", "at": at, "who": who}


def buys(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, **fields}


def ticket(at: str, what: str, name: str = "t", who: str = "ann", **fields: Any) -> Row:
    return {"type": f"ticket_{what}", "at": at, "who": who, "ticket_id": name, **fields}


# --- which rows there are --------------------------------------------------------------------------------------------


def test_from_the_month_first_seen_to_that_of_as_of_and_known_customers_only(steps: Any) -> None:
    rows = [
        visits("2026-01-31 23:59:59"),
        visits("2026-02-01", "bob"),
        visits("2026-01-01", "anon:c"),
        buys("2026-03-01", "anon:c"),
    ]
    found = months(steps, rows, "2026-03-01")
    assert sorted(found) == [
        ("ann", JANUARY), ("ann", FEBRUARY), ("ann", MARCH), ("bob", FEBRUARY), ("bob", MARCH),
    ], "March is begun at as-of"  # fmt: skip
    assert column(found, "is_new") == [True, False, False]
    assert column(found, "is_new", "bob") == [True, False]
    assert sorted(months(steps, rows[:3], "2026-02-28 23:59:59.999999")) == [
        ("ann", JANUARY), ("ann", FEBRUARY), ("bob", FEBRUARY),
    ]  # fmt: skip


def test_a_quiet_month_says_so(steps: Any) -> None:
    quiet = months(steps, [visits("2026-01-05"), visits("2026-03-05", "bob")], "2026-03-31")["ann", FEBRUARY]
    assert {name: value for name, value in quiet.items() if name != "customer_no"} == {
        "customer_key": "ann", "month": FEBRUARY, "is_new": False, "is_active": False, "is_subscriber": False,
        "subscriptions": 0, "plan": None, "mrr": Decimal(0), "mrr_by_currency": [], "is_buyer": False, "has_lapsed": False,
        "orders": 0, "revenue": Decimal(0), "revenue_by_currency": [], "currency": None, "stage": "consideration",
        "open_tickets": 0, "friction_points": 0,
    }  # fmt: skip


# --- what the customer did in the month ------------------------------------------------------------------------------


def test_active_is_who_did_something(steps: Any) -> None:
    """A visit, and the customer's own reply; not the agent's, and no survey that was sent."""
    rows = [
        visits("2026-01-05"), ticket("2026-02-05", "replied", author="customer"), ticket("2026-03-05", "replied", author="agent"),
        {"type": "survey_sent", "at": "2026-04-05", "survey_type": "nps"},
    ]  # fmt: skip
    assert column(months(steps, rows, "2026-04-30"), "is_active") == [True, True, False, False]


def test_orders_and_revenue_of_the_month(steps: Any) -> None:
    rows = [
        buys("2026-01-31", order_id="o", amount="10"), buys("2026-02-01", order_id="o", amount="5"),  # a later line
        buys("2026-02-10", order_id="p", amount="20"), {"type": "refund", "at": "2026-03-01", "order_id": "p", "amount": "7.5"},
        starts("2026-03-31 23:59:59", amount="30"),
        {"type": "renewal", "at": "2026-04-30", "subscription_id": "s", "amount": "31"},
        {"type": "renewal", "at": "2026-05-30", "subscription_id": "s", "amount": "99", "outcome": "declined"},
    ]  # fmt: skip
    found = months(steps, rows, "2026-05-31")
    assert column(found, "orders") == [1, 1, 0, 0, 0]
    assert column(found, "revenue") == [10, 25, Decimal("22.5"), 31, 0]
    assert column(found, "currency") == ["EUR", "EUR", "EUR", "EUR", None], "nothing paid and nothing recurring in May"


def test_each_currency_stands_for_itself(steps: Any) -> None:
    rows = [
        starts("2026-01-05", amount="30"), buys("2026-02-05", amount="9", currency="CHF"),
        starts("2026-03-05", subscription="z", amount="120", period_months=12, currency="CHF"),
        buys("2026-03-06", amount="1"), buys("2026-03-06", amount="2"), buys("2026-03-07", amount="4", currency="CHF"),
        ends("2026-04-05"),
    ]  # fmt: skip
    found = months(steps, rows, "2026-04-30")
    assert column(found, "mrr") == [30, 30, None, 10], "null in several currencies"
    assert column(found, "mrr_by_currency") == [
        [{"currency": "EUR", "amount": 30}], [{"currency": "EUR", "amount": 30}],
        [{"currency": "CHF", "amount": 10}, {"currency": "EUR", "amount": 30}], [{"currency": "CHF", "amount": 10}],
    ]  # fmt: skip
    assert column(found, "revenue") == [30, 9, None, 0]
    assert column(found, "revenue_by_currency")[2] == [
        {"currency": "CHF", "amount": 124}, {"currency": "EUR", "amount": 3},
    ]  # fmt: skip
    assert column(found, "currency") == ["EUR", None, None, "CHF"], "of mrr and revenue together"


def test_friction_counts_in_the_month_it_began(steps: Any) -> None:
    """Two slow pages of one visit over the end of January are one point, and it began in January, as did the stall."""
    times = ("2026-01-31 23:59:59", "2026-02-01 00:00:10", "2026-02-10", "2026-02-20")
    rows = [{**SLOW_PAGE, "at": at} for at in times] + [visits("2026-03-05")]
    found = months(steps, rows, "2026-03-31", friction=("slow_page", "stage_stall"))
    assert column(found, "friction_points") == [2, 2, 0]


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_what_begins_or_ends_at_a_months_first_instant_does_so_in_that_month(steps: Any) -> None:
    rows = [visits("2026-01-01", who) for who in ("on", "off", "just", "between", "zero")]
    rows += [starts("2026-02-01", "on")]
    rows += [starts("2026-01-10", "off"), ends("2026-02-01", "off")]
    rows += [starts("2026-01-31 23:59:59.999999", "just"), ends("2026-02-28 23:59:59.999999", "just")]
    rows += [starts("2026-02-01", "between"), ends("2026-02-28", "between")]
    rows += [starts("2026-02-01", "zero"), ends("2026-02-01", "zero")]
    found = months(steps, rows, "2026-03-31")
    assert {who: column(found, "is_subscriber", who) for who in ("on", "off", "just", "between", "zero")} == {
        "on": [False, True, True], "off": [True, False, False], "just": [True, False, False],
        "between": [False, False, False], "zero": [False, False, False],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("as_of", "ann", "bob"),
    [
        ("2026-01-31 23:59:59.999999", [False], [True]),
        ("2026-02-01", [False, True], [True, False]),  # as-of is in the run: she has begun, he has ended
        ("2026-02-10 12:00", [False, True], [True, False]),
    ],
)
def test_the_month_of_as_of_ends_with_it(steps: Any, as_of: str, ann: list[bool], bob: list[bool]) -> None:
    events = [visits("2026-01-05"), starts("2026-02-01"), starts("2026-01-10", "bob"), ends("2026-02-01", "bob")]
    # later events are not in a run as of then
    rows = [row for row in events if row["at"] <= as_of]
    found = months(steps, rows, as_of)
    assert (column(found, "is_subscriber"), column(found, "is_subscriber", "bob")) == (ann, bob)


def test_an_end_at_as_of_itself_has_happened(steps: Any) -> None:
    rows = [starts("2026-01-10"), ends("2026-02-10 12:00")]
    assert column(months(steps, rows, "2026-02-10 12:00"), "is_subscriber") == [True, False]
    assert column(months(steps, rows[:1], "2026-02-10 11:59:59.999999"), "is_subscriber") == [True, True]


def test_a_fixed_term_is_there_until_seven_days_are_over_and_then_was_not(steps: Any) -> None:
    rows = [starts("2026-01-28", auto_renews=False)]  # its month ends on 28 February
    assert column(months(steps, rows, "2026-03-06 23:59"), "is_subscriber") == [True, True, True]
    assert column(months(steps, rows, "2026-03-07"), "is_subscriber") == [True, False, False]


def test_the_plan_is_that_of_the_dearest_subscription_at_the_time(steps: Any) -> None:
    rows = [
        starts("2026-01-05", subscription="a", plan="basic", amount="10"),
        starts("2026-02-05", subscription="b", plan="pro", amount="120", period_months=12),  # 10 a month too: by its name
        {"type": "subscription_changed", "at": "2026-03-05", "subscription_id": "a", "amount": "11"},
        starts("2026-04-05", subscription="c", amount="50"),  # dearer, and names no plan
        ends("2026-05-05", subscription="c"), ends("2026-05-05", subscription="a"),
    ]  # fmt: skip
    found = months(steps, rows, "2026-05-31")
    assert column(found, "plan") == ["basic", "pro", "basic", None, "pro"]
    assert column(found, "subscriptions") == [1, 2, 2, 3, 1]
    assert column(found, "mrr") == [10, 20, 21, 71, 10]


def test_a_subscription_that_costs_nothing_or_whose_price_is_not_known(steps: Any) -> None:
    rows = [
        starts("2026-01-05", amount="0"),
        {"type": "cancellation", "at": "2026-01-05", "who": "bob", "subscription_id": "s", "kind": "requested"},
    ]
    found = months(steps, rows, "2026-01-31")
    names = ("is_subscriber", "subscriptions", "mrr", "mrr_by_currency", "currency")
    assert [found["ann", JANUARY][name] for name in names] == [True, 1, 0, [{"currency": "EUR", "amount": 0}], "EUR"]
    assert [found["bob", JANUARY][name] for name in names] == [True, 1, 0, [], None]


# --- buyers ----------------------------------------------------------------------------------------------------------


def test_a_buyer_lapses_and_comes_back(steps: Any) -> None:
    """90 days after 10 January is 10 April, after 5 May 3 August."""
    rows = [visits("2025-12-05"), buys("2026-01-10"), buys("2026-05-05"), visits("2026-04-20")]
    found = months(steps, rows, "2026-08-31")
    assert column(found, "is_buyer") == [False] + [True] * 8
    assert column(found, "has_lapsed") == [False, False, False, False, True, False, False, False, True]


def test_a_lapse_at_a_months_first_instant_is_in_that_month(steps: Any) -> None:
    """90 days after 1 January is 1 April; another order at that very moment, or a subscription, and there is no lapse."""
    rows = [buys("2026-01-01", who) for who in ("gone", "again", "subscribed")] + [
        buys("2026-01-01 00:00:00.000001", "later")
    ]
    rows += [buys("2026-04-01", "again"), starts("2026-03-05", "subscribed")]
    found = months(steps, rows, "2026-04-01")
    assert {who: column(found, "has_lapsed", who) for who in ("gone", "again", "subscribed", "later")} == {
        "gone": [False, False, False, True], "again": [False] * 4, "subscribed": [False] * 4, "later": [False] * 4,
    }  # fmt: skip


# --- stage and tickets -----------------------------------------------------------------------------------------------


def test_the_stage_is_the_last_one_entered_by_the_months_end(steps: Any) -> None:
    rows = [
        {"type": "ad_view", "at": "2026-01-31 23:59:59", "clicked": True}, visits("2026-02-01"),
        buys("2026-02-10"), {"type": "product_usage", "at": "2026-02-11"},
    ]  # fmt: skip
    rows += [{"type": "survey_sent", "at": "2026-01-05", "who": "bob", "survey_type": "nps"}]
    found = months(steps, rows, "2026-05-31")
    assert column(found, "stage") == ["awareness", "onboarding", "onboarding", "onboarding", "churned"], (
        "lapsed on 11 May"
    )
    assert column(found, "stage", "bob") == [None] * 5, "nothing of his gives a stage"


def test_tickets_open_at_the_months_end(steps: Any) -> None:
    rows = [
        ticket("2026-01-31", "opened"), ticket("2026-02-01", "resolved"),  # resolved at February's first instant
        ticket("2026-02-20", "reopened"), ticket("2026-02-21", "reopened"), ticket("2026-03-05", "resolved"),
        ticket("2026-03-06", "resolved"), ticket("2026-03-31 23:59:59", "replied", author="customer"),
        ticket("2026-02-10", "opened", "u"), ticket("2026-03-01", "opened", "v"), ticket("2026-03-01", "resolved", "v"),
        ticket("2026-04-01", "reopened"), ticket("2026-04-02", "opened", "w"),
        ticket("2026-01-05", "resolved", "never opened"), ticket("2026-04-03", "opened", "u", "bob"),
    ]  # fmt: skip
    found = months(steps, rows, "2026-04-30")
    assert column(found, "open_tickets") == [1, 2, 1, 3], "t; t and u; u; t, u and w"
    assert column(found, "open_tickets", "bob") == [1], "another customer's ticket of that name"


@pytest.mark.parametrize(("as_of", "open_tickets"), [("2026-02-10 11:59:59", [1, 1]), ("2026-02-10 12:00", [1, 0])])
def test_a_ticket_resolved_at_as_of_is_not_open(steps: Any, as_of: str, open_tickets: list[int]) -> None:
    rows = [ticket("2026-01-31", "opened"), ticket("2026-02-10 12:00", "resolved")]
    rows = [row for row in rows if row["at"] <= as_of]
    assert column(months(steps, rows, as_of), "open_tickets") == open_tickets


# --- time zones ------------------------------------------------------------------------------------------------------


def test_months_begin_at_midnight_of_the_time_zone(steps: Any) -> None:
    """In New York February begins at 05:00 UTC, and April, in summer time, at 04:00."""
    rows = [
        buys("2026-02-01 04:59:59.999999"), buys("2026-02-01 05:00"), ticket("2026-03-05", "opened"),
        starts("2026-02-01 05:00", "bob"), ends("2026-04-01 04:00", "bob"),
        starts("2026-02-01 04:59:59", "cid"), ends("2026-04-01 03:59:59", "cid"),
        ticket("2026-04-01 04:00", "resolved"), buys("2026-04-01 03:59:59"), buys("2026-04-01 04:00"),
    ]  # fmt: skip
    found = months(steps, rows, "2026-04-01 04:00", "America/New_York")
    assert [month for who, month in found if who == "ann"] == [JANUARY, FEBRUARY, MARCH, APRIL]
    assert column(found, "orders") == [1, 1, 1, 1]
    assert column(found, "open_tickets") == [0, 0, 1, 0]
    assert column(found, "is_subscriber", "bob") == [True, True, False], "from February on"
    assert column(found, "is_subscriber", "cid") == [True, True, False, False], "he began in January and ended in March"
    earlier = months(steps, rows[:6], "2026-04-01 03:59:59.999999", "America/New_York")
    assert column(earlier, "is_subscriber", "cid") == [True, True, True], "still March there"
