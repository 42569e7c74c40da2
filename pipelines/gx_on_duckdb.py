"""Great Expectations on a DuckDB connection: what it needs to work there.

Its SQL engine fetches a result after it gave the connection back, which DuckDB does not allow: 25 of 26 kinds of
expectation end in an error. Native support is on its way upstream; then this file can go. Only the audit's own process
imports it, since it takes long: gx_quickly.py imports what of it is used here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import duckdb

from pipelines.gx_quickly import import_kind, import_quickly

_SAMPLES = 5
_ROWS = "unexpected_rows_expectation"
#: Great Expectations reads 200 of them at most.
_MOST_ROWS = 1_000


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations says of one expectation; `unexpected` and `sample` only of one that failed."""

    rule: str
    success: bool
    observed: Any = None
    unexpected: int | None = None
    sample: tuple[Any, ...] = ()
    error: str | None = None


#: Rows that must not be there, as Great Expectations asks for them -> the statement.
Questions = Mapping[str, duckdb.Statement]


def parsed(con: duckdb.DuckDBPyConnection, table: str, expectations: Sequence[Mapping[str, Any]]) -> Questions:
    """The questions of shipped expectations about a table, which need not be there yet: to parse is a third of asking."""
    texts = (entry["kwargs"]["unexpected_rows_query"] for entry in expectations if entry["type"] == _ROWS)
    asked = [text.format(batch=table).strip() for text in texts]
    return {text: con.extract_statements(text)[0] for text in asked}


class GreatExpectations:
    """Great Expectations over the tables and views of one connection.

    `shipped`: questions that are parsed, and known to change nothing.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, shipped: Questions | None = None) -> None:
        import_quickly()
        import sqlalchemy
        from duckdb_engine import ConnectionWrapper
        from great_expectations.execution_engine import SqlAlchemyExecutionEngine
        from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

        class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
            """Fetches a result while it still has the connection."""

            def execute_query(self, query: Any) -> Any:
                if isinstance(query, sqlalchemy.TextClause):
                    names, found = rows.answering(str(query))
                    return IteratorResult(SimpleResultMetaData(names), found)
                with self.get_connection() as connection:
                    return connection.execute(query).freeze()()

            execute_query_in_transaction = execute_query

            def get_inspector(self) -> Any:
                """None: it would ask PostgreSQL's catalog; Great Expectations then reads the columns off a query."""

        rows = _RowsOnce(con, shipped or {})
        engine = sqlalchemy.create_engine(
            "duckdb://", creator=lambda: ConnectionWrapper(con), poolclass=sqlalchemy.StaticPool
        )
        dialect: Any = engine.dialect
        # Nothing is written: a transaction around each question would only cost.
        dialect.do_begin = dialect.do_rollback = dialect.do_commit = _nothing
        words = con.execute("select lower(keyword_name) from duckdb_keywords()").fetchall()
        preparer = engine.dialect.identifier_preparer
        preparer.reserved_words = preparer.reserved_words | {word for (word,) in words}  # it knows PostgreSQL's only
        self._engine = DuckDBExecutionEngine(engine=engine, create_temp_table=False)

    def validate(
        self, table: str, expectations: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], key: Sequence[str]
    ) -> list[Outcome]:
        """One outcome for each expectation, in their order; `key` are the columns that name a row in a sample.

        An expectation of a kind that Great Expectations does not know, or that it drops on the way, has the outcome
        of an error: nothing passes because it was not looked at.
        """
        if not expectations:
            return []
        asked = self._ask(table, expectations, parameters, "BOOLEAN_ONLY")
        failed = [entry for entry in expectations if not asked[_rule(entry)].success]
        with_rows: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": _SAMPLES}
        if key:
            with_rows["unexpected_index_column_names"] = list(key)
        for (
            entry
        ) in failed:  # one by one: which rows they are costs queries, and one that cannot be asked is no other's
            form = {"result_format": "COMPLETE"} if entry["type"] == _ROWS else with_rows
            asked |= self._ask(table, [entry], parameters, form)
        return [asked[_rule(entry)] for entry in expectations]

    def _ask(
        self, table: str, expectations: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], form: Any
    ) -> dict[str, Outcome]:
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        found: dict[str, Outcome] = {}
        known = []
        for entry in expectations:
            try:  # each for itself, so that one that is not known or not whole is no other's error
                import_kind(entry["type"])
                known.append(ExpectationConfiguration(**entry).to_domain_obj().configuration)
            except Exception as error:
                found[_rule(entry)] = _error(entry, error)
        try:
            results = self._results(table, known, parameters, form)
        except Exception as error:  # of one that it trips over before it asks: the others are still asked
            if len(expectations) == 1:
                return {_rule(expectations[0]): _error(expectations[0], error)}
            return {rule: told for e in expectations for rule, told in self._ask(table, [e], parameters, form).items()}
        found |= {rule: _outcome(rule, result) for rule, result in results.items()}
        for entry in expectations:
            found.setdefault(_rule(entry), _error(entry, ValueError("Great Expectations gave no result")))
        return found

    def _results(
        self, table: str, expectations: Sequence[Any], parameters: Mapping[str, Any], form: Any
    ) -> dict[str, Any]:
        from great_expectations.core.batch import Batch
        from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
        from great_expectations.validator.validator import Validator

        if not expectations:
            return {}
        data = SqlAlchemyBatchData(execution_engine=self._engine, table_name=table, create_temp_table=False)
        validator = Validator(execution_engine=self._engine, batches=[Batch(data=data)], data_context=_Quiet())
        asked = validator.process_expectations_for_validation(list(expectations), dict(parameters))
        results = validator.graph_validate(asked, {"catch_exceptions": True, "result_format": form})
        return {result.expectation_config.meta["rule"]: result for result in results}


