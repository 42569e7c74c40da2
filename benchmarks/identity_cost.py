"""What identity and duplicates cost: the whole run against the same run without these two steps, in pairs.

    python benchmarks/identity_cost.py --events 5000000 --runs 3 --workdir WORK

Without the steps an event is the customer's whom it names itself, and copies of an event stay: the tables are wrong, and
only the time is of interest. Each run is a process of its own, start-up included.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
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


def cost_of(which: str, inputs: str) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of one run in a process of its own."""
    import time

    with tempfile.TemporaryDirectory() as lake:
        clock = time.monotonic()
        code = (
            f"from pipelines.allocator import restart_with_settings; restart_with_settings();"
            f"import sys; sys.path.insert(0, {str(HERE)!r}); import identity_cost;"
            f"identity_cost.run_{which}({inputs!r}, {lake!r})"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cpu, time.monotonic() - clock, after.ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
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
            costs[which] = cost_of(which, inputs)
            cpu, wall, peak = costs[which]
            print(f"{which:8} {cpu:7.1f} s of CPU {wall:7.1f} s {peak:7.0f} MB", flush=True)
        ratios.append(costs["whole"][0] / costs["without"][0])
        print(f"ratio of CPU {ratios[-1]:.3f}", flush=True)
    print(f"median of {options.runs}: {sorted(ratios)[len(ratios) // 2]:.3f}, on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
