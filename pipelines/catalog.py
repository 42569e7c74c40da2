"""A run as DuckDB sees it: one view a table, a comment on every table and column, two macros.

`CatalogFile` puts that into a file that any client since DuckDB 1.4 opens; its views name the files by
absolute URIs. `connect` makes the same in memory at the lake's present path: a lake that was moved still
reads. The tables of the lake's history (runs, audit_results, run_measures) are over all runs, whichever run is read.
"""

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import duckdb

from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.manifest import Manifest, TableEntry, table_entry
from schemas.tables import HISTORY_TABLES

_LOG = logging.getLogger("parcours")

# What DuckDB 2.0 writes by default does not open in 1.4 or 1.5, which many analysts still have.
STORAGE_VERSION = "v1.4.0"

#: Of every connection that reads a run; a progress bar would be drawn into an answer that is piped on.
SESSION = "set TimeZone = 'UTC'; set enable_progress_bar = false"

_TRIES = 5
_LETTERS = 300
_SHARE = "create macro share(n, d) as n / nullif(d, 0)"
_SHARE_COMMENT = "n / d, null where d is 0: never an error, never NaN."
_JOURNEY_COMMENT = "The touchpoints of one customer_key, in order: from journey('c-1042')."


class CatalogFile:
    """A run's catalog.duckdb in the making, from `with` to its end.

    The run's tables are described by a thread at once, while the run is audited, in memory; `write` adds the lake's
    history, and makes the file.
    """

    def __init__(self, lake: Lake, manifest: Manifest) -> None:
        self._lake, self._manifest = lake, manifest

    def __enter__(self) -> Self:
        self._described = ThreadPoolExecutor(1).submit(self._describe)
        return self

    def __exit__(self, *_: object) -> None:
        if self._described.exception() is None:  # it has ended
            self._described.result().close()

    def _describe(self) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(config={"threads": 1})
        _describe_run(con, self._lake, self._manifest, comments=True)
        return con

    def write(self) -> None:
        """Writes it into the lake; to be called before the run is published. UsageError if it cannot be made."""
        target = self._lake.run(self._manifest.run_id).catalog
        try:
            catalog = self._made()
        except (duckdb.Error, OSError) as error:
            reason = " ".join(str(error).split())[:_LETTERS]
            raise UsageError(
                f"The catalog {target} cannot be made: {reason}", "Check the room in /tmp, or the folder TMPDIR."
            ) from None
        # Whole over the one that was there: somebody may have it open.
        self._lake.store.write_whole(target, catalog)

    def _made(self) -> bytes:
        con = self._described.result()
        _describe_history(con, self._lake, live=True, comments=True)
        with tempfile.TemporaryDirectory(prefix="parcours-") as folder:
            path = Path(folder, "catalog.duckdb")
            con.execute(f"attach {text(str(path))} as file (storage_version {text(STORAGE_VERSION)})")
            con.execute("copy from database memory to file")
            con.execute("detach file")
            return path.read_bytes()


def write_catalog(lake: Lake, manifest: Manifest) -> None:
    """Writes the run's catalog.duckdb; to be called before the run is published."""
    with CatalogFile(lake, manifest) as catalog:
        catalog.write()


def connect(
    lake: Lake | str, run_id: str | None = None, comments: bool = True, held_rows: int = -1
) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with the tables of a run (the published one, if none is named) as views.

    `comments` False leaves the descriptions out, for a reader that is no person. Tables of up to `held_rows` are read at
    once, for one who asks a hundred questions. Times are shown in UTC. UsageError if there is no such run.

    >>> connect("/nowhere")
    Traceback (most recent call last):
    pipelines.errors.UsageError: There is no published run in /nowhere. Make one: ...
    """
    lake = Lake(lake) if isinstance(lake, str) else lake
    manifest = lake.published() if run_id is None else lake.manifest(run_id)
    # A name that is no table must be an error, not a variable of some Python frame.
    con = duckdb.connect(config={"python_enable_replacements": False})
    try:
        con.execute(SESSION)
        _describe_run(con, lake, manifest, comments, held_rows)
        _describe_history(con, lake, live=False, comments=comments)
    except BaseException:
        con.close()
        raise
    return con


@contextlib.contextmanager
def reading(lake: Lake, run_id: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """`connect`, closed at the end; until then `--keep` of another process leaves the run's tables alone."""
    for attempt in range(_TRIES):
        wanted = run_id if run_id is not None else lake.published().run_id
        with lake.reading(wanted):
            # Between the two a writer may have published another run, and removed this one.
            if run_id is None and attempt < _TRIES - 1 and not (lake.names(wanted) and lake.is_whole(wanted)):
                continue
            with contextlib.closing(connect(lake, wanted)) as con:
                yield con
                return


