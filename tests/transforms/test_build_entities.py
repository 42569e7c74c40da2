"""Tickets and subscriptions: cases worked out by hand."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from transforms import duck
from transforms.assign_stages import StageRules, assign_stages
from transforms.batches import ShardTables, drop_null_columns, with_columns
from transforms.build_entities import EntityRules, build_entities
from transforms.load_by_customer import IS_COPY
from transforms.sessionize import GAP_US
from transforms.stitch import StitchRules, stitch

Row = dict[str, Any]
AS_OF = "2026-12-31"


def utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[misc]


def tickets(steps: Any, *events: tuple[str, str, Row] | tuple[str, str]) -> list[Row]:
    """Events of ticket t as (time on Monday 5 January or later, what, fields)."""
    rows = [
        {"at": f"2026-01-{at}", "type": f"ticket_{what}", "ticket_id": "t", **(fields[0] if fields else {})}
        for at, what, *fields in events
    ]
    return steps.entities(rows, AS_OF)["tickets"].to_pylist()


def only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


BOT, NOTE, CUSTOMER = {"author": "bot"}, {"author": "agent", "public": False}, {"author": "customer"}


def test_a_bot_and_a_private_note_do_not_stop_the_clock(steps: Any) -> None:
    ticket = only(tickets(
        steps, ("05 09:00", "opened"), ("05 09:01", "replied", BOT), ("05 09:30", "replied", NOTE),
        ("05 10:00", "replied", CUSTOMER), ("05 10:30", "replied"), ("05 11:00", "replied"),
    ))  # fmt: skip
    assert ticket["first_response_at"] == utc(2026, 1, 5, 10, 30)
    assert (ticket["first_response_s"], ticket["agent_replies"]) == (90 * 60, 2)
    assert (ticket["first_resolved_at"], ticket["resolution_s"], ticket["is_open"]) == (None, None, True)


def test_a_reply_is_public_unless_it_says_otherwise(steps: Any) -> None:
    ticket = only(tickets(steps, ("05 09:00", "opened"), ("05 09:05", "replied", {"public": None})))
    assert ticket["first_response_s"] == 300


def test_resolved_reopened_and_resolved_again(steps: Any) -> None:
    ticket = only(tickets(
        steps, ("05 09:00", "opened"), ("06 12:00", "resolved"), ("07 09:00", "reopened"), ("09 09:00", "resolved"),
        ("09 09:30", "replied"),
    ))  # fmt: skip
    assert (ticket["first_resolved_at"], ticket["last_resolved_at"]) == (utc(2026, 1, 6, 12), utc(2026, 1, 9, 9))
    assert (ticket["resolution_s"], ticket["full_resolution_s"]) == (27 * 3600, 96 * 3600)
    assert (ticket["reopens"], ticket["is_open"]) == (1, False)


def test_reopened_it_is_open_until_it_is_resolved(steps: Any) -> None:
    ticket = only(tickets(steps, ("05 09:00", "opened"), ("05 10:00", "resolved"), ("05 11:00", "reopened")))
    assert (ticket["is_open"], ticket["last_resolved_at"]) == (True, utc(2026, 1, 5, 10))


def test_what_was_before_the_opening_answers_nothing(steps: Any) -> None:
    ticket = only(tickets(steps, ("05 08:00", "replied"), ("05 08:30", "resolved"), ("05 09:00", "opened")))
    assert (ticket["first_response_at"], ticket["first_resolved_at"], ticket["is_open"]) == (None, None, True)


def test_a_second_opening_is_the_same_ticket(steps: Any) -> None:
    first, again = (
        {"topic": None, "team": "a", "priority": "low"},
        {"topic": "billing", "team": "b", "self_service": True},
    )
    ticket = only(tickets(steps, ("05 09:00", "opened", first), ("05 10:00", "opened", again), ("05 10:01", "replied")))
    assert (ticket["opened_at"], ticket["first_response_s"]) == (utc(2026, 1, 5, 9), 3660)
    assert (ticket["topic"], ticket["team"], ticket["priority"], ticket["is_self_service"]) == (
        "billing",
        "a",
        "low",
        True,
    )


def test_a_ticket_that_was_opened_before_the_data_is_none(steps: Any) -> None:
    assert tickets(steps, ("05 09:00", "replied"), ("05 10:00", "resolved")) == []


def test_a_ticket_is_known_by_its_source_too(steps: Any) -> None:
    found = tickets(
        steps,
        ("05 09:00", "opened", {"source": "desk"}),
        ("05 09:10", "opened"),
        ("05 09:20", "replied", {"source": "desk"}),
    )
    assert [(t["source"], t["first_response_s"]) for t in found] == [(None, None), ("desk", 1200)]


def test_a_part_of_a_second_is_cut(steps: Any) -> None:
    ticket = only(tickets(steps, ("05 09:00:00.900000", "opened"), ("05 09:00:02.899999", "replied")))
    assert ticket["first_response_s"] == 1


# --- events of several customers -------------------------------------------------------------------------------------


def of_shard(steps: Any, own: list[Row], copies: Sequence[Row] = (), as_of: str = AS_OF) -> ShardTables:
    """A shard that gets its own customers' events, and copies of others' for its tickets and subscriptions."""
    pieces = [steps.events(own)]
    if copies:
        events = steps.events(copies)
        pieces.append(drop_null_columns(with_columns(events, {IS_COPY: pa.array([True] * len(copies))})))
    shard = stitch(pieces, steps.contracts, StitchRules(GAP_US, False))
    return build_entities(shard, EntityRules(datetime.datetime.fromisoformat(as_of + "T00:00Z")), steps.connection)


def of_ticket(at: str, what: str, who: str, owner: str | None, **fields: Any) -> Row:
    ticket = {"type": f"ticket_{what}", "ticket_id": "t", "who": who, "owner_key": owner}
    return {"at": f"2026-01-{at}", **ticket, **fields}


OPENED = of_ticket("05 09:00", "opened", "ann", None, event_id="opened")
ANSWER = of_ticket("05 10:00", "replied", "bob", "ann", event_id="answer")
RESOLVED = of_ticket("05 12:00", "resolved", "bob", "ann", event_id="resolved")


def test_a_ticket_with_events_of_several_customers_is_one_ticket(steps: Any) -> None:
    """Ann opened it; bob answered, say an agent whose customer_id was sent. Both are customers of the shard."""
    private = of_ticket("05 09:30", "replied", "ann", None, public=False)
    shard = of_shard(steps, [RESOLVED, ANSWER, OPENED, private], [RESOLVED, ANSWER])
    ticket = only(shard["tickets"].to_pylist())
    assert (ticket["customer_key"], ticket["opened_at"]) == ("ann", utc(2026, 1, 5, 9))
    assert (ticket["first_response_at"], ticket["agent_replies"]) == (utc(2026, 1, 5, 10), 1)
    assert (ticket["resolution_s"], ticket["is_open"]) == (3 * 3600, False)


def test_the_owner_in_another_shard_gets_copies_and_the_others_keep_their_events(steps: Any) -> None:
    anns, bobs = of_shard(steps, [OPENED], [RESOLVED, ANSWER]), of_shard(steps, [ANSWER, RESOLVED])
    ticket = only(anns["tickets"].to_pylist())
    both = of_shard(steps, [RESOLVED, ANSWER, OPENED], [RESOLVED, ANSWER])
    assert {**ticket, "customer_no": None} == {**only(both["tickets"].to_pylist()), "customer_no": None}
    assert bobs["tickets"].num_rows == 0

    assert anns["touchpoints"]["event_id"].to_pylist() == ["opened"], "a copy is no touchpoint"
    assert bobs["touchpoints"]["event_id"].to_pylist() == ["answer", "resolved"]
    assert ticket["customer_no"] == anns["touchpoints"]["customer_no"][0].as_py()


def test_a_copy_from_before_the_opening_changes_no_owner(steps: Any) -> None:
    early = of_ticket("05 08:00", "replied", "bob", "ann")
    ticket = only(of_shard(steps, [OPENED], [early])["tickets"].to_pylist())
    assert (ticket["customer_key"], ticket["first_response_at"]) == ("ann", None)


def test_a_copy_goes_to_its_owner_among_the_customers_of_the_shard(steps: Any) -> None:
    """The owners' numbers in the shard, not those of the customers whose events they are."""
    names = [f"c{n}" for n in range(12)]
    own = [{**OPENED, "who": name, "ticket_id": name, "event_id": f"o {name}"} for name in names]
    copies = [{**ANSWER, "owner_key": name, "ticket_id": name, "event_id": f"a {name}"} for name in names]
    shard = of_shard(steps, own, copies)
    numbers = {row["customer_key"]: row["customer_no"] for row in shard["touchpoints"].to_pylist()}
    columns = ("customer_key", "ticket_id", "first_response_s", "customer_no")
    found = {tuple(row[name] for name in columns) for row in shard["tickets"].to_pylist()}
    assert found == {(name, name, 3600, numbers[name]) for name in names}


