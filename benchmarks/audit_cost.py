"""What the audit costs: the whole run against the same run that asks no expectation, in pairs.

    python benchmarks/audit_cost.py --events 1000 --runs 5
    python benchmarks/audit_cost.py --events 5000000 --runs 1 --workdir WORK

The aims, of the medians: 3 s of CPU and a tenth of the run's, and, for a thousand events, six seconds by the clock with
the audit; status 1 if one is missed. Each run is a process of its own, start-up included, and the audit's own process
with it: its import of Great Expectations is most of what a small run pays.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from pairs import AS_OF, cost_of, events

from pipelines import audit, cli

_FIXED_S, _SHARE = 3.0, 0.1
_CLOCK_S, _OF_EVENTS = 6.0, 1_000


class AsksNothing(audit.Auditor):
    """An audit that asks nothing, in no process."""

    def __enter__(self) -> AsksNothing:
        return self

    def audit(self, *_: object) -> audit.Audit:
        return audit.Audit()


def run_without(inputs: str, lake: str) -> None:
    """The command, with an audit that asks nothing."""
    audit.Auditor = AsksNothing  # type: ignore[misc]
    run_whole(inputs, lake)


def run_whole(inputs: str, lake: str) -> None:
    """The command."""
    sys.argv = ["parcours", "run", "--input", inputs, "--output", lake, "--as-of", AS_OF, "--quiet"]
    cli.main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    files = max(1, min(4, options.events // 1000))  # the generator wants a thousand events a file
    inputs = events(options.workdir, options.events, files, mixed=True)
    excess, clock, ratios = [], [], []
    for number in range(options.runs):
        costs = {}
        for which in ("run_without", "run_whole") if number % 2 == 0 else ("run_whole", "run_without"):
            costs[which] = cost_of("audit_cost", which, inputs)
            print(f"{which:12} {costs[which].cpu:7.2f} s of CPU {costs[which].wall:7.2f} s", flush=True)
        without = costs["run_without"].cpu
        cost = costs["run_whole"].cpu - without
        excess.append(cost - _SHARE * without)
        clock.append(costs["run_whole"].wall)
        ratios.append(cost / without)
        print(
            f"audit        {cost:7.2f} s of CPU, {excess[-1]:.2f} s beside a tenth of the run's, {ratios[-1]:.2f} of it"
        )
    aims = [(f"{_FIXED_S:.0f} s of CPU beside a tenth of the run's", statistics.median(excess), _FIXED_S)]
    if options.events <= _OF_EVENTS:
        aims.append((f"{_CLOCK_S:.0f} s by the clock with the audit", statistics.median(clock), _CLOCK_S))
    print(f"median of {options.runs} on {os.cpu_count()} cores: {statistics.median(ratios):.2f} of the run's CPU")
    for aim, found, limit in aims:
        print(f"aim: {aim}: {found:.2f} s, {'met' if found <= limit else 'missed'}")
    return int(any(found > limit for _, found, limit in aims))


if __name__ == "__main__":
    sys.exit(main())
