"""`parcours query`: one SQL question to a lake, its answer as a table, CSV, JSON or Parquet.

What is written keeps its meaning: money and other decimals stay exact text, times are RFC 3339 in UTC, a
null is an empty CSV field or a JSON null, and there is no NaN in JSON.
"""

import base64
import contextlib
import datetime as dt
import decimal
import io
import json
import math
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.catalog import reading
from pipelines.errors import UsageError
from pipelines.lake import Lake

Format = Literal["table", "csv", "json", "parquet"]

_ROWS_ON_A_TERMINAL = 100
_ROWS_OF_A_TABLE = 10_000  # DuckDB draws no more
_NO_LIMIT = 2**31 - 1
_CHECK = "Check the SQL; parcours tables NAME lists the columns of a table."


def query(
    lake: Lake | str, sql: str, form: Format = "table", output: str | None = None, run_id: str | None = None
) -> None:
    """Runs `sql` on a run (the published one, if none is named) and writes the answer to `output`, or standard output.

    UsageError if there is no such run, if the SQL is wrong, or if Parquet would go to a terminal.
    """
    _refuse_terminal(form, output)
    lake = Lake(lake) if isinstance(lake, str) else lake
    # In a thread: DuckDB at work does not see an interrupt of the main one; con.interrupt() it does see.
    with reading(lake, run_id) as con, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(_answer, con, sql, form, output)
        try:
            answered.result()
        except KeyboardInterrupt:
            con.interrupt()
            raise


def _answer(con: duckdb.DuckDBPyConnection, sql: str, form: Format, output: str | None) -> None:
    try:
        answer = _ask(con, sql)
        if answer is None:  # a statement without an answer, such as set
            return
        with target_of(output) as target:
            _WRITERS[form](answer, target)
    except duckdb.Error as error:
        raise _sql_error(con, error) from None
    except pa.ArrowException as error:  # a type that the format does not know
        raise UsageError(f"The answer cannot be written as {form}: {_one_line(error)}", _CHECK) from None


def write_rows(rows: pa.Table, form: Format, output: str | None) -> None:
    """A table in one of the forms, to `output` or standard output."""
    _refuse_terminal(form, output)
    with duckdb.connect() as con, target_of(output) as target:
        con.execute("set TimeZone = 'UTC'")
        _WRITERS[form](con.from_arrow(rows), target)


def _refuse_terminal(form: Format, output: str | None) -> None:
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError(
            "Parquet is not for a terminal.", "Give --output FILE, or send the answer to a file or a pipe."
        )