def test_of_one_moment_copies_stand_in_the_order_of_their_ids(steps: Any) -> None:
    """The resolution of somebody else's event comes last, or the reopening does, by their ids."""
    for resolved, reopened, is_open in (("a", "b", True), ("b", "a", False)):
        copy = of_ticket("05 10:00", "resolved", "bob", "ann", event_id=resolved)
        own = of_ticket("05 10:00", "reopened", "ann", None, event_id=reopened)
        assert only(of_shard(steps, [OPENED, own], [copy])["tickets"].to_pylist())["is_open"] == is_open


def test_a_subscription_with_events_of_several_customers_is_one(steps: Any) -> None:
    def event(day: int, what: str, who: str, owner: str | None) -> Row:
        return {"at": f"2026-01-{day:02}", "type": what, "subscription_id": "s", "who": who, "owner_key": owner}

    renewal = event(7, "renewal", "bob", "ann")
    closed = {"at": "2026-01-21", "type": "account_closed", "who": "bob"}
    own = [event(8, "subscription_started", "ann", None), renewal, closed]
    row = only(of_shard(steps, own, [renewal], "2026-02-01")["subscriptions"].to_pylist())
    assert (row["customer_key"], row["renewals"], state(row)) == ("ann", 1, ("active", None))


def test_an_id_that_means_nobody_is_no_ticket_and_no_subscription(steps: Any) -> None:
    """Two people's tickets `0` are not one; nor can anybody tell how many there are."""
    nobody = {"ticket_id": "0", "ignored_identifiers": '{"ticket_id":"0"}'}
    rows = [of_ticket("05 09:00", "opened", who, None, **nobody) for who in ("ann", "bob")]
    rows += [of_ticket("05 09:00", "opened", "ann", None, ignored_identifiers='{"email":"null"}')]
    no_plan = {"subscription_id": "-", "ignored_identifiers": '{"subscription_id":"-"}'}
    rows += [{"at": "2026-01-05", "type": "subscription_started", **no_plan}]
    shard = of_shard(steps, rows)
    assert only(shard["tickets"].to_pylist())["ticket_id"] == "t"
    assert shard["subscriptions"].num_rows == 0
    assert shard["touchpoints"].num_rows == 4, "the events are there"


