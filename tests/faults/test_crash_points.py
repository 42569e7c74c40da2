"""A crash at every file operation of a run, and a disk that is full from every one of them on.

A run over a small lake is watched: each operation on a file of the lake is counted, from the lock to the removal of old
runs. Then the run is made once for each operation, and is gone before it: which is after the one before. Writes are
also torn in the middle. Each time the lake must be readable, as the whole old run or the whole new one; and the next
run must give the tables of an undisturbed one, and leave nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.real_command import environment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

#: Every so manieth point only, where there is no hour to spare.
EVERY = int(os.environ.get("PARCOURS_FAULTS_EVERY", "1"))
COMPANY = Path(__file__).parent.parent.parent / "fixtures" / "company" / "events.jsonl"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two inputs that differ by a few events, and room for lakes."""
    folder = tmp_path_factory.mktemp("faults")
    lines = COMPANY.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "before.jsonl").write_text("".join(lines[:-10]), encoding="utf-8")
    # One record that cannot be read: quarantine, too, is a table with a file.
    (folder / "after.jsonl").write_text("".join([*lines, "{\n"]), encoding="utf-8")
    (folder / "scratch").mkdir()
    return {
        "base": str(folder / "base"),
        "before": str(folder / "before.jsonl"),
        "after": str(folder / "after.jsonl"),
        "scratch": str(folder / "scratch"),
    }


@pytest.fixture(scope="module")
def operations(scene: dict[str, str]) -> list[str]:
    """Every file operation of an undisturbed run."""
    [told] = _work(scene, "prepare")
    return list(told)


def test_every_operation_is_watched(scene: dict[str, str], operations: list[str]) -> None:
    """The watch sees what must be there; that it sees all is shown by the files: each was opened under watch."""
    kinds = Counter(operation.split()[0] for operation in operations)
    assert set(kinds) == {"mkdir", "open", "write", "flush", "truncate", "fsync", "close", "replace", "unlink", "rmdir"}
    named = " ".join(operations)
    for part in ("_staged/blocks/", "listing-", "touchpoints/part-", "quarantine/part-", "manifest.json", "catalog.duckdb",
                 "current.json", "history/runs/", "history/audit_results/", "history/run_measures/", ".lock"):  # fmt: skip
        assert part in named, part
    lake, base = Path(scene["scratch"], "enumerated"), Path(scene["base"])
    there = {str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file()}
    new = there - {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
    made = {operation.split()[1] for operation in operations if operation.startswith(("open ", "replace "))}
    uncounted = {_without_run(path) for path in new} - {_without_run(path) for path in made}
    assert len(new) > 10 and uncounted == set(), "a file was made that was not opened under watch"


def _without_run(path: str) -> str:
    """A path without the id of the run, under which a record of the history is filed too."""
    return re.sub(r"\b(RUN|\d{8}T\d{6}Z-[0-9a-f]{8})\b", "RUN", path)


@pytest.mark.parametrize("fault", ["crash", "torn", "full"])
def test_the_lake_is_whole_after_a_fault_at_any_operation(
    fault: str, scene: dict[str, str], operations: list[str]
) -> None:
    points = [n for n in _points(operations) if fault != "torn" or _is_write(operations[n - 1])]
    # From where it is full on, all else fails too: every third point is near enough.
    step = EVERY * (3 if fault == "full" else 1)
    plan = [(fault, n, operations[n - 1]) for n in points[::step]]
    halves = [plan[0::2], plan[1::2]]
    with ThreadPoolExecutor(2) as pool:
        tried = [point for done in pool.map(lambda half: _work(scene, half), halves) for point in done]
    assert len(tried) == len(plan) > {"crash": 150, "torn": 20, "full": 60}[fault] // EVERY
    wrong = [f"{p['at']} {p['operation']}: {p['wrong']}" for p in tried if p["wrong"]]
    assert wrong == []
    ended = Counter(point["status"] for point in tried)
    # A full disk is told of, or what it prevented was no part of the run; it never is a fault of the program.
    assert set(ended) <= ({137} if fault != "full" else {0, 2}), ended


def _points(operations: list[str]) -> list[int]:
    """All of them; of the hundreds of writes that one block is written by, the first, the second and the last."""
    points = []
    for number, operation in enumerate(operations, 1):
        before, after = operations[max(number - 3, 0) : number - 1], operations[number : number + 1]
        if not (_is_write(operation) and before == [operation] * 2 and after == [operation]):
            points.append(number)
    return points


def _is_write(operation: str) -> bool:
    return operation.startswith("write ")


def _work(scene: dict[str, str], plan: str | Sequence[tuple[str, int, str]]) -> list[Any]:
    command = [sys.executable, "-m", "tests.faults.crash_worker", json.dumps(scene), json.dumps(plan)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONHASHSEED": "0"},
        cwd=os.getcwd(),
        timeout=3500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
