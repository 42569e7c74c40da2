"""The one door to DuckDB: how a step connects, runs SQL over Arrow tables, and reads the answer back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SQL = Path(__file__).parent / "sql"


def connect() -> duckdb.DuckDBPyConnection:
    """A connection for one step: one thread (the parallelism is Beam's), UTC, no look at Python variables.

    Made in `DoFn.setup`: it cannot be pickled. All of a process share one database in memory, which takes some 45 ms to
    make; what a connection registers and its temporary tables are its own.
    """
    connection = _database(os.getpid()).cursor()
    connection.execute("set TimeZone = 'UTC'; set python_enable_replacements = false")
    return connection


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


def used(sql: str, parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The parameters (`$name`) that the SQL names; None for none: DuckDB minds one too many."""
    named = set(re.findall(r"\$([a-z_][a-z0-9_]*)", sql))
    return {k: v for k, v in (parameters or {}).items() if k in named} or None
