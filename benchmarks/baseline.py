"""Run the hand-written SQL of baseline.sql over the events of a directory and write its tables as Parquet.

This is what Parcours is measured against: the same tables from the same lines, in DuckDB alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

STATEMENTS = Path(__file__).with_name("baseline.sql")

# What is written, and the order of the rows in the file: readers prune row groups by the first column.
TABLES = {
    "touchpoints": "customer_key, seq",
    "sessions": "customer_key, started_at, session_id",
    "journeys": "customer_key, journey_no",
    "journey_stages": "customer_key, stage_no",
    "customers": "customer_key",
    "tickets": "customer_key, ticket_id",
    "subscriptions": "customer_key, subscription_id",
    "friction_points": "customer_key, started_at, friction_id",
    "stage_transitions": "from_stage, to_stage",
    "lifecycle_metrics": "metric, period_start, currency",
    "quarantine": "file, event_id",
}
# Where `parsed` and `staged` have more to say than the tables themselves.
COUNTS = {
    "lines": "select count(*) from parsed",
    "touchpoints": "select count(*) from staged",
    "duplicates": """
        select count(*) - (select count(*) from staged) from parsed
        where codes = '' and occurred_at <= getvariable('as_of')
    """,
    "after_as_of": "select count(*) from parsed where codes = '' and occurred_at > getvariable('as_of')",
}


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


def connect(pattern: str, as_of: datetime, threads: int, spill: str) -> duckdb.DuckDBPyConnection:
    """Open a database in memory with the parameters of baseline.sql set."""
    con = duckdb.connect()
    con.execute(f"set threads = {threads}")
    con.execute(f"set temp_directory = {literal(spill)}")
    con.execute("set TimeZone = 'UTC'")
    con.execute("set preserve_insertion_order = false")  # nothing here depends on it, and it costs memory
    con.execute(f"set variable input = {literal(pattern)}")
    con.execute(f"set variable as_of = {literal(as_of.isoformat())}::timestamptz")
    return con


def build(con: duckdb.DuckDBPyConnection) -> dict[str, float]:
    """Run each statement of baseline.sql in turn; return the seconds that each table took."""
    seconds: dict[str, float] = {}
    for statement in con.extract_statements(STATEMENTS.read_text(encoding="utf-8")):
        words = next(line for line in statement.query.splitlines() if line and not line.startswith("--")).split()
        name = words[2] if words[0] == "create" else " ".join(words).rstrip(";")
        began = time.perf_counter()
        con.execute(statement)
        seconds[name] = round(time.perf_counter() - began, 2)
    return seconds


def write(con: duckdb.DuckDBPyConnection, output: Path) -> None:
    """Write every table to OUTPUT/<table>.parquet."""
    output.mkdir(parents=True, exist_ok=True)
    for table, order in TABLES.items():
        path = literal(str(output / f"{table}.parquet"))
        con.execute(f"copy (from {table} order by {order}) to {path} (format parquet, compression zstd)")


def count(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Count the rows of each table, and what was set aside."""
    queries = {table: f"select count(*) from {table}" for table in TABLES} | COUNTS
    found: dict[str, int] = {}
    for name, query in queries.items():
        row = con.execute(query).fetchone()
        found[name] = row[0] if row else 0
    return found


def run(directory: Path, output: Path, as_of: datetime, threads: int) -> dict[str, Any]:
    """Do all the work and report rows, seconds and memory of this process."""
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="spill-", dir=output) as spill:
        con = connect(str(directory / "*.jsonl*"), as_of, threads, spill)
        steps = build(con)
        writing = time.perf_counter()
        write(con, output)
        steps["write"] = round(time.perf_counter() - writing, 2)
        rows = count(con)
        con.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": rows,
        "steps": steps,
        "wall_seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "system_cpu_seconds": round(usage.ru_stime, 2),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
    }


def moment(text: str) -> datetime:
    """Read a time that says its offset."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset: write {text}Z")
    return value.astimezone(UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="the directory with the JSON lines")
    parser.add_argument("--output", type=Path, required=True, help="the directory for the Parquet files")
    parser.add_argument("--as-of", type=moment, required=True, help="what counts as now, with an offset")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if not any(options.input.glob("*.jsonl*")):
        parser.error(f"{options.input} holds no *.jsonl file: make some with generate_events.py")
    print(json.dumps(run(options.input, options.output, options.as_of, options.threads), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
