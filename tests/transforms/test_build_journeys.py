"""Journeys, held against the design's rules read one touchpoint at a time, and worked cases of money and paths."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SILENCE = 90
DAY, MICROSECOND = datetime.timedelta(days=1), datetime.timedelta(microseconds=1)


def outcome_of(row: Row, is_first_line: bool) -> str | None:
    match row["type"]:
        case "purchase" if is_first_line:
            return "order"
        case "subscription_started":
            return "subscription_started"
        case "renewal":
            return "renewal_declined" if row["outcome"] == "declined" else "renewal"
        case "cancellation" if row["kind"] == "effective":
            return "cancellation"
        case "account_closed":
            return "account_closed"
    return None


@dataclass
class Journey:
    own: list[int] = field(default_factory=list)  # the touchpoints that make it
    rows: list[int] = field(default_factory=list)  # with the later lines and refunds of its orders
    outcome: str | None = None


def read_slowly(rows: list[Row]) -> list[Journey]:
    """The journeys of one customer's touchpoints, in order, by the design's words."""
    journeys: list[Journey] = []
    of_order: dict[tuple[str | None, str], Journey] = {}
    last = None
    for number, row in enumerate(rows):
        order = (row.get("source"), row.get("order_id", ""))
        if row["type"] in ("purchase", "refund") and order in of_order:
            of_order[order].rows.append(number)  # stays in the journey that the first line closed
            continue
        silent = last is not None and row["at"] - last > SILENCE * DAY
        if not journeys or journeys[-1].outcome is not None or silent:
            journeys.append(Journey())
        now = journeys[-1]
        now.own.append(number)
        now.rows.append(number)
        now.outcome = outcome_of(row, True)
        if row["type"] == "purchase":
            of_order[order] = now
        last = row["at"]
    return journeys


def status_of(
    journey: Journey, is_last: bool, rows: list[Row], stages: list[str | None], as_of: datetime.datetime
) -> str:
    if journey.outcome is not None:
        return "closed"
    if is_last and as_of - rows[journey.own[-1]]["at"] <= SILENCE * DAY:
        return "open"
    return "abandoned" if any(stages[row] == "consideration" for row in journey.own) else "ended"


def runs_of(values: list[str | None]) -> str | None:
    found: list[str] = []
    for value in values:
        if value is not None and found[-1:] != [value]:
            found.append(value)
    return " > ".join(found) or None


kinds = st.one_of(
    st.sampled_from([
        {"type": "site_visit"}, {"type": "ad_view"}, {"type": "survey_response"}, {"type": "account_closed"},
        {"type": "subscription_started", "subscription_id": "s"}, {"type": "cancellation", "kind": "effective"},
        {"type": "cancellation", "kind": "requested"}, {"type": "renewal", "outcome": "renewed"},
        {"type": "renewal", "outcome": "declined"}, {"type": "payment_failed"},
    ]),
    st.fixed_dictionaries({
        "type": st.sampled_from(["purchase", "purchase", "refund"]), "order_id": st.sampled_from(["o1", "o2"]),
        "source": st.sampled_from([None, "web"]),
    }),
)  # fmt: skip
pauses = st.sampled_from(
    [0 * DAY, MICROSECOND, DAY, 60 * DAY, 90 * DAY - MICROSECOND, 90 * DAY, 90 * DAY + MICROSECOND, 200 * DAY]
)
channels = st.sampled_from([None, "email", "search"])


@st.composite
def timelines(draw: st.DrawFn) -> list[list[Row]]:
    customers = []
    for who in ("ann", "bob", "cid", "dan")[: draw(st.integers(1, 4))]:
        at, rows = START, []
        for number in range(draw(st.integers(1, 9))):
            at += draw(pauses)
            row = {**draw(kinds), "who": who, "at": at, "event_id": f"{who}-{number}", "channel": draw(channels)}
            rows.append(row)
        customers.append(rows)
    return customers


@settings(max_examples=40)
@given(timelines(), pauses)
def test_reads_like_the_rules(steps: Any, customers: list[list[Row]], rest: datetime.timedelta) -> None:
    as_of = max(rows[-1]["at"] for rows in customers) + rest
    shard = steps.journeys([row for rows in customers for row in rows], as_of)
    touchpoints = shard["touchpoints"].select(["customer_key", "journey_no", "stage", "session_id"]).to_pylist()
    found = {(j["customer_key"], j["journey_no"]): j for j in shard["journeys"].to_pylist()}
    assert len(found) == shard["journeys"].num_rows

    for rows in customers:
        who = rows[0]["who"]
        own = [t for t in touchpoints if t["customer_key"] == who]
        stages = [t["stage"] for t in own]
        journeys = read_slowly(rows)
        number = {row: no for no, journey in enumerate(journeys, 1) for row in journey.rows}
        assert [t["journey_no"] for t in own] == [number[row] for row in range(len(rows))]
        assert sum(key == who for key, _ in found) == len(journeys)
        for no, journey in enumerate(journeys, 1):
            status = status_of(journey, no == len(journeys), rows, stages, as_of)
            last = rows[journey.own[-1]]["at"]
            expected = {
                "started_at": rows[journey.own[0]]["at"],
                "ended_at": None if status == "open" else last,
                "status": status,
                "outcome": journey.outcome,
                "touchpoints": len(journey.rows),
                "sessions": len({own[row]["session_id"] for row in journey.rows} - {None}),
                "stage_path": runs_of([stages[row] for row in journey.own]),
                "channel_path": runs_of([rows[row]["channel"] for row in journey.own]),
            }
            assert {name: found[who, no][name] for name in expected} == expected


def journeys_of(steps: Any, rows: list[Row], as_of: str = "2026-12-01") -> list[Row]:
    return steps.journeys(rows, as_of)["journeys"].to_pylist()


@pytest.mark.parametrize(("pause", "journeys"), [(90 * DAY, 1), (90 * DAY + MICROSECOND, 2)])
def test_ninety_days_exactly_are_no_silence_yet(steps: Any, pause: datetime.timedelta, journeys: int) -> None:
    rows = [{"type": "site_visit", "at": START}, {"type": "site_visit", "at": START + pause}]
    assert len(journeys_of(steps, rows)) == journeys


@pytest.mark.parametrize(("rest", "status"), [(90 * DAY, "open"), (90 * DAY + MICROSECOND, "abandoned")])
def test_open_while_the_data_end_before_the_silence(steps: Any, rest: datetime.timedelta, status: str) -> None:
    (journey,) = steps.journeys([{"type": "site_visit", "at": START}], START + rest)["journeys"].to_pylist()
    assert journey["status"] == status
    assert journey["ended_at"] == (None if status == "open" else START)


def test_silence_after_an_outcome_with_nothing_sought_is_an_end_and_no_abandonment(steps: Any) -> None:
    rows = [
        {"type": "site_visit", "at": "2026-01-01 10:00"},
        {"type": "purchase", "at": "2026-01-01 10:10"},
        {"type": "site_visit", "at": "2026-01-05"},
    ]
    first, second = journeys_of(steps, rows)
    assert (first["status"], first["outcome"], first["stage_path"]) == ("closed", "order", "consideration > purchase")
    assert (second["status"], second["outcome"], second["stage_path"]) == ("ended", None, "purchase")


def test_lines_and_refunds_stay_with_their_order_even_after_the_silence(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": "2026-01-01 10:00", "order_id": "o", "amount": "20.00"},
        {"type": "purchase", "at": "2026-01-01 10:01", "order_id": "o", "amount": "10.00"},
        {"type": "site_visit", "at": "2026-01-02"},
        {"type": "refund", "at": "2026-05-30", "order_id": "o", "amount": "5.00"},
        {"type": "site_visit", "at": "2026-06-01"},
    ]
    shard = steps.journeys(rows, "2026-12-01")
    assert shard["touchpoints"]["journey_no"].to_pylist() == [1, 1, 2, 1, 3], "a refund breaks no silence"
    journeys = shard["journeys"].to_pylist()
    assert [j["touchpoints"] for j in journeys] == [3, 1, 1]
    assert journeys[0]["revenue"] == Decimal("25.0000"), "the refund counts where its order does"
    assert journeys[0]["ended_at"] == datetime.datetime(2026, 1, 1, 10, tzinfo=datetime.UTC)


def test_a_refund_without_its_order_is_a_touchpoint_like_any_other(steps: Any) -> None:
    (journey,) = journeys_of(steps, [{"type": "refund", "at": START, "order_id": "of-another-year", "amount": "5"}])
    assert (journey["status"], journey["touchpoints"], journey["revenue"]) == ("ended", 1, Decimal("-5.0000"))


def test_money_in_two_currencies_has_no_sum(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": START, "order_id": "o", "amount": "0.1", "currency": "EUR"},
        {"type": "purchase", "at": START, "order_id": "o", "amount": "0.2", "currency": "EUR"},
        {"type": "purchase", "at": START, "order_id": "o", "amount": "3", "currency": "CHF"},
    ]
    (journey,) = journeys_of(steps, rows)
    assert (journey["revenue"], journey["currency"]) == (None, None)
    assert journey["revenue_by_currency"] == [
        {"currency": "CHF", "amount": Decimal("3.0000")},
        {"currency": "EUR", "amount": Decimal("0.3000")},
    ]


def test_no_money_is_zero_in_no_currency(steps: Any) -> None:
    (journey,) = journeys_of(steps, [{"type": "site_visit", "at": START}])
    assert (journey["revenue"], journey["currency"], journey["revenue_by_currency"]) == (Decimal("0.0000"), None, [])


def test_what_is_money_and_of_which_sign(steps: Any) -> None:
    rows = [
        {"type": "subscription_started", "at": "2026-01-01", "subscription_id": "s", "amount": "12"},
        {"type": "renewal", "at": "2026-02-01", "subscription_id": "s", "amount": "12", "outcome": None},
        {"type": "renewal", "at": "2026-03-01", "subscription_id": "s", "amount": "12", "outcome": "declined"},
        {"type": "subscription_changed", "at": "2026-03-02", "subscription_id": "s", "amount": "99"},
        {"type": "payment_failed", "at": "2026-03-03", "amount": "99", "currency": "EUR"},
        {"type": "purchase", "at": "2026-03-04", "amount": "7"},
        {"type": "refund", "at": "2026-03-05", "order_id": "x", "amount": "2"},
    ]
    money = steps.journeys(rows, "2026-12-01")["money"].to_pylist()
    assert [(m["kind"], m["amount"], m["month"].month) for m in money] == [
        ("subscription", Decimal(12), 1), ("subscription", Decimal(12), 2), ("order", Decimal(7), 3),
        ("refund", Decimal(-2), 3),
    ]  # fmt: skip


def test_the_month_is_that_of_the_time_zone(steps: Any) -> None:
    rows = [{"type": "purchase", "at": "2026-02-01 04:59:59.999999"}, {"type": "purchase", "at": "2026-02-01 05:00"}]
    shard = steps.journeys(rows, "2026-12-01", timezone="America/New_York")
    assert shard["touchpoints"]["month"].to_pylist() == [datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)]
