"""What the SQL of a metric sees: the tables of a shard, months added, and a few made from them.

The same SQL makes them from a published lake (pipelines/explain_metric.py), so a metric is explained by the very query that
measured it. Imports no Beam.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from transforms import duck
from transforms.time_zones import Periods, micros

#: Columns that every run adds to a table: the month of one of its moments.
MONTH_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "tickets": {
        "opened_month": "opened_at",
        "resolved_month": "first_resolved_at",
        "last_resolved_month": "last_resolved_at",
    },
    "customers": {"churned_month": "churned_at"},
    "sessions": {"month": "started_at"},
    "journeys": {"month": "started_at"},
    "journey_stages": {"month": "entered_at"},
    "friction_points": {"month": "started_at"},
    "subscriptions": {"month": "started_at"},
    "subscription_periods": {"month": "started_at", "ended_month": "ended_at", "due_month": "term_ends_at"},
    "lapses": {"month": "happened_at"},
}
#: Made from the tables of a shard, each of what stands before it.
MADE = ("first_seen", "activity", "money", "purchases", "orders", "answers")
#: Made once customer_months is there.
MADE_OF_MONTHS = ("mrr", "opening_subscriptions")
_FEW_ROWS = 10_000
#: Columns of the events behind a row, by the ending of their names.
_EVENT_IDS = re.compile(r"\b(?:[a-z]+_)*event_ids\b")


@dataclass(frozen=True)
class Calendar:
    """The months of a run, or other periods that metrics are told by: from any moment to as-of, in the settings' time zone.

    The SQL of metrics calls its periods months, whatever they are.
    """

    months: Periods
    as_of: datetime.datetime

    def is_over(self, month: datetime.date) -> bool:
        """Whether as-of is the month's last instant, or after it."""
        after = self.months.after(month)
        return after is not None and self.months.begins(after) <= micros(self.as_of) + 1

    def table(self, first: datetime.date) -> pa.Table:
        """month, month_no (0..), month_before, begins, edge: from the month `first` to that of as-of.

        What happened before a month's edge had happened by its end. The month of as-of has its edge just behind as-of:
        an event at as-of itself is in the run.
        """
        end = micros(self.as_of) + 1
        months, begins = [], []
        day: datetime.date | None = first
        while day is not None and self.months.begins(day) < end:
            months.append(day)
            begins.append(self.months.begins(day))
            day = self.months.after(day)
        edges = [*begins[1:], end] if begins else []
        time = pa.timestamp("us", "UTC")
        return pa.table(
            {
                "month": pa.array(months, pa.date32()),
                "month_no": pa.array(range(len(months)), pa.int64()),
                "month_before": pa.array([None, *months[:-1]][: len(months)], pa.date32()),
                "begins": pa.array(begins, pa.int64()).cast(time),
                "edge": pa.array(edges, pa.int64()).cast(time),
            }
        )


def metric_parameters(calendar: Calendar, conversion_days: int) -> dict[str, Any]:
    """What the SQL of every metric may name."""
    return {
        "as_of": calendar.as_of,
        "as_of_month": calendar.months.first_day(calendar.months.local_day(calendar.as_of)),
        "conversion_days": conversion_days,
    }


def add_months(tables: Mapping[str, pa.Table], months: Periods) -> dict[str, pa.Table]:
    """The tables with the columns of MONTH_COLUMNS."""
    added = dict(tables)
    for name, columns in MONTH_COLUMNS.items():
        if name in added:
            for column, moment in columns.items():
                if column not in added[name].column_names:
                    added[name] = added[name].append_column(column, months.of_column(added[name][moment]))
    return added


@contextmanager
def opened(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table], *others: duckdb.DuckDBPyConnection
) -> Iterator[None]:
    """The Arrow tables, to be asked many questions by the connection and the `others` beside it, as long as it lasts.

    A question to an Arrow table costs some 30 us a column before it reads a row: few rows are copied into a table of
    DuckDB's own, of many rows a view is less.
    """
    with ExitStack() as stack:
        for name, table in tables.items():
            if table.num_rows <= _FEW_ROWS:
                connection.register("few_rows", table)
                stack.callback(connection.execute, f"drop table if exists {name}")
                connection.execute(f"create or replace table {name} as from few_rows")
            else:
                for each in (connection, *others):
                    stack.callback(each.unregister, name)
                    each.register(name, table)
        connection.unregister("few_rows")
        yield


@contextmanager
def made(
    connection: duckdb.DuckDBPyConnection, names: tuple[str, ...], as_of: datetime.datetime, with_events: bool = False
) -> Iterator[None]:
    """The tables of sql/metric_inputs, in the order named, as long as it lasts.

    The events behind a row, in columns whose names end in event_ids, are only worked out `with_events`: a run has no use
    for them, and lists of millions of names would cost more than all its metrics.
    """
    done: list[str] = []
    try:
        for name in names:
            sql = duck.read_sql(f"metric_inputs/{name}")
            lists = sorted(set(_EVENT_IDS.findall(sql)))
            if lists and not with_events:
                nothing = ", ".join(f"null::varchar[] as {column}" for column in lists)
                sql = f"select * replace ({nothing}) from (\n{sql}\n)"
            connection.execute(f"create table {name} as\n{sql}", duck.used(sql, {"as_of": as_of}))
            done.append(name)
        yield
    finally:
        for name in reversed(done):
            connection.execute(f"drop table {name}")
