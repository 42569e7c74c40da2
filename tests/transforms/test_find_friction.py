"""Each kind of friction at its limits; the examples of the dictionary are in tests/test_friction_examples.py."""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dictionary import load_friction
from transforms.find_friction import FrictionFileError, FrictionRules, find_friction

Row = dict[str, Any]
AS_OF = "2026-12-31"
SECOND, MICROSECOND = datetime.timedelta(seconds=1), datetime.timedelta(microseconds=1)
DAY = datetime.timedelta(days=1)


def utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[misc]


def points(steps: Any, rows: list[Row], kind: str, as_of: Any = AS_OF, **parameters: Any) -> list[Row]:
    given = {kind: parameters} if parameters else None
    return steps.friction(rows, as_of, [kind], given)["friction_points"].to_pylist()


def visit(at: Any, url: str = "https://shop.example/pricing", **fields: Any) -> Row:
    return {"type": "site_visit", "at": at, "page_url": url, **fields}


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


@pytest.mark.parametrize(("finished_by", "found"), [(["purchase", "subscription_started"], 0), (["purchase"], 1)])
def test_a_checkout_may_end_in_a_subscription(steps: Any, finished_by: list[str], found: int) -> None:
    rows = [
        visit("2026-01-05 10:00", page_kind="payment"),
        {"type": "subscription_started", "at": "2026-01-05 10:05", "subscription_id": "s"},
    ]
    assert len(points(steps, rows, "checkout_abandoned", finished_by=finished_by)) == found


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


def ticket(what: str, at: Any, ticket_id: str = "t", **fields: Any) -> Row:
    return {"type": f"ticket_{what}", "at": at, "ticket_id": ticket_id, **fields}


@pytest.mark.parametrize(
    ("after", "minutes"),
    [
        ([], 43200),  # as-of, 30 d
        ([("resolved", "06 10:00")], None),  # a resolution that held, an hour after the opening
        ([("resolved", "08 09:00")], 2880),  # one that came too late
        ([("resolved", "06 10:00"), ("reopened", "06 11:00")], 43140),  # still unanswered; an hour of it resolved
        ([("resolved", "06 10:00"), ("reopened", "06 11:00"), ("resolved", "09 09:00")], 4260),
        ([("resolved", "06 10:00"), ("reopened", "06 11:00"), ("resolved", "06 12:00")], None),
        ([("resolved", "06 10:00"), ("reopened", "06 11:00"), ("replied", "08 09:00")], 2820),
        ([("resolved", "06 10:00"), ("replied", "08 09:00")], None),  # nobody was waiting any more
        ([("resolved", "06 10:00"), ("replied", "08 09:00"), ("reopened", "09 09:00")], None),
        ([("replied", "06 10:00"), ("resolved", "06 11:00"), ("reopened", "09 09:00")], None),  # it was answered
    ],
)
def test_slow_first_response_waits_through_a_resolution_that_did_not_hold(
    steps: Any, after: list[tuple[str, str]], minutes: int | None
) -> None:
    rows = [
        ticket("opened", "2026-01-06 09:00", topic="billing"),
        *(ticket(what, f"2026-01-{at}") for what, at in after),
    ]
    found = points(steps, rows, "slow_first_response", "2026-02-05 09:00")
    assert [p["minutes_lost"] for p in found] == ([] if minutes is None else [minutes])
    assert all(p["known_at"] == utc(2026, 1, 7, 9) for p in found)


def test_slow_first_response_is_known_when_the_ticket_is_opened_again(steps: Any) -> None:
    """Resolved for five days, one hour on both sides of it: nobody could know of a wait before the reopening."""
    rows = [
        ticket("opened", "2026-01-06 09:00"),
        ticket("resolved", "2026-01-06 10:00"),
        ticket("reopened", "2026-01-11 09:00"),
        ticket("replied", "2026-01-11 10:00"),
    ]
    (point,) = points(steps, rows, "slow_first_response")
    assert (point["known_at"], point["ended_at"], point["minutes_lost"]) == (
        utc(2026, 1, 11, 9), utc(2026, 1, 11, 10), 120,
    )  # fmt: skip
    # opened again before the day was over: it was waiting when the day was
    rows[2] = ticket("reopened", "2026-01-07 08:00")
    assert [p["known_at"] for p in points(steps, rows, "slow_first_response")] == [utc(2026, 1, 7, 9)]


def test_slow_resolution_at_its_limit(steps: Any) -> None:
    opened, limit = ticket("opened", "2026-01-05 09:00", team="tier1"), utc(2026, 1, 8, 9)
    assert points(steps, [opened, ticket("resolved", limit)], "slow_resolution") == []
    (point,) = points(steps, [opened, ticket("resolved", limit + MICROSECOND)], "slow_resolution")
    assert (point["subject"], point["minutes_lost"], point["known_at"]) == ("tier1", 4320, limit)
    assert point["ended_at"] == limit + MICROSECOND
    assert points(steps, [opened], "slow_resolution", limit) == []
    (point,) = points(steps, [opened], "slow_resolution", limit + SECOND)
    assert (point["ended_at"], point["minutes_lost"]) == (None, Decimal("4320.0166"))


