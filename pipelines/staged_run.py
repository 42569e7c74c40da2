"""A run that is not yet published, as its audit reads it: its tables, and beside them the small measures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import timelines
from pipelines.catalog import SESSION, connect, quote, text
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.manifest import Manifest
from schemas.contracts import load_contracts
from schemas.dictionary import load_metrics
from schemas.suites import Suite, SuiteError, load_suites, measures
from schemas.tables import Table, sql_type, tables

#: How many of the last runs a run is compared with.
_COMPARED = 10
#: Of how many, so that a lake of many years costs no more than a young one.
_LOOKED_THROUGH = 50
#: The schema, seen before that of the run's views, of what is held in memory; temporary tables would be one connection's.
_HELD = "held"
_SEARCHED = f"set search_path = '{_HELD},main'"
#: Rows of a table that is held in memory while it is audited.
_SMALL = 200_000
_TALLIES = pa.schema([("name", pa.string()), ("source", pa.string()), ("code", pa.string()), ("count", pa.int64())])
_LIMITS = pa.schema([("name", pa.string()), ("value", pa.float64())])
_THIS_RUN = pa.schema(
    [("run_id", pa.string()), ("as_of", pa.timestamp("us", "UTC")), ("started_at", pa.timestamp("us", "UTC"))]
)


@cache
def shipped_suites() -> Mapping[str, Suite]:
    """The suites of a run without contracts or suites of the user's."""
    contracts = load_contracts()
    return load_suites(contracts, tables(contracts))


