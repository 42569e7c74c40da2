"""The one full-width shuffle: staged blocks less their duplicates, cut by customer bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.batches import keyed_tables, shard_of_bucket, split_by_shard, with_columns
from transforms.columns import one_chunk
from transforms.hashing import murmur3_128
from transforms.stage_blocks import read_block

_KEY_FIELDS = ("customer_id", "email", "anonymous_id", "source", "ticket_id", "subscription_id", "order_id")


def customer_keys(events: pa.Table, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """customer_key and is_known of each event, by sql/customer_key.sql."""
    columns = {
        name: events[name] if name in events.column_names else pa.nulls(events.num_rows, pa.string())
        for name in _KEY_FIELDS
    }
    return duck.select(connection, duck.read_sql("customer_key"), {"events": pa.table(columns)})


def customer_bucket(keys: pa.Array) -> np.ndarray:
    """int64[n]: the bucket of each key, the first 16 bits of its MurmurHash3: documented, and the same for ever."""
    high, _ = murmur3_128(keys)
    return (high >> np.uint64(48)).astype(np.int64)


def load_block(
    events: pa.Table, duplicates: Iterable[pa.Table], shards: int, connection: duckdb.DuckDBPyConnection
) -> Iterator[tuple[int, pa.Table]]:
    """The block's events without the rows that are duplicates, with customer_key and is_known, cut by shard."""
    keep = np.ones(events.num_rows, bool)
    for rows in duplicates:
        keep[rows["row"].to_numpy()] = False
    keys = customer_keys(events, connection)
    events = with_columns(events, {"customer_key": keys["customer_key"], "is_known": keys["is_known"]})
    encoded = pc.dictionary_encode(one_chunk(keys["customer_key"]))
    bucket = customer_bucket(encoded.dictionary)[encoded.indices.to_numpy()]
    yield from split_by_shard(events, shard_of_bucket(bucket, shards), shards, keep)


class _LoadBlocks(beam.DoFn):
    def __init__(self, shards: int) -> None:
        self._shards = shards

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(
        self, block: tuple[str, Iterable[pa.Table]]
    ) -> Iterator[tuple[int, pa.Table] | beam.pvalue.TaggedOutput]:
        path, duplicates = block
        events = read_block(path)
        source, kept = events.schema.metadata[b"source"].decode(), 0
        events = events.replace_schema_metadata(None)
        for shard, piece in load_block(events, duplicates, self._shards, self._connection):
            kept += piece.num_rows
            yield shard, piece
        yield beam.pvalue.TaggedOutput("tallies", ("touchpoints", source, "", kept))
        yield beam.pvalue.TaggedOutput("tallies", ("duplicates", source, "", events.num_rows - kept))


class LoadByCustomer(beam.PTransform):
    """(staged blocks, duplicate rows), both keyed by block -> KV[shard, all tables of its customers], and `tallies`."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        self._shards = shards

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> dict[str, Any]:
        loaded = (
            inputs
            | "BlocksAndDuplicates" >> beam.Flatten()
            | "GroupByBlock" >> beam.GroupByKey()
            | "LoadBlocks" >> beam.ParDo(_LoadBlocks(self._shards)).with_outputs("tallies", main="pieces")
        )
        shards = keyed_tables(loaded.pieces, int) | "GroupByShard" >> beam.GroupByKey()
        return {"shards": shards, "tallies": loaded.tallies}
