"""Stages, held against the design's list read one touchpoint at a time; lapses and terms at their limits."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.assign_stages import StageFileError

Row = dict[str, Any]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY, MICROSECOND = datetime.timedelta(days=1), datetime.timedelta(microseconds=1)
INACTIVITY, TRIAL = 90 * DAY, 30 * DAY


def stages_of_events(rows: list[Row]) -> list[str | None]:
    """The stage that each event of a customer gives, in the design's order of rules."""
    found: list[str | None] = []
    orders: list[Any] = []  # orders and subscriptions begun
    first_order_at = None
    visited = False
    for row in rows:
        kind = row["type"]
        before = len(orders)
        this = None
        if kind == "purchase":
            this = row["order_id"]
            if this not in orders:
                orders.append(this)
        if kind == "subscription_started":
            this = object()
            orders.append(this)
        if orders and first_order_at is None:
            first_order_at = row["at"]
        nps = (
            kind == "survey_response"
            and row["survey_type"] == "nps"
            and (row["scale_min"], row["scale_max"]) == (0, 10)
        )
        if (
            kind == "account_closed"
            or (kind == "cancellation" and row["kind"] == "effective")
            or (kind == "renewal" and row["outcome"] == "declined")
        ):
            stage = "churned"
        elif kind.startswith("ticket_") or kind in ("refund", "payment_failed"):
            stage = "service"
        elif kind in ("review", "referral") or (nps and row["score"] >= 9):
            stage = "advocacy"
        elif this is not None:
            stage = "purchase" if orders[0] == this else "loyalty"
        elif kind in ("renewal", "subscription_changed"):
            stage = "loyalty"
        elif kind == "product_usage" and first_order_at is not None:
            stage = "onboarding" if row["at"] - first_order_at <= TRIAL else "usage"
        elif kind in ("site_visit", "product_usage") and not before:
            stage = "consideration"
        elif kind == "ad_view" and not visited and not before:
            stage = "awareness"
        else:
            stage = None
        visited |= kind == "site_visit"
        found.append(stage)
    return found


def active_times(rows: list[Row]) -> Iterator[tuple[datetime.datetime, datetime.datetime | None]]:
    """From when to when each subscription was active; here each begins once at most, and none has an end of its term."""
    for own in {row["subscription_id"] for row in rows if "subscription_id" in row}:
        first = next(n for n, row in enumerate(rows) if row.get("subscription_id") == own)
        ends = [
            row["at"]
            for row in rows[first:]
            if row["type"] == "account_closed" or (row.get("subscription_id") == own and row.get("kind") == "effective")
        ]
        yield rows[first]["at"], ends[0] if ends else None


def lapses_of(rows: list[Row], as_of: datetime.datetime) -> list[datetime.datetime]:
    """When a known buyer lapsed: so long after an order that no other order came, and no subscription was active."""
    first_lines = {row["order_id"]: row["at"] for row in reversed(rows) if row["type"] == "purchase"}
    active = list(active_times(rows))
    orders = sorted(first_lines.values())
    lapses = []
    for number, at in enumerate(orders):
        then = at + INACTIVITY
        later = [order for order in orders[number + 1 :] if order <= then]
        subscribed = any(start <= then and (end is None or end > then) for start, end in active)
        if then <= as_of and not later and not subscribed:
            lapses.append(then)
    return lapses


def read_slowly(rows: list[Row], as_of: datetime.datetime) -> tuple[list[str | None], list[Row]]:
    """The stage of each touchpoint, and the rows of journey_stages, of one customer."""
    given_stages = stages_of_events(rows)
    # (time, behind the events of that moment, row, stage): a lapse stands behind what happened at its moment
    points = [(row["at"], 0, n, stage) for n, (row, stage) in enumerate(zip(rows, given_stages, strict=True))]
    if not rows[0]["who"].startswith("anon:"):
        points += [(at, 1, None, "churned") for at in lapses_of(rows, as_of)]
    points.sort(key=lambda p: (p[0], p[1]))
    now, filled = None, []
    for at, _, row, stage in points:
        now = stage or now
        filled.append((now, at, row))
    stages = [stage for stage, _, row in filled if row is not None]
    spells = [(stage, list(run)) for stage, run in groupby(filled, key=lambda f: f[0]) if stage is not None]
    table = []
    for number, (stage, run) in enumerate(spells):
        following = spells[number + 1] if number + 1 < len(spells) else None
        left = following[1][0][1] if following else None
        table.append({
            "stage_no": number + 1, "stage": stage, "entered_at": run[0][1], "left_at": left,
            "next_stage": following[0] if following else None,
            "duration_s": (left - run[0][1]) // datetime.timedelta(seconds=1) if left else None,
            "touchpoints": sum(row is not None for _, _, row in run), "is_open": following is None,
        })  # fmt: skip
    return stages, table