# --- subscriptions ---------------------------------------------------------------------------------------------------


def subscriptions(steps: Any, *events: tuple[str, str, Row] | tuple[str, str], as_of: str = AS_OF) -> list[Row]:
    """Events of subscription s as (day of 2026, what, fields)."""
    rows = [
        {"at": f"2026-{at}", "type": what, **({} if what == "account_closed" else {"subscription_id": "s"}),
         **(fields[0] if fields else {})}
        for at, what, *fields in events
    ]  # fmt: skip
    return steps.entities(rows, as_of)["subscriptions"].to_pylist()


def state(row: Row) -> tuple[str, datetime.datetime | None]:
    return row["status"], row["ended_at"]


FIXED: Row = {"auto_renews": False}
DECLINED = {"outcome": "declined"}


def test_it_renews_by_itself_and_stays_active(steps: Any) -> None:
    row = only(subscriptions(steps, ("01-31 12:00", "subscription_started", {"plan": "basic", "amount": "30"})))
    assert {k: row[k] for k in ("started_at", "ended_at", "status", "mrr", "currency", "renewals", "term_ends_at", "plan")} == {
        "started_at": utc(2026, 1, 31, 12), "ended_at": None, "status": "active", "mrr": Decimal("30.0000"),
        "currency": "EUR", "renewals": 0, "term_ends_at": utc(2026, 2, 28, 12), "plan": "basic",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [("2026-02-15 11:59:59", ("active", None)), ("2026-02-15 12:00", ("expired", utc(2026, 2, 8, 12)))],
)
def test_a_term_that_does_not_renew_ends_seven_days_unrenewed_dated_at_its_end(
    steps: Any, as_of: str, expected: tuple[str, datetime.datetime | None]
) -> None:
    row = only(subscriptions(steps, ("01-08 12:00", "subscription_started", FIXED), as_of=as_of))
    assert state(row) == expected
    assert row["cancelled_reason"] is None