def quote(name: str) -> str:
    """A name as SQL.

    >>> quote('odd "name"')
    '"odd ""name\"""'
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL.

    >>> text("the customer's")
    "'the customer''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def _describe_run(
    con: duckdb.DuckDBPyConnection, lake: Lake, manifest: Manifest, comments: bool, held_rows: int = -1
) -> None:
    """Views of the run's own tables (of those with few rows: tables), and macros."""
    if not lake.store.is_local:
        con.register_filesystem(_through(lake, manifest))
    for table in manifest.tables:
        if table.name not in HISTORY_TABLES:  # runs of versions before 0.2 list a table `runs` of their own
            form: Literal["view", "table"] = "table" if table.rows <= held_rows else "view"
            _create(form, con, lake.files(manifest, table.name), table, manifest.run_id, comments)
    con.execute(_SHARE)
    con.execute(f"comment on macro share is {text(_SHARE_COMMENT)}")
    touchpoints = next((table for table in manifest.tables if table.name == "touchpoints"), None)
    if touchpoints is not None:
        # The files, not the view: a macro of an attached catalog looks names up where it is called.
        con.execute(
            f"create macro journey(customer) as table select * from ({_rows(touchpoints, lake.files(manifest, 'touchpoints'))}) "
            "where customer_key = customer order by seq"
        )
        con.execute(f"comment on macro table journey is {text(_JOURNEY_COMMENT)}")


def _describe_history(con: duckdb.DuckDBPyConnection, lake: Lake, live: bool, comments: bool) -> None:
    """Views of the lake's history. `live`: it is whatever its folder holds when it is asked, not what it holds now."""
    for name, described in HISTORY_TABLES.items():
        paths = lake.history.paths(name)
        if paths and live:
            paths = [f"{lake.history.folder}/{name}/*.parquet"]
        entry = table_entry(described, "1-0-0", 0)
        try:
            _create("view", con, paths, entry, None, comments)
        except UsageError:  # what happened in the lake must not keep anybody from the run's own tables
            _create("view", con, lake.history.readable(name), entry, None, comments)


def _create(
    form: Literal["view", "table"],
    con: duckdb.DuckDBPyConnection,
    paths: list[str],
    table: TableEntry,
    run_id: str | None,
    comments: bool,
) -> None:
    """`run_id` is that of the run whose table it is; None for one of the history."""
    try:
        con.execute(f"create {form} {quote(table.name)} as {_rows(table, paths)}")
        if not comments:
            return
        about = [f"comment on {form} {quote(table.name)} is {text(_about(table))}"]
        about += [
            f"comment on column {quote(table.name)}.{quote(column['name'])} is {text(column['description'])}"
            for column in table.columns
        ]
        try:
            con.execute("; ".join(about))
        except duckdb.BinderException:  # a column that is not there: the audit says so
            for comment in about:
                with contextlib.suppress(duckdb.BinderException):
                    con.execute(comment)
    except duckdb.Error as error:  # a file that is gone, or cut off
        reason = str(error).partition("\n")[0].partition(": ")[2]
        raise UsageError(
            f"Table {table.name}{f' of run {run_id}' if run_id else ''} cannot be read: {reason}.",
            "A file of the lake was moved, changed or removed: restore it, or run parcours run again.",
        ) from None


def _rows(table: TableEntry, paths: list[str]) -> str:
    columns = ", ".join(f"null::{column['type']} as {quote(column['name'])}" for column in table.columns)
    if not paths:
        return f"select {columns} where false"
    uris = ", ".join(text(path) for path in paths)
    # Off: a folder of the lake's own path that reads a=b must not become a column.
    read = f"select * from read_parquet([{uris}], hive_partitioning = false, union_by_name = {{}})"
    if table.name not in HISTORY_TABLES:
        return read.format("false")
    # Files of many versions: each row has all columns, those that its version did not know are null.
    names = ", ".join(quote(column["name"]) for column in table.columns)
    return f"select {names} from (select {columns} where false union all by name {read.format('true')})"


def _about(table: TableEntry) -> str:
    key = f" Key: {', '.join(table.key)}." if table.key else ""
    return f"{table.description} One row is {table.grain}.{key}"


def _through(lake: Lake, manifest: Manifest) -> Any:
    """A file system for DuckDB over an object store, read with the user's own credentials for Beam.

    DuckDB's own reader of object stores is an extension that it downloads, with credentials of its own.
    """
    try:
        from fsspec import AbstractFileSystem
    except ModuleNotFoundError:
        raise UsageError(f"Reading {lake.path} needs the package fsspec.", "pip install fsspec") from None

    sizes = {lake.path_of(manifest, file): file.bytes for file in manifest.files}
    of_run = frozenset(sizes)

    def listed(folder: str) -> dict[str, int]:
        """Of a folder of the history, whose files come and are written anew while this connection lives."""
        found = lake.store.glob(folder, "*.parquet")
        sizes.update(found)
        return found

    class LakeFiles(AbstractFileSystem):
        protocol = lake.path.partition("://")[0]
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def glob(self, path: str, **options: Any) -> list[str]:
            folder, _, name = path.rpartition("/")
            if name == "*.parquet":
                return list(listed(folder))
            return [path] if path in sizes or path in listed(folder) else []

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            if path not in sizes and path not in listed(path.rpartition("/")[0]):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return {"name": path, "size": sizes[path], "type": "file"}

        def modified(self, path: str) -> datetime:
            # A file of a run never changes; one of the history may, and what DuckDB remembers of it is none of that.
            return datetime(2000, 1, 1, tzinfo=UTC) if path in of_run else datetime.now(UTC)

        def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
            return lake.store.open_read(path)

    return LakeFiles()
