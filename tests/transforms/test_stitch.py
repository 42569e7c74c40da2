"""Timelines: the total order, what came before each event, which order it belongs to, and its session."""

from __future__ import annotations

import datetime
from typing import Any

import mmh3
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contracts import RESERVED
from transforms.batches import drop_null_columns
from transforms.sessionize import GAP_US
from transforms.stitch import WORKING, StitchRules, stitch

Row = dict[str, Any]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MINUTE, MICROSECOND = datetime.timedelta(minutes=1), datetime.timedelta(microseconds=1)


def touchpoints(steps: Any, rows: list[Row], *columns: str, **options: Any) -> list[Any]:
    table = steps.stitch(rows, **options)["touchpoints"]
    return [tuple(row.values()) if len(columns) > 1 else row[columns[0]] for row in table.select(columns).to_pylist()]


def test_events_at_one_moment_are_in_the_order_of_their_ids_bytes(steps: Any) -> None:
    # By UTF-8: capitals first, é behind z, and what UTF-16 would put before \uffee behind it.
    ids = ["", " ", "10", "9", "Z", "a", "a ", "ab", "z", "é", "日", "\uffee", "😀"]
    assert ids == sorted(ids, key=str.encode)
    rows = [{"type": "site_visit", "at": START, "event_id": i} for i in reversed(ids)]
    assert touchpoints(steps, rows, "event_id", "seq") == [(i, n) for n, i in enumerate(ids, 1)]


def test_the_time_comes_before_the_id(steps: Any) -> None:
    rows = [
        {"type": "site_visit", "at": START + MICROSECOND, "event_id": "a"},
        {"type": "site_visit", "at": START, "event_id": "b"},
        {"type": "site_visit", "at": START - MICROSECOND, "event_id": "c", "who": "bob"},
    ]
    found = touchpoints(steps, rows, "customer_key", "event_id", "seq")
    assert [f for f in found if f[0] == "ann"] == [("ann", "b", 1), ("ann", "a", 2)]
    assert ("bob", "c", 1) in found


def test_customers_are_in_the_order_of_their_buckets(steps: Any) -> None:
    keys = [f"c-{n}" for n in range(40)]
    rows = [{"type": "site_visit", "at": START, "who": key} for key in keys]
    in_order = sorted(keys, key=lambda k: (mmh3.hash64(k, 0, x64arch=True, signed=False)[0] >> 48, k.encode()))
    assert touchpoints(steps, rows, "customer_key", "customer_no") == [(k, n) for n, k in enumerate(in_order)]


kinds = st.one_of(
    st.sampled_from(["site_visit", "ad_view", "subscription_started", "payment_failed"]).map(lambda t: {"type": t}),
    st.fixed_dictionaries({
        "type": st.sampled_from(["purchase", "purchase", "refund"]), "order_id": st.sampled_from(["o1", "o2", "o3"]),
        "source": st.sampled_from([None, "web", "shop"]),
    }),
)  # fmt: skip
rows_of_all = st.lists(
    st.tuples(kinds, st.sampled_from(["ann", "bob"]), st.sampled_from([None, "d1"]), st.integers(0, 50)).map(
        lambda t: {**t[0], "who": t[1], "anonymous_id": t[2], "at": START + t[3] * 20 * MINUTE}
    ),
    min_size=1, max_size=25,
)  # fmt: skip


def read_slowly(rows: list[Row]) -> list[Row]:
    """What stitching says of one customer's events, in order, one at a time."""
    first_lines: dict[tuple[str | None, str], int] = {}
    found, orders, visits, first_order_at = [], 0, 0, None
    number_of: dict[int, int] = {}
    for place, row in enumerate(rows):
        order = (row.get("source"), row.get("order_id", ""))
        is_line = row["type"] == "purchase"
        before, opens, first_line = orders, False, None
        if is_line and order not in first_lines:
            first_lines[order] = place
        if is_line or row["type"] == "refund":
            first_line = first_lines.get(order)
        if row["type"] == "subscription_started" or (is_line and first_line == place):
            opens, orders = True, orders + 1
            number_of[place] = orders
            first_order_at = first_order_at or row["at"]
        found.append({
            "seq": place + 1, "visits_before": visits, "orders_before": before, "opens_order": opens,
            "order_no": number_of.get(place if first_line is None else first_line),
            "first_line": first_line, "first_order_at": first_order_at,
        })  # fmt: skip
        visits += row["type"] == "site_visit"
    return found