def test_ticket_reopened_counts_what_tickets_counts(steps: Any) -> None:
    rows = [
        ticket("reopened", "2026-01-04"), ticket("opened", "2026-01-05", topic="a"), ticket("resolved", "2026-01-06"),
        ticket("reopened", "2026-01-07"), ticket("reopened", "2026-01-08"), ticket("reopened", "2026-01-09", "never opened"),
        ticket("reopened", "2026-01-10", source="another desk"),
    ]  # fmt: skip
    found = points(steps, rows, "ticket_reopened")
    assert [p["started_at"].day for p in found] == [7, 8]
    assert steps.friction(rows, AS_OF, [])["tickets"]["reopens"].to_pylist() == [2]
    assert {p["subject"] for p in found} == {"a"}


@pytest.mark.parametrize(
    ("first", "second_at", "found"),
    [
        ([("opened", utc(2026, 1, 5))], utc(2026, 1, 12), 1),
        ([("opened", utc(2026, 1, 5))], utc(2026, 1, 12) + MICROSECOND, 0),
        ([("opened", utc(2026, 1, 5)), ("resolved", utc(2026, 1, 9))], utc(2026, 1, 16), 1),
        ([("opened", utc(2026, 1, 5)), ("resolved", utc(2026, 1, 9))], utc(2026, 1, 16) + MICROSECOND, 0),
        ([("opened", utc(2026, 1, 5)), ("resolved", utc(2026, 1, 20))], utc(2026, 1, 13), 0),  # resolved only later
        ([("opened", utc(2026, 1, 5)), ("resolved", utc(2026, 1, 20))], utc(2026, 1, 20), 1),  # at that very moment
        (
            [("opened", utc(2026, 1, 5)), ("resolved", utc(2026, 1, 6)), ("reopened", utc(2026, 1, 7)),
             ("resolved", utc(2026, 1, 10))],
            utc(2026, 1, 17), 1,
        ),  # from its last resolution
    ],
)  # fmt: skip
def test_repeat_contact_from_a_resolution_or_an_opening(
    steps: Any, first: list[tuple[str, datetime.datetime]], second_at: datetime.datetime, found: int
) -> None:
    rows = [ticket(what, at, "t1", topic="delivery") for what, at in first]
    again = ticket("opened", second_at, "t2", topic="delivery")
    assert [p["event_ids"] for p in points(steps, [*rows, again], "repeat_contact")] == [[f"e{len(rows):04}"]] * found
    for other in ({"topic": "billing"}, {"topic": None}, {"who": "bob"}):
        assert points(steps, [*rows, {**again, **other}], "repeat_contact") == []


def test_a_ticket_is_no_repeat_of_itself(steps: Any) -> None:
    rows = [
        ticket("opened", "2026-01-05", topic="a"),
        ticket("resolved", "2026-01-05"),
        ticket("reopened", "2026-01-06"),
    ]
    assert points(steps, rows, "repeat_contact") == []


def test_contact_after_purchase_at_its_limits(steps: Any) -> None:
    bought = utc(2026, 1, 5, 10)
    order = {"type": "purchase", "at": bought, "order_id": "o"}

    def found(at: datetime.datetime, *more: Row) -> int:
        return len(points(steps, [order, *more, ticket("opened", at)], "contact_after_purchase"))

    assert [found(at) for at in (bought - MICROSECOND, bought, bought + DAY, bought + DAY + MICROSECOND)] == [
        0,
        1,
        1,
        0,
    ]
    assert found(bought + DAY + SECOND, {**order, "at": bought + SECOND}) == 0, "a second line is no second order"
    assert found(bought + DAY + SECOND, {**order, "at": bought + SECOND, "order_id": "o2"}) == 1
    assert found(bought + SECOND, {**order, "who": "bob"}) == 1


def test_contact_after_purchase_is_no_loss_before_the_order(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": "2026-01-05 10:00"},
        ticket("opened", "2026-01-05 11:00", topic="size", team="tier1"),
    ]
    (point,) = points(steps, rows, "contact_after_purchase")
    assert (point["subject"], point["stage"], point["journey_no"], point["next_outcome"]) == (
        "size",
        "service",
        2,
        None,
    )


# --- web -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "found"),
    [({"http_status": 399}, 0), ({"http_status": 400}, 1), ({"http_status": 200, "error_code": "x"}, 1), ({}, 0)],
)
def test_error_page_at_its_limit(steps: Any, fields: Row, found: int) -> None:
    assert len(points(steps, [visit("2026-01-05", **fields)], "error_page")) == found