kinds = st.one_of(
    st.sampled_from(["o1", "o2", "o3"]).map(lambda order: {"type": "purchase", "order_id": order}),
    st.sampled_from([
        {"type": "ad_view"}, {"type": "site_visit"}, {"type": "product_usage"}, {"type": "product_usage"},
        {"type": "offer_redeemed"}, {"type": "survey_sent", "survey_type": "nps"}, {"type": "review"},
        {"type": "ticket_replied", "ticket_id": "t"}, {"type": "account_closed"}, {"type": "payment_failed"},
        {"type": "refund", "order_id": "o1"}, {"type": "referral"},
        {"type": "survey_response", "survey_type": "nps", "score": 9.0, "scale_min": 0.0, "scale_max": 10.0},
        {"type": "survey_response", "survey_type": "nps", "score": 8.0, "scale_min": 0.0, "scale_max": 10.0},
        {"type": "survey_response", "survey_type": "nps", "score": 10.0, "scale_min": 1.0, "scale_max": 10.0},
        {"type": "survey_response", "survey_type": "csat", "score": 10.0, "scale_min": 0.0, "scale_max": 10.0},
        {"type": "subscription_started", "subscription_id": "s"},
        {"type": "subscription_changed", "subscription_id": "s"},
        {"type": "cancellation", "kind": "requested", "subscription_id": "other"},
        {"type": "cancellation", "kind": "effective", "subscription_id": "other"},
    ]),
)  # fmt: skip
pauses = st.sampled_from(
    [
        0 * DAY, MICROSECOND, DAY, TRIAL - MICROSECOND, TRIAL, TRIAL + MICROSECOND, 50 * DAY, INACTIVITY - MICROSECOND,
        INACTIVITY, INACTIVITY + MICROSECOND, 200 * DAY,
    ]
)  # fmt: skip


@st.composite
def timelines(draw: st.DrawFn) -> list[list[Row]]:
    customers = []
    for who in ("ann", "bob", "cid", "anon:x", "anon:y")[draw(st.integers(0, 4)) :]:
        at, rows = START, []
        for number in range(draw(st.integers(1, 10))):
            at += draw(pauses)
            row = {**draw(kinds), "who": who, "at": at, "event_id": f"{who}-{number}"}
            if row["type"] == "subscription_started":
                row["subscription_id"] = f"s{number}"  # each is a subscription of its own
            rows.append(row)
        customers.append(rows)
    return customers


@settings(max_examples=40)
@given(timelines(), pauses)
def test_reads_like_the_rules(steps: Any, customers: list[list[Row]], rest: datetime.timedelta) -> None:
    as_of = max(rows[-1]["at"] for rows in customers) + rest
    shard = steps.stages([row for rows in customers for row in rows], as_of)
    touchpoints = shard["touchpoints"].select(["customer_key", "stage", "session_id"]).to_pylist()
    found = shard["journey_stages"].to_pylist()

    for rows in customers:
        who = rows[0]["who"]
        stages, table = read_slowly(rows, as_of)
        assert [t["stage"] for t in touchpoints if t["customer_key"] == who] == stages
        own = [row for row in found if row["customer_key"] == who]
        assert [{name: row[name] for name in expected} for row, expected in zip(own, table, strict=True)] == table
    _hold_invariants(touchpoints, found)


def _hold_invariants(touchpoints: list[Row], found: list[Row]) -> None:
    """What must be true of journey_stages whatever the rules."""
    staged = [t for t in touchpoints if t["stage"] is not None]
    assert sum(row["touchpoints"] for row in found) == len(staged), "each touchpoint with a stage is in one run"
    for who in {row["customer_key"] for row in found}:
        own = [row for row in found if row["customer_key"] == who]
        assert [row["stage_no"] for row in own] == list(range(1, len(own) + 1))
        assert [row["is_open"] for row in own] == [False] * (len(own) - 1) + [True]
        for one, other in pairwise(own):
            assert one["stage"] != other["stage"], "runs are maximal"
            assert (one["left_at"], one["next_stage"]) == (other["entered_at"], other["stage"])
            assert one["entered_at"] <= one["left_at"]


