"""The one door to DuckDB: one thread, UTC, no look at Python's variables, and nothing left behind."""

from __future__ import annotations

import datetime
import re
import threading

import duckdb
import pyarrow as pa
import pytest

from transforms import duck

TABLES = {"numbers": pa.table({"n": [3, 1, 2]})}


@pytest.mark.parametrize("select", [duck.select, duck.select_windows])
def test_a_select_over_named_tables(select: object) -> None:
    connection = duck.connect()
    found = select(connection, "select n + $more as m from numbers", TABLES, {"more": 10, "unused": 1})  # type: ignore[operator]
    assert found.to_pydict() == {"m": [13, 11, 12]}, "in the order of the input"
    assert select(connection, "select 1 as one").to_pydict() == {"one": [1]}  # type: ignore[operator]


@pytest.mark.parametrize("select", [duck.select, duck.select_windows])
def test_nothing_is_left_behind(select: object) -> None:
    connection = duck.connect()
    select(connection, "select n from numbers", TABLES)  # type: ignore[operator]
    with pytest.raises(duckdb.Error):
        select(connection, "select nothing from numbers", TABLES)  # type: ignore[operator]
    assert connection.execute("show tables").fetchall() == []
    with pytest.raises(duckdb.CatalogException):
        connection.execute("select n from numbers")


def test_python_variables_are_not_seen() -> None:
    hidden = pa.table({"a": [1]})
    with pytest.raises(duckdb.CatalogException):
        duck.select(duck.connect(), "select a from hidden")
    assert hidden.num_rows == 1


def test_one_thread_and_utc() -> None:
    connection = duck.connect()
    assert duck.select(connection, "select current_setting('threads') as n")["n"].to_pylist() == [1]
    found = duck.select(connection, "select timestamptz '2026-07-01 12:00:00' as t")["t"].to_pylist()
    assert found == [datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)]


def test_files_of_sql() -> None:
    assert "first_response_at" in duck.read_sql("tickets")
    for file in duck.SQL.glob("*.sql"):
        text = file.read_text(encoding="utf-8")
        assert text.startswith("-- "), f"{file.name} says what it is"
        assert not re.search(r"\{\w*\}|%s", text), f"{file.name} has named parameters, and is no template"


def test_connections_have_their_tables_for_themselves_and_share_them_beside() -> None:
    one, other = duck.connect(), duck.connect()
    one.execute("create table made as select 1 as n")
    with pytest.raises(duckdb.CatalogException):
        other.execute("from made")
    with duck.beside(one) as second, duck.beside(second) as third:
        one.execute("create temp table own as select 2 as n")
        assert duck.select(second, "from made")["n"].to_pylist() == [1]
        with pytest.raises(duckdb.CatalogException):
            second.execute("from own")
        third.execute("create table late as select now()::timestamptz as t, current_setting('TimeZone') as zone")
        assert duck.select(one, "select zone from late")["zone"].to_pylist() == ["UTC"]
    assert one.execute("select n from made").fetchall() == [(1,)], "it outlives those beside it"


def test_side_by_side_gives_results_in_order_and_waits_for_all() -> None:
    first_is_done, seen = threading.Event(), []

    def first() -> str:
        first_is_done.set()
        return "first"

    def second() -> str:
        assert first_is_done.wait(30), "it need not wait for its turn to begin"
        seen.append("second")
        return "second"

    assert duck.side_by_side(first, second) == ["first", "second"]
    assert duck.side_by_side(first) == ["first"]

    def fails() -> str:
        raise ValueError("no")

    for tasks in ((fails, second), (second, fails)):
        seen.clear()
        with pytest.raises(ValueError, match="no"):
            duck.side_by_side(*tasks)
        assert seen == ["second"], "what one raises is raised when the other has ended"
