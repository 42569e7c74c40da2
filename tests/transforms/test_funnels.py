"""Funnels from touchpoints: what a step and a segment are, what adds up, what is told; the walk has tests of its own."""

from __future__ import annotations

import datetime
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contracts import load_contracts
from schemas.tables import tables
from transforms import duck, funnels
from transforms.funnels import (
    FUNNEL_CELLS,
    Counted,
    Funnel,
    FunnelError,
    Step,
    add_funnel_cells,
    cells_of,
    check_funnel,
    funnel_cells,
    merge_funnels,
    read_step,
    try_funnel,
)
from transforms.quantiles import lower_edges, quantile
from transforms.time_zones import micros

Row = dict[str, Any]
CONTRACTS = load_contracts()
TABLE = tables(CONTRACTS)["funnels"]
COLUMNS = tables(CONTRACTS)["touchpoints"].schema.names
STAGES = ("consideration", "purchase", "loyalty", "usage", "churned")
CONNECTION = duck.connect()
DAY = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
AS_OF = "2026-06-01 00:00"
HOUR = 3_600


def at(text: str) -> datetime.datetime:
    """`13:45` of the first day, or `2026-01-05 13:45`."""
    given = text if "-" in text else f"2026-01-05 {text}"
    return datetime.datetime.fromisoformat(given).replace(tzinfo=datetime.UTC)


def touchpoints(rows: Iterable[Row]) -> pa.Table:
    """Rows with `who` (default ann), `at` and any column; in order, numbered, with customer_no."""
    ordered = sorted(rows, key=lambda row: (row.get("who", "ann"), at(row["at"]), row.get("id", "")))
    numbers: Counter[str] = Counter()
    whose = sorted({row.get("who", "ann") for row in ordered})
    found = []
    for row in ordered:
        who = row.get("who", "ann")
        numbers[who] += 1
        own = {k: v for k, v in row.items() if k not in ("who", "at", "id", "type")}
        found.append(
            {"customer_no": whose.index(who), "customer_key": who, "seq": numbers[who], "journey_no": 1,
             "occurred_at": at(row["at"]), "event_type": row.get("type", "site_visit"), **own}
        )  # fmt: skip
    schema = pa.schema([*tables(CONTRACTS)["touchpoints"].schema, ("customer_no", pa.int64())])
    return pa.Table.from_pylist(found, schema)


def shard_of(points: pa.Table) -> dict[str, pa.Table]:
    """The tables beside them: of a customer's journeys the last one goes on; a touchpoint's stage is what it entered."""
    journeys: dict[tuple[int, int], Row] = {}
    last: dict[int, int] = {}
    stages: list[Row] = []
    stage: tuple[int, str | None] = (-1, None)
    for row in points.to_pylist():
        whole = {"status": "closed", **row, "outcome": "renewal"}
        journeys.setdefault((row["customer_no"], row["journey_no"]), whole)
        if row["event_type"] == "purchase":
            journeys[row["customer_no"], row["journey_no"]]["outcome"] = "order"
        last[row["customer_no"]] = max(row["journey_no"], last.get(row["customer_no"], 0))
        if (row["customer_no"], row["stage"]) != stage and row["stage"]:
            stages.append({**row, "entered_at": row["occurred_at"], "touchpoints": 1})
        stage = row["customer_no"], row["stage"]
    for whose, number in last.items():
        journeys[whose, number]["status"] = "open"
    keys = pa.schema([("customer_no", pa.int64()), ("customer_key", pa.string())])
    made = {
        "journeys": (
            list(journeys.values()),
            [("journey_no", pa.int64()), ("status", pa.string()), ("outcome", pa.string())],
        ),
        "journey_stages": (
            stages,
            [("stage", pa.string()), ("entered_at", pa.timestamp("us", "UTC")), ("touchpoints", pa.int64())],
        ),
    }
    others = {
        name: pa.Table.from_pylist(
            [{k: row[k] for k in (*keys.names, *dict(fields))} for row in rows],
            pa.schema([*keys, *fields]),
        )
        for name, (rows, fields) in made.items()
    }
    return {"touchpoints": points, "customers": customers(points), **others}


