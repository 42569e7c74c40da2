"""After how many days without an order a buyer has lapsed, read from the data: the setting inactivity_days = "fit".

It is the time within which 95 % of orders are followed by another one, by Kaplan and Meier: the last order of each
customer, which nothing has followed yet, counts as followed later than as-of. Each customer weighs the same, however many
orders there were.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa

from transforms import duck
from transforms.adding_up import adding_up, sum_of
from transforms.batches import ShardTables, keyed_tables
from transforms.survival import kaplan_meier

#: How often each time between orders came up, among so many of its customer. Counts add up.
GAPS = pa.schema([("days", pa.int64()), ("is_open", pa.bool_()), ("gaps", pa.int64()), ("count", pa.int64())])
SHARE = 0.95
MIN_CUSTOMERS = 30


@dataclass(frozen=True)
class Inactivity:
    """`days` is None where the data does not say it: whether anybody has lapsed is then not known. `reason` says why."""

    days: int | None
    customers: int
    reason: str | None = None

    def parameter_row(self) -> dict[str, Any]:
        """Its row of the table model_parameters."""
        return {
            "model": "inactivity",
            "currency": None,
            "parameter": "inactivity_days" if self.days is not None else None,
            "value": None if self.days is None else float(self.days),
            "standard_error": None,
            "n": self.customers,
            "log_likelihood": None,
            "converged": self.days is not None,
            "reason": self.reason,
        }

    def tallies(self) -> Iterator[tuple[str, str, str, int]]:
        """(name, source, code, count) for the run's summary, where buyers were left without the days."""
        if self.reason is not None and self.customers:
            yield "inactivity_not_fitted", "", self.reason, self.customers


def order_gaps(touchpoints: pa.Table, as_of: datetime.datetime, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """GAPS of one shard."""
    wanted = touchpoints.select(["customer_no", "is_known", "event_type", "opens_order", "occurred_at", "seq"])
    return duck.select_windows(
        connection, duck.read_sql("order_gaps"), {"touchpoints": wanted}, {"as_of": as_of}
    ).cast(GAPS)  # fmt: skip


def fit_inactivity(partials: Iterable[pa.Table]) -> Inactivity:
    """The days within which SHARE of orders are followed by another."""
    keys = GAPS.names[:-1]
    gaps = sum_of(partials, adding_up(GAPS, "count")).sort_by([(name, "ascending") for name in keys])
    days, is_open, of, count = (gaps[name].to_numpy() for name in GAPS.names)
    customers = int(count[is_open.astype(bool)].sum())
    if customers < MIN_CUSTOMERS:
        return Inactivity(None, customers, f"fewer than {MIN_CUSTOMERS} buyers")
    found = kaplan_meier(days, ~is_open.astype(bool), np.asarray(count / of)).quantile(SHARE)
    if found is None:
        return Inactivity(None, customers, f"fewer than {SHARE:.0%} of orders are followed by another")
    return Inactivity(max(found, 1), customers)


class _Gaps(beam.DoFn):
    def __init__(self, as_of: datetime.datetime) -> None:
        self._as_of = as_of

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables) -> Iterator[tuple[str, pa.Table]]:
        yield "gaps", order_gaps(shard["touchpoints"], self._as_of, self._connection)


def _fit(element: tuple[str, Iterable[pa.Table]]) -> Inactivity:
    return fit_inactivity(element[1])


class FitInactivity(beam.PTransform):
    """ShardTables -> one Inactivity, for a side input."""

    def __init__(self, as_of: datetime.datetime) -> None:
        super().__init__()
        self._as_of = as_of

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        gaps = keyed_tables(shards | "OrderGaps" >> beam.ParDo(_Gaps(self._as_of)), str)
        return gaps | "GatherGaps" >> beam.GroupByKey() | "FitDays" >> beam.Map(_fit).with_output_types(Inactivity)


def fitted_inactivity(shards: beam.PCollection, as_of: datetime.datetime) -> beam.PCollection:
    """One Inactivity of all shards; a step that most runs do without."""
    return shards | "FitInactivity" >> FitInactivity(as_of)