def spells(steps: Any, rows: list[Row], as_of: Any, **options: Any) -> list[tuple[str, datetime.datetime]]:
    table = steps.stages(rows, as_of, **options)["journey_stages"].to_pylist()
    return [(row["stage"], row["entered_at"]) for row in table]


def test_a_buyer_lapses_at_the_limit_and_not_before(steps: Any) -> None:
    rows = [{"type": "purchase", "at": START}]
    assert spells(steps, rows, START + INACTIVITY - MICROSECOND) == [("purchase", START)]
    assert spells(steps, rows, START + INACTIVITY) == [("purchase", START), ("churned", START + INACTIVITY)]
    assert spells(steps, rows, START + 7 * DAY, inactivity_days=7)[-1] == ("churned", START + 7 * DAY)


def test_an_order_at_the_very_moment_of_the_lapse_still_counts(steps: Any) -> None:
    def orders(pause: datetime.timedelta) -> list[Row]:
        return [{"type": "purchase", "at": START}, {"type": "purchase", "at": START + pause}]

    as_of = START + INACTIVITY + DAY
    assert [s for s, _ in spells(steps, orders(INACTIVITY), as_of)] == ["purchase", "loyalty"]
    assert [s for s, _ in spells(steps, orders(INACTIVITY + MICROSECOND), as_of)] == ["purchase", "churned", "loyalty"]


def test_thirty_days_after_the_first_order_use_is_no_onboarding_any_more(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": START},
        *({"type": "product_usage", "at": START + p} for p in (TRIAL, TRIAL + MICROSECOND)),
    ]
    assert [s for s, _ in spells(steps, rows, START + INACTIVITY - DAY)] == ["purchase", "onboarding", "usage"]


def test_a_later_line_of_an_order_puts_off_no_lapse(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": START, "order_id": "o"},
        {"type": "purchase", "at": START + DAY, "order_id": "o"},
    ]
    assert spells(steps, rows, START + INACTIVITY)[-1] == ("churned", START + INACTIVITY)


def test_who_is_not_known_does_not_lapse(steps: Any) -> None:
    assert spells(steps, [{"type": "purchase", "at": START, "who": "anon:x"}], START + 2 * INACTIVITY) == [
        ("purchase", START)
    ]


@pytest.mark.parametrize("ends_after", [INACTIVITY, INACTIVITY + MICROSECOND, INACTIVITY + DAY])
def test_whose_days_are_over_under_a_subscription_lapses_when_it_ends(
    steps: Any, ends_after: datetime.timedelta
) -> None:
    rows = [
        {"type": "purchase", "at": START},
        {"type": "subscription_started", "at": START, "subscription_id": "s"},
        {"type": "cancellation", "at": START + ends_after, "subscription_id": "s"},
    ]
    assert moments(steps, rows, START + 2 * INACTIVITY) == [("lapsed", START + ends_after)]
    assert moments(steps, rows[:2], START + 2 * INACTIVITY) == [], "with an active subscription nobody lapses"
    again = {"type": "purchase", "at": START + ends_after - DAY}
    assert moments(steps, [*rows, again], START + INACTIVITY + DAY) == [], "nor who has ordered before it ended"


def test_a_lapse_looks_at_all_subscriptions_and_at_their_gaps(steps: Any) -> None:
    """The days are over on day 90. A subscription that starts anew under its own id was not there in between."""

    def started(day: int, name: str = "s") -> Row:
        return {"type": "subscription_started", "at": START + day * DAY, "subscription_id": name}

    def ended(day: int, name: str = "s") -> Row:
        return {"type": "cancellation", "at": START + day * DAY, "subscription_id": name}

    def lapsed(*rows: Row) -> list[int]:
        found = moments(steps, [{"type": "purchase", "at": START}, *rows], START + 200 * DAY)
        return [(at - START).days for kind, at in found if kind == "lapsed"]

    assert lapsed(started(1), ended(50), started(100)) == [90], "in the gap"
    assert lapsed(started(1), ended(50), started(100), ended(120)) == [90], "and once"
    assert lapsed(started(1), ended(95), started(100)) == [95]
    assert lapsed(started(1), ended(95), started(95), ended(110)) == [110], "one goes on at once"
    assert lapsed(started(1), started(80, "t"), ended(95), ended(130, "t")) == [130], "the last of two"
    assert lapsed(started(1), started(80, "t"), ended(95, "t"), ended(130)) == [130]
    assert lapsed(started(90), ended(91)) == [91], "from the very moment on"
    assert lapsed(started(1), ended(89), started(91), ended(92)) == [90]


