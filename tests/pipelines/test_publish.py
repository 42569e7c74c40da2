"""A person publishes a run: which, who and why are kept; and only tables that are as they were written."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import status_of
from pipelines.errors import UsageError
from pipelines.housekeeping import recover
from pipelines.lake import Run
from pipelines.publish import publish


def whole(maker: Any, status: str) -> Run:
    run: Run = maker.start()
    maker.write_manifest(run, maker.write_parts(run))
    maker.lake.history.record(run.run_id, status=status, audit_failures=2 if status == "refused" else 0)
    maker.lake.discard_staged(run)
    return run


@pytest.mark.parametrize("status", ["refused", "accepted", "published"])
def test_a_whole_run_is_published_and_recorded(lake_maker: Any, status: str) -> None:
    lake_maker.publish()
    run = whole(lake_maker, status)
    row = publish(lake_maker.lake.path, run.run_id, "it is right")
    assert lake_maker.lake.current() == run.run_id
    assert (row["status"], row["published_by"], row["reason"]) == ("published", "person", "it is right")
    assert row["publisher"] and row["published_at"] is not None
    assert lake_maker.lake.history.run(run.run_id) == row


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_changed_tables_are_not_published(lake_maker: Any, spoil: str) -> None:
    before = lake_maker.publish()
    run = whole(lake_maker, "refused")
    path = Path(run.folder, "touchpoints", "part-0-a.parquet")
    path.unlink() if spoil == "remove" else path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UsageError, match="part-0-a.parquet.*(cannot be read|is not as run .* wrote it)"):
        publish(lake_maker.lake, run.run_id)
    assert lake_maker.lake.current() == before.run_id


def test_a_run_that_died_or_never_was_is_not_published(lake_maker: Any, tmp_path: Path) -> None:
    before = lake_maker.publish()
    dead = whole(lake_maker, "running")
    for run_id in (dead.run_id, "nobody"):
        with pytest.raises(UsageError, match=f"has no whole run {run_id}"):
            publish(lake_maker.lake, run_id)
    assert lake_maker.lake.current() == before.run_id
    with pytest.raises(UsageError, match="There is no run r in"):
        publish(str(tmp_path / "nowhere"), "r")
    assert not (tmp_path / "nowhere").exists(), "a wrong path makes no lake"


def test_a_run_that_never_was_changes_nothing(lake_maker: Any) -> None:
    lake_maker.publish()
    dead = lake_maker.start()
    with pytest.raises(UsageError, match="has no whole run nobody"):
        publish(lake_maker.lake, "nobody")
    assert Path(dead.folder).exists(), "what is left over, the next writer removes, and not a mistyped name"


def test_the_commands_tell_and_list(lake_maker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lake_maker.publish()
    run = whole(lake_maker, "refused")
    lake = lake_maker.lake.path
    assert status_of(["publish", "--lake", lake, run.run_id, "--reason", "a campaign"]) == 0
    assert capsys.readouterr().out == f"Run {run.run_id} is published. Its audit forbade it in 2 points.\n"
    assert status_of(["runs", "--lake", lake]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if run.run_id in line]
    assert line.startswith("*") and "2 failed" in line and "a campaign" in line
    assert status_of(["runs", "--lake", lake, run.run_id]) == 0
    assert "reason" in capsys.readouterr().out
    assert status_of(["runs", "--lake", lake, "nobody"]) == 2
    assert status_of(["query", "--lake", lake, "--run", "nobody", "select 1"]) == 2


@pytest.mark.parametrize("status", ["refused", "published"])
def test_who_decided_is_in_the_one_write_that_publishes(
    lake_maker: Any, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """The process dies, or the disk is full, between the publication and the record of it."""
    run = whole(lake_maker, status)
    for number in range(25):  # an older run than those that a lake is used to look through
        lake_maker.lake.history.record(f"20270101T000000Z-{number}", status="failed")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pipelines.history.History.record", fails)
        assert publish(lake_maker.lake, run.run_id, "it is right")["status"] == "published"
    told = lake_maker.lake.history.run(run.run_id)
    assert told is not None and (told["status"], told["published_by"]) == (status, None)
    with lake_maker.lake.lock("next"):
        recover(lake_maker.lake)
    row = lake_maker.lake.history.run(run.run_id)
    assert row is not None
    assert (row["status"], row["published_by"], row["reason"]) == ("published", "person", "it is right")
    assert row["publisher"]


def test_a_run_that_was_not_audited_says_so(lake_maker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = whole(lake_maker, "refused")
    lake_maker.lake.history.record(run.run_id, audit_failures=None)
    assert status_of(["runs", "--lake", lake_maker.lake.path]) == 0
    assert "not audited" in capsys.readouterr().out
    assert status_of(["publish", "--lake", lake_maker.lake.path, run.run_id]) == 0
    assert "It was not audited." in capsys.readouterr().out