def test_error_page_is_one_point_a_path_and_session(steps: Any) -> None:
    rows = [visit("2026-01-05 10:00", "/a?x=1", http_status=500), visit("2026-01-05 10:01", "/b", http_status=404),
            visit("2026-01-05 10:02", "/a", error_code="x"), visit("2026-01-05 12:00", "/a", http_status=500)]  # fmt: skip
    found = points(steps, rows, "error_page")
    assert [(p["subject"], p["n_events"], p["known_at"].hour) for p in found] == [
        ("/a", 2, 10),
        ("/b", 1, 10),
        ("/a", 1, 12),
    ]


@pytest.mark.parametrize(
    ("patterns", "paths"), [([], ["/A/x", "/b"]), (["/a/%"], ["/b"]), (["/b"], ["/A/x"]), (["%"], [])]
)
def test_pages_that_are_ignored(steps: Any, patterns: list[str], paths: list[str]) -> None:
    bad = {"http_status": 500, "load_ms": 9000}
    rows = [visit("2026-01-05 10:00", "https://s.example/A/x?y", **bad), visit("2026-01-05 10:01", "/b", **bad)]
    for kind in ("error_page", "slow_page"):
        assert [p["subject"] for p in points(steps, rows, kind, ignore_pages=patterns)] == paths


def clicks(*seconds: float, element: str = "buy", **fields: Any) -> list[Row]:
    start = utc(2026, 1, 5, 10)
    return [visit(start + datetime.timedelta(seconds=s), "/p", element=element, **fields) for s in seconds]


@pytest.mark.parametrize(
    ("seconds", "bursts"),
    [
        ((0, 0.5), []),
        ((0, 0.5, 1.0), [3]),
        ((0, 0.5, 1.000001), []),
        ((0, 0, 0), [3]),
        ((0, 0.4, 0.8, 1.2, 1.6), [5]),  # each three of them within a second
        ((0, 0.1, 0.2, 1.2, 2.0, 2.1, 2.2), [3, 4]),  # no click of the first three is within a run of the others
        ((0, 0.1, 0.2, 1.1, 2.0, 2.1, 2.2), [7]),  # the fourth is of both
        ((0, 0.1, 0.2, 10, 10.1, 10.2), [3, 3]),
        (tuple(n / 100 for n in range(15)), [15]),
    ],
)
def test_a_burst_of_clicks_is_one_point(steps: Any, seconds: tuple[float, ...], bursts: list[int]) -> None:
    found = points(steps, clicks(*seconds), "rage_click")
    assert [p["n_events"] for p in found] == bursts
    assert all(len(p["event_ids"]) == min(p["n_events"], 10) for p in found)


def test_a_burst_is_known_at_its_third_click(steps: Any) -> None:
    (point,) = points(steps, clicks(0, 0.3, 0.6, 0.9), "rage_click")
    start = utc(2026, 1, 5, 10)
    assert [point[name] - start for name in ("started_at", "known_at", "ended_at")] == [
        datetime.timedelta(milliseconds=n) for n in (0, 600, 900)
    ]
    assert point["event_ids"] == ["e0000", "e0001", "e0002", "e0003"]


def test_clicks_of_others_elsewhere_and_on_what_is_ignored_are_no_rage(steps: Any) -> None:
    assert points(steps, clicks(0, 0.2) + clicks(0.4, element="size"), "rage_click") == []
    assert points(steps, clicks(0, 0.2) + clicks(0.4, who="bob"), "rage_click") == []
    assert points(steps, clicks(0, 0.2) + clicks(0.4, anonymous_id="another device"), "rage_click") == []
    between = clicks(0, 0.2, 0.4) + clicks(0.1, 0.3, element="size")
    assert [p["subject"] for p in points(steps, between, "rage_click")] == ["buy"]
    for element in ("+", "Next", "next-page", "button.next", "#hero-carousel", "QTY-plus", "prev"):
        assert points(steps, clicks(0, 0.1, 0.2, element=element), "rage_click") == [], element
        assert len(points(steps, clicks(0, 0.1, 0.2, element=element), "rage_click", ignore_elements=[])) == 1
    for element in ("C++", "sign-up", "context"):
        assert len(points(steps, clicks(0, 0.1, 0.2, element=element), "rage_click")) == 1, element
    assert len(points(steps, clicks(0, 0.2), "rage_click", clicks=2)) == 1
    assert len(points(steps, clicks(0, 1, 2), "rage_click", seconds=2)) == 1


def way(*stays: tuple[float, str], **fields: Any) -> list[Row]:
    return [visit(utc(2026, 1, 5, 10) + datetime.timedelta(seconds=s), path, **fields) for s, path in stays]


