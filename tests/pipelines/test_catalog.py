"""A run as DuckDB sees it: the same views in the catalog file and in a connection, described, typed, and still readable
after the lake was moved."""

import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.catalog import STORAGE_VERSION, connect
from pipelines.errors import UsageError
from pipelines.lake import Lake


def catalog_of(lake: Lake) -> str:
    return lake.run(lake.current() or "").catalog


@pytest.fixture(params=["connection", "file"])
def con(request: pytest.FixtureRequest, lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """What holds of both forms is asked of both."""
    with connect(lake) if request.param == "connection" else duckdb.connect(catalog_of(lake), read_only=True) as con:
        yield con


def test_every_table_is_a_view_with_its_rows(con: duckdb.DuckDBPyConnection, all_tables: Any) -> None:
    views = con.sql("select view_name from duckdb_views() where not internal").fetchall()
    assert {name for (name,) in views} == set(all_tables)
    assert con.sql("select count(*), sum(amount) from touchpoints").fetchall() == [(3, Decimal("19.9001"))]


def test_every_table_and_column_says_what_it_is(con: duckdb.DuckDBPyConnection, all_tables: Any) -> None:
    said = dict(con.sql("select view_name, comment from duckdb_views() where not internal").fetchall())
    columns = con.sql("select table_name, column_name, comment from duckdb_columns() where not internal").fetchall()
    about = {(table, column): comment for table, column, comment in columns}
    for table in all_tables.values():
        assert table.description in said[table.name] and table.grain in said[table.name]
        for column in table.columns:
            assert about[table.name, column.name] == column.description


def test_a_table_without_rows_has_its_columns_and_types(con: duckdb.DuckDBPyConnection) -> None:
    assert con.sql("select count(*) from quarantine").fetchall() == [(0,)]
    kinds = {name: kind for name, kind, *_ in con.sql("describe quarantine").fetchall()}
    assert kinds["position"] == "BIGINT"
    assert kinds["errors"].replace('"', "") == (
        "STRUCT(code VARCHAR, path VARCHAR, expected VARCHAR, observed VARCHAR)[]"
    )


def test_share_is_null_where_there_is_nothing_to_divide_by(con: duckdb.DuckDBPyConnection) -> None:
    assert con.sql("select share(1, 4), share(1, 0), share(0, 0)").fetchall() == [(0.25, None, None)]


def test_journey_is_one_customer_in_order(con: duckdb.DuckDBPyConnection) -> None:
    assert con.sql("select seq, event_type from journey('c-1')").fetchall() == [
        (1, "site_visit"),
        (2, "purchase"),
    ]
    assert con.sql("from journey('nobody')").fetchall() == []


def test_the_catalog_works_attached_to_a_database_of_the_analyst(lake: Lake) -> None:
    with duckdb.connect() as con:
        con.execute(f"attach '{catalog_of(lake)}' as lake (read_only)")
        assert con.sql("select count(*) from lake.touchpoints").fetchall() == [(3,)]
        assert con.sql("select count(*) from lake.journey('c-1')").fetchall() == [(2,)]


def test_the_catalog_is_written_for_older_clients(lake: Lake) -> None:
    with duckdb.connect() as con:
        con.execute(f"attach '{catalog_of(lake)}' as lake (read_only)")
        [(tags,)] = con.sql("select tags from duckdb_databases() where database_name = 'lake'").fetchall()
    assert STORAGE_VERSION in tags["storage_version"]


def test_the_catalog_names_files_absolutely(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.chdir("/")
    with duckdb.connect(catalog_of(lake), read_only=True) as con:
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]


def test_a_lake_that_was_moved_still_reads(lake: Lake, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved lake"
    moved.parent.mkdir()
    shutil.move(lake.path, moved)
    with connect(str(moved)) as con:
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]
        assert con.sql("select count(*) from journey('c-1')").fetchall() == [(2,)]


def test_an_older_run_can_be_read_by_its_name(lake_maker: Any) -> None:
    first = lake_maker.publish()
    lake_maker.publish()
    with connect(lake_maker.lake, first.run_id) as con:
        sql = "select sql from duckdb_views() where view_name = 'touchpoints'"
        assert first.run_id in con.sql(sql).fetchall()[0][0]


def test_an_open_reader_keeps_its_run_while_another_is_published(lake_maker: Any) -> None:
    lake_maker.publish()
    with connect(lake_maker.lake) as con:
        lake_maker.publish()
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]


def test_a_run_that_does_not_exist_is_named(lake: Lake) -> None:
    with pytest.raises(UsageError, match="no whole run nope"):
        connect(lake, "nope")


def test_a_missing_file_is_named(lake: Lake) -> None:
    run = lake.run(lake.current() or "")
    Path(run.folder, "touchpoints", "part-0-a.parquet").unlink()
    with pytest.raises(UsageError, match=r"touchpoints .* cannot be read: .*part-0-a\.parquet") as refused:
        connect(lake)
    assert "restore" in refused.value.mend


def test_a_python_variable_is_not_a_table(lake: Lake) -> None:
    variable = duckdb.sql("select 1")
    with connect(lake) as con, pytest.raises(duckdb.CatalogException):
        con.sql("from variable")
    del variable


def test_times_are_shown_in_utc(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    with connect(lake) as con:
        [(text,)] = con.sql("select min(occurred_at)::varchar from touchpoints").fetchall()
    assert text == "2026-01-01 12:01:00+00"