def customers(points: pa.Table) -> pa.Table:
    first: dict[int, Row] = {}
    for row in points.select(["customer_no", "customer_key", "channel"]).to_pylist():
        known = first.setdefault(row["customer_no"], {**row, "first_channel": None})
        known["first_channel"] = known["first_channel"] or row["channel"]
    schema = pa.schema([("customer_no", pa.int64()), ("customer_key", pa.string()), ("first_channel", pa.string())])
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in first.values()], schema)


def funnel(
    *steps: str, window_s: int = HOUR, step_windows_s: Sequence[int] | None = None, by: Sequence[str] = (),
    counted: Counted = "customers", name: str = "f", since: str | None = None, until: str | None = None,
) -> Funnel:  # fmt: skip
    read = tuple(read_step(step, CONTRACTS.event_types, COLUMNS, STAGES) for step in steps)
    each = tuple(step_windows_s or [window_s] * (len(steps) - 1))
    period = [None if moment is None else micros(at(moment)) for moment in (since, until)]
    return Funnel(name, read, window_s, each, tuple(by), counted, *period)


def cells(rows: Iterable[Row], *asked: Funnel, as_of: str = AS_OF) -> pa.Table:
    return funnel_cells(shard_of(touchpoints(rows)), asked, micros(at(as_of)), CONNECTION)


def told(rows: Iterable[Row], *asked: Funnel, as_of: str = AS_OF, **options: Any) -> list[Row]:
    return merge_funnels([cells(rows, *asked, as_of=as_of)], asked, TABLE, **options).to_pylist()


def counts(rows: list[Row], segment: str = "all", value: str | None = None) -> list[tuple[int, int, int]]:
    """(reached, dropped, open) of each step."""
    own = [row for row in rows if (row["segment"], row["segment_value"]) == (segment, value)]
    return [(row["reached"], row["dropped"], row["open"]) for row in own]


A, B, C = "page_kind = 'search'", "page_kind = 'cart'", "page_kind = 'checkout'"
PEERS = [
    {"at": "13:00", "page_kind": "search"}, {"at": "13:30", "page_kind": "search"}, {"at": "13:45", "page_kind": "cart"},
    {"at": "14:15", "page_kind": "checkout"},
]  # fmt: skip


# --- worked by hand --------------------------------------------------------------------------------------------------


def test_the_example_of_the_peers() -> None:
    """A 13:00, A 13:30, B 13:45, C 14:15 within an hour: from the last A before B it converts, from the first it stops."""
    first, cart, checkout = told(PEERS, funnel(A, B, C))
    assert [row["reached"] for row in (first, cart, checkout)] == [1, 1, 1]
    assert (first["converted"], checkout["conversion"], checkout["status"]) == (1, 1.0, "final")
    assert (cart["step_median_s"], checkout["step_median_s"], checkout["entry_median_s"]) == (900, 1_800, 2_700)
    assert counts(told([PEERS[0], *PEERS[2:]], funnel(A, B, C))) == [(1, 0, 0), (1, 1, 0), (0, 0, 0)]
    assert counts(told(PEERS, funnel(A, B, C, counted="entries"))) == [(2, 0, 0), (2, 1, 0), (1, 0, 0)]


#: ann converts, bob stops at the cart for good, cleo is at the cart and may still check out, dan only searched.
FOUR = [
    {"who": "ann", "at": "10:00", "page_kind": "search", "channel": "mail", "country": "FR"},
    {"who": "ann", "at": "10:10", "page_kind": "cart"},
    {"who": "ann", "at": "10:30", "page_kind": "checkout"},
    {"who": "bob", "at": "09:00", "page_kind": "search", "channel": "mail", "country": "DE"},
    {"who": "bob", "at": "09:30", "page_kind": "cart"},
    {"who": "cleo", "at": "11:30", "page_kind": "search", "country": "FR"},
    {"who": "cleo", "at": "11:31", "page_kind": "cart"},
    {"who": "dan", "at": "09:00", "page_kind": "search", "channel": "ads"},
]


