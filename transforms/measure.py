"""The numbers of a run: of each shard by SQL, merged by adding, divided once at the end.

A shard gives its customers' months, and partial tables: sums and distributions of every metric (partial_metrics.py), cells
of cohorts, of service and loyalty, of funnels, transitions of stages, histories of purchases. What must be fitted is
fitted on those of all shards (lifetime_value.py), and each shard then values its customers. What is told in the end is in
merge_metrics.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import pvalue

from schemas.dictionary import Metric
from schemas.tables import Table
from transforms import duck
from transforms.adding_up import Add, Sum, adding_up
from transforms.batches import ShardTables, declared, keyed_tables, to_one, with_columns
from transforms.channel_credit import ADD_CREDIT, channel_credit, merge_channel_credit
from transforms.channel_touches import channel_touches
from transforms.cohorts import COHORT_CELLS, cohort_cells, merge_cohorts
from transforms.fit_inactivity import Inactivity
from transforms.fit_stalls import StallDays
from transforms.funnels import Funnel, add_funnel_cells, funnel_cells, merge_funnels
from transforms.journey_paths import JourneyPaths, PathRules, journey_paths
from transforms.lifespan import LifetimeRules
from transforms.lifetime_value import (
    Fitted,
    ForecastRules,
    Gathered,
    parameter_rows,
    parameter_table,
    partial_histories,
    purchase_histories,
    value_customers,
)
from transforms.merge_metrics import ADD_SUMS, OfPeriods, merge_metrics
from transforms.metric_inputs import (
    MADE,
    MADE_OF_MONTHS,
    Calendar,
    add_months,
    made,
    metric_parameters,
    opened,
)
from transforms.partial_metrics import add_values, partial_metrics, segments_sql
from transforms.service_loyalty import add_cells, exposures_and_outcomes, merge_service_loyalty
from transforms.shard_step import ShardStep
from transforms.stage_durations import ADD_STAGE_TIMES, merge_stage_durations, stage_durations
from transforms.stage_transitions import (
    ADD_TRANSITION_TIMES,
    ADD_TRANSITIONS,
    merge_stage_transitions,
    stage_transitions,
)
from transforms.time_zones import Kind, micros

#: The months with an event, so that a month without any still has its rows.
SPAN = pa.schema([("month", pa.date32())])
#: The partial tables of a shard that the models are fitted on.
FITTED_ON = ("histories", "spends", "sample")
#: Those that the tables of numbers are merged of, and how they add up.
MERGED_OF: Mapping[str, Add] = {
    "sums": ADD_SUMS,
    "values": add_values,
    "transitions": ADD_TRANSITIONS,
    "transition_times": ADD_TRANSITION_TIMES,
    "stage_times": ADD_STAGE_TIMES,
    "credit_cells": ADD_CREDIT,
    "span": adding_up(SPAN),
    "cohort_cells": adding_up(COHORT_CELLS, "customers"),
    "loyalty_cells": add_cells,
    "funnel_cells": add_funnel_cells,
    **{
        f"{name}:{kind}": add
        for kind in ("quarter", "week", "day")  # where they are asked for
        for name, add in (("sums", ADD_SUMS), ("values", add_values), ("span", adding_up(SPAN)))
    },
}
#: The tables that are merged, in the order in which Merge takes their schemas.
MERGED = (
    "lifecycle_metrics", "stage_transitions", "stage_durations", "channel_credit", "cohorts", "service_loyalty",
    "funnels",
)  # fmt: skip

#: Tables of a shard that the metrics see; the others are made of these, or are published and explain nothing.
_SEEN = (
    "touchpoints", "journeys", "journey_stages", "customers", "tickets", "subscriptions", "subscription_periods",
    "friction_points", "lapses",
)  # fmt: skip
_PARTIAL = "partial:"
_HISTORY = "purchase_history"
_SEGMENTS = "customer_segments"


@dataclass(frozen=True)
class MeasureRules:
    """`segments`: SQL on a touchpoint by the name of the attribute that it gives; first_channel and plan are always there.

    `also_by`: periods by which the metrics are told beside the months of `calendar`.
    """

    metrics: tuple[Metric, ...]
    calendar: Calendar
    forecast: ForecastRules
    segments: Mapping[str, str] = field(default_factory=dict)
    lifetime: LifetimeRules = field(default_factory=LifetimeRules)
    conversion_days: int = 30
    paths: PathRules = field(default_factory=PathRules)
    funnels: tuple[Funnel, ...] = ()
    also_by: tuple[Kind, ...] = ()

    @property
    def segment_names(self) -> tuple[str, ...]:
        return ("first_channel", "plan", *self.segments)

    def parameters(self, calendar: Calendar | None = None) -> dict[str, Any]:
        """What the SQL of every metric may name."""
        return metric_parameters(calendar or self.calendar, self.conversion_days)

    @property
    def told_now(self) -> list[Metric]:
        """The metrics that need no fitted model."""
        return [metric for metric in self.metrics if not metric.is_forecast]

    @property
    def other_calendars(self) -> list[Calendar]:
        """Those of `also_by`."""
        return [replace(self.calendar, months=replace(self.calendar.months, kind=kind)) for kind in self.also_by]


def measure(shard: ShardTables, rules: MeasureRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `customer_months`, the partial tables, and what valuing the customers needs.

    Side by side: what needs no input of the metrics, while those are made; then the metrics themselves.
    """
    with duck.beside(connection) as second, duck.beside(connection) as third, ExitStack() as stack:
        inputs = inputs_of_metrics(shard, rules.calendar, connection, second)
        customer_months, measured = duck.side_by_side(
            partial(stack.enter_context, inputs), partial(_of_journeys, shard, rules, third)
        )
        segments = _made_table(connection, segments_sql(rules.segments))
        with opened(connection, {_SEGMENTS: segments}, second):
            pair = (connection, second)
            measured |= partial_metrics(rules.told_now, rules.segment_names, pair, rules.parameters())
        answers = connection.sql("from answers").to_arrow_table()
        measured["cohort_cells"], measured["loyalty_cells"] = duck.side_by_side(
            partial(cohort_cells, connection), partial(_loyalty, shard, answers, rules, third)
        )
    for calendar in rules.other_calendars:
        measured |= _by_other_periods(shard, segments, rules, calendar, connection)
    customer_key = shard["customers"]["customer_key"]
    histories = purchase_histories(shard["touchpoints"], customer_key, rules.forecast, connection)
    measured |= {"span": _span(shard["touchpoints"]), **partial_histories(histories, rules.forecast)}
    return ShardTables(
        shard,
        **{"customer_months": customer_months, _HISTORY: histories, _SEGMENTS: segments},
        **{_PARTIAL + name: table for name, table in measured.items()},
    )


