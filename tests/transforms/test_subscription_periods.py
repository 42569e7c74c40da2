"""Periods of subscriptions: cases worked out by hand, and random lives held against a second telling in plain Python.

The second telling (`periods_by_hand`) was written from the rules in the head of transforms/sql/subscription_periods.sql,
and shares no line with it. The table `subscriptions` is made of the periods; it is held against the second telling too.
"""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]
AS_OF = "2026-12-31"
SEVEN_DAYS = datetime.timedelta(days=7)
FIXED: Row = {"auto_renews": False}
DECLINED: Row = {"outcome": "declined"}


def utc(month: int, day: int, hour: int = 0) -> datetime.datetime:
    return datetime.datetime(2026, month, day, hour, tzinfo=datetime.UTC)


def event(at: str, what: str, fields: Row | None = None, who: str = "ann") -> Row:
    """Of the subscription s, on a day of 2026."""
    own = {} if what == "account_closed" else {"subscription_id": "s"}
    return {"at": f"2026-{at}", "type": what, "who": who, **own, **(fields or {})}


def periods(steps: Any, *events: tuple[Any, ...], as_of: str = AS_OF) -> list[Row]:
    """Events as (day, what) or (day, what, fields)."""
    return steps.entities([event(*given) for given in events], as_of)["subscription_periods"].to_pylist()


