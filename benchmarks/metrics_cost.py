"""What the numbers cost: the pipeline of a run against the same pipeline without its measuring steps, in pairs.

    python benchmarks/metrics_cost.py --events 1000000 --runs 3
    python benchmarks/metrics_cost.py --events 5000000 --runs 1 --workdir WORK

Measuring is customer_months, all metrics by month and segment, cohorts, service and loyalty, the fits and the forecasts,
and the paths and times in stage, which a run measures with them (journeys_cost.py tells those apart).
The aim is 40 % on top of the CPU of the run without. Each run is a process of its own, start-up included; the audit's
process is left out on both sides (audit_cost.py measures it).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairs import compare, events

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    compare("metrics_cost", events(options.workdir, options.events), options.runs, _AIM)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