@pytest.mark.parametrize(
    ("stays", "found"),
    [
        (((0, "/a"), (60, "/b"), (65, "/a")), [("/b", 2)]),
        (((0, "/a"), (60, "/b"), (65.000001, "/a")), []),
        (((0, "/a"), (60, "/b"), (61, "/c")), []),
        (((60, "/b"), (61, "/a")), []),
        (((0, "/a"), (60, "/b?x"), (61, "/b?y"), (64, "/a")), [("/b", 2)]),  # one stay on /b
        (((0, "/a"), (1, "/a"), (2, "/a")), []),
        (((0, "/a"), (60, "/b"), (61, "/a"), (62, "/b")), [("/b", 2), ("/a", 2)]),
    ],
)
def test_quick_back_at_its_limit(steps: Any, stays: Any, found: list[tuple[str, int]]) -> None:
    assert [(p["subject"], p["n_events"]) for p in points(steps, way(*stays), "quick_back")] == found


def test_quick_back_is_within_one_session(steps: Any) -> None:
    """Two devices take turns; each goes its own way."""
    phone = way((0, "/a"), (60, "/b"), (64, "/a"), anonymous_id="phone")
    laptop = way((1, "/b"), (61, "/c"), (63, "/b"), anonymous_id="laptop")
    found = points(steps, phone + laptop, "quick_back")
    assert [(p["subject"], p["event_ids"], p["minutes_lost"]) for p in found] == [
        ("/b", ["e0001", "e0002"], Decimal("0.0666")), ("/c", ["e0004", "e0005"], Decimal("0.0333")),
    ]  # fmt: skip
    assert points(steps, way((0, "/a"), (60, "/b")) + way((62, "/a"), who="bob"), "quick_back") == []
    assert points(steps, phone, "quick_back", ignore_pages=["/B"]) == []


def searches(*parts: str, **fields: Any) -> list[Row]:
    """`s` a search, `c` a click on its results, `p` a product page, `h` the home page, `b` a purchase; a minute apart."""
    rows = []
    for minute, part in enumerate("".join(parts)):
        at = f"2026-01-05 10:{minute:02}"
        if part == "b":
            rows.append({"type": "purchase", "at": at, **fields})
        else:
            kind = {"s": "search", "c": "search", "p": "product", "h": "home"}[part]
            more = {"element": "filter"} if part == "c" else {}
            rows.append(visit(at, f"/{kind}", page_kind=kind, **more, **fields))
    return rows


@pytest.mark.parametrize(
    ("parts", "found"),
    [("ss", []), ("sss", [3]), ("shshs", [3]), ("sspss", []), ("ssbss", []), ("scsc", []), ("sssspsss", [4, 3]),
     ("psssp", [3]), ("s" * 12, [12])],
)  # fmt: skip
def test_search_loop(steps: Any, parts: str, found: list[int]) -> None:
    loops = points(steps, searches(parts), "search_loop")
    assert [p["n_events"] for p in loops] == found
    assert all(len(p["event_ids"]) == min(p["n_events"], 10) for p in loops)


def test_search_loop_knows_purchases_of_any_device_and_product_pages_of_its_own(steps: Any) -> None:
    phone = searches("ssss", anonymous_id="phone")
    assert len(points(steps, phone, "search_loop")) == 1
    server = {"type": "purchase", "at": "2026-01-05 10:01:30"}
    assert points(steps, [*phone, server], "search_loop") == []
    elsewhere = visit("2026-01-05 10:01:30", "/p", page_kind="product", anonymous_id="laptop")
    (point,) = points(steps, [*phone, elsewhere], "search_loop")
    assert (point["subject"], point["minutes_lost"], point["known_at"]) == ("/search", 3, utc(2026, 1, 5, 10, 2))
    later = visit("2026-01-05 11:00", "/search", page_kind="search")
    assert points(steps, [*searches("ss"), later], "search_loop") == []


# --- billing and product ---------------------------------------------------------------------------------------------


def failure(at: Any, **fields: Any) -> Row:
    return {"type": "payment_failed", "at": at, "provider": "cardex", **fields}


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"order_id": "o"}, {"order_id": "o"}, 1),
        ({"order_id": "o"}, {"order_id": "p"}, 0),
        ({"order_id": "o", "source": "a"}, {"order_id": "o", "source": "b"}, 0),
        ({"order_id": "o"}, {"subscription_id": "o"}, 0),
        ({"order_id": "o"}, {}, 0),
        ({}, {}, 1),
        ({"source": "a"}, {"source": "b"}, 1),
        ({"order_id": "o", "subscription_id": "s"}, {"order_id": "o", "subscription_id": "t"}, 1),
        ({"subscription_id": "s"}, {"subscription_id": "s"}, 1),
        ({"order_id": "0000", "ignored_identifiers": '{"order_id":"0000"}'}, {}, 1),  # an order that is nobody's
        ({"who": "bob"}, {}, 0),
    ],
)
def test_payment_retry_is_of_one_thing(steps: Any, one: Row, other: Row, found: int) -> None:
    rows = [failure("2026-01-05 10:00", **one), failure("2026-01-05 11:00", **other)]
    assert len(points(steps, rows, "payment_retry")) == found
    assert len(points(steps, rows, "payment_failed")) == 2


