"""Each kind of friction at its limit, and the example that its entry of the dictionary gives."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from schemas.dictionary import load_friction

Row = dict[str, Any]
AS_OF = "2026-12-31"
SECOND, MICROSECOND = datetime.timedelta(seconds=1), datetime.timedelta(microseconds=1)
DAY = datetime.timedelta(days=1)


def utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[misc]


def points(steps: Any, rows: list[Row], kind: str, as_of: Any = AS_OF, **parameters: float) -> list[Row]:
    given = {kind: parameters} if parameters else None
    return steps.friction(rows, as_of, [kind], given)["friction_points"].to_pylist()


def visit(at: Any, url: str = "https://shop.example/pricing", **fields: Any) -> Row:
    return {"type": "site_visit", "at": at, "page_url": url, **fields}


# --- the examples of the dictionary ----------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[str, Callable[[Any], None]]] = {}


def example(text: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """The test of one kind's example; `text` is what the dictionary says."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        EXAMPLES[function.__name__] = text, function
        return function

    return register


@example(
    "A customer opens /pricing three times in a visit, in 5.0, 1.2 and 6.0 s: one point on /pricing with 2 events and "
    "11 s (0.1833 min) lost."
)
def slow_page(steps: Any) -> None:
    rows = [visit(f"2026-01-05 10:0{n}", load_ms=ms) for n, ms in enumerate((5000, 1200, 6000))]
    (point,) = points(steps, rows, "slow_page")
    assert (point["subject"], point["n_events"], point["minutes_lost"]) == ("/pricing", 2, Decimal("0.1833"))
    assert point["event_ids"] == ["e0000", "e0002"]


@example(
    "A customer reaches /checkout on Monday 10:00 and buys on Wednesday: one point. Had they bought on Tuesday 09:00: "
    "none. Asked on Monday 20:00: none yet, it may still come."
)
def checkout_abandoned(steps: Any) -> None:
    monday = visit("2026-01-05 10:00", "https://shop.example/checkout?step=1", page_kind="checkout")
    buys_on_wednesday = [monday, {"type": "purchase", "at": "2026-01-07 10:00"}]
    assert [p["subject"] for p in points(steps, buys_on_wednesday, "checkout_abandoned")] == ["/checkout"]
    assert points(steps, [monday, {"type": "purchase", "at": "2026-01-06 09:00"}], "checkout_abandoned") == []
    assert points(steps, [monday], "checkout_abandoned", as_of="2026-01-05 20:00") == []


@example(
    "Opened Monday 09:00, a bot answers at once, an agent on Tuesday 09:01: one point with 1441 min lost. An agent on "
    "Tuesday 09:00: none."
)
def slow_first_response(steps: Any) -> None:
    opened = [
        {"type": "ticket_opened", "at": "2026-01-05 09:00", "ticket_id": "t"},
        {"type": "ticket_replied", "at": "2026-01-05 09:00", "ticket_id": "t", "author": "bot"},
    ]
    agent = {"type": "ticket_replied", "ticket_id": "t"}
    (point,) = points(steps, [*opened, {**agent, "at": "2026-01-06 09:01"}], "slow_first_response")
    assert point["minutes_lost"] == 1441
    assert points(steps, [*opened, {**agent, "at": "2026-01-06 09:00"}], "slow_first_response") == []


@pytest.mark.parametrize("kind", sorted(load_friction()))
def test_the_example_of_the_dictionary(steps: Any, kind: str) -> None:
    assert kind in EXAMPLES, "each kind's example is a test"
    text, test = EXAMPLES[kind]
    assert load_friction()[kind].example == text
    test(steps)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load_ms", "found"), [(4000.0, 0), (4000.001, 1)])
def test_slow_page_at_its_limit(steps: Any, load_ms: float, found: int) -> None:
    assert len(points(steps, [visit("2026-01-05", load_ms=load_ms)], "slow_page")) == found


def test_slow_page_with_another_parameter(steps: Any) -> None:
    assert len(points(steps, [visit("2026-01-05", load_ms=2501)], "slow_page", slow_ms=2500)) == 1