@pytest.mark.parametrize(
    ("renewed", "term_ends"),
    [
        ("02-01 12:00", utc(2026, 3, 8, 12)),  # before its end: the new term follows the old one
        ("02-15 12:00", utc(2026, 3, 8, 12)),  # seven days late exactly
        ("02-15 12:00:01", utc(2026, 3, 15, 12, 0, 1)),  # later: a term of its own
    ],
)
def test_a_renewal_up_to_seven_days_late_continues_the_term(
    steps: Any, renewed: str, term_ends: datetime.datetime
) -> None:
    row = only(
        subscriptions(steps, ("01-08 12:00", "subscription_started", FIXED), (renewed, "renewal"), as_of="2026-03-01")
    )
    assert (state(row), row["renewals"], row["term_ends_at"]) == (("active", None), 1, term_ends)


def test_a_declined_renewal_ends_it_and_is_no_renewal(steps: Any) -> None:
    row = only(
        subscriptions(steps, ("01-08", "subscription_started"), ("02-08", "renewal", {**DECLINED, "amount": "99"}))
    )
    assert (state(row), row["renewals"]) == (("declined", utc(2026, 2, 8)), 0)


def test_a_renewal_after_a_declined_one_goes_on(steps: Any) -> None:
    row = only(subscriptions(
        steps, ("01-08", "subscription_started"), ("02-08", "renewal", DECLINED), ("02-09", "renewal", {"outcome": None})
    ))  # fmt: skip
    assert (state(row), row["renewals"]) == (("active", None), 1)


def test_only_an_effective_cancellation_ends_it(steps: Any) -> None:
    asked = ("01-20", "cancellation", {"kind": "requested", "reason": "price", "voluntary": True})
    row = only(subscriptions(steps, ("01-08", "subscription_started"), asked))
    assert (state(row), row["cancelled_reason"], row["is_voluntary"]) == (("active", None), None, None)

    effective = ("02-08", "cancellation", {"kind": "effective", "reason": "budget", "voluntary": False})
    row = only(subscriptions(steps, ("01-08", "subscription_started"), asked, effective))
    assert (state(row), row["cancelled_reason"], row["is_voluntary"]) == (
        ("cancelled", utc(2026, 2, 8)),
        "budget",
        False,
    )