def test_payment_retry_at_its_limit_and_as_a_chain(steps: Any) -> None:
    first = utc(2026, 1, 5, 10)
    two = [failure(first), failure(first + DAY)]
    assert len(points(steps, two, "payment_retry")) == 1
    assert points(steps, [failure(first), failure(first + DAY + MICROSECOND)], "payment_retry") == []
    (point,) = points(steps, [*two, failure(first + 2 * DAY)], "payment_retry")
    assert (point["n_events"], point["started_at"], point["known_at"], point["ended_at"]) == (
        3,
        first,
        first + DAY,
        first + 2 * DAY,
    )
    assert len(points(steps, [*two, failure(first + 4 * DAY), failure(first + 4 * DAY)], "payment_retry")) == 2
    assert points(steps, two, "payment_retry", failures=3) == []


def test_the_subject_of_a_failure_is_the_provider_or_else_the_code(steps: Any) -> None:
    rows = [failure("2026-01-05 10:00", failure_code="x"), failure("2026-01-05 11:00", provider=None, failure_code="x"),
            failure("2026-01-05 12:00", provider=None)]  # fmt: skip
    assert [p["subject"] for p in points(steps, rows, "payment_failed")] == ["cardex", "x", None]


@pytest.mark.parametrize("outcome", ["failed", "abandoned"])
def test_tasks_that_came_to_nothing(steps: Any, outcome: str) -> None:
    use = {"type": "product_usage", "at": "2026-01-05 10:00", "feature": "import"}
    rows = [{**use, "task_outcome": done, "duration_s": 90.5} for done in ("completed", "failed", "abandoned", None)]
    rows.append({**use, "task_outcome": outcome})
    rows.append({**use, "task_outcome": outcome, "duration_s": 1e300})
    found = points(steps, rows, f"task_{outcome}")
    assert [p["subject"] for p in found] == ["import"] * 3
    assert [p["minutes_lost"] for p in found] == [Decimal("1.5083"), None, Decimal("16666666666.6666")]


def test_the_subject_of_a_refund_is_the_one_product_of_its_order(steps: Any) -> None:
    def line(order_id: str, product_id: str | None) -> Row:
        return {"type": "purchase", "at": "2026-01-05", "order_id": order_id, "product_id": product_id}

    rows = [line("a", "mug"), line("a", "mug"), line("b", "mug"), line("b", "pot"), line("c", "mug"), line("c", None)]
    rows += [{"type": "refund", "at": f"2026-01-{n:02}", "order_id": order} for n, order in enumerate("abcd", 10)]
    found = points(steps, rows, "refund")
    assert [(p["started_at"].day, p["subject"]) for p in found] == [(10, "mug"), (11, None), (12, None), (13, None)]


# --- answers ---------------------------------------------------------------------------------------------------------


def answer(survey_type: str, score: float, low: float, high: float, **fields: Any) -> Row:
    return {"type": "survey_response", "at": "2026-01-05", "survey_type": survey_type, "score": score, "scale_min": low,
            "scale_max": high, **fields}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "given", "found"),
    [
        ("low_csat", answer("csat", 2, 1, 5), 1), ("low_csat", answer("csat", 3, 1, 5), 0),
        ("low_csat", answer("csat", 2, 1, 4), 1), ("low_csat", answer("csat", 3, 1, 4), 0),
        ("low_csat", answer("csat", 0, 0, 1), 1), ("low_csat", answer("csat", 1, 0, 1), 0),
        ("low_csat", answer("csat", 49.999, 0, 100), 1), ("low_csat", answer("csat", 50, 0, 100), 0),
        ("low_csat", answer("nps", 0, 0, 10), 0),
        ("high_effort", answer("ces", 5, 1, 7), 1), ("high_effort", answer("ces", 4.9999, 1, 7), 0),
        ("high_effort", answer("ces", 3, 1, 7, easier_is_higher=True), 1),
        ("high_effort", answer("ces", 3.0001, 1, 7, easier_is_higher=True), 0),
        ("high_effort", answer("ces", 4, 1, 5), 1), ("high_effort", answer("ces", 3, 1, 5), 0),
        ("detractor", answer("nps", 6, 0, 10), 1), ("detractor", answer("nps", 7, 0, 10), 0),
        ("detractor", answer("nps", 1, 1, 10), 0), ("detractor", answer("csat", 0, 0, 10), 0),
    ],
)  # fmt: skip
def test_answers_at_their_limits(steps: Any, kind: str, given: Row, found: int) -> None:
    assert len(points(steps, [given], kind)) == found


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [("low_csat", answer("csat", 1, 1, 5), answer("csat", 5, 1, 5)), ("detractor", answer("nps", 0, 0, 10), answer("nps", 9, 0, 10)),
     ("high_effort", answer("ces", 7, 1, 7), answer("ces", 1, 1, 7))],
)  # fmt: skip
def test_of_several_answers_to_one_survey_the_last_counts(steps: Any, kind: str, bad: Row, good: Row) -> None:
    later = {"at": "2026-01-06"}
    of_one = {"survey_id": "w", "ticket_id": "t"}
    assert points(steps, [{**bad, **of_one}, {**good, **of_one, **later}], kind) == []
    (point,) = points(steps, [{**good, **of_one}, {**bad, **of_one, **later}], kind)
    assert point["event_ids"] == ["e0001"]
    assert len(points(steps, [bad, {**bad, **later}], kind)) == 2, "each a survey of its own"