def test_slow_page_is_one_point_a_page_and_session(steps: Any) -> None:
    rows = [
        visit("2026-01-05 10:00", "https://a.example/x?q=1", load_ms=5000),
        visit("2026-01-05 10:01", "http://b.example/x#top", load_ms=5000),  # the same path
        visit("2026-01-05 10:02", "/y", load_ms=5000),
        visit("2026-01-05 12:00", "/x", load_ms=5000),  # another session
        visit("2026-01-05 12:01", "/x", load_ms=100),
    ]
    found = [(p["subject"], p["n_events"], p["started_at"].hour) for p in points(steps, rows, "slow_page")]
    assert found == [("/x", 2, 10), ("/y", 1, 10), ("/x", 1, 12)]


def test_slow_page_lists_ten_events_at_most_and_cuts_the_minutes(steps: Any) -> None:
    rows = [visit(utc(2026, 1, 5) + n * SECOND, load_ms=4000.16) for n in range(11)]
    (point,) = points(steps, rows, "slow_page")
    assert (point["n_events"], point["event_ids"]) == (11, [f"e{n:04}" for n in range(10)])
    assert point["minutes_lost"] == Decimal("0.7333")  # 44.0017 s: 0.73336 min


@pytest.mark.parametrize("load_ms", [1e18, 1e300])
def test_a_load_time_of_absurd_length_breaks_no_run(steps: Any, load_ms: float) -> None:
    rows = [visit(utc(2026, 1, 5) + n * SECOND, load_ms=load_ms) for n in range(3)]
    assert len(points(steps, rows, "slow_page")) == 1


def test_checkout_abandoned_where_the_purchase_comes_at_the_limit(steps: Any) -> None:
    rows = [visit("2026-01-05 10:00", page_kind="payment"), visit("2026-01-05 10:20")]
    end = utc(2026, 1, 5, 10, 20)  # of the session, not of the checkout
    late = {"type": "purchase", "who": "ann"}
    assert points(steps, [*rows, {**late, "at": end + DAY}], "checkout_abandoned") == []
    assert len(points(steps, [*rows, {**late, "at": end + DAY + MICROSECOND}], "checkout_abandoned")) == 1
    assert len(points(steps, [*rows, {**late, "at": end, "who": "bob"}], "checkout_abandoned")) == 1


def test_checkout_abandoned_counts_once_the_grace_has_passed(steps: Any) -> None:
    rows = [visit("2026-01-05 10:00", page_kind="payment")]
    passed = utc(2026, 1, 6, 10)
    assert points(steps, rows, "checkout_abandoned", passed - MICROSECOND) == []
    assert len(points(steps, rows, "checkout_abandoned", passed)) == 1
    assert len(points(steps, rows, "checkout_abandoned", "2026-01-05 12:00", hours=2)) == 1
    assert len(points(steps, rows, "checkout_abandoned", "2026-01-05 11:30", hours=1.5)) == 1
    assert points(steps, rows, "checkout_abandoned", "2026-01-05 11:29:59", hours=1.5) == []


def test_checkout_abandoned_sees_a_purchase_from_the_sessions_start_on(steps: Any) -> None:
    def found(bought_at: str, device: str) -> int:
        rows = [
            visit("2026-01-05 10:00", anonymous_id="d"),
            visit("2026-01-05 10:10", page_kind="checkout", anonymous_id="d"),
            {"type": "purchase", "at": bought_at, "anonymous_id": device},
        ]
        return len(points(steps, rows, "checkout_abandoned"))

    assert found("2026-01-05 10:00", "other") == 0, "on any device"
    assert found("2026-01-05 09:59:59.999999", "other") == 1


@pytest.mark.parametrize(("kind", "found"), [("checkout", 1), ("payment", 1), ("cart", 0), (None, 0)])
def test_checkout_abandoned_needs_a_checkout(steps: Any, kind: str | None, found: int) -> None:
    assert len(points(steps, [visit("2026-01-05", page_kind=kind)], "checkout_abandoned")) == found


