"""The audit's own process: reads requests from standard input, a JSON object a line, and answers each with a line.

Request: {lake, run_id, beam_args}. Answer: {results, measures}, or {error, mend, kind}. Started by audit.py.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import timelines
from pipelines.catalog import SESSION, connect, quote, text
from pipelines.errors import ParcoursError, Refused, UsageError
from pipelines.gx_on_duckdb import GreatExpectations, Outcome, Questions, parsed
from pipelines.gx_quickly import import_kind
from pipelines.lake import Lake
from pipelines.manifest import Manifest
from pipelines.query import plain
from pipelines.without_unused import unused_hidden
from schemas.contracts import load_contracts
from schemas.dictionary import load_metrics
from schemas.suites import Suite, SuiteError, load_suites, measures, shipped_kinds
from schemas.tables import Table, sql_type, tables

#: How many of the last runs a run is compared with.
_COMPARED = 10
#: Of how many, so that a lake of many years costs no more than a young one.
_LOOKED_THROUGH = 50
_LETTERS = 1000
#: The schema, seen before that of the run's views, of what is held in memory; temporary tables would be one connection's.
_HELD = "held"
_SEARCHED = f"set search_path = '{_HELD},main'"
#: The generated rule without which no other can be asked.
_COLUMNS = "columns_are_as_declared"
#: Rows of a table that is held in memory while it is audited.
_SMALL = 200_000
_TALLIES = pa.schema([("name", pa.string()), ("source", pa.string()), ("code", pa.string()), ("count", pa.int64())])
_LIMITS = pa.schema([("name", pa.string()), ("value", pa.float64())])
_THIS_RUN = pa.schema(
    [("run_id", pa.string()), ("as_of", pa.timestamp("us", "UTC")), ("started_at", pa.timestamp("us", "UTC"))]
)


def main(whole: bool = False) -> None:
    """Serves until standard input ends. `whole`: with all kinds of expectations, not only those of the shipped suites."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    gc.disable()  # it lives for seconds, and a hundred thousand objects of imports are no garbage
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if whole:
        importlib.import_module("great_expectations")
    shipped = _prepared()  # while the pipeline is still at work
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            request = json.loads(line)
            answers.write(
                json.dumps({"run_id": request["run_id"], **_answer(request, shipped)}, ensure_ascii=False) + "\n"
            )
            answers.flush()
    sys.stderr.flush()
    os._exit(0)  # DuckDB's binding would tell at length which of its objects Great Expectations still holds


def _prepared() -> Questions:
    """Imports Great Expectations and the kinds of the shipped suites, and parses what these ask."""
    with duckdb.connect() as con:
        GreatExpectations(con)
        for kind in sorted(shipped_kinds()):
            import_kind(kind)
        questions: dict[str, duckdb.Statement] = {}
        with contextlib.suppress(SuiteError):  # what is wrong is told when a run is held against them
            for suite in _shipped().values():
                questions |= parsed(con, suite.name, suite.expectations)
        return questions


@cache
def _shipped() -> Mapping[str, Suite]:
    """The suites of a run without contracts or suites of the user's."""
    contracts = load_contracts()
    return load_suites(contracts, tables(contracts))


def _answer(request: Mapping[str, Any], shipped: Questions) -> dict[str, Any]:
    try:
        with unused_hidden():  # an object store is read through Beam
            lake = Lake(request["lake"], request["beam_args"])
        return audit(lake, request["run_id"], shipped)
    except ParcoursError as error:
        return {"error": error.message, "mend": error.mend, "kind": type(error).__name__}
    except Exception as error:  # whatever it is, an audit that ends in an error must not let the run pass
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_LETTERS]}"
        return {
            "error": f"The audit of run {request.get('run_id')} ended in an error: {reason}.",
            "mend": "Nothing is published. Look at the run's tables; if they can be read, this is a fault of Parcours.",
            "kind": Refused.__name__,
        }


def audit(lake: Lake, run_id: str, shipped: Questions | None = None) -> dict[str, Any]:
    """Holds a run's tables against all suites -> {results, measures}, rows of the tables of these names.

    `shipped`: the questions of the shipped suites, parsed.
    """
    manifest = lake.manifest(run_id)
    try:
        if lake.store.is_local:  # an object store keeps sums of its own
            lake.verify(manifest)
        staged = _Staged(lake, manifest)
    except UsageError as error:  # tables that cannot be read are no reason to look at the command
        raise Refused(f"{error.message} Nothing is published.", "Check the disk, and run the command again.") from None
    with contextlib.closing(staged.con):
        suites = staged.suites
        asked = {name: suite.expectations for name, suite in suites.items()}
        if wrong := staged.other_columns():  # a rule that reads a column would only end in an error
            asked = {name: tuple(e for e in asked[name] if e["meta"]["rule"] == _COLUMNS) for name in wrong}
        else:
            staged.begin_measures()
        expectations = GreatExpectations(staged.con, shipped)
        results = []
        of_measures = frozenset(measures())
        for name, entries in asked.items():  # the tables first, and then the measures, which a user's rule may read
            if name in of_measures or any(entry["meta"]["part"] == "user" for entry in entries):
                staged.end_measures()
            outcomes = expectations.validate(name, entries, staged.limits, staged.key(name))
            if len(outcomes) != len(entries):
                raise Refused(f"Of {len(entries)} expectations of {name}, {len(outcomes)} were looked at.")
            results += [_result(run_id, suites[name], *pair) for pair in zip(entries, outcomes, strict=True)]
        if not results or (wrong and all(result["success"] for result in results)):
            raise Refused("There is no expectation to hold the run against.", "Install Parcours again.")
        staged.end_measures()
        now = [] if wrong else _rows(staged.con, "from run_measures_now")
        return {"results": results, "measures": [{"run_id": run_id, "as_of": manifest.as_of} | plain(r) for r in now]}


class _Staged:
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
            return load_suites(self._contracts, self._tables, own) if contracts or own else _shipped()
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


def _result(run_id: str, suite: Suite, entry: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    kwargs, meta = entry["kwargs"], entry["meta"]
    columns = kwargs.get("column") or ", ".join(kwargs.get("column_list", ())) or None
    return {
        "run_id": run_id,
        "table_name": suite.name,
        "rule": meta["rule"],
        "expectation": entry["type"],
        "column_name": columns,
        "severity": entry["severity"],
        "success": outcome.success,
        "observed": _text(outcome.observed),
        "unexpected": outcome.unexpected,
        "says": meta.get("says"),
        "expected": _json(kwargs),
        "part": meta["part"],
        "error": outcome.error,
        "sample": json.dumps(plain(list(outcome.sample)), ensure_ascii=False) if outcome.sample else None,
    }


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else _json(value))[:_LETTERS]


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, sort_keys=True)


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> Iterator[dict[str, Any]]:
    return iter(con.sql(sql).to_arrow_table().to_pylist())