def moments(steps: Any, rows: list[Row], as_of: Any, **options: Any) -> list[tuple[str, datetime.datetime]]:
    """Kind and time of the moments without an event."""
    found = steps.stages(rows, as_of, **options)["lapses"].to_pylist()
    return [(row["kind"], row["happened_at"]) for row in found]


def test_every_term_that_ran_out_is_a_moment(steps: Any) -> None:
    """Also of one that begins again later: the customer was gone in between."""
    fixed = {"type": "subscription_started", "subscription_id": "s", "auto_renews": False}
    rows = [{**fixed, "at": "2026-01-08"}, {**fixed, "at": "2026-05-08"}]
    assert [str(at.date()) for _, at in moments(steps, rows, "2026-12-31")] == ["2026-02-08", "2026-06-08"]


def test_where_nobody_knows_the_days_nobody_lapses(steps: Any) -> None:
    assert moments(steps, [{"type": "purchase", "at": START}], START + 20 * INACTIVITY, inactivity_days=None) == []


def test_a_term_unrenewed_for_seven_days_churns_at_its_own_end(steps: Any) -> None:
    rows = [{"type": "subscription_started", "at": START, "subscription_id": "s", "auto_renews": False}]
    end = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
    assert spells(steps, rows, end + 7 * DAY - MICROSECOND) == [("purchase", START)]
    assert spells(steps, rows, end + 7 * DAY) == [("purchase", START), ("churned", end)]
    renewing = [{**rows[0], "auto_renews": True}]
    assert spells(steps, renewing, end + 700 * DAY) == [("purchase", START)]


def test_a_lapse_stands_between_touchpoints_and_they_stay_churned(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": START},
        {"type": "site_visit", "at": START + INACTIVITY},
        {"type": "site_visit", "at": START + INACTIVITY + MICROSECOND},
    ]
    shard = steps.stages(rows, START + 2 * INACTIVITY)
    assert shard["touchpoints"]["stage"].to_pylist() == ["purchase", "purchase", "churned"]
    assert shard["journey_stages"]["touchpoints"].to_pylist() == [2, 1]


def test_a_lapse_of_one_customer_is_not_the_next_ones(steps: Any) -> None:
    rows = [{"type": "purchase", "at": START, "who": who} for who in ("ann", "bob", "cid")]
    rows += [{"type": "purchase", "at": START + 80 * DAY, "who": "bob"}]
    table = steps.stages(rows, START + INACTIVITY)["journey_stages"].to_pylist()
    assert {(r["customer_key"], r["stage"]) for r in table if r["is_open"]} == {
        ("ann", "churned"), ("bob", "loyalty"), ("cid", "churned"),
    }  # fmt: skip


def test_before_any_event_that_gives_a_stage_there_is_none(steps: Any) -> None:
    shard = steps.stages([{"type": "survey_sent", "at": START}, {"type": "site_visit", "at": START + DAY}], START + DAY)
    assert shard["touchpoints"]["stage"].to_pylist() == [None, "consideration"]
    assert shard["journey_stages"]["stage_no"].to_pylist() == [1]


def test_no_stage_at_all(steps: Any) -> None:
    shard = steps.stages([{"type": "survey_sent", "at": START}], START + DAY)
    assert shard["touchpoints"]["stage"].to_pylist() == [None]
    assert shard["journey_stages"].num_rows == 0


def test_another_file_of_stages(steps: Any) -> None:
    sql = "select row_no, case event_type when 'site_visit' then 'browsing' end as stage from touchpoints order by row_no desc"
    rows = [{"type": "site_visit", "at": START}, {"type": "purchase", "at": START + DAY}]
    assert [s for s, _ in spells(steps, rows, START + 2 * DAY, sql=sql)] == ["browsing"]


@pytest.mark.parametrize("sql", ["select 0 as row_no, 'x' as stage", "select event_id from touchpoints"])
def test_a_file_of_stages_that_gives_no_stage_to_each_touchpoint(steps: Any, sql: str) -> None:
    rows = [{"type": "site_visit", "at": START}] * 2
    with pytest.raises(StageFileError, match=r"it must give (each row_no once|row_no and stage)"):
        steps.stages(rows, START, sql=sql)