@settings(max_examples=150)
@given(rows_of_all, st.randoms(use_true_random=False))
def test_reads_like_the_rules_in_any_order_and_any_cut(steps: Any, rows: list[Row], chance: Any) -> None:
    rows = [{**row, "event_id": f"e{number:02}"} for number, row in enumerate(rows)]
    found = steps.stitch(rows)["touchpoints"]
    for who in ("ann", "bob"):
        own = sorted((r for r in rows if r["who"] == who), key=lambda r: (r["at"], r["event_id"]))
        there = [row for row in found.to_pylist() if row["customer_key"] == who]
        assert [r["event_id"] for r in there] == [r["event_id"] for r in own]
        start = found["customer_key"].to_pylist().index(who) if own else 0
        for row, expected in zip(there, read_slowly(own), strict=True):
            row["first_line"] = None if row["order_row"] is None else row["order_row"] - start
            assert {name: row[name] for name in expected} == expected

    pieces = steps.events(rows)
    shuffled = list(range(len(rows)))
    chance.shuffle(shuffled)
    cut = chance.randint(0, len(rows))
    parts = [drop_null_columns(pieces.take(pa.array(part, pa.int64()))) for part in (shuffled[:cut], shuffled[cut:])]
    again = stitch(parts, steps.contracts, StitchRules(GAP_US, False))
    assert again["touchpoints"].equals(found)
    assert again["sessions"].equals(steps.stitch(rows)["sessions"])


def test_an_order_is_known_by_its_source_too_and_stays_its_customers(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": START + number * MINUTE, "order_id": "o", "source": source, "who": who}
        for number, (source, who) in enumerate([(None, "ann"), ("web", "ann"), ("web", "bob"), (None, "ann")])
    ]
    found = touchpoints(steps, rows, "customer_key", "opens_order", "order_no")
    assert [f[1:] for f in found if f[0] == "ann"] == [(True, 1), (True, 2), (False, 1)]
    assert [f[1:] for f in found if f[0] == "bob"] == [(True, 1)]


def test_a_refund_before_its_order_belongs_to_none(steps: Any) -> None:
    rows = [
        {"type": "refund", "at": START, "order_id": "o"}, {"type": "purchase", "at": START + MINUTE, "order_id": "o"},
        {"type": "refund", "at": START + 2 * MINUTE, "order_id": "o"},
    ]  # fmt: skip
    assert touchpoints(steps, rows, "order_row", "order_no") == [(None, None), (1, 1), (1, 1)]


def test_the_table_of_sessions(steps: Any) -> None:
    def visit(minute: int, **fields: Any) -> Row:
        return {"type": "site_visit", "at": START + minute * MINUTE, **fields}

    rows = [
        visit(0, event_id="a", anonymous_id="d1"),
        visit(1, event_id="b", anonymous_id="d2", source_session_id="x"),
        visit(10, event_id="c", anonymous_id="d1", channel="email", source_session_id="s"),
        {"type": "survey_sent", "at": START + 15 * MINUTE, "event_id": "no session", "anonymous_id": "d1"},
        visit(20, event_id="d", anonymous_id="d1", channel="ads"),
        {"type": "purchase", "at": START + 40 * MINUTE, "event_id": "e", "anonymous_id": "d1"},
        visit(50, event_id="f", anonymous_id="d1", source_session_id="t"),
    ]
    shard = steps.stitch(rows)
    of_row = dict(
        zip(shard["touchpoints"]["event_id"].to_pylist(), shard["touchpoints"]["session_id"].to_pylist(), strict=True)
    )
    assert of_row == {"a": "s:a", "b": "s:b", "c": "s:a", "no session": None, "d": "s:a", "e": "s:a", "f": "s:f"}
    assert shard["sessions"].schema.names == [*steps.tables["sessions"].schema.names, "customer_no"]
    first, second, third = shard["sessions"].to_pylist()
    assert first == {
        "session_id": "s:a", "customer_key": "ann", "anonymous_id": "d1", "source_session_id": "s", "started_at": START,
        "ended_at": START + 40 * MINUTE, "touchpoints": 4, "entry_channel": "email", "has_purchase": True,
        "is_truncated": False, "customer_no": 0,
    }  # fmt: skip
    assert (second["session_id"], second["touchpoints"], second["entry_channel"]) == ("s:b", 1, None)
    assert (third["session_id"], third["source_session_id"], third["has_purchase"]) == ("s:f", "t", False)


def test_the_settings_of_sessions(steps: Any) -> None:
    rows = [{"type": "site_visit", "at": START + n * 11 * MINUTE, "source_session_id": s} for n, s in enumerate("aab")]
    assert touchpoints(steps, rows, "session_no") == [0, 0, 1]
    assert touchpoints(steps, rows, "session_no", gap_us=600_000_000) == [0, 1, 2]
    assert touchpoints(steps, rows, "session_no", gap_us=600_000_000, by_source=True) == [0, 0, 1]


def test_the_version_of_the_contract_is_written_to_every_row(steps: Any) -> None:
    assert touchpoints(steps, [{"type": "site_visit", "at": START}], "schema_version") == ["1-0-0"]


def test_no_field_of_an_event_can_have_the_name_of_a_working_column(steps: Any) -> None:
    assert {name for name, _ in WORKING} <= RESERVED
    added = set(steps.journeys([{"type": "site_visit", "at": START}], START)["touchpoints"].column_names)
    assert added - set(steps.contracts.fields) <= RESERVED


def test_a_shard_without_events(steps: Any) -> None:
    shard = stitch([pa.table({})], steps.contracts, StitchRules(GAP_US, False))
    assert (shard["touchpoints"].num_rows, shard["sessions"].num_rows) == (0, 0)