class _Quiet:
    """The context of a project, of which the validator asks this only."""

    progress_bars: ClassVar = {"globally": False, "metric_calculations": False}


class _RowsOnce:
    """Asks once for the rows that must not be there: Great Expectations counts them by one query and reads them by another.

    The answers do not pass through SQLAlchemy, which takes longer over most of them than DuckDB.
    """

    _COUNTED = re.compile(r"SELECT COUNT\(\*\) as (\w+) FROM \((.*)\) AS substituted_batch_subquery", re.DOTALL)

    def __init__(self, con: duckdb.DuckDBPyConnection, shipped: Questions) -> None:
        self._con, self._shipped = con, shipped
        self._kept: dict[str, tuple[list[str], list[tuple[Any, ...]], int]] = {}

    def answering(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of the answer's columns, and its rows; those of unexpected rows as they were found the first time."""
        counted = self._COUNTED.match(query.strip())
        rows = (counted[2] if counted else query).strip()
        if rows not in self._kept:
            self._kept[rows] = self._found(rows)
        names, found, count = self._kept[rows]
        return ([counted[1]], iter([(count,)])) if counted else (names, iter(found))

    def _found(self, rows: str) -> tuple[list[str], list[tuple[Any, ...]], int]:
        """Names, rows and their number; of many rows the first, more than Great Expectations reads.

        Each row is worked out whole, so one that cannot be is an error, however late it comes. What is no question is
        one, too, or it would have no rows, and change what the others see: a SELECT may delete, in a WITH.
        """
        if rows in self._shipped:
            return self._asked(self._shipped[rows], rows)
        statements = self._con.extract_statements(rows)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ValueError("the query of unexpected rows is not one SELECT")
        self._con.execute("begin transaction read only")
        try:
            return self._asked(statements[0], rows)
        finally:
            self._con.execute("rollback")

    def _asked(self, statement: duckdb.Statement, rows: str) -> tuple[list[str], list[tuple[Any, ...]], int]:
        cursor = self._con.execute(statement)
        names, found = [column for column, *_ in cursor.description or ()], cursor.fetchmany(_MOST_ROWS)
        if len(found) < _MOST_ROWS:
            return names, found, len(found)
        name = f"unexpected_rows_{len(self._kept)}"
        [[count]] = self._con.execute(f"create temp table {name} as {rows}").fetchall()
        return names, found, count


def _nothing(*_: Any) -> None:
    pass


def _rule(entry: Mapping[str, Any]) -> str:
    return str(entry["meta"]["rule"])


def _error(entry: Mapping[str, Any], error: Exception) -> Outcome:
    return Outcome(_rule(entry), success=False, error=" ".join(str(error).split())[:1000])


def _outcome(rule: str, result: Any) -> Outcome:
    if messages := list(_exceptions(result.exception_info or {})):
        return Outcome(rule, success=False, error=" ".join(messages[0].split())[:1000])
    told = result.result or {}
    observed = told.get("observed_value", told.get("partial_unexpected_list"))
    rows = told.get("partial_unexpected_index_list") or told.get("details", {}).get("unexpected_rows") or []
    return Outcome(
        rule,
        success=bool(result.success),
        observed=observed,
        unexpected=_count(told.get("unexpected_count", told.get("observed_value") if rows else None)),
        sample=tuple(rows[:_SAMPLES]),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _exceptions(told: Mapping[str, Any]) -> Iterable[str]:
    """The messages of all exceptions: Great Expectations gives one, or one for each of its metrics."""
    if told.get("raised_exception"):
        yield str(told.get("exception_message"))
    for entry in told.values():
        if isinstance(entry, Mapping):
            yield from _exceptions(entry)
