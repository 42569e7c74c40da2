"""Tables to Parquet files of the run, and the one listing of all that was written and counted.

A file has a unique name for each attempt and counts only if the listing names it: a retried bundle leaves a file that no
manifest lists. Nothing is renamed.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from schemas.tables import Table
from transforms.batches import ShardTables
from transforms.read_blocks import Problem

#: Rows a row group: what DuckDB gives one thread at a time.
_ROW_GROUP = 122_880
#: A dictionary of these would be as long as the column.
_NO_DICTIONARY = frozenset(("event_id", "friction_id", "comment", "extra", "raw"))


class WrittenFile(NamedTuple):
    """One Parquet file, as the manifest lists it; `path` is relative to the run's folder."""

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


def to_parquet(table: pa.Table, schema: pa.Schema) -> pa.Buffer:
    """The table's published columns as one Parquet file: zstd, and each column of exactly its declared type."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.schema.names else pa.nulls(table.num_rows, f.type) for f in schema
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns, schema=schema),
        sink,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=[f.name for f in schema if pa.types.is_string(f.type) and f.name not in _NO_DICTIONARY],
        store_schema=False,
    )
    return sink.getvalue()


def write_table(table: pa.Table, schema: pa.Schema, name: str, folder: str) -> WrittenFile:
    """Write one file of a table under the run's folder."""
    data = to_parquet(table, schema)
    path = f"{name}/part-{uuid.uuid4().hex}.parquet"
    with FileSystems.create(
        FileSystems.join(folder, path), "application/octet-stream", CompressionTypes.UNCOMPRESSED
    ) as sink:
        sink.write(memoryview(data))
    return WrittenFile(name, path, table.num_rows, data.size, hashlib.sha256(memoryview(data)).hexdigest())


class _WriteShard(beam.DoFn):
    def __init__(self, tables: Mapping[str, Table], folder: str) -> None:
        self._tables, self._folder = tables, folder

    def process(self, shard: ShardTables) -> Iterator[WrittenFile]:
        for name, table in self._tables.items():
            if name in shard and shard[name].num_rows:
                yield write_table(shard[name], table.schema, name, self._folder)


class _WriteOne(beam.DoFn):
    def __init__(self, tables: Mapping[str, Table], folder: str) -> None:
        self._tables, self._folder = tables, folder

    def process(self, element: tuple[str, pa.Table]) -> Iterator[WrittenFile]:
        name, table = element
        if table.num_rows:
            yield write_table(table, self._tables[name].schema, name, self._folder)


class WriteShards(beam.PTransform):
    """ShardTables -> WrittenFile, one a table and shard, rows in the order of the table's key.

    Several collections of ShardTables may come: `given` says which tables come with each, the first has all others. What
    is only known once all shards have been looked at need not keep their other tables waiting.
    """

    def __init__(self, tables: Mapping[str, Table], folder: str, given: Sequence[str] = ()) -> None:
        super().__init__()
        self._tables, self._folder, self._given = tables, folder, given

    def expand(self, shards: Any) -> beam.PCollection:
        first, *others = shards if isinstance(shards, tuple) else (shards,)
        of_first = {name: table for name, table in self._tables.items() if name not in self._given}
        written = [first | "Write" >> self._write(of_first)]
        written += [
            other | f"Write_{name}" >> self._write({name: self._tables[name]})
            for name, other in zip(self._given, others, strict=True)
        ]
        return written | "Written" >> beam.Flatten() if others else written[0]

    def _write(self, tables: Mapping[str, Table]) -> beam.PTransform:
        return beam.ParDo(_WriteShard(tables, self._folder)).with_output_types(WrittenFile)


class WriteTables(beam.PTransform):
    """KV[table name, whole table] -> WrittenFile."""

    def __init__(self, tables: Mapping[str, Table], folder: str) -> None:
        super().__init__()
        self._tables, self._folder = tables, folder

    def expand(self, tables: beam.PCollection) -> beam.PCollection:
        return tables | beam.ParDo(_WriteOne(self._tables, self._folder)).with_output_types(WrittenFile)


class _SortQuarantine(beam.DoFn):
    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        table = pa.concat_tables(element[1])
        table = table.sort_by([(c, "ascending") for c in ("source", "file", "position", "event_id")])
        yield "quarantine", table.append_column("run_id", pa.array([self._run_id] * table.num_rows, pa.string()))


class GatherQuarantine(beam.PTransform):
    """KV[shard, quarantined rows] -> KV["quarantine", table], in order, a few files for many blocks."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def expand(self, quarantine: beam.PCollection) -> beam.PCollection:
        return (
            quarantine
            | "GroupQuarantine" >> beam.GroupByKey()
            | "SortQuarantine"
            >> beam.ParDo(_SortQuarantine(self._run_id)).with_output_types(beam.typehints.KV[str, pa.Table])
        )


class _WriteListing(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[None, Iterable[tuple[str, dict[str, Any]]]]) -> Iterator[str]:
        listing: dict[str, list[dict[str, Any]]] = {"files": [], "tallies": [], "problems": [], "examples": []}
        for kind, entry in element[1]:
            if entry is not None:
                listing[kind].append(entry)
        for entries in listing.values():
            entries.sort(key=lambda entry: json.dumps(entry, sort_keys=True))
        path = FileSystems.join(self._folder, f"listing-{uuid.uuid4().hex}.json")
        with FileSystems.create(path, "application/json", CompressionTypes.UNCOMPRESSED) as sink:
            sink.write(json.dumps(listing).encode())
        yield path


class WriteListing(beam.PTransform):
    """{"files", "tallies", "problems", "examples"} -> one JSON file in `folder`, which the launcher reads.

    Written even where a run has neither files nor tallies: that it exists says that the pipeline came to its end.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def expand(self, parts: Mapping[str, beam.PCollection]) -> beam.PCollection:
        tallies = (
            parts["tallies"]
            | "KeyTallies" >> beam.Map(lambda t: (tuple(t[:3]), t[3]))
            | "AddTallies" >> beam.CombinePerKey(sum)
            | "NameTallies"
            >> beam.Map(
                lambda kv: ("tallies", dict(zip(("name", "source", "code", "count"), (*kv[0], kv[1]), strict=True)))
            )
        )
        problems: beam.PCollection[Problem] = parts["problems"]
        entries = [tallies, problems | "NameProblems" >> beam.Map(lambda p: ("problems", p._asdict()))]
        if "files" in parts:
            entries.append(parts["files"] | "NameFiles" >> beam.Map(lambda f: ("files", f._asdict())))
        if "examples" in parts:
            entries.append(parts["examples"] | "NameExamples" >> beam.Map(lambda e: ("examples", e)))
        nothing = parts["problems"].pipeline | "Nothing" >> beam.Create([None])
        return (
            (*(e | f"KeyEntries{i}" >> beam.Map(lambda entry: (None, entry)) for i, e in enumerate(entries)),
             nothing | "KeyNothing" >> beam.Map(lambda _: (None, ("problems", None))))
            | "Entries" >> beam.Flatten()
            | "GroupEntries" >> beam.GroupByKey()
            | "WriteOneListing" >> beam.ParDo(_WriteListing(self._folder))
        )  # fmt: skip