def test_every_column_of_a_small_funnel() -> None:
    first, cart, checkout = told(FOUR, funnel(A, B, C, step_windows_s=[HOUR, HOUR // 2]), as_of="12:00")
    alike = {"funnel": "f", "counted": "customers", "segment": "all", "segment_value": None, "steps": 3, "entered": 4,
             "converted": 1, "window_s": 3_600}  # fmt: skip
    assert first == {
        **alike, "step_no": 1, "step": A, "step_window_s": None, "reached": 4, "went_on": 3, "dropped": 1, "open": 0,
        "conversion": 1.0, "step_conversion": None, "step_median_s": None, "step_p90_s": None, "entry_median_s": None,
        "entry_p90_s": None, "method": None, "status": "final",
    }  # fmt: skip
    # 10, 30 and 1 minutes: the middle one, and 0.9 of the way through the three: 10 + 0.8 x 20
    assert cart == {
        **alike, "step_no": 2, "step": B, "step_window_s": 3_600, "reached": 3, "went_on": 1, "dropped": 1, "open": 1,
        "conversion": 0.75, "step_conversion": 0.75, "step_median_s": 600.0, "step_p90_s": 1_560.0,
        "entry_median_s": 600.0, "entry_p90_s": 1_560.0, "method": "exact", "status": "final",
    }  # fmt: skip
    assert checkout == {
        **alike, "step_no": 3, "step": C, "step_window_s": 1_800, "reached": 1, "went_on": None, "dropped": 0, "open": 0,
        "conversion": 0.25, "step_conversion": 1 / 3, "step_median_s": 1_200.0, "step_p90_s": 1_200.0,
        "entry_median_s": 1_800.0, "entry_p90_s": 1_800.0, "method": "exact", "status": "provisional",
    }  # fmt: skip


def test_open_ends_with_its_window() -> None:
    """cleo's cart of 11:31 is open while a checkout could come by 12:30, an hour from her entry."""
    for as_of, dropped, is_open in (("12:29:59", 1, 1), ("12:30", 2, 0)):
        assert counts(told(FOUR, funnel(A, B, C), as_of=as_of))[1] == (3, dropped, is_open)


def test_segments_are_told_by_the_value_at_the_entry() -> None:
    asked = funnel(A, B, C, by=["channel", "upper(country)"])
    rows = told(FOUR, asked, as_of="12:00")
    assert counts(rows, "channel", "mail") == [(2, 0, 0), (2, 1, 0), (1, 0, 0)]
    assert counts(rows, "channel", "(none)") == [(1, 0, 0), (1, 0, 1), (0, 0, 0)]
    assert counts(rows, "channel", "ads") == [(1, 1, 0), (0, 0, 0), (0, 0, 0)]
    assert [row["segment_value"] for row in rows if row["step_no"] == 1] == [
        None, "mail", "(none)", "ads", "FR", "(none)", "DE",
    ]  # fmt: skip
    assert counts(rows, "upper(country)", "FR") == [(2, 0, 0), (2, 0, 1), (1, 0, 0)]


def test_values_stand_by_their_entries_and_then_their_letters_and_the_rest_is_one() -> None:
    rows = [{"who": f"c{n}", "at": "10:00", "channel": channel} for n, channel in enumerate("bbbaaaccd")]
    asked = funnel("site_visit", "purchase", by=["channel"])
    assert [(r["segment_value"], r["entered"]) for r in told(rows, asked) if r["step_no"] == 1] == [
        (None, 9), ("a", 3), ("b", 3), ("c", 2), ("d", 1),
    ]  # fmt: skip
    folded = told(rows, asked, most_values=1)
    assert [(r["segment_value"], r["entered"]) for r in folded if r["step_no"] == 1] == [
        (None, 9), ("a", 3), ("(other)", 6),
    ]  # fmt: skip


def test_the_value_at_another_step_does_not_count() -> None:
    rows = [
        {"at": "10:00", "channel": "mail", "page_kind": "search"},
        {"at": "10:10", "channel": "ads", "page_kind": "cart"},
    ]
    assert {r["segment_value"] for r in told(rows, funnel(A, B, by=["channel"]))} == {None, "mail"}


def test_the_plan_is_the_one_that_the_customer_is_on_at_the_entry() -> None:
    rows = [
        {"at": "08:00", "type": "subscription_started", "plan": "basic"},
        {"at": "09:00", "page_kind": "search"},
        {"at": "09:30", "type": "subscription_changed", "plan": "pro"},
        {"at": "09:40", "page_kind": "cart"},
        {"who": "bob", "at": "09:00", "page_kind": "search"},
    ]
    found = told(rows, funnel(A, B, by=["plan", "(plan)"]))
    assert counts(found, "plan", "basic") == [(1, 0, 0), (1, 0, 0)]
    assert counts(found, "plan", "(none)") == [(1, 1, 0), (0, 0, 0)]
    assert counts(found, "(plan)", "(none)") == [(2, 1, 0), (1, 0, 0)]  # SQL: of the touchpoint itself


def test_the_first_channel_is_the_customers_own() -> None:
    rows = [
        {"at": "08:00", "channel": "ads"}, {"at": "09:00", "channel": "mail", "page_kind": "search"},
        {"who": "bob", "at": "09:00", "page_kind": "search"},
    ]  # fmt: skip
    found = told(rows, funnel(A, B, by=["first_channel"]))
    assert counts(found, "first_channel", "ads") == counts(found, "first_channel", "(none)") == [(1, 1, 0), (0, 0, 0)]


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_stage_is_a_step_when_it_is_entered() -> None:
    """consideration 10:00 to 10:20, purchase, back to consideration 10:40, usage: entered twice, not four times."""
    rows = [
        {"at": clock, "stage": stage}
        for clock, stage in (
            ("10:00", "consideration"), ("10:10", "consideration"), ("10:20", "consideration"), ("10:30", "purchase"),
            ("10:40", "consideration"), ("10:50", "usage"),
        )
    ] + [{"who": "bob", "at": "10:00", "stage": "consideration"}]  # fmt: skip
    entries = told(rows, funnel("stage:consideration", "stage:purchase", counted="entries"))
    assert counts(entries) == [(3, 2, 0), (1, 0, 0)]
    assert entries[1]["step_median_s"] == 1_800  # from entering it, not from its last touchpoint
    mixed = told(rows, funnel("stage:consideration", "stage = 'consideration'", by=["stage"]))
    assert counts(mixed) == [(2, 1, 0), (1, 0, 0)]
    assert counts(mixed, "stage", "consideration") == counts(mixed)


def test_a_customers_first_touchpoint_enters_its_stage_whoever_stands_before() -> None:
    rows = [{"who": who, "at": "10:00", "stage": "usage"} for who in ("ann", "bob", "cleo")]
    assert counts(told(rows, funnel("stage:usage", "purchase"))) == [(3, 3, 0), (0, 0, 0)]


def test_conditions_that_are_null_or_numbers_or_end_in_a_comment() -> None:
    rows = [{"at": "10:00", "load_ms": 5_000.0}, {"at": "10:01"}, {"at": "10:02", "http_status": 500}]
    assert counts(told(rows, funnel("load_ms > 4000", "http_status >= 500 -- a fault"))) == [(1, 0, 0), (1, 0, 0)]
    assert counts(told(rows, funnel("load_ms > 4000 or http_status = 500", "http_status = 500"))) == [
        (1, 0, 0),
        (1, 0, 0),
    ]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("site_visit", Step("site_visit", "event_type = 'site_visit'")),
        (" stage: usage ", Step("stage:usage", stage="usage")),
        ("page_kind = 'cart' ", Step("page_kind = 'cart'", "page_kind = 'cart'")),
        ("is_known", Step("is_known", "is_known")),
    ],
)
def test_steps_that_are_read(text: str, step: Step) -> None:
    assert read_step(text, CONTRACTS.event_types, COLUMNS, STAGES) == step


@pytest.mark.parametrize(
    ("text", "message", "mend"),
    [
        ("site_vist", "site_vist is no event type", "Did you mean site_visit"),
        ("qqqqq", "qqqqq is no event type", "stage:NAME"),
        ("stage:usages", "stage:usages names no stage", "Did you mean stage:usage"),
        ("stage:", "names no stage", "stage:loyalty"),
        ("  ", "A step is empty", "Name an event type"),
    ],
)
def test_steps_that_are_not(text: str, message: str, mend: str) -> None:
    with pytest.raises(FunnelError, match=message) as caught:
        read_step(text, CONTRACTS.event_types, COLUMNS, STAGES)
    assert mend in caught.value.mend


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (funnel("site_visit", "page_knd = 'cart'"), "The step page_knd = 'cart' fails: .*page_knd"),
        (funnel("site_visit", "count(*) > 1"), "The step .* fails: .*aggregates"),
        (funnel("site_visit", "row_number() over () > 1"), "The step .* fails: .*window"),
        (funnel("site_visit", "page_kind ="), "The step .* fails: "),
        (funnel("site_visit", "purchase", by=["chanel"]), "The segment chanel is no column of touchpoints"),
        (funnel("site_visit", "purchase", by=["max(channel)"]), "The segment .* fails: .*aggregates"),
        (funnel("site_visit", "purchase", by=["lag(channel) over ()"]), "The segment .* fails: .*window"),
    ],
)
def test_sql_that_cannot_be_asked_is_named(asked: Funnel, message: str) -> None:
    with duck.connect() as connection:
        connection.register("touchpoints", touchpoints([]))
        with pytest.raises(FunnelError, match=message) as caught:
            try_funnel(asked, "touchpoints", connection)
        assert asked.by != ("chanel",) or "Did you mean channel" in caught.value.mend
        good = funnel(A, B, "stage:usage", by=["channel", "plan", "first_channel", "upper(country)"])
        try_funnel(good, "touchpoints", connection)


