"""What the audit costs: the whole run against the same run that asks no expectation, in pairs.

    python benchmarks/audit_cost.py --events 1000 --runs 5
    python benchmarks/audit_cost.py --events 5000000 --runs 1 --workdir WORK

The aim is 3 s of CPU and a tenth of the run's. Each run is a process of its own, start-up included, and the audit's own
process with it: its import of Great Expectations is most of what a small run pays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
AS_OF = "2026-07-01T00:00:00Z"
_FIXED_S, _SHARE = 3.0, 0.1


def run_without(inputs: str, lake: str) -> None:
    """A run whose audit asks nothing, in no process."""
    from pipelines import audit, run

    class AsksNothing(audit.Auditor):
        def __enter__(self) -> AsksNothing:
            return self

        def audit(self, *_: object) -> audit.Audit:
            return audit.Audit()

    run.Auditor = AsksNothing  # type: ignore[misc]
    run_whole(inputs, lake)


def run_whole(inputs: str, lake: str) -> None:
    """A run as the command makes it."""
    from pipelines import run
    from pipelines.settings import load_settings

    run.run([inputs], lake, load_settings(None, as_of=AS_OF))


def cost_of(which: str, inputs: str) -> tuple[float, float]:
    """CPU and wall seconds of one run and all its processes."""
    with tempfile.TemporaryDirectory() as lake:
        code = (
            f"import sys; sys.path[:0] = [{str(HERE.parent)!r}, {str(HERE)!r}];"
            "from pipelines.allocator import restart_with_settings; restart_with_settings();"
            "from pipelines.without_pandas import hide_pandas; hide_pandas();"
            f"import audit_cost; audit_cost.run_{which}({inputs!r}, {lake!r})"
        )
        clock = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the run ended with status {os.waitstatus_to_exitcode(status)}")
        return used.ru_utime + used.ru_stime, time.monotonic() - clock


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    folder = options.workdir / f"mixed-{options.events}"
    if not (folder / "truth.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(HERE / "generate_events.py"), "--mixed", "--events", str(options.events)]
        files = str(max(1, min(4, options.events // 1000)))  # the generator wants a thousand events a file
        subprocess.run([*command, "--files", files, "--output", str(folder)], check=True)
    inputs = str((folder / "*.jsonl").resolve())
    excess = []
    for number in range(options.runs):
        costs = {}
        for which in ("without", "whole") if number % 2 == 0 else ("whole", "without"):
            costs[which] = cost_of(which, inputs)
            print(f"{which:8} {costs[which][0]:7.2f} s of CPU {costs[which][1]:7.2f} s", flush=True)
        audit = costs["whole"][0] - costs["without"][0]
        excess.append(audit - _SHARE * costs["without"][0])
        print(f"audit    {audit:7.2f} s of CPU, {excess[-1]:.2f} s beside a tenth of the run's (aim {_FIXED_S:.0f} s)")
    middle = sorted(excess)[len(excess) // 2]
    print(f"median of {options.runs}: {middle:.2f} s beside a tenth of the run's, on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