def told(rows: Sequence[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


WHEN = ("started_at", "ended_at", "opened_by", "ended_by")


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_life_from_a_start_over_changes_and_a_renewal_to_its_end(steps: Any) -> None:
    found = periods(
        steps,
        ("01-10", "subscription_started", {"plan": "basic", "amount": "30"}),
        ("01-20", "subscription_changed", {"plan": "pro", "amount": "100", "period_months": 3}),
        ("02-10", "renewal", {"amount": "25", "currency": "CHF"}),
        ("02-20", "cancellation", {"kind": "requested", "reason": "asked", "voluntary": True}),
        ("03-10", "cancellation", {"kind": "effective", "reason": "price", "voluntary": False}),
    )
    assert told(found, "period_no", *WHEN) == [
        (1, utc(1, 10), utc(1, 20), "started", "changed"),
        (2, utc(1, 20), utc(2, 10), "changed", "renewed"),
        (3, utc(2, 10), utc(3, 10), "renewed", "cancelled"),
    ]
    assert told(found, "plan", "mrr", "currency", "term_ends_at", "opens_term", "auto_renews") == [
        ("basic", Decimal("30.0000"), "EUR", utc(2, 10), True, True),
        ("pro", Decimal("33.3333"), "EUR", utc(2, 10), False, True),  # a change does not move the term that is paid
        ("pro", Decimal("25.0000"), "CHF", utc(3, 10), True, True),
    ]
    assert told(found, "reason", "is_voluntary", "start_event_id", "end_event_id") == [
        (None, None, "e0000", "e0001"), (None, None, "e0001", "e0002"), ("price", False, "e0002", "e0004"),
    ]  # fmt: skip


def test_back_after_an_end_it_has_a_gap(steps: Any) -> None:
    found = periods(
        steps,
        ("01-08", "subscription_started"),
        ("02-08", "cancellation"),
        ("05-01", "subscription_started", {"amount": "60"}),
    )
    assert told(found, *WHEN) == [
        (utc(1, 8), utc(2, 8), "started", "cancelled"), (utc(5, 1), None, "started", None),
    ]  # fmt: skip
    assert told(found, "mrr", "end_event_id") == [(30, "e0001"), (60, None)]


@pytest.mark.parametrize(
    ("renewed", "expected"),
    [
        # before its end, and seven days late exactly: it goes on, and the new term follows the old one
        ("02-01", [(utc(1, 8), utc(2, 1), "renewed", utc(2, 8)), (utc(2, 1), None, None, utc(3, 8))]),
        ("02-15", [(utc(1, 8), utc(2, 15), "renewed", utc(2, 8)), (utc(2, 15), None, None, utc(3, 8))]),
        # later it had ended with its term
        ("02-15 01:00", [(utc(1, 8), utc(2, 8), "expired", utc(2, 8)), (utc(2, 15, 1), None, None, utc(3, 15, 1))]),
    ],
)
def test_a_fixed_term_renewed_in_time_or_not(steps: Any, renewed: str, expected: list[tuple[Any, ...]]) -> None:
    found = periods(steps, ("01-08", "subscription_started", FIXED), (renewed, "renewal"), as_of="2026-02-20")
    assert told(found, "started_at", "ended_at", "ended_by", "term_ends_at") == expected


@pytest.mark.parametrize(
    ("as_of", "ended"), [("2026-02-14 23:59:59.999999", (None, None)), ("2026-02-15", (utc(2, 8), "expired"))]
)
def test_a_fixed_term_has_ended_once_seven_days_are_over(steps: Any, as_of: str, ended: tuple[Any, ...]) -> None:
    found = periods(steps, ("01-08", "subscription_started", FIXED), as_of=as_of)
    assert told(found, "ended_at", "ended_by", "end_event_id") == [(*ended, None)]


def test_who_says_that_it_does_not_renew_ends_it_with_the_term(steps: Any) -> None:
    """A change in the term does; the period then ends with the term, and what would have changed later is no period."""
    found = periods(
        steps,
        ("01-08", "subscription_started", {"amount": "30"}),
        ("01-20", "subscription_changed", {"amount": "20", **FIXED}),
        ("02-08", "subscription_changed", {"amount": "10", **FIXED}),
        ("02-20", "cancellation", {"reason": "too late"}),
    )
    assert told(found, *WHEN, "mrr", "auto_renews", "reason") == [
        (utc(1, 8), utc(1, 20), "started", "changed", 30, False, None),
        (utc(1, 20), utc(2, 8), "changed", "expired", 20, False, None),
    ]


def test_ended_before_the_term_by_an_event_that_says_why(steps: Any) -> None:
    found = periods(steps, ("01-08", "subscription_started", FIXED), ("02-08", "cancellation", {"reason": "x"}))
    assert told(found, "ended_at", "ended_by", "reason") == [(utc(2, 8), "cancelled", "x")], (
        "at the very end of the term"
    )


@pytest.mark.parametrize("end", [("cancellation", {}), ("renewal", DECLINED), ("account_closed", {})])
def test_who_starts_anew_after_an_end_begins_a_new_term(steps: Any, end: tuple[str, Row]) -> None:
    """The year paid until 8 January 2027 has ended on 1 February: the month bought on 10 February ends on 10 March."""
    year = ("01-08", "subscription_started", {"period_months": 12, "amount": "120"})
    found = periods(steps, year, ("02-01", *end), ("02-10", "subscription_started", FIXED), as_of="2026-03-20")
    assert told(found, *WHEN, "term_ends_at") == [
        (utc(1, 8), utc(2, 1), "started", found[0]["ended_by"], utc(1, 8).replace(year=2027)),
        (utc(2, 10), utc(3, 10), "started", "expired", utc(3, 10)),
    ]
    assert found[0]["ended_by"] in ("cancelled", "declined", "account_closed")


def test_a_renewal_after_an_end_takes_it_back(steps: Any) -> None:
    """It renews the term that was paid, as if nothing had been said; only a start begins another."""
    found = periods(steps, ("01-08", "subscription_started"), ("01-20", "cancellation"), ("01-25", "renewal"))
    assert told(found, *WHEN, "term_ends_at") == [
        (utc(1, 8), utc(1, 20), "started", "cancelled", utc(2, 8)), (utc(1, 25), None, "renewed", None, utc(3, 8)),
    ]  # fmt: skip


def test_a_start_after_a_late_end_continues_no_term_that_ran_out(steps: Any) -> None:
    """The term ran out on 8 February. What is cancelled on the 10th and started on the 12th is another one."""
    lives = [
        ("01-08", "subscription_started", FIXED),
        ("02-10", "cancellation"),
        ("02-12", "subscription_started", FIXED),
    ]
    assert told(periods(steps, *lives, as_of="2026-02-20"), *WHEN, "term_ends_at") == [
        (utc(1, 8), utc(2, 8), "started", "expired", utc(2, 8)), (utc(2, 12), None, "started", None, utc(3, 12)),
    ]  # fmt: skip


def test_a_second_start_without_an_end_goes_on_with_the_term(steps: Any) -> None:
    found = periods(steps, ("01-08", "subscription_started"), ("01-20", "subscription_started", {"amount": "60"}))
    assert told(found, *WHEN, "term_ends_at", "end_event_id") == [
        (utc(1, 8), utc(1, 20), "started", "restarted", utc(2, 8), "e0001"),
        (utc(1, 20), None, "started", None, utc(3, 8), None),
    ]


def test_the_first_end_of_a_term_counts(steps: Any) -> None:
    found = periods(
        steps, ("01-08", "subscription_started"), ("02-08", "renewal", DECLINED), ("02-10", "cancellation", {"reason": "x"}),
        ("02-11", "account_closed"), ("02-12", "renewal"), ("02-13", "account_closed", {"reason": "y"}),
    )  # fmt: skip
    assert told(found, *WHEN, "reason") == [
        (utc(1, 8), utc(2, 8), "started", "declined", None),
        (utc(2, 12), utc(2, 13), "renewed", "account_closed", "y"),
    ]


def test_an_account_closed_ends_all_of_the_customers_and_nobody_elses(steps: Any) -> None:
    rows = [
        {"type": "subscription_started", "at": "2026-01-01", "subscription_id": s, "who": who, "source": source}
        for s, who, source in (("a", "ann", None), ("a", "ann", "crm"), ("b", "ann", None), ("a", "bob", None))
    ]
    rows += [{"type": "account_closed", "at": "2026-02-01"}]
    rows += [{"type": "subscription_started", "at": "2026-03-01", "subscription_id": "c"}]
    found = steps.entities(rows, AS_OF)["subscription_periods"].to_pylist()
    assert {(r["customer_key"], r["source"], r["subscription_id"]): r["ended_by"] for r in found} == {
        ("ann", None, "a"): "account_closed", ("ann", "crm", "a"): "account_closed", ("ann", None, "b"): "account_closed",
        ("ann", None, "c"): None, ("bob", None, "a"): None,
    }  # fmt: skip


def test_what_began_before_the_data(steps: Any) -> None:
    """The first event shows that it is there. Only a start or a renewal says how long its term is."""

    def first(what: str, fields: Row | None = None) -> tuple[Any, ...]:
        (row,) = told(periods(steps, ("01-08", what, fields or {})), *WHEN, "term_ends_at", "opens_term")
        return row

    assert first("renewal") == (utc(1, 8), None, "renewed", None, utc(2, 8), True)
    assert first("subscription_changed") == (utc(1, 8), None, "first_seen", None, None, False)
    assert first("cancellation", {"kind": "requested"}) == (utc(1, 8), None, "first_seen", None, None, False)
    assert first("cancellation") == (utc(1, 8), utc(1, 8), "first_seen", "cancelled", None, False)
    assert first("renewal", DECLINED) == (utc(1, 8), utc(1, 8), "first_seen", "declined", None, False)


def test_what_comes_before_the_start_is_none_of_its_periods(steps: Any) -> None:
    """But it tells the plan, and a renewal before it the term that the start continues."""
    found = periods(
        steps,
        ("01-01", "renewal"),
        ("01-06", "subscription_changed", {"plan": "pro"}),
        ("02-03", "subscription_started"),
    )
    assert told(found, "period_no", *WHEN, "plan", "term_ends_at") == [
        (1, utc(2, 3), None, "started", None, "pro", utc(3, 1)),
    ]  # fmt: skip


def test_at_one_moment_the_order_of_events_decides(steps: Any) -> None:
    """A start and its end leave a period without length; so does a change just before the end."""
    start, change, end = (
        ("01-08", "subscription_started"),
        ("01-08", "subscription_changed", {"amount": "9"}),
        ("01-08", "cancellation"),
    )
    assert told(periods(steps, start, end), *WHEN) == [(utc(1, 8), utc(1, 8), "started", "cancelled")]
    assert told(periods(steps, end, start), *WHEN) == [(utc(1, 8), None, "started", None)]
    assert told(periods(steps, start, change, end), "mrr", "ended_by") == [(30, "changed"), (9, "cancelled")]
    assert told(periods(steps, start, end, change), "mrr", "ended_by") == [(30, "cancelled")]


def test_a_renewal_without_an_outcome_is_one(steps: Any) -> None:
    found = periods(steps, ("01-08", "subscription_started"), ("02-08", "renewal", {"outcome": None, "amount": "40"}))
    assert told(found, "mrr", "opened_by", "term_ends_at") == [
        (30, "started", utc(2, 8)), (40, "renewed", utc(3, 8)),
    ]  # fmt: skip


def test_a_declined_offer_was_never_paid(steps: Any) -> None:
    found = periods(
        steps, ("01-08", "subscription_started"), ("02-08", "renewal", {**DECLINED, "amount": "99"}),
        ("02-09", "renewal", {"amount": None}),
    )  # fmt: skip
    assert told(found, "mrr", "ended_by") == [(30, "declined"), (30, None)]


def test_a_term_of_absurd_length_breaks_no_run(steps: Any) -> None:
    absurd = {"period_months": 2**53 - 1}
    rows = [event("01-08", "subscription_started", absurd)]
    rows += [event(f"{month:02}-08", "renewal", absurd) for month in range(2, 12)]
    found = steps.metrics(rows, "2026-11-30", "renewal_rate", timezone="Pacific/Kiritimati")
    assert {row["denominator"] for row in found} == {0}, "and none of the terms has ended"


# --- a second telling ------------------------------------------------------------------------------------------------


@dataclass
class Period:
    started_at: datetime.datetime
    opened_by: str
    plan: str | None
    mrr: Decimal | None
    currency: str | None
    term_ends_at: datetime.datetime | None
    opens_term: bool
    start_event_id: str
    auto_renews: bool = True
    ended_at: datetime.datetime | None = None
    ended_by: str | None = None
    reason: str | None = None
    is_voluntary: bool | None = None
    is_ended_elsewhere: bool = False
    end_event_id: str | None = None


@dataclass
class Said:
    """What a subscription's events have said so far."""

    plan: str | None = None
    mrr: Decimal | None = None
    currency: str | None = None
    renews: bool = True

    def hear(self, row: Row) -> None:
        self.plan = row["plan"] or self.plan
        self.renews = self.renews if row["auto_renews"] is None else row["auto_renews"]
        if row["amount"] is not None and not ends(row):
            self.currency = row["currency"]
            self.mrr = (Decimal(row["amount"]) / row["period_months"]).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def begins(row: Row) -> bool:
    return row["type"] == "subscription_started" or (row["type"] == "renewal" and row["outcome"] == "renewed")


def ends(row: Row) -> bool:
    declined = row["type"] == "renewal" and row["outcome"] == "declined"
    return row["type"] == "account_closed" or declined or (row["type"] == "cancellation" and row["kind"] == "effective")


def months_later(at: datetime.datetime, months: int) -> datetime.datetime:
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, calendar.monthrange(year, month + 1)[1]))