@pytest.mark.parametrize(
    ("steps", "windows", "by"),
    [(1, 0, ()), (21, 0, ()), (3, 3, ()), (4, 2, ()), (2, 0, ("a", "a")), (2, 0, ("all",))],
)
def test_parts_that_do_not_fit(steps: int, windows: int, by: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"steps|step_windows|segment"):
        check_funnel(["s"] * steps, ["1h"] * windows, by)


def test_parts_that_fit() -> None:
    for steps, windows in ((2, 0), (2, 1), (3, 1), (3, 2), (20, 19)):
        check_funnel(["s"] * steps, ["1h"] * windows, ["channel", "plan"])


def test_a_visit_after_a_lapse_does_not_enter_churned() -> None:
    """ann lapsed between her orders: her visit finds her in churned, her second order enters purchase once more."""
    rows = [
        {"at": "10:00", "stage": "purchase"}, {"at": "12:00", "stage": "churned"}, {"at": "13:00", "stage": "purchase"},
        {"who": "bob", "at": "10:00", "stage": "purchase"}, {"who": "bob", "at": "12:00", "stage": "churned"},
        {"who": "cy", "at": "10:00", "stage": "purchase"}, {"who": "cy", "at": "13:00", "stage": "purchase"},
    ]  # fmt: skip
    shard = shard_of(touchpoints(rows))
    lapsed = (("10:00", "purchase", 1), ("11:00", "churned", 0), ("13:00", "purchase", 1))
    entered = {
        0: (
            ("10:00", "purchase", 1),
            ("11:00", "churned", 1),
            ("13:00", "purchase", 1),
        ),  # a visit is of the lapse's stage
        1: (("10:00", "purchase", 1), ("12:00", "churned", 1)),
        2: lapsed,
    }
    runs = [
        {"customer_no": whose, "stage": stage, "entered_at": at(clock), "touchpoints": n}
        for whose, own in entered.items()
        for clock, stage, n in own
    ]
    shard["journey_stages"] = pa.Table.from_pylist(runs, shard["journey_stages"].schema)

    def entries(stage: str) -> list[tuple[int, int, int]]:
        asked = funnel(f"stage:{stage}", "purchase", counted="entries")
        return counts(
            merge_funnels([funnel_cells(shard, [asked], micros(at(AS_OF)), CONNECTION)], [asked], TABLE).to_pylist()
        )

    assert entries("churned")[0] == (1, 1, 0)  # bob cancelled; ann and cy were there already
    assert entries("purchase")[0] == (5, 5, 0)  # cy's second order, too: he had lapsed in between