def _ask(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
    if not sql.strip(" \t\r\n;"):
        raise UsageError("There is no SQL.", 'Ask something, such as "select count(*) from touchpoints".')
    return con.sql(sql)


@contextlib.contextmanager
def target_of(output: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is not left half written."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    try:
        with path.open("wb") as file:
            yield file
    except BaseException as error:
        if path.is_file():
            path.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise UsageError(f"{output} cannot be written: {reason}.", "Give --output another file.") from None
        raise


def _write_table(answer: duckdb.DuckDBPyRelation, target: BinaryIO) -> None:
    rows = answer.limit(_ROWS_OF_A_TABLE + 1).materialize()
    on_terminal = target is sys.stdout.buffer and sys.stdout.isatty()
    drawn = io.StringIO()
    with contextlib.redirect_stdout(drawn):
        if on_terminal:
            # DuckDB fits the box to the terminal, and says how many rows and columns it leaves out.
            rows.show(max_width=shutil.get_terminal_size().columns, max_rows=_ROWS_ON_A_TERMINAL)
        else:
            first = rows.limit(_ROWS_OF_A_TABLE)
            first.show(max_width=_NO_LIMIT, max_rows=_NO_LIMIT, max_col_width=_NO_LIMIT)
    target.write(drawn.getvalue().rstrip("\n").encode() + b"\n")
    if len(rows) > _ROWS_OF_A_TABLE:
        target.flush()
        print(
            f"parcours: these are the first {_ROWS_OF_A_TABLE:,} rows; --format csv gives all.",
            file=sys.stderr,
        )


def _write_csv(answer: duckdb.DuckDBPyRelation, target: BinaryIO) -> None:
    reader = answer.to_arrow_reader()
    nothing = pa.RecordBatch.from_arrays([pa.array([], part.type) for part in reader.schema], schema=reader.schema)
    with pyarrow.csv.CSVWriter(target, _csv_batch(nothing).schema) as writer:  # the header comes even with no rows
        for batch in _batches(reader):
            writer.write_batch(_csv_batch(batch))


def _write_json(answer: duckdb.DuckDBPyRelation, target: BinaryIO) -> None:
    _one_name_each(answer, "json")
    before = b"["
    for batch in _batches(answer.to_arrow_reader()):
        for row in batch.to_pylist():
            target.write(before + json.dumps(plain(row), ensure_ascii=False, allow_nan=False).encode())
            before = b",\n"
    target.write(b"[]\n" if before == b"[" else b"]\n")


def _write_parquet(answer: duckdb.DuckDBPyRelation, target: BinaryIO) -> None:
    _one_name_each(answer, "parquet")
    reader = answer.to_arrow_reader()
    with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        for batch in _batches(reader):
            writer.write_batch(batch)


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json, "parquet": _write_parquet}


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The reader's batches. An error of DuckDB's comes through Arrow as an OSError, not of the disk."""
    batches = iter(reader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except OSError as error:
            raise UsageError(_one_line(error), _CHECK) from None
        yield batch


def _csv_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_csv_column(column) for column in batch.columns], names=batch.schema.names)


def _csv_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _csv_column(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            return pc.strftime(column.cast(pa.timestamp(kind.unit, "UTC")), "%Y-%m-%dT%H:%M:%SZ")
        return pc.strftime(column, "%Y-%m-%dT%H:%M:%S")
    if pa.types.is_decimal(kind) and kind.scale > 6:  # Arrow would write 0.0000001 as 1E-7
        return pa.array([None if v is None else format(v, "f") for v in column.to_pylist()], pa.string())
    simple = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_string(kind)
    if simple and not pa.types.is_interval(kind) and not pa.types.is_duration(kind):
        return column
    texts = (None if v is None else plain(v) for v in column.to_pylist())
    return pa.array(
        [t if t is None or isinstance(t, str) else json.dumps(t, ensure_ascii=False) for t in texts], "string"
    )


def plain(value: Any) -> Any:
    """A value of an answer as JSON has it, without loss: what JSON has no number or name for is text."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():  # a sum of whole numbers is one; an amount keeps its digits
            return int(value) if value.as_tuple().exponent == 0 else format(value, "f")
        case dt.datetime():
            if value.tzinfo is None:
                return value.isoformat()
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(name): plain(part) for name, part in value.items()}
        case pa.MonthDayNano(months, days, nanoseconds):
            return f"P{months}M{days}DT{decimal.Decimal(nanoseconds) / 10**9:f}S"
        case list():
            return [plain(part) for part in value]
        case tuple():
            return [plain(part) for part in value]
        case _:
            return str(value)


def _one_name_each(answer: duckdb.DuckDBPyRelation, form: str) -> None:
    twice = sorted({name for name in answer.columns if answer.columns.count(name) > 1})
    if twice:
        raise UsageError(
            f"Two columns of the answer are named {twice[0]}, which {form} cannot hold.",
            f"Give one of them another name: ... as {twice[0]}_2.",
        )


def _sql_error(con: duckdb.DuckDBPyConnection, error: duckdb.Error) -> UsageError:
    message = _one_line(error)
    mend = _CHECK
    if isinstance(error, duckdb.CatalogException) and "Table with name" in message:
        names = [name for (name,) in con.execute("select view_name from duckdb_views() where not internal").fetchall()]
        mend = "The tables are: " + ", ".join(names) + "."
        message = message.partition(" Did you mean")[0]  # it may point at a table of DuckDB's own
    return UsageError(message, mend)


def _one_line(error: Exception) -> str:
    """DuckDB's first paragraph: what follows it is the place in the SQL, drawn over several lines."""
    return " ".join(str(error).partition("\n\n")[0].split()).rstrip(".!") + "."
