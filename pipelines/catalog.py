"""A run as DuckDB sees it: one view a table, a comment on every table and column, two macros.

`write_catalog` puts that into a file that any client since DuckDB 1.4 opens; its views name the files by
absolute URIs. `connect` makes the same in memory at the lake's present path: a lake that was moved still
reads.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from pipelines.errors import UsageError
from pipelines.lake import Lake, Run
from pipelines.manifest import Manifest, TableEntry
from pipelines.stores import Store

# What DuckDB 2.0 writes by default does not open in 1.4 or 1.5, which many analysts still have.
STORAGE_VERSION = "v1.4.0"

_SHARE = "create macro share(n, d) as n / nullif(d, 0)"
_SHARE_COMMENT = "n / d, null where d is 0: never an error, never NaN."
_JOURNEY_COMMENT = "The touchpoints of one customer_key, in order: from journey('c-1042')."


def write_catalog(lake: Lake, run: Run, manifest: Manifest) -> None:
    """Writes the run's catalog.duckdb; to be called before the run is published."""
    with tempfile.TemporaryDirectory(prefix="parcours-") as temporary:
        path = Path(temporary, "catalog.duckdb")
        con = duckdb.connect(str(path), config={"storage_compatibility_version": STORAGE_VERSION})
        try:
            _fill(con, lake.store, run, manifest)
            con.execute("checkpoint")
        finally:
            con.close()
        with path.open("rb") as source, lake.store.open_write(run.catalog) as target:
            shutil.copyfileobj(source, target)


def connect(lake: Lake | str, run_id: str | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with the tables of a run (the published one, if none is named) as views.

    Times are shown in UTC. UsageError if there is no such run.

    >>> connect("/nowhere")
    Traceback (most recent call last):
    pipelines.errors.UsageError: There is no published run in /nowhere. Make one: ...
    """
    lake = Lake(lake) if isinstance(lake, str) else lake
    manifest = lake.published() if run_id is None else lake.manifest(run_id)
    # A name that is no table must be an error, not a variable of some Python frame.
    con = duckdb.connect(config={"python_enable_replacements": False})
    try:
        con.execute("set TimeZone = 'UTC'")
        con.execute("set enable_progress_bar = false")  # it would be drawn into an answer that is piped on
        _fill(con, lake.store, lake.run(manifest.run_id), manifest)
    except BaseException:
        con.close()
        raise
    return con


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


def _fill(con: duckdb.DuckDBPyConnection, store: Store, run: Run, manifest: Manifest) -> None:
    if not store.is_local:
        con.register_filesystem(_through(store, run, manifest))
    for table in manifest.tables:
        try:
            con.execute(f"create view {quote(table.name)} as {_rows(run, manifest, table)}")
        except duckdb.Error as error:  # a file that is gone, or cut off
            reason = str(error).partition("\n")[0].partition(": ")[2]
            raise UsageError(
                f"Table {table.name} of run {run.run_id} cannot be read: {reason}.",
                "A file of the lake was moved, changed or removed: restore it, or run parcours run again.",
            ) from None
        con.execute(f"comment on view {quote(table.name)} is {text(_about(table))}")
        for column in table.columns:
            name = f"{quote(table.name)}.{quote(column['name'])}"
            con.execute(f"comment on column {name} is {text(column['description'])}")
    con.execute(_SHARE)
    con.execute(f"comment on macro share is {text(_SHARE_COMMENT)}")
    touchpoints = next((table for table in manifest.tables if table.name == "touchpoints"), None)
    if touchpoints is not None:
        # The files, not the view: a macro of an attached catalog looks names up where it is called.
        con.execute(
            f"create macro journey(customer) as table select * from ({_rows(run, manifest, touchpoints)}) "
            "where customer_key = customer order by seq"
        )
        con.execute(f"comment on macro table journey is {text(_JOURNEY_COMMENT)}")


def _rows(run: Run, manifest: Manifest, table: TableEntry) -> str:
    paths = manifest.paths(table.name)
    if paths:
        uris = ", ".join(text(f"{run.folder}/{path}") for path in paths)
        # Off: a folder of the lake's own path that reads a=b must not become a column.
        return f"select * from read_parquet([{uris}], hive_partitioning = false)"
    columns = ", ".join(f"null::{column['type']} as {quote(column['name'])}" for column in table.columns)
    return f"select {columns} where false"


def _about(table: TableEntry) -> str:
    key = f" Key: {', '.join(table.key)}." if table.key else ""
    return f"{table.description} One row is {table.grain}.{key}"


def _through(store: Store, run: Run, manifest: Manifest) -> Any:
    """A file system for DuckDB over an object store, read with the user's own credentials for Beam.

    DuckDB's own reader of object stores is an extension that it downloads, with credentials of its own.
    """
    try:
        from fsspec import AbstractFileSystem
    except ModuleNotFoundError:
        raise UsageError(f"Reading {run.folder} needs the package fsspec.", "pip install fsspec") from None

    sizes = {f"{run.folder}/{file.path}": file.bytes for file in manifest.files}

    class LakeFiles(AbstractFileSystem):
        protocol = run.folder.partition("://")[0]
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def glob(self, path: str, **_: Any) -> list[str]:
            return [path] if path in sizes else []

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {"name": path, "size": sizes[path], "type": "file"}

        def modified(self, path: str) -> datetime:
            return datetime(2000, 1, 1, tzinfo=UTC)  # a file of a run never changes

        def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
            return store.open_read(path)

    return LakeFiles()