def periods_by_hand(life: Sequence[Row], as_of: datetime.datetime) -> list[Period]:
    """Of the events of one subscription, and the closings of its customer's account, in order."""
    own = [row for row in life if row["type"] != "account_closed"]
    first = next((row for row in own if row["type"] == "subscription_started"), own[0])
    found: list[Period] = []
    said, paid_until, is_running, has_ended = Said(), None, False, False
    for place, row in enumerate(life):
        if row["type"] != "account_closed":
            said.hear(row)
        if begins(row):
            goes_on = paid_until is not None and row["at"] <= paid_until + SEVEN_DAYS
            goes_on = goes_on and not (has_ended and row["type"] == "subscription_started")
            has_ended = False
            paid_until = months_later(paid_until if goes_on else row["at"], row["period_months"])
        has_ended = has_ended or ends(row)
        if row["number"] < first["number"]:
            continue
        if begins(row) or row is first:
            if is_running:
                stop(found[-1], row["at"], "renewed" if row["type"] == "renewal" else "restarted", row)
            opened_by = {"subscription_started": "started", "renewal": "renewed"}.get(row["type"], "first_seen")
            found.append(
                opened(row, opened_by if begins(row) else "first_seen", said, paid_until if begins(row) else None)
            )
            is_running = True
            # Does this term run out? Until the next one begins its events say so.
            rest = life[place + 1 :]
            until_next = rest[: next((n for n, later in enumerate(rest) if begins(later)), len(rest))]
            renews = next((r["auto_renews"] for r in reversed(until_next) if r["auto_renews"] is not None), said.renews)
            following = rest[len(until_next)] if len(until_next) < len(rest) else None
            is_another = following is None or (
                following["type"] == "subscription_started" and any(ends(r) for r in (row, *until_next))
            )
            runs_out = (
                begins(row)
                and not renews
                and paid_until + SEVEN_DAYS <= as_of
                and (is_another or following["at"] > paid_until + SEVEN_DAYS)
            )
        elif is_running and row["type"] == "subscription_changed" and not (runs_out and row["at"] >= paid_until):
            stop(found[-1], row["at"], "changed", row)
            found.append(opened(row, "changed", said, found[-1].term_ends_at))
        if is_running:
            found[-1].auto_renews = renews
        if is_running and ends(row) and not (runs_out and row["at"] > paid_until):
            kind = {"cancellation": "cancelled", "renewal": "declined"}.get(row["type"], "account_closed")
            stop(found[-1], row["at"], kind, row)
            is_running = False
        following = life[place + 1] if place + 1 < len(life) else None
        if is_running and runs_out and (following is None or following["at"] > paid_until or begins(following)):
            found[-1].ended_at, found[-1].ended_by, is_running = paid_until, "expired", False
    return found


