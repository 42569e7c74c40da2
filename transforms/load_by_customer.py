"""The one full-width shuffle: staged blocks less their duplicates, with their customers, cut by customer bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.answers import ANSWERS
from transforms.batches import keyed_tables, shard_of_bucket, split_by_shard, with_columns
from transforms.columns import one_chunk
from transforms.find_owners import LIFE
from transforms.hashing import murmur3_128
from transforms.identities import RULES, Coded, Identities, IdentityRules, Resolved, is_known
from transforms.stage_blocks import CODED, read_block

#: Columns that the steps find, beside those of the contracts.
FOUND = (
    ("customer_key", pa.string()),
    ("is_known", pa.bool_()),
    ("identity_rule", pa.string()),
    ("starts_session", pa.bool_()),
    ("owner_key", pa.string()),  # of the ticket or subscription, where it is another customer's
)
#: True in pieces that are copies, for the owner of a ticket or subscription, of another customer's events.
IS_COPY = "is_copy"


def customer_bucket(keys: pa.Array) -> np.ndarray:
    """int64[n]: the bucket of each key, the first 16 bits of its MurmurHash3: documented, and the same for ever."""
    high, _ = murmur3_128(keys)
    return (high >> np.uint64(48)).astype(np.int64)


def load_block(
    events: pa.Table, answers: pa.Table, rules: IdentityRules, shards: int
) -> tuple[Resolved, Iterator[tuple[int, pa.Table]]]:
    """Whose events a block has, and the events that are kept, with the columns FOUND, cut by shard.

    An event of a ticket or subscription that belongs to another customer goes to that one's shard too, marked IS_COPY.
    """
    block = Identities(events, rules, answers)
    resolved = block.resolve()
    owner = _owner(block, resolved)
    found = {
        "customer_key": pa.DictionaryArray.from_arrays(pa.array(resolved.key), resolved.names),
        "is_known": is_known(resolved.names).take(pa.array(resolved.key)),
        "identity_rule": pa.DictionaryArray.from_arrays(pa.array(resolved.rule), pa.array(RULES)),
        "starts_session": pa.array(block.starts_session()),
        "owner_key": pa.DictionaryArray.from_arrays(pa.array(owner.codes, mask=owner.codes < 0), owner.names),
    }
    if len(block) < events.num_rows:
        events = events.take(pa.array(block.rows))
    return resolved, _pieces(with_columns(events, found), resolved, owner, shards)


def _pieces(events: pa.Table, resolved: Resolved, owner: Coded, shards: int) -> Iterator[tuple[int, pa.Table]]:
    shard = shard_of_bucket(customer_bucket(resolved.names), shards)[resolved.key]
    for number, piece in split_by_shard(events, shard, shards):
        yield number, _decoded(piece)
    rows = np.flatnonzero(owner.codes >= 0)
    if not len(rows):
        return
    copies = with_columns(events.take(pa.array(rows)), {IS_COPY: pa.array(np.ones(len(rows), bool))})
    shard = shard_of_bucket(customer_bucket(owner.names), shards)[owner.codes[rows]]
    for number, piece in split_by_shard(copies, shard, shards):
        yield number, _decoded(piece)


def _owner(block: Identities, resolved: Resolved) -> Coded:
    """For each event of a ticket's or subscription's life: the key of its owner, if that is another customer."""
    codes = np.full(len(block), -1, np.int64)
    names = [pa.array([], pa.string())]
    count = 0
    for name, owners in block.owners().items():
        of_life = block.is_one_of(LIFE[name]) & (owners.codes >= 0)
        same = np.append(pc.index_in(owners.names, resolved.names).fill_null(-1).to_numpy(), -1)
        elsewhere = of_life & (same[owners.codes] != resolved.key)
        codes[elsewhere] = owners.codes[elsewhere] + count
        names.append(owners.names.fill_null(""))
        count += len(owners.names)
    return Coded(codes, pa.concat_arrays(names))


def _decoded(piece: pa.Table) -> pa.Table:
    """Texts again where the staged block had codes: a piece would carry the whole block's dictionaries."""
    coded = [name for name in (*CODED, *(name for name, _ in FOUND)) if name in piece.column_names]
    return with_columns(
        piece, {n: one_chunk(piece[n]).dictionary_decode() for n in coded if pa.types.is_dictionary(piece[n].type)}
    )


class _LoadBlocks(beam.DoFn):
    def __init__(self, rules: IdentityRules, shards: int) -> None:
        self._rules, self._shards = rules, shards

    def process(
        self, block: tuple[str, Iterable[pa.Table]]
    ) -> Iterator[tuple[int, pa.Table] | beam.pvalue.TaggedOutput]:
        path, answers = block
        events = read_block(path)
        source = events.schema.metadata[b"source"].decode()
        resolved, pieces = load_block(
            events.replace_schema_metadata(None),
            pa.concat_tables((ANSWERS.empty_table(), *answers)),
            self._rules,
            self._shards,
        )
        yield from pieces
        kept = len(resolved.key)
        yield beam.pvalue.TaggedOutput("tallies", ("touchpoints", source, "", kept))
        yield beam.pvalue.TaggedOutput("tallies", ("duplicates", source, "", events.num_rows - kept))
        for rule, count in enumerate(np.bincount(resolved.rule, minlength=len(RULES))):
            if count:
                yield beam.pvalue.TaggedOutput("tallies", ("identity_rule", source, RULES[rule], int(count)))


class LoadByCustomer(beam.PTransform):
    """ANSWERS keyed by block, at least one table for each -> KV[shard, all tables of its customers], and `tallies`."""

    def __init__(self, rules: IdentityRules, shards: int) -> None:
        super().__init__()
        self._rules, self._shards = rules, shards

    def expand(self, answers: beam.PCollection) -> dict[str, Any]:
        loaded = (
            answers
            | "GroupByBlock" >> beam.GroupByKey()
            | "LoadBlocks" >> beam.ParDo(_LoadBlocks(self._rules, self._shards)).with_outputs("tallies", main="pieces")
        )
        shards = keyed_tables(loaded.pieces, int) | "GroupByShard" >> beam.GroupByKey()
        return {"shards": shards, "tallies": loaded.tallies}
