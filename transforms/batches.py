"""What travels through the pipeline: Arrow tables, their coder, and the cutting of a table into shards.

An element is one Arrow table; a key is a shard number. A step that hands on several tables of one shard hands on a
`ShardTables`. No Python object is made for an event.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import coders

#: Customers fall into this many fixed buckets; a shard is a range of buckets, so a shard count never moves a customer
#: from one order to another.
BUCKETS = 65_536

_IPC = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class ShardTables(dict[str, pa.Table]):
    """Tables of one shard by name. Steps after the shuffle take one and return one with tables added."""

    @property
    def nbytes(self) -> int:
        return sum(table.nbytes for table in self.values())


def encode_table(table: pa.Table) -> bytes:
    """Arrow IPC stream, lz4. One thread: the parallelism is Beam's."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_IPC) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def decode_table(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


class TableCoder(coders.Coder):
    """Beam's coder of `pa.Table`. Its own `estimate_size`: else Beam encodes each table a second time to weigh it."""

    def encode(self, value: pa.Table) -> bytes:
        return encode_table(value)

    def decode(self, encoded: bytes) -> pa.Table:
        return decode_table(encoded)

    def estimate_size(self, value: pa.Table) -> int:
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type:
        return pa.Table

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class HolderCoder(coders.Coder):
    """Beam's coder of objects that hold tables and go from step to step within a stage.

    They are hardly ever encoded, but Beam weighs some of them at every step: without a coder of their own, by pickling.
    The object says its `nbytes`. Where a runner does cut between two such steps, tables travel as by TableCoder.
    """

    def encode(self, value: Any) -> bytes:
        sink = io.BytesIO()
        _HolderPickler(sink, pickle.HIGHEST_PROTOCOL).dump(value)
        return sink.getvalue()

    def decode(self, encoded: bytes) -> Any:
        return pickle.loads(encoded)

    def estimate_size(self, value: Any) -> int:
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False


class _HolderPickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        return (decode_table, (encode_table(value),)) if isinstance(value, pa.Table) else NotImplemented


coders.registry.register_coder(pa.Table, TableCoder)
coders.registry.register_coder(ShardTables, HolderCoder)


def drop_null_columns(table: pa.Table) -> pa.Table:
    """Leave out columns without a value: a piece of a table costs 10 KB at 60 columns before any data."""
    return table.select([c for c in table.column_names if table[c].null_count < table.num_rows])


def conform(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Concatenate pieces that may lack columns into one table of exactly `schema`; missing columns are null.

    Raises pa.ArrowTypeError if a piece has a column of another type: pieces come from our own steps, so it is a defect.
    """
    pieces = list(tables)
    columns = []
    for field in schema:
        chunks: list[pa.Array] = []
        for piece in pieces:
            if field.name in piece.schema.names:
                chunks.extend(piece[field.name].chunks)
            else:
                chunks.append(pa.nulls(piece.num_rows, field.type))
        columns.append(pa.chunked_array(chunks, field.type))
    return pa.table(columns, schema=schema)


def shard_of_bucket(bucket: np.ndarray, shards: int) -> np.ndarray:
    """uint16[n]: the shard that holds each bucket; shards are ranges of buckets of equal width."""
    return (bucket.astype(np.int64) * shards // BUCKETS).astype(np.uint16)


def split_by_shard(
    table: pa.Table, shard: np.ndarray, shards: int, keep: np.ndarray | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """Cut a table by shard: one stable sort of small integers, then slices. Empty pieces are not made.

    `keep` (bool[n]) leaves rows out on the way: the copy is made anyway.
    """
    order = np.argsort(shard, kind="stable")
    if keep is not None:
        order = order[keep[order]]
    bounds = np.searchsorted(shard[order], np.arange(shards + 1))
    table = table.take(pa.array(order)).combine_chunks()
    for number in range(shards):
        start, stop = int(bounds[number]), int(bounds[number + 1])
        if stop > start:
            yield number, drop_null_columns(table.slice(start, stop - start))


def keyed_tables(elements: beam.PCollection, key: type | None) -> beam.PCollection:
    """Declare a PCollection to be KV[key, table]. Untyped, Beam would pickle the tables, each with its whole parent."""
    return declared(elements, beam.typehints.KV[key, pa.Table])


def declared(elements: beam.PCollection, kind: Any) -> beam.PCollection:
    """Declare what a PCollection holds, and so its coder; of several outputs of one step Beam infers nothing."""
    elements.element_type = kind
    return elements


def to_one(tables: beam.PCollection, name: str) -> beam.PCollection:
    """KV[name, table] of all shards -> one KV[None, all of them], read as a stream."""
    keyed = tables | f"ToOne{name}" >> beam.Map(lambda kv: (None, kv)).with_output_types(
        beam.typehints.KV[None, beam.typehints.KV[str, pa.Table]]
    )
    return keyed | f"Gather{name}" >> beam.GroupByKey()


def with_columns(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """The table with columns added or replaced."""
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
    return table