def test_an_answer_is_about_the_ticket_that_it_names(steps: Any) -> None:
    rows = [
        ticket("opened", "2026-01-01", team="a", topic="x", source="desk"), ticket("opened", "2026-01-02", topic="y", source="phone"),
        answer("csat", 1, 1, 5, ticket_id="t", source="desk"), answer("csat", 1, 1, 5, ticket_id="t", source="phone", survey_id="1"),
        answer("csat", 1, 1, 5, ticket_id="t", source="tool", survey_id="2", context="transactional"),
        answer("csat", 1, 1, 5, ticket_id="none", context="transactional"), answer("csat", 1, 1, 5),
    ]  # fmt: skip
    assert [p["subject"] for p in points(steps, rows, "low_csat")] == ["a", "y", "a", "transactional", None]


# --- the journey -----------------------------------------------------------------------------------------------------

REVIEW = {"type": "review", "rating": 5, "scale_min": 1, "scale_max": 5}


def test_stage_stall_at_its_limit(steps: Any) -> None:
    first, days = utc(2026, 1, 5), datetime.timedelta(days=30)
    looks = visit(first)
    assert points(steps, [looks], "stage_stall", first + days) == []
    (point,) = points(steps, [looks], "stage_stall", first + days + MICROSECOND)
    assert (point["subject"], point["stage"], point["known_at"], point["ended_at"]) == (
        "consideration",
        "consideration",
        first + days,
        None,
    )
    assert points(steps, [looks, {"type": "purchase", "at": first + days}], "stage_stall", first + days + DAY) == []
    (point,) = points(
        steps, [looks, {"type": "purchase", "at": first + days + SECOND}], "stage_stall", first + days + DAY
    )
    assert (point["ended_at"], point["event_ids"], point["n_events"]) == (first + days + SECOND, ["e0000"], 1)


def test_stall_days_are_a_table_or_one_number(steps: Any) -> None:
    rows = [visit("2026-01-01"), visit("2026-01-20"), ticket("opened", "2026-01-21"), {**REVIEW, "at": "2026-02-10"}]

    def found(days: Any) -> list[str]:
        return [p["stage"] for p in points(steps, rows, "stage_stall", "2026-03-31", stall_days=days)]

    assert found({"consideration": 19.9}) == ["consideration"]
    assert found({"consideration": 20, "service": 19}) == ["service"]
    assert found({"consideration": 20, "*": 19}) == ["service", "advocacy"]
    assert found(19) == ["consideration", "service", "advocacy"]
    assert found(1_000_000) == []


def test_nobody_stalls_in_service_without_an_open_ticket(steps: Any) -> None:
    """A ticket has 14 days; the stage service lasts, whatever becomes of it."""
    opened, limit = ticket("opened", "2026-01-01"), utc(2026, 1, 15)

    def found(*more: Any) -> int:
        return len(points(steps, [opened, *more], "stage_stall", "2026-03-31"))

    assert found() == 1
    assert found(ticket("resolved", limit)) == 0
    assert found(ticket("resolved", limit + MICROSECOND)) == 1
    assert found(ticket("resolved", "2026-01-02"), ticket("reopened", limit)) == 1
    shortly = (
        ticket("opened", "2026-01-14 23:59", ticket_id="other"),
        ticket("resolved", "2026-01-15 00:01", ticket_id="other"),
    )
    assert found(ticket("resolved", "2026-01-02"), *shortly) == 0
    late = ticket("resolved", "2026-01-02"), ticket("reopened", "2026-02-01"), ticket("resolved", "2026-03-01")
    (point,) = points(steps, [opened, *late], "stage_stall", "2026-03-31")
    assert (point["started_at"], point["known_at"], point["ended_at"]) == (
        utc(2026, 1, 1), utc(2026, 2, 15), utc(2026, 3, 1),
    )  # fmt: skip
    assert found(ticket("resolved", "2026-01-02"), ticket("opened", "2026-01-03", ticket_id="other")) == 1
    of_bob = {**ticket("opened", "2026-01-03", ticket_id="other"), "who": "bob"}
    assert found(ticket("resolved", "2026-01-02"), of_bob) == 1  # his own stay, and not hers