class StagedRun:
    """A run that is not yet published, as its audit reads it."""

    def __init__(self, lake: Lake, manifest: Manifest) -> None:
        self.lake, self.manifest = lake, manifest
        self.con = connect(lake, manifest.run_id, comments=False, held_rows=_SMALL)
        self._measures: Future[None] | None = None
        if all(table.rows <= _SMALL for table in manifest.tables):
            self.con.execute("set threads = 1")  # two would pass hundreds of small questions to each other
        self.con.execute(f"create schema {_HELD}; {_SEARCHED}")

    @cached_property
    def _tables(self) -> Mapping[str, Table]:
        return tables(self._contracts)

    @cached_property
    def _contracts(self) -> Any:
        return load_contracts(self.manifest.settings.get("contracts"))

    @cached_property
    def suites(self) -> Mapping[str, Suite]:
        contracts, own = (self.manifest.settings.get(name) for name in ("contracts", "expectations"))
        try:
            return load_suites(self._contracts, self._tables, own) if contracts or own else shipped_suites()
        except SuiteError as error:
            raise UsageError(str(error), "Nothing is published: correct the file, and run the command again.") from None

    @property
    def limits(self) -> Mapping[str, float]:
        """The settings [audit] of the run: its manifest has all, and to import what reads settings would cost a tenth."""
        limits: Mapping[str, float] = self.manifest.settings["audit"]
        return limits

    def key(self, name: str) -> Sequence[str]:
        """The columns that name a row to somebody who looks for it: the key of a table, all that a measure has."""
        if name in self._tables:
            return self._tables[name].key
        return [column for column, _ in self._described(name)]

    def other_columns(self) -> list[str]:
        """Tables whose columns are not those of their schema: nothing else can be asked of them, or beside them."""
        declared = {
            table.name: [(column.name, sql_type(column.type)) for column in self._tables[table.name].columns]
            for table in self.manifest.tables
        }
        spelled = self._spelled(sorted({kind for columns in declared.values() for _, kind in columns}))
        return [
            name
            for name, columns in declared.items()
            if self._described(name) != [(column, spelled[kind]) for column, kind in columns]
        ]

    def _described(self, name: str) -> list[tuple[str, str]]:
        return self.con.execute(f"select column_name, column_type from (describe {quote(name)})").fetchall()

    def _spelled(self, kinds: Sequence[str]) -> dict[str, str]:
        """The types as DuckDB spells them."""
        nothing = ", ".join(f"null::{kind} as {quote(kind)}" for kind in kinds)
        return dict(self.con.execute(f"select column_name, column_type from (describe select {nothing})").fetchall())

    def begin_measures(self) -> None:
        """Begins to make the small tables that are audited beside the run's own, on a thread and connection of their own."""
        run = {
            "run_id": self.manifest.run_id,
            "as_of": dt.datetime.fromisoformat(self.manifest.as_of),
            "started_at": dt.datetime.fromisoformat(self.manifest.started_at),
        }
        self._give(self.con, "this_run", pa.Table.from_pylist([run], _THIS_RUN))  # a rule of customers reads it, too
        self._measures = ThreadPoolExecutor(1).submit(self._make_measures)

    def end_measures(self) -> None:
        """Waits until they are made. Raises what their making raised."""
        if self._measures is not None:
            self._measures.result()

    def _make_measures(self) -> None:
        with self.con.cursor() as con:
            con.execute(f"{SESSION}; {_SEARCHED}")
            self._make_given_tables(con)
            for name, sql in measures().items():
                con.execute(f"create table {_HELD}.{quote(name)} as {sql}")

    def _make_given_tables(self, con: duckdb.DuckDBPyConnection) -> None:
        """What the SQL of the measures reads beside the run's own tables."""
        past = self._past()
        given = {
            "tallies": pa.Table.from_pylist([*self.manifest.tallies, *self._replaced_metrics()], _TALLIES),
            "limits": pa.Table.from_pylist([{"name": n, "value": v} for n, v in self.limits.items()], _LIMITS),
            "past_runs": pa.Table.from_pylist(past, _THIS_RUN),
            "past_measures": self.lake.history.read("run_measures", [row["run_id"] for row in past]),
            "timeline_breaks": self._timeline_breaks(con),
        }
        for name, table in given.items():
            self._give(con, name, table)
        con.execute(f"create table {_HELD}.footers as {self._footers()}")

    def _replaced_metrics(self) -> list[dict[str, Any]]:
        """Metrics that the user defines in their own way: the sums of ours need not hold for them."""
        if not self.manifest.settings.get("metrics"):
            return []
        ours, used = load_metrics(None), load_metrics(self.manifest.settings["metrics"])
        replaced = [name for name, metric in used.items() if name in ours and metric != ours[name]]
        return [{"name": "replaced_metric", "source": "", "code": name, "count": 1} for name in replaced]

    def _give(self, con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        con.register("_given", table)
        con.execute(f"create table {_HELD}.{quote(name)} as select * from _given")
        con.unregister("_given")

    def _past(self) -> list[dict[str, Any]]:
        """The last runs that were thought fit to publish, the oldest first."""
        wanted = [
            {name: row[name] for name in _THIS_RUN.names}
            for row in self.lake.history.newest(_LOOKED_THROUGH)
            if row["status"] in ("accepted", "published") and row["run_id"] < self.manifest.run_id
        ]
        return wanted[-_COMPARED:]

    def _timeline_breaks(self, con: duckdb.DuckDBPyConnection) -> pa.Table:
        """Rows of touchpoints that stand out of order; see timelines.py."""
        checked = []
        con.execute("create temp table places (customer_key varchar)")
        for path in self.lake.files(self.manifest, "touchpoints"):
            with self.lake.store.open_read(path) as file:
                read = pq.ParquetFile(file, read_dictionary=["customer_key"]).read(list(timelines.COLUMNS))
            one = timelines.check_timelines(read)
            checked.append(one)
            con.register("_given", pa.table({"customer_key": one.customers}))
            con.execute("insert into places select customer_key from _given")
            con.unregister("_given")
        twice = con.sql(
            f"""
            select
                'customer_is_in_one_place' as rule, customer_key, null::bigint as seq, 'in ' || count(*) || ' files' as found
            from places
            group by customer_key
            having count(*) > 1
            limit {timelines.MOST}
            """
        ).to_arrow_table()
        return pa.concat_tables([timelines.all_breaks(checked), twice.cast(timelines.BREAKS)])

    def _footers(self) -> str:
        """Rows and nulls of each column, as the Parquet files' footers say: nothing is read for it."""
        parts = []
        for table in self.manifest.tables:
            paths = ", ".join(text(path) for path in self.lake.files(self.manifest, table.name))
            if paths:
                parts.append(
                    f"select {text(table.name)} as table_name, path_in_schema as column_name, "
                    "sum(num_values)::bigint as rows, sum(stats_null_count)::bigint as nulls "
                    f"from parquet_metadata([{paths}]) where path_in_schema not like '%, %' group by path_in_schema"
                )
        nothing = "select null::varchar as table_name, null::varchar as column_name, null::bigint as rows, null::bigint as nulls"
        return " union all ".join([f"({nothing} limit 0)", *parts])
