"""What identity and duplicates cost: the whole run against the same run without these two steps, in pairs.

    python benchmarks/identity_cost.py --events 5000000 --runs 3 --workdir WORK

With `--against TREE` the other run is the whole one of an older checkout, such as the skeleton's:

    git worktree add ../skeleton 52db1e5
    python benchmarks/identity_cost.py --against ../skeleton

Without the steps an event is the customer's whom it names itself, and copies of an event stay: the tables are wrong, and
only the time is of interest. Each run is a process of its own, start-up included.
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


def run_without(inputs: str, lake: str) -> None:
    """A run whose graph goes from the staged blocks straight to the shuffle by customer."""
    import apache_beam as beam

    from pipelines import journeys, run
    from pipelines.settings import load_settings

    class PassBy(beam.PTransform):
        """In place of FindDuplicates: nothing is a duplicate."""

        def __init__(self, *_: object) -> None:
            super().__init__()

        def expand(self, identifiers: beam.PCollection) -> beam.PCollection:
            from transforms.batches import keyed_tables

            return keyed_tables(identifiers | beam.Filter(lambda _: False) | beam.Map(lambda kv: ("", kv[1])), str)

    class NameOnly(PassBy):
        """In place of ResolveIdentity: no answers."""

        def expand(self, known: beam.PCollection) -> dict[str, beam.PCollection]:
            nothing = known | beam.Filter(lambda _: False)
            return {"answers": known, "decisions": nothing, "tallies": nothing | beam.Map(lambda kv: kv)}

    journeys.FindDuplicates = PassBy  # type: ignore[misc, assignment]
    journeys.ResolveIdentity = NameOnly  # type: ignore[misc, assignment]
    run.run([inputs], lake, load_settings(None, as_of=AS_OF))


def run_whole(inputs: str, lake: str) -> None:
    from pipelines import run
    from pipelines.settings import load_settings

    run.run([inputs], lake, load_settings(None, as_of=AS_OF))


def cost_of(which: str, inputs: str, tree: Path = HERE.parent) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of one run, of the code in `tree`, in a process of its own."""
    with tempfile.TemporaryDirectory() as lake:
        code = (
            f"import sys; sys.path[:0] = [{str(tree)!r}, {str(HERE)!r}];"
            f"from pipelines.allocator import restart_with_settings; restart_with_settings();"
            f"import identity_cost; identity_cost.run_{which}({inputs!r}, {lake!r})"
        )
        clock = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tree, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the run ended with status {os.waitstatus_to_exitcode(status)}")
        return used.ru_utime + used.ru_stime, time.monotonic() - clock, used.ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    parser.add_argument(
        "--against", type=Path, metavar="TREE", help="a checkout of an older commit, run whole in place of `without`"
    )
    options = parser.parse_args(arguments)
    older = options.against.resolve() if options.against else None
    folder = options.workdir / f"mixed-{options.events}"
    if not (folder / "truth.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(HERE / "generate_events.py"), "--mixed", "--events", str(options.events)]
        subprocess.run([*command, "--output", str(folder)], check=True)
    inputs = str((folder / "*.jsonl").resolve())
    ratios = []
    for number in range(options.runs):
        costs = {}
        for which in ("without", "whole") if number % 2 == 0 else ("whole", "without"):
            costs[which] = cost_of("whole", inputs, older) if older and which == "without" else cost_of(which, inputs)
            cpu, wall, peak = costs[which]
            print(f"{which:8} {cpu:7.1f} s of CPU {wall:7.1f} s {peak:7.0f} MB", flush=True)
        ratios.append(costs["whole"][0] / costs["without"][0])
        print(f"ratio of CPU {ratios[-1]:.3f}", flush=True)
    print(f"median of {options.runs}: {sorted(ratios)[len(ratios) // 2]:.3f}, on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
