"""`parcours run`, killed with no warning at random moments: the lake is whole each time, and the next run as if nothing was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.catalog import connect
from pipelines.lake import Lake
from tests.faults.crash_worker import left_over
from tests.lake_tables import in_order_of_key
from tests.real_command import COMMAND, environment, run_command

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

COMPANY = Path(__file__).parent.parent.parent / "fixtures" / "company" / "events.jsonl"
AS_OF = "2026-06-01T00:00:00Z"
KILLS = 30


def test_a_run_killed_at_any_moment_leaves_a_whole_lake(tmp_path: Path) -> None:
    lines = COMPANY.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "before.jsonl").write_text("".join(lines[:-10]), encoding="utf-8")
    (tmp_path / "after.jsonl").write_text("".join(lines), encoding="utf-8")
    expected = {}
    for name in ("before", "after"):
        began = time.monotonic()
        done = run_command(_arguments(tmp_path, name, tmp_path / f"undisturbed-{name}"), tmp_path)
        seconds = time.monotonic() - began
        assert done.status == 0, done.err
        expected[name] = in_order_of_key(tmp_path / f"undisturbed-{name}")
    moments = random.Random(20260331)
    # A little beyond its usual end, too: one or two may come too late to do harm.
    times = sorted(moments.uniform(0.2, seconds * 1.05) for _ in range(KILLS))

    def kill(number: int) -> tuple[str, str]:
        """How the run that was to be killed ended, and what was wrong with the lake afterwards."""
        home = tmp_path / f"kill-{number}"
        lake = home / "lake"
        shutil.copytree(tmp_path / "undisturbed-before", lake)
        ended = _kill_after(times[number], _arguments(tmp_path, "after", lake))
        found = in_order_of_key(lake, died=True)
        if found not in expected.values():
            return ended, "the published tables are neither the old ones nor the new ones"
        with connect(Lake(str(lake))) as con:
            con.execute("select count(*) from touchpoints").fetchone()
        done = run_command(_arguments(tmp_path, "after", lake), home)
        if done.status != 0:
            return ended, f"the next run ended with {done.status}: {done.err}"
        if in_order_of_key(lake) != expected["after"]:
            return ended, "the next run's tables are not those of an undisturbed one"
        return ended, left_over(str(lake))

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(kill, range(KILLS)))
    assert [(f"{times[i]:.2f} s", wrong) for i, (_, wrong) in enumerate(ends) if wrong] == []
    killed = sum(ended == "killed" for ended, _ in ends)
    assert killed >= KILLS * 2 // 3, f"only {killed} of {KILLS} were killed before their end"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_audit_process_does_not_outlive_its_run(tmp_path: Path, number: signal.Signals) -> None:
    """It is there before Beam is imported, and so before there is anything to break off."""
    process = subprocess.Popen(
        [*COMMAND, *_arguments(COMPANY.parent, "events", tmp_path / "lake")],
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    audits: list[int] = []
    until = time.monotonic() + 60
    while not audits and time.monotonic() < until:
        audits = _children(process.pid)
        time.sleep(0.05)
    assert audits, "no audit process was started beside the pipeline"
    process.send_signal(number)
    assert process.wait() == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert not any(_is_alive(pid) for pid in audits), "it ends its audit before itself"
    until = time.monotonic() + 60
    while any(_is_alive(pid) for pid in audits) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_is_alive(pid) for pid in audits)


def _arguments(folder: Path, name: str, lake: Path) -> list[str]:
    return [
        "run",
        "--input",
        str(folder / f"{name}.jsonl"),
        "--output",
        str(lake),
        "--as-of",
        AS_OF,
        "--quiet",
        "--keep",
        "2",
    ]


def _kill_after(seconds: float, arguments: list[str]) -> str:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return "killed"
    return "ended"


def _children(pid: int) -> list[int]:
    """The audit's processes of a run: by their command line, since the run may start others."""
    found = []
    for child in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((child / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"audit_process" in (child / "cmdline").read_bytes():
                found.append(int(child.name))
        except (OSError, ValueError):
            continue
    return found


def _is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


assert sys.platform == "linux" and os.path.isdir("/proc")
