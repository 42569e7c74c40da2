"""Blocks of records to candidate events: Parcours' own format by name, a foreign export by its description's SELECT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Contracts
from schemas.source_descriptions import Source
from transforms import duck
from transforms.batches import declared
from transforms.candidates import FINGERPRINT, Block, Candidates, Finding, fingerprint, lines_at
from transforms.columns import one_chunk, texts
from transforms.parse_csv import HeaderError, parse_csv
from transforms.parse_json import parse_json, readable_json
from transforms.quarantine import row_as_json
from transforms.read_blocks import UnreadableFile
from transforms.type_columns import ColumnTypeError, type_column


@dataclass(frozen=True)
class SourceMapping:
    """A source description with its lookup tables loaded; `source` None is Parcours' own format."""

    source: Source | None
    lookups: Mapping[str, pa.Table] = field(default_factory=dict)


def map_source(
    block: Block, mapping: SourceMapping, contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> Candidates:
    """Candidate events of a block. Raises UnreadableFile where a whole file has the wrong columns."""
    if mapping.source is None and block.format == "jsonl":
        return parse_json(block, contracts, connection)
    records, record_of, unreadable = _records(block, connection)
    raw = partial(row_as_json, block.records) if block.format == "parquet" else _text_of(block)
    if mapping.source is None:
        columns, rows, skipped = _own_columns(block, records), np.arange(len(records)), 0
    else:
        columns = run_select(block.file, records, mapping, contracts, connection)
        rows = np.asarray(columns["record_no"].to_numpy(), np.int64)
        columns = columns.drop_columns(["record_no"])
        skipped = len(records) - len(np.unique(rows))
    parsed_text = block.format == "csv" or mapping.source is not None
    try:
        events, findings = type_columns(columns, contracts, connection, parsed_text)
    except ColumnTypeError as error:
        raise UnreadableFile(
            block.file,
            f"column {error.column} is {error.found}; the contract wants {error.expected}",
            f"cast {error.column} in the export, or describe the source (docs/sources.md)",
        ) from error
    if mapping.source is None and block.format == "csv":
        # The same line under another header is another event. (A record of a described source may give several events
        # of one id, and so its text does not tell them apart: there the contents are compared.)
        header = block.records.schema.metadata[b"header"]
        record = block.records.select(["record"])
        sql = "select hash(record, $header) as fingerprint from block"
        hashes = duck.select(connection, sql, {"block": record}, {"header": header})
        of_events = fingerprint(hashes["fingerprint"], block.source).take(pa.array(record_of[rows]))
        events = events.append_column(FINGERPRINT, of_events)
    return Candidates(
        block, events, record_of[rows], raw, findings, unreadable,
        records_in=len(records) + sum(len(f.rows) for f in unreadable), skipped=skipped,
    )  # fmt: skip


def _text_of(block: Block) -> partial[pa.Array]:
    return partial(lines_at, texts(block.records["record"]))


def _records(block: Block, connection: duckdb.DuckDBPyConnection) -> tuple[pa.Table, np.ndarray, list[Finding]]:
    """The readable records as columns, the block's row of each, and what is unreadable."""
    if block.format == "parquet":
        names = block.records.column_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UnreadableFile(
                block.file, f"names the column {', '.join(twice)} more than once", "give each column one name"
            )
        return block.records, np.arange(block.records.num_rows), []
    text = texts(block.records["record"])
    if block.format == "csv":
        try:
            table, bad = parse_csv(block)
        except HeaderError as error:
            raise UnreadableFile(block.file, str(error), "give each column one name, in UTF-8") from error
        code, expected = "csv.malformed", "as many fields as the header names"
    else:
        good, table = readable_json(text, connection)
        bad = np.flatnonzero(~good)
        code, expected = "json.malformed", "one strict JSON object"
    good_rows = np.setdiff1d(np.arange(len(text)), bad, assume_unique=True)
    unreadable = []
    if len(bad):
        observed = pa.compute.utf8_slice_codeunits(lines_at(text, bad), 0, 80)
        unreadable.append(Finding(code, "", expected, bad, observed))
    return table, good_rows, unreadable


def _own_columns(block: Block, records: pa.Table) -> pa.Table:
    """The columns of a file in Parcours' own format. Without the three required ones it is some other export."""
    missing = [name for name in ("event_id", "event_type", "occurred_at") if name not in records.column_names]
    if missing:
        raise UnreadableFile(
            block.file,
            f"has no column {', '.join(missing)}; its columns are {', '.join(records.column_names[:12])}",
            "name the source, as in --input complete_journey.transactions:FILE, or describe it (docs/sources.md)",
        )
    return records


def run_select(
    file: str,
    records: pa.Table,
    mapping: SourceMapping,
    contracts: Contracts,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """Run a description's SELECT over records. Raises UnreadableFile with DuckDB's words where it fails."""
    source = mapping.source
    assert source is not None
    for name in ("record_no", "record_key"):
        if name in records.column_names:
            raise UnreadableFile(
                file, f"has a column {name}, which is a name of Parcours' own", f"rename {name} in the export"
            )
    numbered = records.append_column("record_no", pa.array(np.arange(len(records)), pa.int64()))
    tables = {**mapping.lookups, "block": numbered}
    try:
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute(f"create or replace temp view records as {_records_of(source, numbered.schema)}")
        connection.execute(f"create or replace temp table mapped as {_with_key(source)}")
        _check_record_no(connection, len(records))
        mapped = connection.sql(_finished(connection, source, contracts)).to_arrow_table()
        connection.execute("drop table mapped; drop view records")
    except duckdb.Error as error:
        columns = ", ".join(records.column_names[:20])
        raise UnreadableFile(
            file,
            f"the SELECT of the source description {source.name} fails: {' '.join(str(error).split())} "
            f"(the file's columns: {columns})",
            f"correct {source.file}, or name the source that the file really is",
        ) from error
    finally:
        for name in tables:
            connection.unregister(name)
    return mapped.combine_chunks()


def _records_of(source: Source, block: pa.Schema) -> str:
    """The SELECT that `records` is: absent values and columns as the description has them, and the key of each record.

    A view: of an export of a hundred columns only those are looked through that the SELECT uses.
    """
    columns = "*"
    if source.null_words:
        words = ", ".join("'" + word.replace("'", "''") + "'" for word in source.null_words)
        named = [_quoted(column.name) for column in block if _is_text(column.type)]
        cleaned = [f"case when {name} not in ({words}) then {name} end as {name}" for name in named]
        columns += f" replace ({', '.join(cleaned)})" if cleaned else ""
    there = {name.lower() for name in block.names}  # DuckDB's names are the same in any case
    absent = [name for name in source.optional_columns if name.lower() not in there]
    columns += "".join(f", null::varchar as {_quoted(name)}" for name in absent)
    return f"select *, ({source.record_key})::varchar as record_key from (select {columns} from block)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _check_record_no(connection: duckdb.DuckDBPyConnection, records: int) -> None:
    """An event that names no record of its block would be lost without a word, and so is an error of the SELECT."""
    if "record_no" not in {name.lower() for name, *_ in connection.execute("describe mapped").fetchall()}:
        return  # said with the other columns that may be missing
    found = connection.execute(
        "select count(*) from mapped where record_no is null or record_no not between 0 and $last",
        {"last": records - 1},
    ).fetchone()
    if found is not None and found[0]:
        raise duckdb.InvalidInputException(f"the SELECT changes record_no: {found[0]} events name no record")


def _with_key(source: Source) -> str:
    select = source.select.strip().rstrip(";")
    return f"with selected as (\n{select}\n) select selected.* from selected"


def _finished(connection: duckdb.DuckDBPyConnection, source: Source, contracts: Contracts) -> str:
    """The SELECT that gives derived ids, sets naive times into the description's zone, and knows what is missing."""
    # DuckDB takes a name in any case, and tells it in the case that the file has: an export in capitals has our fields too.
    own = {"record_no", *contracts.fields}
    types = {
        name.lower() if name.lower() in own else name: str(kind)
        for name, kind, *_ in connection.execute("describe mapped").fetchall()
    }
    for required in ("record_no", "event_type", "occurred_at"):
        if required not in types:
            raise duckdb.BinderException(f"the SELECT gives no column {required}")
    columns = []
    for name, kind in types.items():
        if name == "event_id":
            continue
        if kind in ("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE") and name in (
            "occurred_at",
            "received_at",
        ):
            columns.append(f"timezone('{source.timezone}', mapped.{name}::timestamp) as {name}")
        else:
            columns.append(f"mapped.{_quoted(name)} as {_quoted(name)}")
    own_id = "mapped.event_id::varchar" if "event_id" in types else "null"
    columns.append(f"coalesce({own_id}, records.record_key || ':' || mapped.event_type) as event_id")
    return f"select {', '.join(columns)} from mapped join records on records.record_no = mapped.record_no"


def type_columns(
    columns: pa.Table, contracts: Contracts, connection: duckdb.DuckDBPyConnection, parsed_text: bool
) -> tuple[pa.Table, list[Finding]]:
    """Columns by name to the contracts' types; unknown ones to `extra`. Raises ColumnTypeError for a whole column."""
    typed: dict[str, pa.Array] = {}
    findings: list[Finding] = []
    unknown = []
    for name in columns.column_names:
        field_ = contracts.fields.get(name)
        if field_ is None:
            unknown.append(name)
            continue
        typed[name], found = type_column(field_, one_chunk(columns[name]), connection, parsed_text)
        findings += found
    unknown = [name for name in unknown if columns[name].null_count < columns.num_rows]
    if unknown:
        pairs = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}', column_{i}" for i, name in enumerate(unknown))
        table = pa.table({f"column_{i}": _sayable(columns[name]) for i, name in enumerate(unknown)})
        answer = duck.select(
            connection,
            f"select nullif(json_merge_patch('{{}}', json_object({pairs}))::varchar, '{{}}') as extra from unknown",
            {"unknown": table},
        )["extra"]
        typed["extra"] = texts(answer)
    return pa.table(typed), findings


def _sayable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without NaN and the infinities: JSON has no such numbers, and in a column of doubles NaN stands for nothing."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


class _MapSource(beam.DoFn):
    def __init__(self, mappings: Mapping[str, SourceMapping], contracts: Contracts) -> None:
        self._mappings, self._contracts = mappings, contracts

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, block: Block) -> Iterator[Candidates | beam.pvalue.TaggedOutput]:
        if not block.records.num_rows:
            return
        try:
            yield map_source(block, self._mappings[block.source], self._contracts, self._connection)
        except UnreadableFile as error:
            yield beam.pvalue.TaggedOutput("problems", error.problem)


class MapSource(beam.PTransform):
    """Blocks -> Candidates (main), and files that the source does not fit (`problems`)."""

    def __init__(self, mappings: Mapping[str, SourceMapping], contracts: Contracts) -> None:
        super().__init__()
        self._mappings, self._contracts = mappings, contracts

    def expand(self, blocks: beam.PCollection[Block]) -> beam.pvalue.DoOutputsTuple:
        mapped = blocks | beam.ParDo(_MapSource(self._mappings, self._contracts)).with_outputs(
            "problems", main="candidates"
        )
        declared(mapped.candidates, Candidates)
        return mapped