def test_nobody_stalls_in_churned_and_a_lapse_ends_a_stage(steps: Any) -> None:
    rows = [{"type": "purchase", "at": "2026-01-01"}]
    (point,) = points(steps, rows, "stage_stall", stall_days=10)
    assert (point["stage"], point["ended_at"]) == ("purchase", utc(2026, 4, 1))
    assert points(steps, rows, "stage_stall", stall_days=90) == []
    away = [{"type": "account_closed", "at": "2026-01-01"}]
    assert points(steps, away, "stage_stall", stall_days=10) == []


def test_without_days_from_the_data_nobody_stalls(steps: Any) -> None:
    (kind,) = [
        k for k in load_friction(None, {"stage_stall": {"stall_days": "fit"}}).values() if k.kind == "stage_stall"
    ]
    as_of = utc(2026, 12, 31)
    shard = steps.journeys([visit("2026-01-01")], as_of)

    def found(days: dict[str, int] | None) -> int:
        rules = FrictionRules((kind,), as_of, days)
        assert rules.wants_fit
        return int(find_friction(shard, rules, steps.connection)["friction_points"].num_rows)

    assert [found(None), found({}), found({"service": 1}), found({"consideration": 30})] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([visit("2026-01-01"), {**REVIEW, "at": "2026-01-02"}, visit("2026-01-03")], ["advocacy > consideration"]),
        ([visit("2026-01-01"), ticket("opened", "2026-01-02"), visit("2026-01-03")], []),  # service is off the path
        (
            [{**REVIEW, "at": "2026-01-01"}, ticket("opened", "2026-01-02"), visit("2026-01-03")],
            ["advocacy > consideration"],
        ),
        ([{**REVIEW, "at": "2026-01-01"}, {"type": "purchase", "at": "2026-01-02"}], []),  # the outcome itself
        # what the journey before reached is not reached in this one
        ([{**REVIEW, "at": "2026-01-01"}, {"type": "purchase", "at": "2026-01-02"}, {"type": "product_usage", "at": "2026-01-03"}], []),
        (
            [{"type": "purchase", "at": "2026-01-01"}, {"type": "product_usage", "at": "2026-01-02"},
             {**REVIEW, "at": "2026-01-03"}, {"type": "product_usage", "at": "2026-01-04"}, {**REVIEW, "at": "2026-01-05"},
             {"type": "product_usage", "at": "2026-02-15"}],
            ["advocacy > onboarding", "advocacy > usage"],
        ),
    ],
)  # fmt: skip
def test_stage_backtrack_is_a_step_back_within_a_journey(steps: Any, rows: list[Row], found: list[str]) -> None:
    assert [p["subject"] for p in points(steps, rows, "stage_backtrack")] == found


def test_stage_backtrack_with_another_path(steps: Any) -> None:
    rows = [ticket("opened", "2026-01-02"), visit("2026-01-03")]
    (point,) = points(steps, rows, "stage_backtrack", path=["consideration", "service"])
    assert (point["subject"], point["stage"], point["event_ids"]) == (
        "service > consideration",
        "consideration",
        ["e0001"],
    )
    assert points(steps, rows, "stage_backtrack", path=[]) == []


# --- of all kinds ----------------------------------------------------------------------------------------------------


def everything(who: str) -> list[Row]:
    """Events of one customer that make a point of every kind."""
    rows = [
        *way((0, "/a"), (60, "/b"), (62, "/a"), load_ms=9000, http_status=500), *clicks(70, 70.1, 70.2), *searches("sss"),
        visit("2026-01-05 10:20", "/checkout", page_kind="checkout"), failure("2026-01-05 10:21"), failure("2026-01-05 10:22"),
        *({"type": "product_usage", "at": "2026-01-05 10:23", "task_outcome": done, "duration_s": 6} for done in ("failed", "abandoned")),
        {**REVIEW, "at": "2026-01-05 10:24"}, visit("2026-01-05 10:25", "/c"), {"type": "purchase", "at": "2026-01-09", "order_id": "o"},
        ticket("opened", "2026-01-09 01:00", topic="x"), ticket("resolved", "2026-01-19"), ticket("reopened", "2026-01-20"),
        ticket("opened", "2026-01-21", "t2", topic="x"), answer("csat", 1, 1, 5), answer("ces", 7, 1, 7), answer("nps", 0, 0, 10),
        {"type": "refund", "at": "2026-01-25", "order_id": "o"},
    ]  # fmt: skip
    return [{**row, "event_id": f"{who}-{n:02}", "who": who} for n, row in enumerate(rows)]


