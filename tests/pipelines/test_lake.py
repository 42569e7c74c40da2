"""The lake's promises: one run is published, and whole; one that fails changes nothing; one writer at a time."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipelines.catalog import CatalogFile, connect
from pipelines.errors import Refused, UsageError
from pipelines.housekeeping import recover
from pipelines.lake import Lake, new_run_id
from pipelines.manifest import sql_type
from pipelines.stores import store_for


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---- publication


def test_a_new_lake_has_no_published_run(lake_maker: Any) -> None:
    assert lake_maker.lake.current() is None
    with pytest.raises(UsageError, match=r"no published run in .*lake"):
        lake_maker.lake.published()


def test_readers_see_the_run_that_was_published_last(lake_maker: Any) -> None:
    first = lake_maker.publish()
    assert lake_maker.lake.current() == first.run_id
    second = lake_maker.publish()
    assert lake_maker.lake.current() == second.run_id
    assert lake_maker.lake.manifest(first.run_id).run_id == first.run_id  # readers of the first still read it


def test_current_json_says_what_readers_need(lake: Lake) -> None:
    said = json.loads(Path(lake.path, "current.json").read_bytes())
    assert set(said) == {"run_id", "published_at", "as_of", "published_by", "publisher", "reason"}
    assert said["as_of"] == "2026-11-01T00:00:00Z"


def test_a_published_lake_holds_what_the_manifest_lists_and_nothing_else(lake: Lake) -> None:
    run = lake.run(lake.current() or "")
    listed = {file.path for file in lake.published().files}
    assert files_under(Path(run.folder)) == listed | {"manifest.json", "catalog.duckdb"}
    assert not list(Path(lake.path).glob(".current.json-*"))


def test_the_manifest_tells_everything_and_reads_back_the_same(lake_maker: Any) -> None:
    run = lake_maker.start()
    written = lake_maker.write_manifest(run, lake_maker.write_parts(run))
    assert lake_maker.lake.manifest(run.run_id) == written
    assert written.rows["touchpoints"] == 3 and written.rows["customers"] == 0
    assert written.settings == {"timezone": "UTC"} and written.inputs[0].bytes == 100
    assert [file.path for file in written.files] == [
        "touchpoints/part-0-a.parquet",
        "touchpoints/part-1-b.parquet",
    ]
    sessions = next(table for table in written.tables if table.name == "sessions")
    assert (sessions.grain, sessions.key, sessions.schema_version) == (
        "one session",
        ("session_id",),
        "1-0-0",
    )
    assert sessions.columns[0]["type"] == "VARCHAR" and "first event" in sessions.columns[0]["description"]


@pytest.mark.parametrize("spoil", ["remove", "cut"])
def test_a_run_whose_files_are_not_as_listed_gets_no_manifest(lake_maker: Any, spoil: str) -> None:
    run = lake_maker.start()
    files = lake_maker.write_parts(run)
    path = Path(run.folder, files[0].path)
    path.unlink() if spoil == "remove" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Refused, match=r"part-0-a\.parquet.* but the file (is not there|has)"):
        lake_maker.write_manifest(run, files)
    assert not Path(run.manifest).exists()


def test_a_manifest_is_written_once(lake_maker: Any) -> None:
    run = lake_maker.start()
    files = lake_maker.write_parts(run)
    lake_maker.write_manifest(run, files)
    with pytest.raises(Refused, match="already has a manifest"):
        lake_maker.write_manifest(run, files)


def test_a_run_without_a_manifest_cannot_be_published(lake_maker: Any) -> None:
    before = lake_maker.publish()
    run = lake_maker.start()
    with pytest.raises(UsageError, match="no whole run"):
        lake_maker.lake.publish(run)
    assert lake_maker.lake.current() == before.run_id


def test_files_of_a_repeated_attempt_are_removed_with_the_scratch(lake_maker: Any) -> None:
    run = lake_maker.start()
    files = lake_maker.write_parts(run)
    lake_maker.write_part(run, lake_maker.ROWS, "part-0-other-attempt.parquet")
    Path(run.blocks, "100-a.arrow").write_bytes(b"x")
    lake_maker.write_manifest(run, files)
    lake_maker.lake.discard_staged(run)
    assert files_under(Path(run.folder)) == {file.path for file in files} | {"manifest.json"}


# ---- runs that fail


def test_a_failed_run_is_dropped_and_the_published_one_is_not_touched(lake_maker: Any) -> None:
    published = lake_maker.publish()
    before = files_under(Path(published.folder))
    failed = lake_maker.start()
    lake_maker.write_parts(failed)
    lake_maker.lake.drop_run(failed)
    assert not Path(failed.folder).exists()
    lake_maker.lake.drop_run(published)
    assert files_under(Path(published.folder)) == before


def test_the_next_writer_removes_what_a_killed_one_left(lake_maker: Any) -> None:
    published = lake_maker.publish()
    dead = lake_maker.start()
    lake_maker.write_parts(dead)
    assert recover(lake_maker.lake) == []  # not without the lock
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == [dead.run_id]
    assert [path.name for path in Path(lake_maker.lake.path, "runs").iterdir()] == [published.run_id]


# ---- listings


def listing(lake_maker: Any, run: Any, name: str, table: str) -> None:
    entry = {"table": table, "path": f"{table}/part-0", "rows": 1, "bytes": 2, "sha256": "0"}
    text = json.dumps({"files": [entry], "tallies": [], "problems": []})
    Path(run.staged, name).write_text(text, encoding="utf-8")


def test_of_several_listings_the_first_whole_one_counts(lake_maker: Any) -> None:
    run = lake_maker.start()
    listing(lake_maker, run, "listing-c.json", "tickets")
    listing(lake_maker, run, "listing-b.json", "sessions")
    Path(run.staged, "listing-a.json").write_text('{"files": [', encoding="utf-8")  # its writer died
    assert [file.table for file in lake_maker.lake.read_listings(run).files] == ["sessions"]


def test_a_run_without_a_listing_is_refused(lake_maker: Any) -> None:
    with pytest.raises(Refused, match="without a listing"):
        lake_maker.lake.read_listings(lake_maker.start())


# ---- the lock


HOLDS_THE_LOCK = """
import sys
from pipelines.lake import Lake
with Lake(sys.argv[1]).lock("run-of-another"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def other_writer(path: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    return process


def test_a_second_writer_is_told_who_the_first_is_and_gets_in_when_that_one_dies(lake: Lake) -> None:
    with other_writer(lake.path) as other:
        try:
            with pytest.raises(UsageError) as refused, lake.lock("mine"):
                pass
            assert "another run is writing the lake" in refused.value.message.lower()
            assert f"run run-of-another, process {other.pid}" in refused.value.message
            assert "since 20" in refused.value.message and refused.value.mend
            assert lake.published()  # readers never wait
        finally:
            other.kill()
            other.communicate()
    with lake.lock("mine"):
        pass


def test_a_run_publishes_under_its_own_lock(lake_maker: Any) -> None:
    with lake_maker.lake.lock("mine"):
        run = lake_maker.publish()
    assert lake_maker.lake.current() == run.run_id


def test_nobody_publishes_while_another_holds_the_lock(lake_maker: Any) -> None:
    before = lake_maker.publish()
    run = lake_maker.start()
    lake_maker.write_manifest(run, lake_maker.write_parts(run))
    with other_writer(lake_maker.lake.path) as other:
        with pytest.raises(UsageError, match="nother run is writing"):
            lake_maker.lake.publish(run)
        other.communicate("")
    assert lake_maker.lake.current() == before.run_id


# ---- paths


def test_a_lake_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        Lake(str(path)).start_run("r")
    assert Lake(str(path)).current() is None


def test_a_lake_that_cannot_be_written_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    path = tmp_path / "file" / "lake"
    with pytest.raises(UsageError) as refused:
        Lake(str(path)).start_run("r")
    assert str(path) in refused.value.message and "--output" in refused.value.mend


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_lake_is_refused(lake: Lake) -> None:
    Path(lake.path).chmod(0o555)
    try:
        with pytest.raises(UsageError, match="cannot be written: permission denied"):
            lake.start_run("r")
    finally:
        Path(lake.path).chmod(0o755)


@pytest.mark.parametrize("name", ["with space", "b[1]*?", "it's", "ünï", "a=b"])
def test_any_folder_name_will_do(tmp_path: Path, all_tables: Any, lake_maker: Any, name: str) -> None:
    maker = type(lake_maker)(str(tmp_path / name), all_tables)
    maker.publish()
    with connect(maker.lake) as con:
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]


def test_paths_are_absolute_whatever_the_folder_is_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Lake("there/../lake/").path == str(tmp_path / "lake")


@pytest.mark.parametrize("path", ["", "hdfs://cluster/lake", "http://host/lake"])
def test_stores_that_are_not_known_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"(empty|kind of store)"):
        store_for(path)