def test_checkout_abandoned_is_about_the_last_of_its_pages(steps: Any) -> None:
    rows = [
        visit("2026-01-05 10:00", "/checkout", page_kind="checkout"), visit("2026-01-05 10:01", "/cart", page_kind="cart"),
        visit("2026-01-05 10:02", "/pay", page_kind="payment"), visit("2026-01-05 10:03", "/"),
    ]  # fmt: skip
    (point,) = points(steps, rows, "checkout_abandoned")
    assert (point["subject"], point["n_events"], point["event_ids"]) == ("/pay", 2, ["e0000", "e0002"])
    assert (point["started_at"], point["ended_at"]) == (utc(2026, 1, 5, 10), utc(2026, 1, 5, 10, 2))
    assert point["known_at"] == utc(2026, 1, 6, 10, 3), "a day after the session's last event"


def test_slow_first_response_at_its_limit(steps: Any) -> None:
    opened = {"type": "ticket_opened", "at": "2026-01-05 09:00", "ticket_id": "t", "topic": "billing"}
    limit = utc(2026, 1, 6, 9)

    def replied(at: datetime.datetime) -> list[Row]:
        return points(steps, [opened, {"type": "ticket_replied", "at": at, "ticket_id": "t"}], "slow_first_response")

    assert replied(limit) == []
    (point,) = replied(limit + MICROSECOND)
    assert (point["subject"], point["minutes_lost"], point["ended_at"]) == ("billing", 1440, limit + MICROSECOND)
    assert point["known_at"] == limit, "not when the answer came"
    assert points(steps, [opened], "slow_first_response", limit) == []
    (point,) = points(steps, [{**opened, "team": "tier1"}], "slow_first_response", limit + 90 * SECOND)
    assert (point["subject"], point["minutes_lost"], point["ended_at"]) == ("tier1", Decimal("1441.5"), None)
    assert len(points(steps, [opened], "slow_first_response", limit - DAY + 3601 * SECOND, hours=1)) == 1


# --- what every point has --------------------------------------------------------------------------------------------


def test_a_point_takes_stage_journey_and_identity_from_its_first_event(steps: Any) -> None:
    rows = [{"type": "purchase", "at": "2026-01-01", "who": who, "event_id": f"{who}-1"} for who in ("ann", "bob")] + [
        visit("2026-01-05", "/x", load_ms=5000, who="bob", event_id="bob-2")
    ]
    (point,) = points(steps, rows, "slow_page")
    assert {k: point[k] for k in ("friction_id", "customer_key", "area", "kind", "stage", "journey_no", "next_outcome")} == {
        "friction_id": "slow_page:bob-2", "customer_key": "bob", "area": "web", "kind": "slow_page", "stage": "purchase",
        "journey_no": 2, "next_outcome": None,
    }  # fmt: skip


def test_the_next_outcome_is_one_that_comes_after(steps: Any) -> None:
    order = {"type": "purchase", "at": "2026-01-05 12:00", "order_id": "o"}
    slow = {"load_ms": 5000}
    before = points(steps, [visit("2026-01-05 10:00", **slow), order], "slow_page")
    after = points(steps, [order, visit("2026-01-05 12:01", **slow)], "slow_page")
    assert [p["next_outcome"] for p in (*before, *after)] == ["order", None]


def test_points_are_in_the_order_of_their_customers_and_counted_into_journeys(steps: Any) -> None:
    rows = [visit(f"2026-01-05 1{n}:00", f"/{n}", load_ms=5000, who=who) for who in ("ann", "bob") for n in range(3)]
    rows += [
        {"type": "ticket_opened", "at": "2026-01-05 10:00", "ticket_id": who, "who": who} for who in ("ann", "bob")
    ]
    rows += [{"type": "purchase", "at": "2026-01-05 11:30", "who": "bob"}]
    shard = steps.friction(rows, AS_OF)
    customers = shard["touchpoints"]["customer_key"].unique().to_pylist()
    found = [(p["customer_key"], p["started_at"]) for p in shard["friction_points"].to_pylist()]
    assert found == sorted(found, key=lambda f: (customers.index(f[0]), f[1]))
    journeys = {(j["customer_key"], j["journey_no"]): j["friction_points"] for j in shard["journeys"].to_pylist()}
    assert journeys == {("ann", 1): 4, ("bob", 1): 3, ("bob", 2): 1}
    ids = shard["friction_points"]["friction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 8


def test_no_friction_at_all(steps: Any) -> None:
    shard = steps.friction([visit("2026-01-05")], AS_OF)
    assert shard["friction_points"].num_rows == 0
    assert shard["journeys"]["friction_points"].to_pylist() == [0]