def opened(row: Row, by: str, said: Said, term_ends_at: datetime.datetime | None) -> Period:
    return Period(
        row["at"], by, said.plan, said.mrr, said.currency, term_ends_at, by in ("started", "renewed"), row["event_id"]
    )


def stop(period: Period, at: datetime.datetime, by: str, row: Row) -> None:
    period.ended_at, period.ended_by, period.end_event_id = at, by, row["event_id"]
    if by in ("cancelled", "account_closed"):
        period.reason, period.is_voluntary = row["reason"], row["voluntary"]


# --- random lives ----------------------------------------------------------------------------------------------------

Key = tuple[str, str | None, str]
WHAT = (
    "subscription_started", "subscription_changed", "renewal", "renewal declined", "cancellation", "cancellation requested",
    "account_closed",
)  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> list[Row]:
    """The events of one customer with one or two subscriptions, some at one moment; most begin with a start."""
    days = draw(st.lists(st.integers(0, 150), min_size=1, max_size=9))
    rows = []
    for number, day in enumerate(sorted(days)):
        weighted = [*WHAT, "renewal", "subscription_started"]
        what = "subscription_started" if number == 0 and draw(st.booleans()) else draw(st.sampled_from(weighted))
        row = {
            "type": what.split()[0], "at": utc(1, 1) + datetime.timedelta(days=day), "plan": None, "auto_renews": None,
            "amount": None, "currency": None, "period_months": None, "outcome": None, "kind": None, "reason": None,
            "voluntary": None, "subscription_id": None, "source": None,
        }  # fmt: skip
        if row["type"] != "account_closed":
            row["subscription_id"], row["source"] = draw(st.sampled_from((("s", None), ("s", "crm"))))
        if row["type"] in ("subscription_started", "subscription_changed", "renewal"):
            row["amount"] = draw(st.sampled_from(("0", "10", "25.5", "200")))
            row["currency"] = draw(st.sampled_from(("EUR", "CHF")))
            row["period_months"] = draw(st.sampled_from((1, 1, 2, 3)))
        if row["type"] in ("subscription_started", "subscription_changed"):
            row["auto_renews"] = draw(st.sampled_from((True, False, False, None)))
            row["plan"] = draw(st.sampled_from(("basic", "pro", None)))
        if row["type"] == "renewal":
            row["outcome"] = "declined" if what == "renewal declined" else "renewed"
        if row["type"] == "cancellation":
            row["kind"] = "requested" if what == "cancellation requested" else "effective"
            row["voluntary"] = draw(st.sampled_from((True, False, None)))
        if ends(row) and row["type"] != "renewal":
            row["reason"] = draw(st.sampled_from(("price", None)))
        rows.append(row)
    return rows


