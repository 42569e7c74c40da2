"""Of several copies of an event_id the earliest stays, and which one does not hang on order or cut."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contracts import Contracts
from transforms.candidates import FINGERPRINT
from transforms.find_duplicates import break_ties, find_duplicates, hash_contents
from transforms.stage_blocks import identifier_rows

Row = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)


def block_of(rows: list[Row], contracts: Contracts) -> pa.Table:
    """A staged block: columns without a value are left out, so copies in two blocks may have different columns."""
    names = [f.name for f in contracts.fields.values() if any(row.get(f.name) is not None for row in rows)]
    schema = [(name, contracts.fields[name].arrow) for name in names]
    others = [("extra", pa.string()), ("ignored_identifiers", pa.string())]
    others += [(name, contracts.fields[of].arrow) for name, of in contracts.originals.items()]
    schema += [(name, kind) for name, kind in others if any(row.get(name) is not None for row in rows)]
    schema += [(FINGERPRINT, pa.uint64())] if any(row.get(FINGERPRINT) is not None for row in rows) else []
    filled = [{FINGERPRINT: 0, **{k: v for k, v in row.items() if v is not None}} for row in rows]
    return pa.Table.from_pylist(filled, pa.schema(schema))


def kept(blocks: list[list[Row]], contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """The rows that stay, by the module's own three steps."""
    tables = {f"block-{number}": block_of(rows, contracts) for number, rows in enumerate(blocks) if rows}
    identifiers = pa.concat_tables(identifier_rows(table, path) for path, table in tables.items())
    later, ties = find_duplicates(identifiers)
    gone = [(row["block"], row["row"]) for row in later.select(["block", "row"]).to_pylist()]
    by_block: dict[str, list[int]] = defaultdict(list)
    for number, path in enumerate(ties["block"].to_pylist()):
        by_block[path].append(number)
    contents = [
        hash_contents(tables[path], ties.take(pa.array(numbers)), path, contracts, connection)
        for path, numbers in by_block.items()
    ]
    if contents:
        gone += [(row["block"], row["row"]) for row in break_ties(pa.concat_tables(contents)).to_pylist()]
    assert len(gone) == len(set(gone)), "no copy is dropped twice"
    dropped = set(gone)
    return [
        row
        for number, rows in enumerate(blocks)
        for place, row in enumerate(rows)
        if (f"block-{number}", place) not in dropped
    ]


def told(row: Row) -> tuple[Any, ...]:
    """What a copy says: whatever is not said is the same as null."""
    return tuple(sorted((name, str(value)) for name, value in row.items() if value is not None and name != FINGERPRINT))


copies = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(["a", "a", "b", "", "é"]),
        "occurred_at": st.sampled_from([START, START + timedelta(microseconds=1), START + timedelta(days=1)]),
        "received_at": st.sampled_from([None, START, START + timedelta(microseconds=1)]),
        "channel": st.sampled_from([None, "email", "e"]),
        "country": st.sampled_from([None, "DE", "mail"]),
        "amount": st.sampled_from([None, 1, 2]),
        "score": st.sampled_from([None, 0.0, -0.0, 0.5]),
        "extra": st.sampled_from([None, '{"a":1}', '{"a":2}']),
        "spelling": st.integers(1, 2),  # one content may come in two texts, and a text has one content
    }
)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[list[Row]], random.Random]:
    rows = draw(st.lists(copies, min_size=1, max_size=12))
    for row in rows:  # some copies (of Parquet) have no text at all
        row[FINGERPRINT] = zlib.crc32(repr(told(row)).encode()) if draw(st.booleans()) else 0
        del row["spelling"]
    blocks: list[list[Row]] = [[] for _ in range(draw(st.integers(1, 4)))]
    for row in rows:
        blocks[draw(st.integers(0, len(blocks) - 1))].append(row)
    return blocks, draw(st.randoms(use_true_random=False))


