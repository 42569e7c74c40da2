"""The table identity_map: which identifiers each customer was seen with, and when.

All events of a customer are in one shard, so nothing more has to be shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batches import ShardTables, declared
from transforms.columns import one_chunk, valid_mask
from transforms.decisions import busiest
from transforms.groups import group_rows
from transforms.identities import ENTITIES, PERSONS, was_ignored


def map_identities(shard: ShardTables) -> ShardTables:
    """Adds `identity_map`: customers in their order, the kinds and identifiers of each by name."""
    touchpoints = shard["touchpoints"]
    pieces = [_of_kind(touchpoints, kind) for kind in (*PERSONS, *ENTITIES)]
    table = pa.concat_tables(piece for piece in pieces if piece is not None)
    order = [("customer_no", "ascending"), ("identifier_kind", "ascending"), ("identifier", "ascending")]
    return ShardTables(shard, identity_map=table.sort_by(order))


def _of_kind(touchpoints: pa.Table, kind: str) -> pa.Table | None:
    column = touchpoints[kind]
    if column.null_count == len(column) and kind != "customer_id":
        return None
    there = valid_mask(column)
    if kind in ENTITIES:
        there &= ~was_ignored(touchpoints["ignored_identifiers"], kind)
    rows = np.flatnonzero(there)
    taken = touchpoints.select(["customer_no", "customer_key", "source", kind, "occurred_at"]).take(pa.array(rows))
    identifier = one_chunk(taken[kind])
    if kind in ENTITIES:
        source = pc.fill_null(one_chunk(taken["source"]), "")
        identifier = pc.binary_join_element_wise(source, identifier, ":")
    groups = group_rows(taken["customer_no"].to_numpy(), identifier.dictionary_encode().indices.to_numpy())
    time = taken["occurred_at"].cast(pa.int64()).to_numpy()
    first = np.full(len(groups.first), np.iinfo(np.int64).max)
    last = np.full(len(groups.first), np.iinfo(np.int64).min)
    np.minimum.at(first, groups.number, time)
    np.maximum.at(last, groups.number, time)
    at = pa.array(groups.first)
    kinds = pa.DictionaryArray.from_arrays(np.zeros(len(at), np.int32), pa.array([kind])).cast(pa.string())
    return pa.table(
        {
            "identifier_kind": kinds,
            "identifier": identifier.take(at),
            "customer_key": taken["customer_key"].take(at),
            "valid_from": pa.array(first).cast(pa.timestamp("us", "UTC")),
            "valid_to": pa.array(last).cast(pa.timestamp("us", "UTC")),
            "n_events": pa.array(groups.rows),
            "customer_no": taken["customer_no"].take(at),
        }
    )


class _MapIdentities(beam.DoFn):
    def process(self, shard: ShardTables) -> Iterator[ShardTables | beam.pvalue.TaggedOutput]:
        yield map_identities(shard)
        for tally in busiest(
            "customer", shard["customers"]["customer_key"], shard["customers"]["touchpoints"].to_numpy()
        ):
            yield beam.pvalue.TaggedOutput("tallies", tally)


class MapIdentities(beam.PTransform):
    """ShardTables -> `shards`, with `identity_map`, and `tallies` of the busiest customers."""

    def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
        mapped = shards | beam.ParDo(_MapIdentities()).with_outputs("tallies", main="shards")
        return {"shards": declared(mapped.shards, ShardTables), "tallies": mapped.tallies}