# --- what is counted -------------------------------------------------------------------------------------------------


def test_journeys_are_counted_each_by_itself_though_one_may_lie_within_another() -> None:
    """The refund of journey 1 comes while journey 2 is under way; it is no step of journey 2."""
    rows = [
        {"at": "10:00", "type": "purchase", "journey_no": 1}, {"at": "10:10", "type": "purchase", "journey_no": 2},
        {"at": "10:20", "type": "refund", "journey_no": 1}, {"at": "10:30", "type": "site_visit", "journey_no": 2},
    ]  # fmt: skip
    found = told(rows, funnel("purchase", "refund", counted="journeys", by=["journey_no"]))
    assert counts(found) == [(2, 1, 0), (1, 0, 0)]
    assert counts(found, "journey_no", "1") == [(1, 0, 0), (1, 0, 0)] and found[1]["step_median_s"] == 1_200
    assert counts(told(rows, funnel("purchase", "refund"))) == [(1, 0, 0), (1, 0, 0)]  # of the customer, once


def test_who_stays_in_a_stage_enters_it_no_more_at_the_moment_of_another_entry() -> None:
    """Days without a time: at the moment of the ticket ann visits before it, and after it, which leads back."""
    rows = [
        {"at": "10:00", "stage": "consideration", "id": "a"}, {"at": "2026-01-06 00:00", "stage": "consideration", "id": "b"},
        {"at": "2026-01-06 00:00", "stage": "usage", "id": "c", "type": "ticket_opened"},
        {"at": "2026-01-06 00:00", "stage": "consideration", "id": "d"},
    ]  # fmt: skip
    found = told(rows, funnel("stage:consideration", "stage:usage", counted="entries", window_s=86_400))
    assert counts(found) == [(2, 1, 0), (1, 0, 0)]  # those of a and d; that of a leads to usage