@settings(max_examples=150)
@given(cuts())
def test_the_earliest_copy_stays_on_any_cut(steps: Any, case: tuple[list[list[Row]], random.Random]) -> None:
    contracts, connection = steps.contracts, steps.connection
    blocks, chance = case
    rows = [row for block in blocks for row in block]
    stayed = {row["event_id"]: row for row in kept(blocks, contracts, connection)}
    assert len(kept(blocks, contracts, connection)) == len({row["event_id"] for row in rows}), "each id once"

    for event_id, row in stayed.items():
        own = [r for r in rows if r["event_id"] == event_id]

        def when(r: Row) -> tuple[datetime, datetime]:
            return r["occurred_at"], r["received_at"] or datetime.max.replace(tzinfo=UTC)

        assert when(row) == min(map(when, own))

    chance.shuffle(rows)
    cut = chance.randint(0, len(rows))
    again = kept([rows[:cut], rows[cut:]], contracts, connection)
    assert sorted(map(told, again)) == sorted(map(told, stayed.values())), "the same copies, however the input is cut"


def test_the_time_decides_before_anything_else(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    early, late = (
        {
            "event_id": "a",
            "occurred_at": START + timedelta(microseconds=n),
            "received_at": START + timedelta(days=9 - n),
        }
        for n in (0, 1)
    )
    assert kept([[late], [early]], contracts, connection) == [early]


def test_a_copy_without_received_at_comes_last(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    without = {"event_id": "a", "occurred_at": START}
    received = {**without, "received_at": START + timedelta(days=400)}
    assert kept([[without, received]], contracts, connection) == [received]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"channel": "x"}, {"channel": "y"}),
        ({"channel": "x"}, {"country": "x"}),
        ({"channel": "x"}, {}),
        ({"amount": 1}, {"amount": 2}),
        ({"score": 0.1}, {"score": 0.30000000000000004}),
        ({"score": 0.30000000000000004}, {"score": 0.3}),
        ({"extra": '{"a":1}'}, {"extra": '{"a":2}'}),
        ({"extra": '{"a":1}'}, {}),
        ({"ignored_identifiers": '{"customer_id":"0"}'}, {}),
        ({"ignored_identifiers": '{"customer_id":"0"}'}, {"ignored_identifiers": '{"customer_id":"-"}'}),
        ({"extra": '{"a":1}'}, {"ignored_identifiers": '{"a":1}'}),
        ({"amount": 92, "original_amount": 100, "currency": "EUR", "original_currency": "USD"},
         {"amount": 92, "currency": "EUR"}),
        # A value that is written like the end of a field and the beginning of the next.
        ({"channel": "x\x1ecampaign_id=y"}, {"channel": "x", "campaign_id": "y"}),
    ],
)  # fmt: skip
def test_whatever_differs_decides_the_same_way_in_any_order(
    contracts: Contracts, connection: duckdb.DuckDBPyConnection, one: Row, other: Row
) -> None:
    copies = [{"event_id": "a", "occurred_at": START, **content} for content in (one, other)]
    results = [kept(blocks, contracts, connection) for blocks in (
        [copies], [copies[::-1]], [[copies[0]], [copies[1]]], [[copies[1]], [copies[0]]]
    )]  # fmt: skip
    assert [len(result) for result in results] == [1, 1, 1, 1]
    assert all(result == results[0] for result in results)


def test_rates_do_not_decide_which_copy_is_kept(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    at = {"event_id": "a", "occurred_at": START}
    for sent in range(20):
        dollars, euros = {"amount": sent, "currency": "USD"}, {"amount": 5, "currency": "EUR"}
        converted = {"amount": 5, "original_amount": sent, "currency": "EUR", "original_currency": "USD"}
        plain = kept([[at | dollars, at | euros]], contracts, connection)
        assert kept([[at | converted, at | euros]], contracts, connection) == [
            at | (converted if plain == [at | dollars] else euros)
        ]


def test_equal_texts_are_dropped_without_opening_their_blocks(contracts: Contracts) -> None:
    rows = [{"event_id": "a", "occurred_at": START, FINGERPRINT: 7}] * 3
    later, ties = find_duplicates(identifier_rows(block_of(rows, contracts), "block"))
    assert (later.num_rows, ties.num_rows) == (2, 0)


def test_ids_that_share_half_a_hash_are_two_ids() -> None:
    rows = pa.table(
        {
            "id_high": pa.array([1, 1], pa.uint64()), "id_low": pa.array([1, 2], pa.uint64()),
            "occurred_at": [0, 0], "received_at": [0, 0], FINGERPRINT: pa.array([5, 5], pa.uint64()),
        }
    )  # fmt: skip
    later, ties = find_duplicates(rows)
    assert (later.num_rows, ties.num_rows) == (0, 0)
