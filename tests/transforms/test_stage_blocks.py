"""Staged blocks come back as they were, and their identifier rows are narrow and right."""

from __future__ import annotations

import datetime
from pathlib import Path

import mmh3
import numpy as np
import pyarrow as pa

from transforms.batches import shard_of_bucket
from transforms.candidates import FINGERPRINT
from transforms.stage_blocks import CODED, IDENTIFIERS, identifier_rows, read_block, shard_of_id, write_block

NEVER = 2**63 - 1
T0 = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MICROS = 1_767_225_600_000_000
TIME = pa.timestamp("us", "UTC")


def test_a_block_comes_back_with_its_source(tmp_path: Path) -> None:
    events = pa.table(
        {"event_id": ["a", "é"], "occurred_at": pa.array([T0, T0], TIME), "contract": pa.array([1, 2], pa.int16())}
    )
    events = events.replace_schema_metadata({"source": "web"})
    write_block(events, str(tmp_path / "block"))
    found = read_block(str(tmp_path / "block"))
    assert found.equals(events)
    assert found.schema.metadata == {b"source": b"web"}


def test_identifiers_are_codes_and_come_back_as_they_were(tmp_path: Path) -> None:
    """In one dictionary each, whatever the pieces that the events came in. Other texts stay texts."""
    texts = {name: ["b", None, "a", "b", "é"] for name in (*CODED, "channel", "event_id")}
    pieces = [pa.table(texts).slice(0, 3), pa.table(texts).slice(3)]
    path = str(tmp_path / "block")
    write_block(pa.concat_tables(pieces), path)
    found = read_block(path)
    assert found.to_pydict() == texts
    for name in texts:
        (chunk,) = found[name].chunks
        assert pa.types.is_dictionary(chunk.type) == (name in CODED)
        if name in CODED:
            assert chunk.dictionary.to_pylist() == ["b", "a", "é"]


def test_only_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    events = pa.table({"event_id": ["a", "b"], "email": ["x", None], "order_id": ["o", "p"], "comment": ["long"] * 2})
    path = str(tmp_path / "block")
    write_block(events.replace_schema_metadata({"source": "web"}), path)
    found = read_block(path, ("order_id", "no column of it", "email"))
    assert found.to_pydict() == {"email": ["x", None], "order_id": ["o", "p"]}
    assert [field.type.value_type for field in found.schema] == [pa.string()] * 2


def test_one_narrow_row_an_event() -> None:
    events = pa.table({
        "event_id": ["a", "é"], "occurred_at": pa.array([T0, T0], TIME), "received_at": pa.array([None, T0], TIME),
        FINGERPRINT: pa.array([5, 2**64 - 1], pa.uint64()), "comment": ["long"] * 2,
    })  # fmt: skip
    found = identifier_rows(events, "path")
    assert found.schema == IDENTIFIERS
    high, low = zip(*(mmh3.hash64(i, 0, x64arch=True, signed=False) for i in ("a", "é")), strict=True)
    assert found.to_pydict() == {
        "block": ["path"] * 2, "row": [0, 1], "id_high": list(high), "id_low": list(low), "occurred_at": [MICROS] * 2,
        "received_at": [NEVER, MICROS], "fingerprint": [5, 2**64 - 1],
    }  # fmt: skip


def test_without_received_at_and_without_texts() -> None:
    found = identifier_rows(pa.table({"event_id": ["a"], "occurred_at": pa.array([T0], TIME)}), "path")
    assert (found["received_at"].to_pylist(), found["fingerprint"].to_pylist()) == ([NEVER], [0])


def test_all_copies_of_an_id_meet_in_one_shard() -> None:
    high = np.array([0, 2**48, 2**63, 2**64 - 1], np.uint64)
    assert shard_of_id(high, 4).tolist() == [0, 0, 2, 3]
    assert shard_of_id(high, 65_536).tolist() == shard_of_bucket(np.array([0, 1, 2**15, 2**16 - 1]), 65_536).tolist()