def by_subscription(rows: Sequence[Row]) -> Iterator[tuple[Key, list[Row]]]:
    keys = dict.fromkeys((r["who"], r["source"], r["subscription_id"]) for r in rows if r["type"] != "account_closed")
    for who, source, name in keys:
        yield (
            (who, source, name),
            [
                r
                for r in rows
                if r["who"] == who
                and (r["type"] == "account_closed" or (r["source"], r["subscription_id"]) == (source, name))
            ],
        )


def numbered(customers: Sequence[Sequence[Row]]) -> list[Row]:
    rows = [{**row, "who": f"c{n}"} for n, life in enumerate(customers) for row in life]
    return [{**row, "event_id": f"e{number:04}", "number": number} for number, row in enumerate(rows)]


def as_events(rows: Sequence[Row]) -> list[Row]:
    """Without `number`, and without the defaults of the fixture: what is not said is not there."""
    return [{name: value for name, value in row.items() if name != "number"} for row in rows]


@settings(max_examples=25)
@given(st.lists(lives(), min_size=6, max_size=12), st.integers(120, 240))
def test_random_lives_are_as_the_second_telling_has_them(
    steps: Any, customers: list[list[Row]], as_of_day: int
) -> None:
    as_of = utc(1, 1) + datetime.timedelta(days=max(as_of_day, 150))
    rows = numbered(customers)
    tables = steps.entities(as_events(rows), as_of)
    found: dict[Key, list[Row]] = {}
    for row in tables["subscription_periods"].to_pylist():
        found.setdefault((row["customer_key"], row["source"], row["subscription_id"]), []).append(row)
    subscriptions = {
        (row["customer_key"], row["source"], row["subscription_id"]): row for row in tables["subscriptions"].to_pylist()
    }
    expected = {key: periods_by_hand(life, as_of) for key, life in by_subscription(rows)}
    assert found.keys() == subscriptions.keys() == expected.keys()
    for key, life in by_subscription(rows):
        assert [Period(**{name: row[name] for name in Period.__dataclass_fields__}) for row in found[key]] == expected[
            key
        ]
        hold_together(found[key])
        assert subscription_of(subscriptions[key]) == subscription_by_hand(expected[key], life)