def _of_journeys(shard: ShardTables, rules: MeasureRules, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """The partial tables of stages, channels, paths and funnels."""
    as_of = rules.calendar.as_of
    touches = channel_touches(shard, rules.paths.look_back_days, rules.calendar, connection)
    return {
        **stage_transitions(shard, connection),
        "stage_times": stage_durations(shard, as_of, connection),
        "credit_cells": channel_credit(shard, touches, connection),
        "path_cells": journey_paths(shard, touches, rules.paths, connection),
        "funnel_cells": funnel_cells(shard, rules.funnels, micros(as_of), connection),
    }


def _loyalty(
    shard: ShardTables, answers: pa.Table, rules: MeasureRules, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    served = {"touchpoints": shard["touchpoints"], "tickets": shard["tickets"], "answers": answers}
    return exposures_and_outcomes(served, rules.calendar.as_of, connection)


def _span(touchpoints: pa.Table) -> pa.Table:
    return pa.table([pc.unique(touchpoints["month"]).cast(pa.date32())], schema=SPAN)


def _by_other_periods(
    shard: ShardTables,
    segments: pa.Table,
    rules: MeasureRules,
    calendar: Calendar,
    connection: duckdb.DuckDBPyConnection,
) -> dict[str, pa.Table]:
    """The partial tables of the metrics by quarters, weeks or days: the same SQL, where these stand for its months."""
    periods = pa.chunked_array([calendar.months.of(shard["touchpoints"]["occurred_at"].cast(pa.int64()).to_numpy())])
    by_period = ShardTables(shard, touchpoints=with_columns(shard["touchpoints"], {"month": periods}))
    with (
        duck.beside(connection) as other,
        inputs_of_metrics(by_period, calendar, connection, other),
        opened(connection, {_SEGMENTS: segments}, other),
    ):
        pair = (connection, other)
        measured = partial_metrics(rules.told_now, rules.segment_names, pair, rules.parameters(calendar))
    measured["span"] = _span(by_period["touchpoints"])
    return {f"{name}:{calendar.months.kind}": table for name, table in measured.items()}


@contextmanager
def inputs_of_metrics(
    shard: ShardTables,
    calendar: Calendar,
    connection: duckdb.DuckDBPyConnection,
    *others: duckdb.DuckDBPyConnection,
) -> Iterator[pa.Table]:
    """All tables that a metric's SQL sees (docs/metrics.md), as long as it lasts; gives customer_months."""
    first = pc.min(shard["touchpoints"]["month"]).as_py()
    sessions = shard["sessions"]
    base = {
        **{name: table for name, table in shard.items() if name in _SEEN},
        "sessions": with_columns(sessions, {"session_no": pa.array(np.arange(sessions.num_rows))}),
        "months": calendar.table(first if first is not None else datetime.date.max),
    }
    with opened(connection, add_months(base, calendar.months), *others), made(connection, MADE, calendar.as_of):
        with opened(connection, {"inactivity": shard["inactivity"]}):  # not published: no metric may see it
            customer_months = _made_table(connection, duck.read_sql("customer_months"))
        with (
            opened(connection, {"customer_months": customer_months}, *others),
            made(connection, MADE_OF_MONTHS, calendar.as_of),
        ):
            yield customer_months


def _made_table(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Through a temporary table: DuckDB 2.0 streams a window query to Arrow up to ten times slower."""
    connection.execute(f"create or replace temp table answer as\n{sql}")
    table: pa.Table = connection.sql("from answer").to_arrow_table()
    connection.execute("drop table answer")
    return table


def partials_of(shard: ShardTables) -> dict[str, pa.Table]:
    """The partial tables of a measured shard by name."""
    return {name.removeprefix(_PARTIAL): table for name, table in shard.items() if name.startswith(_PARTIAL)}


def value(
    shard: ShardTables, fitted: Fitted, rules: MeasureRules, connection: duckdb.DuckDBPyConnection
) -> tuple[pa.Table, dict[str, pa.Table]]:
    """The customers of a measured shard with what the models expect of them, and the forecasts' partial sums."""
    customers = value_customers(shard["customers"], shard[_HISTORY], fitted, rules.forecast)
    forecasts = [metric for metric in rules.metrics if metric.is_forecast]
    last_month = pa.array([rules.parameters()["as_of_month"]] * customers.num_rows, pa.date32())
    inputs = {"customers": customers.append_column("month", last_month), _SEGMENTS: shard[_SEGMENTS]}
    with opened(connection, inputs):
        return customers, partial_metrics(forecasts, rules.segment_names, [connection], rules.parameters())


def merge(
    partials: Mapping[str, Sequence[pa.Table]], rules: MeasureRules, tables: Mapping[str, Table]
) -> dict[str, pa.Table]:
    """The tables MERGED from the partial tables MERGED_OF of all shards, in any order, added up or not."""
    parts = [_of_periods(partials, "", rules.calendar)]
    parts += [_of_periods(partials, f":{calendar.months.kind}", calendar) for calendar in rules.other_calendars]
    loyalty = tables["service_loyalty"]
    return {
        "lifecycle_metrics": merge_metrics(parts, rules.metrics, rules.lifetime, tables["lifecycle_metrics"]),
        "stage_transitions": merge_stage_transitions(
            partials["transitions"], partials["transition_times"], tables["stage_transitions"]
        ),
        "stage_durations": merge_stage_durations(partials["stage_times"], tables["stage_durations"]),
        "channel_credit": merge_channel_credit(partials["credit_cells"], tables["channel_credit"]),
        "cohorts": merge_cohorts(partials["cohort_cells"], rules.calendar, tables["cohorts"]),
        "service_loyalty": merge_service_loyalty(partials["loyalty_cells"]).select(loyalty.schema.names).cast(loyalty.schema),
        "funnels": merge_funnels(partials["funnel_cells"], rules.funnels, tables["funnels"]),
    }  # fmt: skip


def _of_periods(partials: Mapping[str, Sequence[pa.Table]], kind: str, calendar: Calendar) -> OfPeriods:
    seen = [day for span in partials[f"span{kind}"] for day in span["month"].to_pylist()]
    return OfPeriods(partials[f"sums{kind}"], partials[f"values{kind}"], min(seen, default=None), calendar)


# --- Beam ----------------------------------------------------------------------------------------------------------


class MeasureShards(ShardStep):
    """ShardTables -> with `customer_months` and the partial tables."""

    function = staticmethod(measure)


class _Partials(beam.DoFn):
    """The partial tables of a shard, by what they are for; and what is left to do with its customers."""

    def process(self, shard: ShardTables) -> Iterator[Any]:
        partials = partials_of(shard)
        for name in MERGED_OF:
            if name in partials:
                yield name, partials[name]
        for name in FITTED_ON:
            yield pvalue.TaggedOutput("fit", (name, partials[name]))
        yield pvalue.TaggedOutput("paths", partials["path_cells"])
        narrow = ShardTables({name: shard[name] for name in ("customers", _HISTORY, _SEGMENTS)})
        yield pvalue.TaggedOutput("customers", narrow)


class _Fit(beam.DoFn):
    def __init__(self, rules: ForecastRules) -> None:
        self._rules = rules

    def process(self, element: tuple[None, Iterable[tuple[str, pa.Table]]]) -> Iterator[Fitted]:
        gathered = Gathered(self._rules)
        for name, table in element[1]:
            gathered.add(name, table)
        yield gathered.fit()


class _Value(beam.DoFn):
    def __init__(self, rules: MeasureRules) -> None:
        self._rules = rules

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables, fitted: Fitted) -> Iterator[Any]:
        customers, partials = value(shard, fitted, self._rules, self._connection)
        yield pvalue.TaggedOutput("customers", ShardTables(customers=customers))
        yield from partials.items()


class _Merge(beam.DoFn):
    def __init__(self, rules: MeasureRules, tables: Mapping[str, Table]) -> None:
        self._rules, self._tables = rules, tables

    def process(self, element: tuple[None, Iterable[tuple[str, pa.Table]]]) -> Iterator[tuple[str, pa.Table]]:
        sums = {name: Sum(add) for name, add in MERGED_OF.items()}
        for name, table in element[1]:
            sums[name].include(table)
        added = {name: [total.total()] for name, total in sums.items()}
        yield from merge(added, self._rules, self._tables).items()


class Measure(beam.PTransform):
    """Measured ShardTables -> {"customers": ShardTables of the valued customers, "tables": KV[table name, table]}."""

    def __init__(
        self,
        rules: MeasureRules,
        tables: Mapping[str, Table],
        shards: int,
        inactivity: beam.PCollection | None = None,
        stalls: beam.PCollection | None = None,
    ) -> None:
        super().__init__()
        self._rules, self._shards, self._others = rules, shards, {"inactivity": inactivity, "stalls": stalls}
        self._tables = {name: tables[name] for name in (*MERGED, "journey_paths", "model_parameters")}

    def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
        parted = shards | "Partials" >> beam.ParDo(_Partials()).with_outputs(
            "fit", "paths", "customers", main="partials"
        )
        fitted = (
            to_one(keyed_tables(parted["fit"], str), "Histories")
            | "Fit" >> beam.ParDo(_Fit(self._rules.forecast)).with_output_types(Fitted)
        )  # fmt: skip
        customers = declared(parted["customers"], ShardTables)
        valued = customers | "Value" >> beam.ParDo(_Value(self._rules), pvalue.AsSingleton(fitted)).with_outputs(
            "customers", main="partials"
        )
        both = tuple(keyed_tables(step["partials"], str) for step in (parted, valued))
        partials = both | "AllPartials" >> beam.Flatten()
        merged = to_one(partials, "Partials") | "Merge" >> beam.ParDo(_Merge(self._rules, self._tables))
        others = {name: pvalue.AsSingleton(other) for name, other in self._others.items() if other is not None}
        parameters = fitted | "Parameters" >> beam.Map(_parameters, self._tables["model_parameters"], **others)
        paths = declared(parted["paths"], pa.Table) | "JourneyPaths" >> JourneyPaths(
            self._rules.paths, self._tables["journey_paths"], self._shards
        )
        tables = (keyed_tables(merged, str), paths, keyed_tables(parameters, str)) | "Numbers" >> beam.Flatten()
        return {"customers": declared(valued["customers"], ShardTables), "tables": tables}


def _parameters(
    fitted: Fitted, table: Table, inactivity: Inactivity | None = None, stalls: StallDays | None = None
) -> tuple[str, pa.Table]:
    rows = parameter_rows(fitted) + ([inactivity.parameter_row()] if inactivity else [])
    rows += stalls.parameter_rows() if stalls else []
    return table.name, parameter_table(rows, table)
