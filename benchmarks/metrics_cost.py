"""What the numbers cost: the pipeline of a run against the same pipeline without its measuring steps, in pairs.

    python benchmarks/metrics_cost.py --events 1000000 --runs 3
    python benchmarks/metrics_cost.py --events 5000000 --runs 1 --workdir WORK

Measuring is customer_months, all metrics by month and segment, cohorts, service and loyalty, the fits and the forecasts.
The aim is 40 % on top of the CPU of the run without. Each run is a process of its own, start-up included; the audit's
process is left out on both sides (audit_cost.py measures it).
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
from typing import Any

HERE = Path(__file__).parent
AS_OF = "2026-07-01T00:00:00Z"
_AIM = 0.4


def run_with(inputs: str, lake: str) -> None:
    """A run as the command makes it, but for the audit."""
    from audit_cost import run_without

    run_without(inputs, lake)


def run_without(inputs: str, lake: str) -> None:
    """The same run, whose shards are not measured: their tables are written, and no number is made of them."""
    import apache_beam as beam

    from pipelines import journeys
    from transforms.batches import ShardTables

    class PassesOn(beam.PTransform):
        def __init__(self, *_: Any) -> None:
            super().__init__()

        def expand(self, shards: beam.PCollection) -> beam.PCollection:
            return shards | beam.Map(lambda shard: shard).with_output_types(ShardTables)

    class MeasuresNothing(beam.PTransform):
        def __init__(self, *_: Any) -> None:
            super().__init__()

        def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
            nothing = shards.pipeline | "NoNumbers" >> beam.Create([])
            nothing.element_type = beam.typehints.KV[str, Any]
            customers = shards | "Customers" >> beam.Map(lambda shard: ShardTables(customers=shard["customers"]))
            customers.element_type = ShardTables
            return {"customers": customers, "tables": nothing}

    journeys.MeasureShards, journeys.Measure = PassesOn, MeasuresNothing  # type: ignore[misc]
    run_with(inputs, lake)


def cost_of(which: str, inputs: str) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    with tempfile.TemporaryDirectory() as lake:
        code = (
            f"import sys; sys.path[:0] = [{str(HERE.parent)!r}, {str(HERE)!r}];"
            "from pipelines.allocator import restart_with_settings; restart_with_settings();"
            "from pipelines.without_pandas import hide_pandas; hide_pandas();"
            f"import metrics_cost; metrics_cost.run_{which}({inputs!r}, {lake!r})"
        )
        clock = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the run {which} numbers ended with status {os.waitstatus_to_exitcode(status)}")
        return used.ru_utime + used.ru_stime, time.monotonic() - clock


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    folder = options.workdir / f"events-{options.events}"
    if not (folder / "truth.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(HERE / "generate_events.py"), "--events", str(options.events), "--files", "4"]
        subprocess.run([*command, "--output", str(folder)], check=True)
    inputs = str((folder / "*.jsonl").resolve())
    print(f"{'pair':>4} {'CPU with':>10} {'without':>10} {'on top':>8}   {'wall with':>10} {'without':>10}")
    shares = []
    for pair in range(1, options.runs + 1):
        cpu, wall = cost_of("with", inputs)
        cpu_without, wall_without = cost_of("without", inputs)
        shares.append(cpu / cpu_without - 1)
        print(
            f"{pair:>4} {cpu:>9.1f}s {cpu_without:>9.1f}s {shares[-1]:>8.0%}   {wall:>9.1f}s {wall_without:>9.1f}s",
            flush=True,
        )
    print(f"The numbers cost {min(shares):.0%} to {max(shares):.0%} on top (aim: {_AIM:.0%}).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
