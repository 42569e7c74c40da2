"""The history of a lake: a row a run that follows its state, whatever becomes of the run's folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.catalog import connect
from pipelines.lake import Lake
from schemas.tables import HISTORY_TABLES

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_record_keeps_what_it_was_told_before(tmp_path: Path) -> None:
    history = Lake(str(tmp_path)).history
    assert history.run("r1") is None and history.runs() == []
    history.record("r1", status="running", started_at=NOON)
    row = history.record("r1", status="failed", message="The disk is full.")
    assert (row["status"], row["started_at"], row["message"]) == ("failed", NOON, "The disk is full.")
    assert history.run("r1") == row and history.runs() == [row]
    assert set(row) == set(HISTORY_TABLES["runs"].schema.names)


def test_runs_come_oldest_first(tmp_path: Path) -> None:
    history = Lake(str(tmp_path)).history
    for run_id in ("20260102T000000Z-b", "20260101T000000Z-a", "20260103T000000Z-c"):
        history.record(run_id, status="running")
    assert [row["run_id"][9:] for row in history.runs()] == ["000000Z-a", "000000Z-b", "000000Z-c"]


def test_rows_of_some_runs_are_read_in_their_order(tmp_path: Path) -> None:
    history = Lake(str(tmp_path)).history
    measure = {"as_of": NOON, "measure": "rows", "table_name": "customers", "value": 1.0}
    for run_id in ("a", "b", "c"):
        history.write("run_measures", run_id, [{"run_id": run_id, **measure}])
    assert history.read("run_measures", ["c", "nobody", "a"])["run_id"].to_pylist() == ["c", "a"]
    assert history.read("run_measures", []).schema == HISTORY_TABLES["run_measures"].schema


def test_a_file_of_an_older_version_has_nulls_where_it_knew_no_column(lake_maker: Any) -> None:
    run = lake_maker.publish()
    old = pa.table({"run_id": ["20250101T000000Z-old"], "status": ["published"]})
    folder = Path(lake_maker.lake.history.folder, "runs")
    folder.mkdir(parents=True)
    pq.write_table(old, folder / "20250101T000000Z-old.parquet")
    lake_maker.lake.history.record(run.run_id, status="published", touchpoints=3)
    with connect(lake_maker.lake) as con:
        told = con.sql("select run_id[:8], status, touchpoints from runs order by 1").fetchall()
        names = [column for column, *_ in con.sql("describe runs").fetchall()]
    assert told == [("20250101", "published", None), (run.run_id[:8], "published", 3)]
    assert names == HISTORY_TABLES["runs"].schema.names


def test_the_tables_are_there_before_there_is_a_history(lake: Lake) -> None:
    with connect(lake) as con:
        assert con.sql("select count(*) from runs").fetchall() == [(0,)]
    with duckdb.connect(lake.run(lake.published().run_id).catalog, read_only=True) as con:
        assert con.sql("select count(*) from audit_results").fetchall() == [(0,)]
