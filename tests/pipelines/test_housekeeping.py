"""What a lake is rid of, and what it keeps."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.catalog import connect, reading
from pipelines.errors import UsageError
from pipelines.housekeeping import keep, recover
from pipelines.lake import Lake, Run
from pipelines.manifest import File


def published(maker: Any, number: int, status: str = "published") -> Run:
    """A whole run with a record, of that state; the last one that is published is the current."""
    run: Run = maker.lake.start_run(f"2026010{number}T000000Z-{number}")
    maker.write_manifest(run, maker.write_parts(run))
    maker.lake.history.record(run.run_id, status=status)
    if status == "published":
        maker.lake.publish(run)
    maker.lake.discard_staged(run)
    return run


def numbers(lake: Lake) -> list[str]:
    return [run_id[-1] for run_id in lake.run_ids()]


@pytest.mark.parametrize(("kept", "left"), [(1, "4"), (2, "34"), (4, "1234"), (9, "1234")])
def test_the_newest_are_kept(lake_maker: Any, kept: int, left: str) -> None:
    for number in range(1, 5):
        published(lake_maker, number)
    removed = keep(lake_maker.lake, kept)
    assert numbers(lake_maker.lake) == list(left)
    assert [run_id[-1] for run_id in removed] == [n for n in "1234" if n not in left]
    states = {row["run_id"][-1]: row["removed_at"] is None for row in lake_maker.lake.history.runs()}
    assert states == {n: n in left for n in "1234"}, "the history tells of all, and which tables are there"


def test_the_published_run_is_kept_however_old_it_is(lake_maker: Any) -> None:
    runs = [published(lake_maker, number) for number in range(1, 4)]
    lake_maker.lake.publish(runs[0])
    assert keep(lake_maker.lake, 1) == [runs[1].run_id]
    assert numbers(lake_maker.lake) == ["1", "3"]


def test_a_run_whose_files_a_kept_one_lists_is_kept(lake_maker: Any) -> None:
    """As an incremental run will: it lists files of an earlier run, whose rows it takes over."""
    first, other = published(lake_maker, 1), published(lake_maker, 2)
    last = lake_maker.lake.start_run("20260103T000000Z-3")
    own = lake_maker.write_parts(last)
    manifest = lake_maker.write_manifest(last, own)
    taken = manifest.files[0]
    told = json.loads(Path(last.manifest).read_text())
    told["files"].append(
        File(taken.table, "touchpoints/part-0-a.parquet", 2, taken.bytes, taken.sha256, first.run_id).__dict__
    )
    Path(last.manifest).write_text(json.dumps(told))
    lake_maker.lake.publish(last)
    assert keep(lake_maker.lake, 1) == [other.run_id]
    assert [Path(path).exists() for path in lake_maker.lake.files(lake_maker.lake.published(), "touchpoints")] == [
        True
    ] * 3


def test_to_keep_none_is_no_wish(lake_maker: Any) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        keep(lake_maker.lake, 0)


@pytest.mark.parametrize("status", ["refused", "accepted", "published"])
def test_whole_runs_are_no_left_overs(lake_maker: Any, status: str) -> None:
    published(lake_maker, 1)
    published(lake_maker, 2, status)
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == []
    assert numbers(lake_maker.lake) == ["1", "2"]


def test_what_died_is_removed_and_told(lake_maker: Any) -> None:
    published(lake_maker, 1)
    published(lake_maker, 2, "running")  # its tables were whole, but it was not audited
    lake_maker.lake.start_run("20260103T000000Z-3")  # and this one had not even a record
    half = Path(lake_maker.lake.path, ".current.json-0123abcd")
    half.write_text("{")
    with lake_maker.lake.lock("next"):
        assert [run_id[-1] for run_id in recover(lake_maker.lake)] == ["2", "3"]
    assert numbers(lake_maker.lake) == ["1"] and not half.exists()
    assert [row["status"] for row in lake_maker.lake.history.runs()] == ["published", "died"]


def test_a_publication_that_was_not_recorded_is(lake_maker: Any) -> None:
    run = published(lake_maker, 1, "running")
    lake_maker.lake.publish(run)
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == []
    [row] = lake_maker.lake.history.runs()
    assert row["status"] == "published" and row["published_at"] is not None


def test_a_run_that_is_half_removed_is_removed(lake_maker: Any) -> None:
    first = published(lake_maker, 1)
    published(lake_maker, 2)
    lake_maker.lake.history.record(first.run_id, removed_at=datetime(2026, 1, 3, tzinfo=UTC))
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == [first.run_id]
    assert numbers(lake_maker.lake) == ["2"]


def test_a_run_under_way_elsewhere_is_no_old_run(lake_maker: Any) -> None:
    """Without a lock, on an object store, its tables are whole while it is audited."""
    under_way = published(lake_maker, 1, "running")
    published(lake_maker, 2)
    assert keep(lake_maker.lake, 1) == []
    assert under_way.run_id in lake_maker.lake.run_ids()


def test_a_lake_mends_itself_where_its_small_files_are_damaged(
    lake_maker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    for module in ("housekeeping", "history"):
        log = SimpleNamespace(warning=lambda words, *given: told.append(words % given))
        monkeypatch.setattr(f"pipelines.{module}._LOG", log)
    first = published(lake_maker, 1)
    Path(lake_maker.lake.path, "current.json").write_text("")
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == []
    assert "does not name a run" in told[0]
    lake_maker.lake.publish(first)
    record = Path(lake_maker.lake.history.folder, "runs", f"{first.run_id}.parquet")
    whole = record.read_bytes()
    for place in range(0, len(whole), 97):  # Parquet makes many kinds of error of many kinds of damage
        record.with_name("20250101T000000Z-0.parquet").write_bytes(
            whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        )
        with lake_maker.lake.lock("next"):
            assert recover(lake_maker.lake) == []
    assert any("is left out" in words for words in told)
    with connect(lake_maker.lake) as con:
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]


def test_where_a_kept_manifest_cannot_be_read_nothing_is_removed(lake_maker: Any) -> None:
    for number in range(1, 4):
        published(lake_maker, number)
    Path(lake_maker.lake.run("20260102T000000Z-2").manifest).write_text("{}")
    assert keep(lake_maker.lake, 2) == []
    assert numbers(lake_maker.lake) == ["1", "2", "3"]


def test_a_run_that_this_process_reads_is_kept(lake_maker: Any) -> None:
    first = published(lake_maker, 1)
    with reading(lake_maker.lake) as con:
        published(lake_maker, 2)
        assert keep(lake_maker.lake, 1) == []
        assert con.sql("select count(*) from touchpoints").fetchall() == [(3,)]
    assert keep(lake_maker.lake, 1) == [first.run_id]


def test_a_folder_that_is_no_run_is_let_alone(lake_maker: Any) -> None:
    published(lake_maker, 1)
    strange = Path(lake_maker.lake.path, "runs", "my notes")
    strange.mkdir()
    with lake_maker.lake.lock("next"):
        assert recover(lake_maker.lake) == []
    assert keep(lake_maker.lake, 1) == [] and strange.exists()


def test_what_is_not_ours_is_never_removed(lake_maker: Any) -> None:
    """A lake may be made in a folder in which somebody works, and `runs` is what others call theirs, too."""
    lake_maker.publish()
    root = Path(lake_maker.lake.path)
    theirs = [
        root / "runs" / "experiment1" / "model.pt", root / "runs" / "20260101" / "log", root / ".tool-versions",
        root / ".bash-settings", root / "history" / "theirs" / ".draft-12345678", root / "runs" / ".theirs-12345678",
        root / ".theirs.parquet-12345678", root / ".manifest.json-12345678",
    ]  # fmt: skip
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    ours = [root / ".current.json-0123abcd", root / "history" / "runs" / ".20260101T000000Z-1.parquet-0123abcd"]
    for path in ours:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    lake_maker.start()  # which dies
    with lake_maker.lake.lock("the next"):
        [gone] = recover(lake_maker.lake)
        keep(lake_maker.lake, 1)
    assert gone not in lake_maker.lake.run_ids()
    assert not [path for path in ours if path.exists()]
    assert [path.read_text() for path in theirs] == ["theirs"] * len(theirs)


def test_tables_that_were_removed_are_said_to_be(lake_maker: Any) -> None:
    runs = [published(lake_maker, number) for number in range(1, 3)]
    keep(lake_maker.lake, 1)
    with pytest.raises(UsageError, match=f"The tables of run {runs[0].run_id} were removed"):
        connect(lake_maker.lake, runs[0].run_id)