def hold_together(found: list[Row]) -> None:
    """One after the other, none over another; what goes on goes on at once."""
    assert [row["period_no"] for row in found] == list(range(1, len(found) + 1))
    for before, after in pairwise(found):
        assert before["started_at"] <= before["ended_at"] <= after["started_at"]
        goes_on = before["ended_by"] in ("changed", "renewed", "restarted")
        if goes_on:
            assert (before["ended_at"], before["end_event_id"]) == (after["started_at"], after["start_event_id"])
        assert goes_on or after["opened_by"] in ("started", "renewed"), "only a new term follows an end"
    assert found[-1]["ended_by"] not in ("changed", "renewed", "restarted")


def subscription_of(row: Row) -> Row:
    return {
        name: value
        for name, value in row.items()
        if name not in ("subscription_id", "source", "customer_key", "customer_no")
    }


def subscription_by_hand(periods: Sequence[Period], life: Sequence[Row]) -> Row:
    """What stands of one in `subscriptions`: since when, how it is now, and how often it was renewed, ever."""
    last = periods[-1]
    return {
        "started_at": periods[0].started_at, "ended_at": last.ended_at, "status": last.ended_by or "active",
        "plan": last.plan, "mrr": last.mrr, "currency": last.currency,
        "renewals": sum(row["type"] == "renewal" and row["outcome"] == "renewed" for row in life),
        "term_ends_at": last.term_ends_at, "auto_renews": last.auto_renews, "cancelled_reason": last.reason,
        "is_voluntary": last.is_voluntary, "is_ended_elsewhere": False,
    }  # fmt: skip
