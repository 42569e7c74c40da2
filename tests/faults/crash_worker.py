"""A process that makes runs with a fault at one file operation each, and looks at the lake after each of them.

It makes no run itself: each is made by a process forked from it, which has all imported, so that one costs a second or two.
All share one audit process, which no fault touches: between its question and its answer nothing happens to a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pipelines.run
from pipelines.audit import Auditor
from pipelines.catalog import connect
from pipelines.lake import Lake
from pipelines.run import run
from pipelines.settings import Settings, parse_time
from pipelines.without_unused import hide_unused
from tests.faults.file_operations import Fault, FileOperations
from tests.lake_tables import in_order_of_key

SETTINGS = Settings(as_of=parse_time("2026-06-01T00:00:00Z"), keep=2)


@dataclass(frozen=True)
class Scene:
    """`base` is a lake in which two runs of `before` were published; `before` and `after` are inputs."""

    base: str
    before: str
    after: str
    scratch: str


@dataclass(frozen=True)
class Point:
    """What came of a run with a fault: how it ended, what was wrong with the lake then, or after the run that followed."""

    fault: Fault
    at: int
    operation: str
    status: int
    wrong: str


def enumerate_operations(scene: Scene, auditor: Auditor) -> list[str]:
    """Every file operation of one undisturbed run, in order."""
    lake = _copy(scene, "enumerated")
    told = Path(scene.scratch, "operations.json")

    def watched() -> None:
        operations = FileOperations(lake, "none", 0)
        operations.watch()
        run([scene.after], lake, SETTINGS, auditor=auditor)
        told.write_text(json.dumps(operations.seen))

    if _forked(watched) != 0:
        raise RuntimeError("the undisturbed run failed")
    operations: list[str] = json.loads(told.read_text())
    return operations


def try_point(scene: Scene, auditor: Auditor, fault: Fault, at: int, operation: str, expected: Path) -> Point:
    """One run with a fault, the lake as it then is, and one run after it."""
    lake = _copy(scene, f"{fault}-{at}")
    status = _forked(lambda: _disturbed(scene, auditor, lake, fault, at))
    told = Path(scene.scratch, f"wrong-{fault}-{at}.txt")
    looked = _forked(lambda: told.write_text(_look(scene, auditor, lake, expected)))
    wrong = told.read_text() if looked == 0 else f"the look at the lake ended with status {looked}"
    if not wrong:
        shutil.rmtree(lake)
    return Point(fault, at, operation, status, wrong)


def _disturbed(scene: Scene, auditor: Auditor, lake: str, fault: Fault, at: int) -> None:
    FileOperations(lake, fault, at).watch()
    run([scene.after], lake, SETTINGS, auditor=auditor)


def _look(scene: Scene, auditor: Auditor, lake: str, expected: Path) -> str:
    """What is wrong with the lake, before and after the run that follows; empty if nothing is."""
    tables = {name: (expected / name).read_bytes() for name in ("before", "after")}
    with contextlib.closing(connect(lake)) as con:
        for view in ("touchpoints", "customers", "lifecycle_metrics", "runs", "audit_results"):
            con.execute(f"select count(*) from {view}").fetchone()
    readable = _bytes(lake, died=True)
    if readable not in tables.values():
        return "after the fault, the published tables are neither the old ones nor the new ones"
    run([scene.after], lake, SETTINGS, auditor=auditor)
    if _bytes(lake) != tables["after"]:
        return "the tables of the next run differ from those of an undisturbed one"
    return left_over(lake)


def left_over(lake: str) -> str:
    """What a lake holds that it should not, once a run has come to its end."""
    opened = Lake(lake)
    there = {str(path.relative_to(lake)) for path in Path(lake).rglob("*") if path.is_file()}
    known = {"current.json", ".lock"}
    runs = {row["run_id"]: row for row in opened.history.runs()}
    for run_id in opened.run_ids():
        if run_id not in runs or runs[run_id]["status"] not in ("published", "accepted", "refused"):
            return f"the folder of run {run_id} was left"
        known |= {f"runs/{run_id}/manifest.json", f"runs/{run_id}/catalog.duckdb"}
        known |= {f"runs/{run_id}/{file.path}" for file in opened.manifest(run_id).files}
    known |= {
        f"history/{table}/{run_id}.parquet" for table in ("runs", "audit_results", "run_measures") for run_id in runs
    }
    if there - known:
        return f"left over: {sorted(there - known)}"
    if states := {row["status"] for row in runs.values()} & {"running"}:
        return f"runs that are {states}"
    if wrong := [i for i, row in runs.items() if (row["removed_at"] is not None) == (i in opened.run_ids())
                 and row["status"] in ("published", "accepted", "refused")]:  # fmt: skip
        return f"the history does not know whether {wrong} have tables"
    [current] = [row for row in runs.values() if row["run_id"] == opened.current()]
    return "" if current["status"] == "published" else f"the published run is recorded as {current['status']}"


def expect(scene: Scene, auditor: Auditor, expected: Path) -> None:
    """Writes what the published tables are before the run, and after one that nothing disturbs."""
    expected.mkdir()

    def work() -> None:
        (expected / "before").write_bytes(_bytes(scene.base))
        lake = _copy(scene, "undisturbed")
        run([scene.after], lake, SETTINGS, auditor=auditor)
        (expected / "after").write_bytes(_bytes(lake))

    if _forked(work) != 0:
        raise RuntimeError("the undisturbed run failed")


def make_base(scene: Scene, auditor: Auditor) -> None:
    """The lake that all begin with."""
    for _ in range(2):
        if _forked(lambda: run([scene.before], scene.base, SETTINGS, auditor=auditor)) != 0:
            raise RuntimeError("the base lake could not be made")


def _bytes(lake: str, died: bool = False) -> bytes:
    return b"".join(name.encode() + data for name, data in in_order_of_key(lake, died).items())


def _copy(scene: Scene, name: str) -> str:
    lake = str(Path(scene.scratch, name))
    shutil.copytree(scene.base, lake)
    return lake


def _forked(work: Callable[[], Any]) -> int:
    """Runs `work` in a fork of this process; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            if type(error).__module__ != "pipelines.errors":
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(70 if type(error).__module__ != "pipelines.errors" else 2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(args: Sequence[str]) -> None:
    """`SCENE PLAN`: a scene, and the points to try, as JSON; prints a line for each point as it is done."""
    scene, plan = Scene(**json.loads(args[0])), json.loads(args[1])
    expected = Path(scene.scratch, "expected")
    with Auditor() as auditor:
        if plan == "prepare":
            make_base(scene, auditor)
            expect(scene, auditor, expected)
            print(json.dumps(enumerate_operations(scene, auditor)), flush=True)
            return
        for fault, at, operation in plan:
            print(json.dumps(asdict(try_point(scene, auditor, fault, at, operation, expected))), flush=True)


if __name__ == "__main__":
    hide_unused()
    # It tries the SQL of the settings, on nothing and before the lake is touched: a third of the time of a run so small.
    # Here and not above: the tests import this module too.
    pipelines.run.check_plan = lambda *_: None
    main(sys.argv[1:])