def test_cancelled_during_a_fixed_term_it_ended_then(steps: Any) -> None:
    row = only(
        subscriptions(steps, ("01-08", "subscription_started", FIXED), ("01-20", "cancellation", {"reason": "x"}))
    )
    assert (state(row), row["cancelled_reason"]) == (("cancelled", utc(2026, 1, 20)), "x")


def test_cancelled_after_a_fixed_term_it_had_ended_already(steps: Any) -> None:
    row = only(
        subscriptions(steps, ("01-08", "subscription_started", FIXED), ("02-20", "cancellation", {"reason": "x"}))
    )
    assert (state(row), row["cancelled_reason"]) == (("expired", utc(2026, 2, 8)), None)


def test_the_first_of_several_ends_counts(steps: Any) -> None:
    row = only(subscriptions(
        steps, ("01-08", "subscription_started"), ("02-08", "renewal", DECLINED), ("02-10", "cancellation"),
        ("02-11", "account_closed"),
    ))  # fmt: skip
    assert state(row) == ("declined", utc(2026, 2, 8))


def test_restarted_after_a_cancellation_it_is_active_again(steps: Any) -> None:
    row = only(subscriptions(
        steps, ("01-08", "subscription_started", {"amount": "30"}), ("02-08", "cancellation", {"reason": "x"}),
        ("05-01", "subscription_started", {"amount": "60"}),
    ))  # fmt: skip
    assert (state(row), row["cancelled_reason"]) == (("active", None), None)
    assert (row["started_at"], row["mrr"], row["term_ends_at"]) == (utc(2026, 1, 8), Decimal(60), utc(2026, 6, 1))


def test_a_closed_account_ends_all_of_a_customers_subscriptions(steps: Any) -> None:
    rows = [
        {"type": "subscription_started", "at": "2026-01-01", "subscription_id": s, "who": who}
        for s, who in (("a", "ann"), ("b", "ann"), ("a", "bob"))
    ]
    rows += [{"type": "account_closed", "at": "2026-02-01"}]
    rows += [{"type": "subscription_started", "at": "2026-03-01", "subscription_id": "c"}]
    found = steps.entities(rows, AS_OF)["subscriptions"].to_pylist()
    assert {(r["customer_key"], r["subscription_id"]): r["status"] for r in found} == {
        ("ann", "a"): "account_closed", ("ann", "b"): "account_closed", ("ann", "c"): "active", ("bob", "a"): "active",
    }  # fmt: skip


def test_an_account_closed_before_its_first_event_does_not_end_it(steps: Any) -> None:
    row = only(subscriptions(steps, ("01-08", "account_closed"), ("02-08", "subscription_changed")))
    assert (state(row), row["started_at"]) == (("active", None), utc(2026, 2, 8))


def test_changes_and_renewals_set_what_it_costs(steps: Any) -> None:
    row = only(subscriptions(
        steps, ("01-08", "subscription_started", {"amount": "30", "plan": "basic"}),
        ("01-20", "subscription_changed", {"amount": "120", "period_months": 12, "plan": "year", "auto_renews": False}),
        ("02-08", "renewal", {"amount": "100", "period_months": 3, "currency": "CHF"}),
    ))  # fmt: skip
    assert (row["plan"], row["mrr"], row["currency"]) == ("year", Decimal("33.3333"), "CHF")
    assert (row["auto_renews"], row["term_ends_at"]) == (False, utc(2026, 5, 8))


@pytest.mark.parametrize(
    ("amount", "months", "mrr"),
    [
        ("100", 3, "33.3333"), ("200", 3, "66.6667"), ("0.0001", 2, "0.0001"), ("0.0003", 2, "0.0002"), ("0", 1, "0"),
        ("99999999999999.9999", 1, "99999999999999.9999"), ("0.0001", 3, "0"),
    ],
)  # fmt: skip
def test_mrr_is_rounded_half_up(steps: Any, amount: str, months: int, mrr: str) -> None:
    row = only(subscriptions(steps, ("01-08", "subscription_started", {"amount": amount, "period_months": months})))
    assert row["mrr"] == Decimal(mrr)