def test_every_kind_is_found_and_none_across_customers(steps: Any) -> None:
    alone = steps.friction(everything("ann"), AS_OF)["friction_points"]
    assert set(alone["kind"].to_pylist()) == set(load_friction())
    names = ("ann", "bob", "cid")
    together = steps.friction([row for who in names for row in everything(who)], AS_OF)["friction_points"].to_pylist()
    for who in names:
        mine = [
            {**p, "friction_id": p["friction_id"].replace(who, "ann"), "event_ids": [e.replace(who, "ann") for e in p["event_ids"]]}
            for p in together if p["customer_key"] == who
        ]  # fmt: skip
        assert [{**p, "customer_key": 0, "customer_no": 0, "journey_id": 0} for p in mine] == [
            {**p, "customer_key": 0, "customer_no": 0, "journey_id": 0} for p in alone.to_pylist()
        ]


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(25)), cut=st.integers(1, 24))
def test_the_order_of_the_events_changes_nothing(steps: Any, order: list[int], cut: int) -> None:
    rows = everything("ann")
    assert len(rows) == 25
    usual = steps.friction(rows, AS_OF)["friction_points"]
    shuffled = steps.friction([rows[n] for n in order[cut:] + order[:cut]], AS_OF)["friction_points"]
    assert shuffled.equals(usual)


def test_points_lie_between_their_moments(steps: Any) -> None:
    for point in steps.friction(everything("ann"), AS_OF)["friction_points"].to_pylist():
        assert point["started_at"] <= point["known_at"] <= utc(2026, 12, 31), point["kind"]
        assert point["ended_at"] is None or point["started_at"] <= point["ended_at"], point["kind"]
        assert 1 <= len(point["event_ids"]) <= point["n_events"], point["kind"]


def test_the_kinds_do_not_depend_on_each_other(steps: Any) -> None:
    both = steps.friction(everything("ann"), AS_OF)["friction_points"].to_pylist()
    for kind in load_friction():
        alone = steps.friction(everything("ann"), AS_OF, [kind])["friction_points"].to_pylist()
        assert alone == [p for p in both if p["kind"] == kind]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            "select customer_no, seq + 100 as seq",
            "gives 1 rows without started_at, or whose customer_no and seq are no event's",
        ),
        ("select customer_no, 0 as seq", "gives 1 rows"),
        ("select 7 as customer_no, seq", "gives 1 rows"),
        ("select customer_no, null::bigint as seq", "gives 1 rows"),
        ("select customer_no", "gives no column seq"),
    ],
)
def test_a_point_on_no_event_is_refused(steps: Any, select: str, message: str) -> None:
    rest = """, null as subject, occurred_at as started_at, occurred_at as ended_at, 1 as n_events, [event_id] as event_ids,
        null as minutes_lost from touchpoints"""
    kind = replace(load_friction()["refund"], sql=select + rest)
    shard = steps.journeys([visit("2026-01-05")], AS_OF)
    with pytest.raises(FrictionFileError, match=message):
        find_friction(shard, FrictionRules((kind,), utc(2026, 12, 31)), steps.connection)


def test_without_known_at_a_point_is_known_at_its_end(steps: Any) -> None:
    sql = """select customer_no, seq, null as subject, occurred_at as started_at,
        if(seq = 1, occurred_at + interval 1 hour, null) as ended_at, 1 as n_events, [event_id] as event_ids,
        null as minutes_lost from touchpoints"""
    kind = replace(load_friction()["refund"], sql=sql)
    shard = steps.journeys([visit("2026-01-05 10:00"), visit("2026-01-05 12:00")], AS_OF)
    found = find_friction(shard, FrictionRules((kind,), utc(2026, 12, 31)), steps.connection)["friction_points"]
    assert [at.hour for at in found["known_at"].to_pylist()] == [11, 12]


def test_no_kinds_and_no_customers(steps: Any) -> None:
    shard = steps.journeys([visit("2026-01-05")], AS_OF)
    nothing = find_friction(shard, FrictionRules((), utc(2026, 12, 31)), steps.connection)["friction_points"]
    empty = steps.friction([], AS_OF)["friction_points"]
    assert nothing.num_rows == empty.num_rows == 0 and nothing.schema.equals(empty.schema)
    assert isinstance(nothing, pa.Table)


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
    shard = steps.friction(rows, AS_OF, ["slow_page", "slow_first_response"])
    customers = shard["touchpoints"]["customer_key"].unique().to_pylist()
    found = [(p["customer_key"], p["started_at"]) for p in shard["friction_points"].to_pylist()]
    assert found == sorted(found, key=lambda f: (customers.index(f[0]), f[1]))
    journeys = {(j["customer_key"], j["journey_no"]): j["friction_points"] for j in shard["journeys"].to_pylist()}
    assert journeys == {("ann", 1): 4, ("bob", 1): 3, ("bob", 2): 1}
    ids = shard["friction_points"]["friction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 8


def test_no_friction_at_all(steps: Any) -> None:
    shard = steps.friction([visit("2026-01-05")], "2026-01-06")
    assert shard["friction_points"].num_rows == 0
    assert shard["journeys"]["friction_points"].to_pylist() == [0]
