"""What the price of friction, funnels and paths cost: a run with them against the same without, in pairs.

    python benchmarks/journeys_cost.py --events 1000000 --runs 3
    python benchmarks/journeys_cost.py --events 10000000 --customers 1500000 --runs 1 --workdir WORK

With: friction_summary, three funnels, journey_paths, channel_credit, stage_durations, stage_transitions. The points of
friction themselves are found on both sides. The aim is 30 % on top of the CPU of the run without. The audit's process is
left out on both sides (audit_cost.py measures it).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairs import AS_OF, compare, events

_AIM = 0.3
_FUNNELS = """
[funnels.checkout]
steps = ["site_visit", "page_kind = 'cart'", "page_kind in ('checkout', 'payment')", "purchase"]
window = "7d"
by = ["channel", "device_type"]

[funnels.path]
steps = ["stage:awareness", "stage:consideration", "stage:purchase", "stage:loyalty"]
by = ["first_channel"]

[funnels.support]
steps = ["ticket_opened", "ticket_resolved", "survey_response"]
"""


def run_with(inputs: str, lake: str) -> None:
    """The whole run, but for its audit."""
    from audit_cost import AsksNothing

    from pipelines import run
    from pipelines.settings import load_settings

    file = Path(lake, "settings.toml")
    file.write_text(_FUNNELS, encoding="utf-8")
    run.run([inputs], str(Path(lake, "lake")), load_settings(str(file), as_of=AS_OF), auditor=AsksNothing())


def run_without(inputs: str, lake: str) -> None:
    """The same run, in which nothing of this is worked out; its tables are there, and empty."""
    import apache_beam as beam
    from audit_cost import AsksNothing

    from pipelines import journeys, run
    from pipelines.settings import load_settings
    from transforms import channel_credit, journey_paths, measure, stage_durations, stage_transitions
    from transforms.batches import keyed_tables

    class GivesNothing(beam.PTransform):
        def __init__(self, *_: Any) -> None:
            super().__init__()

        def expand(self, shards: beam.PCollection) -> beam.PCollection:
            return keyed_tables(shards.pipeline | f"No{self.label}" >> beam.Create([]), str)

    journeys.FrictionSummary = measure.JourneyPaths = GivesNothing  # type: ignore[misc,assignment]
    nothing = {
        "stage_transitions": lambda *_: {
            "transitions": stage_transitions.TRANSITIONS.empty_table(),
            "transition_times": stage_transitions.TRANSITION_TIMES.empty_table(),
        },
        "stage_durations": lambda *_: stage_durations.STAGE_TIMES.empty_table(),
        "channel_touches": lambda *_: None,
        "channel_credit": lambda *_: channel_credit.CREDIT_CELLS.empty_table(),
        "journey_paths": lambda *_: journey_paths.PATH_CELLS.empty_table(),
    }
    for name, gives_nothing in nothing.items():
        setattr(measure, name, gives_nothing)
    run.run([inputs], str(Path(lake, "lake")), load_settings(None, as_of=AS_OF), auditor=AsksNothing())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the events if they are not there, run in turn, and print each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, help="how many may turn up (default: one for 50 events)")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    inputs = events(options.workdir, options.events, customers=options.customers)
    compare("journeys_cost", inputs, options.runs, _AIM)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