@pytest.mark.parametrize("months", [1_000_000, 2**31, 2**53 - 1])
def test_a_period_of_absurd_length_breaks_no_run(steps: Any, months: int) -> None:
    absurd = {"period_months": months}
    row = only(subscriptions(
        steps, ("01-08", "subscription_started", absurd), *((f"{n:02}-08", "renewal", absurd) for n in range(2, 12))
    ))  # fmt: skip
    assert (state(row), row["mrr"]) == (("active", None), Decimal("0.0000"))
    assert row["term_ends_at"] > utc(2026, 12, 31)


def test_a_subscription_that_began_before_the_data(steps: Any) -> None:
    row = only(subscriptions(steps, ("01-08", "renewal", FIXED), as_of="2026-02-01"))
    assert (row["started_at"], row["renewals"], row["term_ends_at"]) == (utc(2026, 1, 8), 1, utc(2026, 2, 8))
    row = only(subscriptions(steps, ("01-08", "cancellation", {"kind": "effective"})))
    assert (state(row), row["mrr"], row["term_ends_at"]) == (("cancelled", utc(2026, 1, 8)), None, None)


def test_at_one_moment_the_order_of_events_decides(steps: Any) -> None:
    ended_last = [("01-08", "subscription_started", {"event_id": "a"}), ("01-08", "cancellation", {"event_id": "b"})]
    begun_last = [("01-08", "subscription_started", {"event_id": "b"}), ("01-08", "cancellation", {"event_id": "a"})]
    assert only(subscriptions(steps, *ended_last))["status"] == "cancelled"
    assert only(subscriptions(steps, *begun_last))["status"] == "active"


@pytest.mark.parametrize("reason", ["price", "lapsed"])
def test_an_end_that_another_customers_event_says_churns_the_owner(steps: Any, reason: str) -> None:
    """Ann started it; the cancellation came under bob's name. On ann's own timeline no event says that she left.

    Whatever reason is given, it is no lapse.
    """
    started = {
        "at": "2026-01-05",
        "type": "subscription_started",
        "subscription_id": "s",
        "who": "ann",
        "event_id": "a",
    }
    cancelled = {"at": "2026-01-20", "type": "cancellation", "subscription_id": "s", "who": "bob", "owner_key": "ann",
                 "event_id": "b", "reason": reason}  # fmt: skip
    shard = of_shard(steps, [started, cancelled], [cancelled])
    row = only(shard["subscriptions"].to_pylist())
    assert (row["customer_key"], row["status"], row["ended_at"]) == ("ann", "cancelled", utc(2026, 1, 20))
    rules = StageRules(duck.read_sql("assign_stages"), utc(2026, 12, 31), 90)
    shard = assign_stages(shard, rules, steps.connection)
    moments = [(row["happened_at"], row["kind"], row["reason"]) for row in shard["lapses"].to_pylist()]
    assert moments == [(utc(2026, 1, 20), "ended_elsewhere", reason)]
    [period] = [row for row in shard["subscription_periods"].to_pylist() if row["customer_key"] == "ann"]
    assert (period["is_ended_elsewhere"], period["end_event_id"]) == (True, "b")
    stages = [(r["customer_key"], r["stage"], r["entered_at"]) for r in shard["journey_stages"].to_pylist()]
    assert ("ann", "churned", utc(2026, 1, 20)) in stages


def test_neither_tickets_nor_subscriptions(steps: Any) -> None:
    shard = steps.entities([{"type": "site_visit", "at": "2026-01-01"}], AS_OF)
    assert (shard["tickets"].num_rows, shard["subscriptions"].num_rows) == (0, 0)
