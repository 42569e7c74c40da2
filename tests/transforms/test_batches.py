"""What travels: tables and their coders, and cutting a table by shard so that no row is lost."""

from __future__ import annotations

import pickle
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam import coders
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.batches import (
    BUCKETS,
    HolderCoder,
    ShardTables,
    TableCoder,
    conform,
    declared,
    decode_table,
    drop_null_columns,
    encode_table,
    keyed_tables,
    shard_of_bucket,
    split_by_shard,
    with_columns,
)
from transforms.candidates import Block, Candidates
from transforms.quarantine import Validated

TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int16()),
        "s": ["a", None, "é"],
        "d": pa.array(["x", "x", None]).dictionary_encode(),
    }
)


def test_a_table_comes_back_as_it_was() -> None:
    assert decode_table(encode_table(TABLE)).equals(TABLE)
    coder = TableCoder()
    assert coder.decode(coder.encode(TABLE)).equals(TABLE)
    assert coder.estimate_size(TABLE) == TABLE.nbytes
    assert coder == TableCoder()
    assert hash(coder) == hash(TableCoder())


def test_a_slice_does_not_take_its_parent_along() -> None:
    large = pa.table({"n": np.arange(1_000_000)})
    assert len(encode_table(large.slice(10, 5))) < 1000
    holder = HolderCoder().encode(ShardTables(a=large.slice(10, 5)))
    assert len(holder) < 2000
    assert HolderCoder().decode(holder)["a"].equals(large.slice(10, 5))


def test_coders_are_registered() -> None:
    assert isinstance(coders.registry.get_coder(pa.Table), TableCoder)
    for kind in (ShardTables, Block, Candidates, Validated):
        assert isinstance(coders.registry.get_coder(kind), HolderCoder), kind


def test_a_holder_tells_its_size_without_being_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle, "Pickler", None)
    assert HolderCoder().estimate_size(ShardTables(a=TABLE, b=TABLE)) == 2 * TABLE.nbytes


def test_pieces_that_lack_columns_become_one_table() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.bool_())])
    pieces = [pa.table({"b": ["x"], "a": [1]}), pa.table({"a": [2, 3]}), pa.table({"unasked": [1]})]
    found = conform(pieces, schema)
    assert found.schema == schema
    assert found.to_pydict() == {"a": [1, 2, 3, None], "b": ["x", None, None, None], "c": [None] * 4}
    assert conform([], schema).equals(schema.empty_table())
    with pytest.raises(pa.ArrowTypeError):
        conform([pa.table({"a": ["text"]})], schema)


def test_columns_without_a_value_are_dropped() -> None:
    assert drop_null_columns(
        pa.table({"a": [1, None], "b": pa.nulls(2), "c": pa.nulls(2, pa.int8())})
    ).column_names == ["a"]


def test_columns_are_added_or_replaced() -> None:
    found = with_columns(pa.table({"a": [1], "b": [2]}), {"a": pa.array(["x"]), "c": pa.array([3])})
    assert found.to_pydict() == {"a": ["x"], "b": [2], "c": [3]}


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 500, BUCKETS])
def test_shards_are_ranges_of_all_buckets(shards: int) -> None:
    found = shard_of_bucket(np.arange(BUCKETS), shards)
    assert (np.diff(found.astype(np.int64)) >= 0).all()
    sizes = np.bincount(found, minlength=shards)
    assert len(sizes) == shards
    assert sizes.max() - sizes.min() <= 1


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.one_of(st.none(), st.integers(0, 9))), max_size=20),
    st.booleans(),
)
def test_a_cut_loses_no_row_and_keeps_their_order(rows: list[tuple[int, bool, int | None]], all_of_them: bool) -> None:
    table = pa.table(
        {"row": pa.array(range(len(rows)), pa.int64()), "value": pa.array([v for _, _, v in rows], pa.int64())}
    )
    shard = np.array([s for s, _, _ in rows], np.uint16)
    keep = np.array([k for _, k, _ in rows], bool)
    found = dict(split_by_shard(table, shard, 5, None if all_of_them else keep))
    expected = {
        number: [(row, v) for row, (s, k, v) in enumerate(rows) if s == number and (k or all_of_them)]
        for number in range(5)
    }
    assert sorted(found) == [number for number, own in expected.items() if own], "no empty pieces"
    for number, piece in found.items():
        assert piece["row"].to_pylist() == [row for row, _ in expected[number]]
        values = piece["value"].to_pylist() if "value" in piece.column_names else [None] * piece.num_rows
        assert values == [v for _, v in expected[number]]


def test_elements_are_declared() -> None:
    pipeline = beam.Pipeline()
    elements: Any = pipeline | beam.Create([1])
    assert keyed_tables(elements, int).element_type == beam.typehints.KV[int, pa.Table]
    assert declared(elements, Block).element_type is Block
