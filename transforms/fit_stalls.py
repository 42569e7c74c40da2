"""After how many days a stage is one that the customer is stuck in, read from the data: stall_days = "fit".

Of each stage it is the number of days within which 90 % of the stays of the last 12 months had ended, by Kaplan and Meier:
who still is in the stage counts as staying longer than until as-of, and not as gone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.adding_up import adding_up, sum_of
from transforms.batches import ShardTables, keyed_tables
from transforms.friction_inputs import stages_entered
from transforms.survival import kaplan_meier

#: How often each length of a stay came up. Counts add up, so this is all that one worker has to hold.
DWELLS = pa.schema([("stage", pa.string()), ("days", pa.int64()), ("is_open", pa.bool_()), ("count", pa.int64())])
SHARE = 0.9
MIN_STAYS = 30


@dataclass(frozen=True)
class StallDays:
    """`days` of each stage that the data tells them of, `reasons` of the others; `stays` behind each of them."""

    days: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    stays: Mapping[str, int] = field(default_factory=dict)

    def parameter_rows(self) -> list[dict[str, Any]]:
        """Its rows of the table model_parameters, one a stage."""
        return [
            {
                "model": "stage_stall",
                "currency": None,
                "parameter": stage,
                "value": float(self.days[stage]) if stage in self.days else None,
                "standard_error": None,
                "n": stays,
                "log_likelihood": None,
                "converged": stage in self.days,
                "reason": self.reasons.get(stage),
            }
            for stage, stays in sorted(self.stays.items())
        ]


def stage_dwells(shard: ShardTables, as_of: datetime.datetime, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """DWELLS of one shard."""
    stages = stages_entered(shard["journey_stages"], shard["touchpoints"])
    columns = stages.select(["stage", "entered_at", "left_at", "is_known"])
    return duck.select(connection, duck.read_sql("stage_dwells"), {"journey_stages": columns}, {"as_of": as_of}).cast(
        DWELLS
    )


def fit_stalls(partials: Iterable[pa.Table]) -> StallDays:
    """The days within which SHARE of the stays in each stage ended."""
    dwells = sum_of(partials, adding_up(DWELLS, "count"))
    days: dict[str, int] = {}
    reasons: dict[str, str] = {}
    stays: dict[str, int] = {}
    for stage in sorted(dwells["stage"].unique().to_pylist()):
        of_stage = dwells.filter(pc.equal(dwells["stage"], stage))
        length, is_open, count = (of_stage[name].to_numpy() for name in ("days", "is_open", "count"))
        stays[stage] = int(count.sum())
        found = kaplan_meier(length, ~is_open.astype(bool), count).quantile(SHARE)
        if stays[stage] < MIN_STAYS:
            reasons[stage] = f"fewer than {MIN_STAYS} stays in the 12 months before as-of"
        elif found is None:
            reasons[stage] = f"fewer than {SHARE:.0%} of the stays have ended"
        else:
            days[stage] = max(found, 1)
    return StallDays(days, reasons, stays)


class _Dwells(beam.DoFn):
    def __init__(self, as_of: datetime.datetime) -> None:
        self._as_of = as_of

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables) -> Iterator[tuple[str, pa.Table]]:
        yield "dwells", stage_dwells(shard, self._as_of, self._connection)


def _fit(element: tuple[str, Iterable[pa.Table]]) -> StallDays:
    return fit_stalls(element[1])


class FitStalls(beam.PTransform):
    """ShardTables -> one StallDays, for a side input."""

    def __init__(self, as_of: datetime.datetime) -> None:
        super().__init__()
        self._as_of = as_of

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        dwells = keyed_tables(shards | "StageDwells" >> beam.ParDo(_Dwells(self._as_of)), str)
        return dwells | "GatherDwells" >> beam.GroupByKey() | "FitDays" >> beam.Map(_fit).with_output_types(StallDays)


def fitted_stalls(shards: beam.PCollection, as_of: datetime.datetime) -> beam.PCollection:
    """One StallDays of all shards; a step that most runs do without."""
    return shards | "FitStalls" >> FitStalls(as_of)