def test_a_lake_with_a_broken_current_json_says_so(lake: Lake) -> None:
    Path(lake.path, "current.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"current\.json does not name a run"):
        lake.current()


# ---- small things


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    now = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
    ids = {new_run_id(now) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(run_id.startswith("20261121T235900Z-") and len(run_id) == 25 for run_id in ids)
    assert max(ids) < new_run_id(now.replace(year=2027))


def test_every_type_of_every_table_has_its_sql_name(all_tables: Any) -> None:
    con = duckdb.connect()
    for table in all_tables.values():
        con.register("empty", table.schema.empty_table())
        described = con.sql("describe from empty").fetchall()
        con.unregister("empty")
        for column, (_, kind, *_) in zip(table.schema, described, strict=True):
            assert sql_type(column.type).replace('"', "") == kind.replace('"', ""), f"{table.name}.{column.name}"


def test_nested_types_have_their_sql_name() -> None:
    assert sql_type(pa.map_(pa.string(), pa.list_(pa.int64()))) == "MAP(VARCHAR, BIGINT[])"


def test_a_listed_sha256_is_that_of_the_file(lake: Lake) -> None:
    run = lake.run(lake.current() or "")
    for file in lake.published().files:
        assert hashlib.sha256(Path(run.folder, file.path).read_bytes()).hexdigest() == file.sha256


def test_a_run_travels(lake: Lake) -> None:
    run = lake.run("r")
    assert pickle.loads(pickle.dumps(run)) == run


# ---- object stores: Beam's own S3 code, with the client that Beam's tests use in place of a network


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    from apache_beam.io.aws.clients.s3 import boto3_client, fake_client

    fake = fake_client.FakeS3Client()
    monkeypatch.setattr(boto3_client, "Client", lambda options: fake)
    monkeypatch.setattr("pipelines.stores._is_installed", lambda package: True)
    return "s3://lakes"


def test_a_lake_on_an_object_store(bucket: str, all_tables: Any, lake_maker: Any) -> None:
    pytest.importorskip("fsspec", reason="reading an object store through DuckDB needs fsspec")
    maker = type(lake_maker)(f"{bucket}/one", all_tables)
    assert maker.lake.current() is None
    first = maker.publish()
    with maker.lake.lock("there is none"):
        second = maker.publish()
    assert maker.lake.current() == second.run_id != first.run_id
    assert set(maker.lake.store.glob(second.folder, "**")) == {
        f"{second.folder}/{name}"
        for name in (
            "manifest.json",
            "catalog.duckdb",
            "touchpoints/part-0-a.parquet",
            "touchpoints/part-1-b.parquet",
        )
    }
    con = connect(maker.lake)
    assert con.sql("select customer_key, seq from touchpoints order by all").fetchall() == [
        ("c-1", 1),
        ("c-1", 2),
        ("c-2", 1),
    ]
    con.close()
    maker.lake.drop_run(first)
    assert maker.lake.store.glob(first.folder, "**") == {}
    maker.lake.drop_run(second)
    assert maker.lake.current() == second.run_id and maker.lake.published()


def test_a_catalog_on_an_object_store_finds_what_was_written_while_it_was_made(
    bucket: str, all_tables: Any, lake_maker: Any
) -> None:
    pytest.importorskip("fsspec", reason="reading an object store through DuckDB needs fsspec")
    maker = type(lake_maker)(f"{bucket}/one", all_tables)

    def measure(run_id: str) -> None:
        names = maker.lake.history.read("run_measures", []).schema.names
        maker.lake.history.write("run_measures", run_id, [dict.fromkeys(names) | {"run_id": run_id}])

    run = maker.start()
    with CatalogFile(maker.lake, maker.write_manifest(run, maker.write_parts(run))) as catalog:
        catalog._described.result()
        measure(run.run_id)  # as the audit does, for the first time in this lake
        catalog.write()
    maker.lake.publish(run)
    with connect(maker.lake) as con:
        assert con.sql("select run_id from run_measures").fetchall() == [(run.run_id,)]
    measure("later")
    with connect(maker.lake) as con:
        assert con.sql("select run_id from run_measures order by all").fetchall() == [(run.run_id,), ("later",)]


def test_an_object_store_that_cannot_be_written_is_named_at_the_start(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apache_beam.io.aws.clients.s3 import boto3_client

    def no_such_bucket(*args: Any) -> None:
        raise RuntimeError("The specified bucket does not exist")

    monkeypatch.setattr(boto3_client.Client(None), "create_multipart_upload", no_such_bucket, raising=True)
    with pytest.raises(UsageError, match=r"s3://lakes/one/runs/r/_staged/started cannot be reached: .*not exist"):
        Lake(f"{bucket}/one").start_run("r")


def test_an_object_store_without_its_package_is_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stores._is_installed", lambda package: False)
    with pytest.raises(UsageError) as refused:
        Lake("gs://bucket/lake")
    assert refused.value.mend == "pip install 'apache-beam[gcp]'"