def test_an_order_may_still_be_given_back_after_its_journey() -> None:
    rows = [
        {"at": "10:00", "type": "purchase", "journey_no": 1}, {"at": "10:20", "type": "site_visit", "journey_no": 2},
    ]  # fmt: skip
    asked = funnel("purchase", "refund", counted="journeys")
    assert counts(told(rows, asked, as_of="2026-01-05 10:30"))[0] == (1, 0, 1)
    assert counts(told(rows, asked, as_of="2026-01-05 11:00"))[0] == (1, 1, 0)


@pytest.mark.parametrize(("refunded_in", "state"), [(1, (1, 1, 0)), (2, (1, 0, 1))])
def test_a_journey_that_is_over_is_open_no_more(refunded_in: int, state: tuple[int, int, int]) -> None:
    """The window runs until 11:00, and journey 1 ended at 10:10, when the next one began."""
    rows = [
        {"at": "10:00", "type": "refund", "journey_no": refunded_in}, {"at": "10:10", "type": "site_visit", "journey_no": 2},
    ]  # fmt: skip
    found = told(rows, funnel("refund", "purchase", counted="journeys"), as_of="2026-01-05 10:30")
    assert counts(found)[0] == state
    assert counts(told(rows, funnel("refund", "purchase"), as_of="2026-01-05 10:30"))[0] == (1, 0, 1)


