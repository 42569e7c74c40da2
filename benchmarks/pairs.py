"""Runs in pairs, with and without some part, each a process of its own: what that part costs, start-up included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
AS_OF = "2026-07-01T00:00:00Z"


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds of CPU of all its processes, seconds on the clock, and the largest process' peak memory."""

    cpu: float
    wall: float
    peak_gb: float


def events(workdir: Path, count: int, files: int = 4, mixed: bool = False, customers: int | None = None) -> str:
    """The pattern of generated input files, which are made if they are not there."""
    name = "-".join([
        "mixed" if mixed else "events", str(count), *([f"{customers}-customers"] if customers else []),
    ])  # fmt: skip
    folder = workdir / name
    if not (folder / "truth.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(HERE / "generate_events.py"), "--events", str(count), "--files", str(files)]
        command += ["--mixed"] * mixed + (["--customers", str(customers)] if customers else [])
        subprocess.run([*command, "--output", str(folder)], check=True)
    return str((folder / "*.jsonl").resolve())


def cost_of(module: str, function: str, inputs: str) -> Cost:
    """What `function(inputs, lake)` of a benchmark's module costs, as the command would run it."""
    with tempfile.TemporaryDirectory() as lake:
        code = (
            f"import sys; sys.path[:0] = [{str(HERE.parent)!r}, {str(HERE)!r}];"
            "from pipelines.allocator import restart_with_settings; restart_with_settings();"
            "from pipelines.without_unused import hide_unused; hide_unused();"
            f"import {module}; {module}.{function}({inputs!r}, {lake!r})"
        )
        clock = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{module}.{function} ended with status {os.waitstatus_to_exitcode(status)}")
        return Cost(used.ru_utime + used.ru_stime, time.monotonic() - clock, used.ru_maxrss / 1e6)


def compare(module: str, inputs: str, pairs: int, aim: float | None = None) -> list[tuple[Cost, Cost]]:
    """Prints what `run_with` costs beside `run_without`, pair by pair, and the share on top."""
    print(
        f"{'pair':>4} {'CPU with':>10} {'without':>10} {'on top':>8}   {'wall with':>10} {'without':>10}   {'peak with':>9}"
    )
    found = []
    for pair in range(1, pairs + 1):
        with_it, without = cost_of(module, "run_with", inputs), cost_of(module, "run_without", inputs)
        found.append((with_it, without))
        print(
            f"{pair:>4} {with_it.cpu:>9.1f}s {without.cpu:>9.1f}s {with_it.cpu / without.cpu - 1:>8.0%}   "
            f"{with_it.wall:>9.1f}s {without.wall:>9.1f}s   {with_it.peak_gb:>7.1f}GB",
            flush=True,
        )
    shares = [one.cpu / other.cpu - 1 for one, other in found]
    told = f" (aim: {aim:.0%})" if aim is not None else ""
    print(f"{min(shares):.0%} to {max(shares):.0%} of CPU on top{told}.")
    return found
