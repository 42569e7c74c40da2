"""The one door to DuckDB: how a step connects, runs SQL over Arrow tables, and reads the answer back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

SQL = Path(__file__).parent / "sql"
_SETTINGS = "set TimeZone = 'UTC'; set python_enable_replacements = false"
_steps = count()
_T = TypeVar("_T")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection for one step: no threads of DuckDB's own (see `side_by_side`), UTC, no look at Python variables.

    Made in `DoFn.setup`: it cannot be pickled. All of a process share one database in memory, which takes some 45 ms to
    make; the tables of a connection are in a schema of its own.
    """
    connection = _database(os.getpid()).cursor()
    schema = f"step_{next(_steps)}"
    connection.execute(f"{_SETTINGS}; create schema {schema}; set search_path = '{schema}'")
    return connection


@contextmanager
def beside(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A second connection that sees the tables of the first, but for its temporary ones and what it registered."""
    [[schema]] = connection.execute("select current_schema()").fetchall()
    with connection.cursor() as other:
        other.execute(f"{_SETTINGS}; set search_path = '{schema}'")
        yield other


def side_by_side(*tasks: Callable[[], _T]) -> list[_T]:
    """The results of tasks that each have a connection of their own, in order.

    DuckDB plans and works outside Python's lock, and to plan is most of what a small shard costs: two tasks take little
    more than half the time.
    """
    with ThreadPoolExecutor(max(1, len(tasks) - 1)) as threads:
        others = [threads.submit(task) for task in tasks[1:]]
        return [tasks[0](), *(other.result() for other in others)]


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """That of a process: one that was forked has its own."""
    return duckdb.connect(config={"threads": 1, "preserve_insertion_order": True})


@cache
def read_sql(name: str) -> str:
    """The text of `transforms/sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def select(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    tables: Mapping[str, pa.Table] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Run one SELECT over Arrow tables by name. Only the parameters (`$name`) that the SQL names are passed."""
    for name, table in (tables or {}).items():
        connection.register(name, table)
    try:
        return connection.sql(sql, params=used(sql, parameters)).to_arrow_table()
    finally:
        for name in tables or {}:
            connection.unregister(name)


def select_windows(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    tables: Mapping[str, pa.Table] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> pa.Table:
    """As `select`, through a temporary table: DuckDB 2.0 streams a window query to Arrow up to ten times slower."""
    for name, table in (tables or {}).items():
        connection.register(name, table)
    try:
        connection.execute(f"create or replace temp table answer as\n{sql}", used(sql, parameters))
        result: pa.Table = connection.sql("from answer").to_arrow_table()
        connection.execute("drop table answer")
        return result
    finally:
        for name in tables or {}:
            connection.unregister(name)


def nested(sql: str) -> str:
    """A user's SELECT as part of another: DuckDB lets one that stands alone delete and insert, in a WITH."""
    return f"from (\n{sql.rstrip().removesuffix(';')}\n)"


def used(sql: str, parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The parameters (`$name`) that the SQL names; None for none: DuckDB minds one too many."""
    named = set(re.findall(r"\$([a-z_][a-z0-9_]*)", sql))
    return {k: v for k, v in (parameters or {}).items() if k in named} or None