def test_a_period_limits_the_entries_and_not_the_steps_after() -> None:
    rows = [
        {"at": "10:00", "page_kind": "search"},
        {"at": "11:00", "page_kind": "search"},
        {"at": "11:30", "page_kind": "cart"},
    ]
    for since, until, expected in (
        ("10:00", "11:00", [(1, 1, 0), (0, 0, 0)]),
        ("10:00:00.000001", None, [(1, 0, 0), (1, 0, 0)]),
        (None, "10:00", [(0, 0, 0), (0, 0, 0)]),
        ("11:00", "11:00:00.000001", [(1, 0, 0), (1, 0, 0)]),
    ):
        assert counts(told(rows, funnel(A, B, since=since, until=until))) == expected


def test_a_funnel_that_nobody_entered_still_has_its_rows() -> None:
    first, second = told([], funnel(A, B, by=["channel"]))
    assert (first["entered"], first["conversion"], second["step_conversion"], second["method"]) == (0, None, None, None)
    assert cells([]).schema == FUNNEL_CELLS and merge_funnels([], [], TABLE).num_rows == 0


def test_touchpoints_out_of_order_are_refused() -> None:
    points = touchpoints(PEERS)
    with pytest.raises(ValueError, match="not in the order of seq"):
        funnel_cells(shard_of(points.take(pa.array([1, 0, 2, 3]))), [funnel(A, B)], 0, CONNECTION)


# --- adding up -------------------------------------------------------------------------------------------------------

ASKED = (
    funnel(A, B, C, name="customers", by=["channel", "plan", "first_channel"]),
    funnel(A, A, B, name="entries", counted="entries", step_windows_s=[600, 1_800], by=["channel"]),
    funnel("stage:usage", "site_visit", name="stages", counted="journeys", by=["country"]),
)


@st.composite
def companies(draw: st.DrawFn) -> list[Row]:
    one = st.fixed_dictionaries(
        {
            "who": st.sampled_from(["ann", "bob", "cleo", "dan"]),
            "at": st.integers(0, 99).map(lambda m: f"10:{m:02}" if m < 60 else f"11:{m - 60:02}"),
            "page_kind": st.sampled_from(["search", "cart", "checkout"]),
            "stage": st.sampled_from(["usage", "purchase", None]),
            "channel": st.sampled_from(["mail", "ads", None]),
            "plan": st.sampled_from([None, None, "pro", "basic"]),
            "country": st.sampled_from(["FR", None]),
            "journey_no": st.integers(1, 2),
        }
    )
    rows = draw(st.lists(one, max_size=24))
    return [{**row, "id": f"{n:03}"} for n, row in enumerate(rows)]


@settings(max_examples=30)
@given(rows=companies(), seed=st.integers(0, 99))
def test_any_cut_by_customer_in_any_order_gives_the_same(rows: list[Row], seed: int) -> None:
    whole = told(rows, *ASKED, as_of="11:50")
    order = random.Random(seed)
    whose = sorted({row["who"] for row in rows})
    shard = {who: order.randrange(3) for who in whose}
    parts = [cells([row for row in rows if shard[row["who"]] == n], *ASKED, as_of="11:50") for n in range(3)]
    order.shuffle(parts)
    assert merge_funnels(parts, ASKED, TABLE).to_pylist() == whole
    added = add_funnel_cells([add_funnel_cells(parts[:2]), parts[2]])
    assert merge_funnels([added], ASKED, TABLE).to_pylist() == whole
    order.shuffle(rows)
    assert told(rows, *ASKED, as_of="11:50") == whole


