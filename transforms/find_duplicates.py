"""An event_id stands at most once, over the whole input.

The copy kept is the earliest by (occurred_at, received_at with nulls last, a 128-bit hash of the typed contract
fields in schema order, the same of `extra` and of ignored identifiers), as they were sent: rates convert what is kept,
and do not decide what is. The hash is only worked out where the times tie:
for those rows alone their staged blocks are opened again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa

from schemas.contracts import Contracts, original
from transforms import duck
from transforms.answers import BLOCK, DUPLICATE, answers, by_block, in_block
from transforms.batches import keyed_tables, split_by_shard
from transforms.columns import texts
from transforms.hashing import murmur3_128
from transforms.stage_blocks import IDENTIFIERS, read_block, shard_of_id

#: Rows of one block whose times tie with another copy's, with the group that they tie in.
TIES = pa.schema([("row", pa.int32()), ("id_high", pa.uint64()), ("id_low", pa.uint64())])
#: Ties with the hashes that break them.
CONTENTS = pa.schema(
    [
        ("block", BLOCK),
        ("row", pa.int32()),
        ("id_high", pa.uint64()),
        ("id_low", pa.uint64()),
        *((f"content_{i}", pa.uint64()) for i in range(4)),
    ]
)


def find_duplicates(identifiers: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(rows that are certainly later copies, rows that tie in time for the first place), both as IDENTIFIERS.

    `identifiers` holds all copies of its event_ids, in any order.
    """
    high, low, occurred, received, fingerprint = (
        identifiers[c].to_numpy() for c in ("id_high", "id_low", "occurred_at", "received_at", "fingerprint")
    )
    # Most ids stand once: those that do are passed by with one sort of one column.
    repeated = _repeated(high)
    if not len(repeated):
        return identifiers.slice(0, 0), identifiers.slice(0, 0)
    order = repeated[np.lexsort((received[repeated], occurred[repeated], low[repeated], high[repeated]))]
    high, low, occurred, received = high[order], low[order], occurred[order], received[order]
    first = np.concatenate(([True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])))
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    ties_with_first = (occurred == occurred[start]) & (received == received[start])
    group = np.cumsum(first) - 1
    groups = int(group[-1]) + 1
    ties_in_group = np.bincount(group[ties_with_first], minlength=groups)
    # Ties of one text are equal copies: any of them may stay. Only where a text differs must the contents decide.
    fingerprint = fingerprint[order]
    differs = ties_with_first & ((fingerprint != fingerprint[start]) | (fingerprint == 0))
    undecided = (np.bincount(group[differs], minlength=groups) > 0) & (ties_in_group > 1)
    tie = ties_with_first & undecided[group]
    later = ~tie & ~first
    return identifiers.take(pa.array(order[later])), identifiers.take(pa.array(order[tie]))


def _repeated(values: np.ndarray) -> np.ndarray:
    """Rows whose value stands more than once."""
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    return np.sort(order[np.concatenate(([False], same)) | np.concatenate((same, [False]))])


def hash_contents(
    events: pa.Table, ties: pa.Table, path: str, contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """CONTENTS of the tied rows of one block."""
    rows = events.take(ties["row"])
    # The length goes before each text, so that no value reads like the end of one field and the next.
    parts = [
        f"case when {sent} is not null then '{name}' || strlen({sent}::varchar) || '=' || {sent}::varchar else '' end"
        for name in contracts.fields
        if name in rows.column_names
        for sent in [f'coalesce("{original(name)}", "{name}")' if original(name) in rows.column_names else f'"{name}"']
    ]
    others = {"extra": "extra", "ignored_identifiers": "' ignored ' || ignored_identifiers"}
    extra = f"concat('', {', '.join(sql for name, sql in others.items() if name in rows.column_names) or 'null'})"
    answer = duck.select(connection, f"select concat({', '.join(parts)}) as fields, {extra} as extra from rows_of_block",
                         {"rows_of_block": rows})  # fmt: skip
    return pa.table(
        [
            in_block(path, len(rows)),
            *(ties[c] for c in TIES.names),
            *murmur3_128(texts(answer["fields"])),
            *murmur3_128(texts(answer["extra"])),
        ],
        schema=CONTENTS,
    )


def break_ties(contents: pa.Table) -> pa.Table:
    """The tied copies that are not kept. Where even the contents are equal, the copies are equal, and any may stay."""
    columns = [contents[c].to_numpy() for c in ("id_high", "id_low", *(f"content_{i}" for i in range(4)))]
    order = np.lexsort(columns[::-1])
    high, low = columns[0][order], columns[1][order]
    first = np.concatenate(([True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])))
    return contents.take(pa.array(order[~first]))


def _duplicates(rows: pa.Table) -> pa.Table:
    return answers(DUPLICATE, rows, row=rows["row"])


class _FindDuplicates(beam.DoFn):
    def process(self, shard: tuple[int, Iterable[pa.Table]]) -> Iterator[beam.pvalue.TaggedOutput]:
        later, ties = find_duplicates(pa.concat_tables(t.select(IDENTIFIERS.names) for t in shard[1]))
        for path, rows in by_block(_duplicates(later)):
            yield beam.pvalue.TaggedOutput("duplicates", (path, rows))
        for path, rows in by_block(ties, TIES):
            yield beam.pvalue.TaggedOutput("ties", (path, rows))


class _HashContents(beam.DoFn):
    def __init__(self, contracts: Contracts, shards: int) -> None:
        self._contracts, self._shards = contracts, shards

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, block: tuple[str, Iterable[pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
        path, pieces = block
        ties = pa.concat_tables(pieces)
        contents = hash_contents(read_block(path), ties, path, self._contracts, self._connection)
        yield from split_by_shard(contents, shard_of_id(contents["id_high"].to_numpy(), self._shards), self._shards)


class _BreakTies(beam.DoFn):
    def process(self, shard: tuple[int, Iterable[pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        yield from by_block(_duplicates(break_ties(pa.concat_tables(shard[1]))))


class FindDuplicates(beam.PTransform):
    """Identifier rows by id shard -> ANSWERS of the kind DUPLICATE, keyed by block: the copies that are not kept."""

    def __init__(self, contracts: Contracts, shards: int) -> None:
        super().__init__()
        self._contracts, self._shards = contracts, shards

    def expand(self, identifiers: beam.PCollection) -> beam.PCollection:
        by_block = beam.typehints.KV[str, pa.Table]
        by_id = beam.typehints.KV[int, pa.Table]
        found = (
            identifiers
            | "GroupById" >> beam.GroupByKey()
            | "CompareTimes" >> beam.ParDo(_FindDuplicates()).with_outputs("duplicates", "ties")
        )
        broken = (
            keyed_tables(found.ties, str)
            | "GroupTiesByBlock" >> beam.GroupByKey()
            | "HashContents" >> beam.ParDo(_HashContents(self._contracts, self._shards)).with_output_types(by_id)
            | "GroupTiesById" >> beam.GroupByKey()
            | "BreakTies" >> beam.ParDo(_BreakTies()).with_output_types(by_block)
        )
        return (keyed_tables(found.duplicates, str), broken) | "Duplicates" >> beam.Flatten()