@settings(max_examples=40)
@given(rows=companies())
def test_who_entered_converted_dropped_or_is_open(rows: list[Row]) -> None:
    found = told(rows, *ASKED, as_of="11:50")
    for asked in ASKED:
        own = [row for row in found if row["funnel"] == asked.name]
        for segment, value in {(row["segment"], row["segment_value"]) for row in own}:
            steps = [row for row in own if (row["segment"], row["segment_value"]) == (segment, value)]
            entered = steps[0]["entered"]
            assert (
                entered == steps[0]["reached"] == steps[-1]["converted"] + sum(r["dropped"] + r["open"] for r in steps)
            )
            for row, following in pairwise(steps):
                assert row["went_on"] == following["reached"] == row["reached"] - row["dropped"] - row["open"]
            assert (steps[-1]["dropped"], steps[-1]["open"], steps[-1]["reached"]) == (0, 0, steps[-1]["converted"])
        for number, everyone in enumerate(row for row in own if row["segment"] == "all"):
            for segment in asked.by if everyone["entered"] else ():
                parts = [row for row in own if row["segment"] == segment and row["step_no"] == number + 1]
                for name in ("entered", "reached", "dropped", "open", "converted"):
                    assert sum(row[name] for row in parts) == everyone[name]


def test_one_funnel_minds_no_other() -> None:
    together = told(FOUR, funnel(A, B, C, name="one", by=["channel"]), funnel("stage:usage", "site_visit", name="two"))
    alone = told(FOUR, funnel(A, B, C, name="one", by=["channel"]))
    assert [row for row in together if row["funnel"] == "one"] == alone


# --- many ------------------------------------------------------------------------------------------------------------


def test_more_times_than_are_told_exactly_go_into_buckets_on_any_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 conversions, and 250 are told exactly: no shard of 100 alone has too many."""
    monkeypatch.setattr(funnels, "EXACT_VALUES", 250)
    seconds = [17 * n % 3_001 for n in range(300)]
    rows = [
        row
        for n, late in enumerate(seconds)
        for row in (
            {"who": f"c{n:03}", "at": "10:00", "page_kind": "search", "channel": "mail" if n % 3 else "ads"},
            {
                "who": f"c{n:03}",
                "at": f"{10 + late // HOUR}:{late // 60 % 60:02}:{late % 60:02}",
                "page_kind": "cart",
                "id": "2",
            },
        )
    ]
    asked = funnel(A, B, by=["channel"])
    whole = told(rows, asked)
    parts = [cells([row for row in rows if int(row["who"][1:]) % 3 == n], asked) for n in range(3)]
    assert merge_funnels(parts, [asked], TABLE).to_pylist() == whole
    assert merge_funnels([add_funnel_cells(parts[::-1])], [asked], TABLE).to_pylist() == whole
    # Of all segments alike: the times of the few would else be exact beside those of the many.
    assert [row["method"] for row in whole if row["step_no"] == 2] == ["buckets"] * 3
    edges, count = np.unique(lower_edges(np.array(seconds)), return_counts=True)
    assert whole[1]["step_median_s"] == float(quantile(edges, count, Fraction(1, 2)))
    monkeypatch.setattr(funnels, "EXACT_VALUES", 300)
    exact = told(rows, asked)
    assert exact[1]["method"] == "exact" and exact[1]["step_median_s"] == float(np.median(seconds))


def test_cells_of_a_table_in_pieces_are_those_of_a_shard() -> None:
    """As the command reads a lake: customers by their keys, in several batches."""
    from transforms.funnels import rows_sql

    points = touchpoints(FOUR)
    asked = (funnel(A, B, C, by=["channel", "first_channel"]), funnel(A, B, name="journeys", counted="journeys"))
    rows = duck.select(CONNECTION, rows_sql(asked, "customer_key"), {"touchpoints": points})
    by_key = {
        name: table.drop_columns(["customer_no"]).rename_columns({"customer_key": "customer_no"})
        for name, table in shard_of(points).items()
    }
    parts = [
        cells_of(piece, asked, micros(at("12:00")), funnels._OfShard(by_key))
        for piece in (rows.slice(0, 5), rows.slice(5))
    ]
    assert add_funnel_cells(parts).equals(cells(FOUR, *asked, as_of="12:00"))
