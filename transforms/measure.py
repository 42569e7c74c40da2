"""Metrics: partial sums a shard by SQL, merged by adding, divided once at the end.

A metric is one SQL file and one entry (schemas/metrics). A shard gives for each metric, month and currency a numerator and
a denominator in decimals, or whole values with how often each came up; both merge by adding, so any cut gives the same.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionary import Metric
from schemas.tables import MONEY_SUM, Table
from transforms import duck
from transforms.batches import ShardTables, keyed_tables, with_columns
from transforms.time_zones import Months, micros, next_month

#: Partial sums: month is null for the sum over all time. pending: outcomes that may still arrive.
SUMS = pa.schema(
    [
        ("metric", pa.string()), ("month", pa.date32()), ("currency", pa.string()), ("numerator", MONEY_SUM),
        ("denominator", MONEY_SUM), ("n", pa.int64()), ("pending", pa.int64()),
    ]
)  # fmt: skip
#: Partial distributions: how often each value (or bucket) came up, and its sum, which stays exact; value is null for
#: outcomes that may still arrive.
VALUES = pa.schema(
    [("metric", pa.string()), ("month", pa.date32()), ("value", pa.int64()), ("count", pa.int64()),
     ("total", pa.int64()), ("is_bucket", pa.bool_())]
)  # fmt: skip
TRANSITIONS = pa.schema(
    [("from_stage", pa.string()), ("to_stage", pa.string()), ("transitions", pa.int64()), ("customers", pa.int64()),
     ("total_duration_s", pa.int64())]
)  # fmt: skip
#: The months that have data, so that a month without any still has its rows.
SPAN = pa.schema([("month", pa.date32())])

#: Up to so many values a quantile is exact; above, it comes from buckets half a per cent wide (docs/metrics.md).
EXACT_VALUES = 100_000


@dataclass(frozen=True)
class MeasureRules:
    metrics: tuple[Metric, ...]
    as_of: datetime.datetime
    months: Months


def measure(shard: ShardTables, rules: MeasureRules, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """The partial tables of one shard: `sums`, `values`, `transitions`, `span`."""
    inputs = _inputs(shard, rules, connection)
    sums, values = [], []
    for metric in rules.metrics:
        answer = duck.select_windows(connection, metric.sql, inputs)
        if metric.shape == "distribution":
            values.append(_count_values(answer, metric.name, connection))
        else:
            sums.append(_named(answer, metric.name).select(SUMS.names).cast(SUMS))
    transitions = duck.select(
        connection, duck.read_sql("stage_transitions"),
        {"journey_stages": shard["journey_stages"].select(["customer_no", "stage", "stage_no", "next_stage", "duration_s"])},
    )  # fmt: skip
    span = shard["touchpoints"].select(["month"]).group_by("month").aggregate([])
    return {
        "sums": pa.concat_tables(sums) if sums else SUMS.empty_table(),
        "values": pa.concat_tables(values) if values else VALUES.empty_table(),
        "transitions": transitions.cast(TRANSITIONS),
        "span": span.cast(SPAN),
    }


def _inputs(shard: ShardTables, rules: MeasureRules, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """What a metric's SQL may read; docs/metrics.md lists the columns."""
    touchpoints, tickets = shard["touchpoints"], shard["tickets"]
    activity = duck.select(connection, duck.read_sql("activity"), {"touchpoints": touchpoints.select(
        ["customer_no", "is_known", "month", "event_type", "clicked", "author"])})  # fmt: skip
    answers = duck.select_windows(connection, duck.read_sql("answers"), {"touchpoints": touchpoints.select(
        ["customer_no", "source", "survey_type", "score", "scale_min", "scale_max", "survey_id", "ticket_id",
         "order_id", "month", "event_type", "seq"])})  # fmt: skip
    purchases = duck.select(
        connection,
        "select customer_no, is_known, month, currency, opens_order, seq from touchpoints where event_type = 'purchase'",
        {"touchpoints": touchpoints},
    )
    months = {
        f"{name}_month": rules.months.of_column(tickets[column])
        for name, column in (("opened", "opened_at"), ("resolved", "first_resolved_at"))
    }
    return {
        "activity": activity,
        "first_seen": touchpoints.select(["customer_no", "is_known", "month", "seq"]).filter(pc.field("seq") == 1),
        "money": shard["money"],
        "purchases": purchases,
        "orders": duck.select_windows(connection, duck.read_sql("orders"), {"purchases": purchases}),
        "answers": answers,
        "tickets": with_columns(tickets, months),
        "touchpoints": touchpoints,
        "journeys": shard["journeys"],
        "journey_stages": shard["journey_stages"],
        "subscriptions": shard["subscriptions"],
        "friction_points": shard["friction_points"],
    }


def _named(answer: pa.Table, metric: str) -> pa.Table:
    return answer.append_column("metric", pa.array([metric] * answer.num_rows, pa.string()))


def _count_values(answer: pa.Table, metric: str, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    counted = duck.select(
        connection,
        """
        select month, value::bigint as value, count(*) as count, sum(value::bigint)::bigint as total, false as is_bucket
        from answer_of_metric
        group by all
        """,
        {"answer_of_metric": answer},
    )
    counted = _named(counted, metric).select(VALUES.names).cast(VALUES)
    known = pc.sum(counted.filter(pc.field("value").is_valid())["count"]).as_py() or 0  # as the merge counts them
    return to_buckets(counted) if known > EXACT_VALUES else counted


def bucket_edges(top: int) -> list[int]:
    """Lower edges of the buckets 0, 1, 2, ... up to `top`: each half a per cent above the last, in whole numbers."""
    edges = [0]
    while edges[-1] <= top:
        edges.append(max(edges[-1] + 1, edges[-1] * 201 // 200))
    return edges


def to_buckets(values: pa.Table) -> pa.Table:
    """Exact values to the lower edges of their buckets, counts added; negative values and nulls stay."""
    known = values["value"].fill_null(-1).to_numpy()
    edges = np.array(bucket_edges(int(known.max(initial=0))))
    lower = np.where(known >= 0, edges[np.searchsorted(edges, known, "right") - 1], known)
    mask = np.asarray(values["value"].is_null().to_numpy())
    table = with_columns(
        values, {"value": pa.array(lower, mask=mask), "is_bucket": pa.array(np.ones(len(lower), bool))}
    )
    grouped = table.group_by(["metric", "month", "value", "is_bucket"]).aggregate([("count", "sum"), ("total", "sum")])
    return grouped.rename_columns([*grouped.column_names[:-2], "count", "total"]).select(VALUES.names)


# --- merging -------------------------------------------------------------------------------------------------------


@dataclass
class _Sum:
    """One metric, period and currency on its way."""

    numerator: Decimal = Decimal(0)
    denominator: Decimal = Decimal(0)
    n: int = 0
    pending: int = 0

    def add(self, other: _Sum) -> None:
        self.numerator += other.numerator
        self.denominator += other.denominator
        self.n += other.n
        self.pending += other.pending


def merge(partials: Mapping[str, Sequence[pa.Table]], rules: MeasureRules, table: Table) -> pa.Table:
    """lifecycle_metrics from the partial tables of all shards, in any order."""
    months = _all_months(partials["span"], rules)
    rows: list[dict[str, Any]] = []
    sums = _merged_sums(partials["sums"])
    values = _merged_values(partials["values"])
    for metric in rules.metrics:
        if metric.shape == "distribution":
            rows += _distribution_rows(metric, values.get(metric.name, {}), months, rules)
        else:
            rows += _sum_rows(metric, sums.get(metric.name, {}), months, rules)
    rows.sort(
        key=lambda r: (r["metric"], r["period_kind"], r["period_start"] or datetime.date.min, r["currency"] or "")
    )
    return pa.Table.from_pylist(rows, table.schema)


def merge_transitions(partials: Sequence[pa.Table], table: Table) -> pa.Table:
    """stage_transitions from those of all shards."""
    merged = pa.concat_tables(partials).group_by(["from_stage", "to_stage"]).aggregate(
        [("transitions", "sum"), ("customers", "sum"), ("total_duration_s", "sum")]
    )  # fmt: skip
    rows = [
        {
            "from_stage": row["from_stage"],
            "to_stage": row["to_stage"],
            "transitions": row["transitions_sum"],
            "customers": row["customers_sum"],
            "total_duration_s": row["total_duration_s_sum"],
            "mean_duration_s": row["total_duration_s_sum"] / row["transitions_sum"]
            if row["total_duration_s_sum"] is not None
            else None,
        }
        for row in merged.to_pylist()
    ]
    rows.sort(key=lambda r: (r["from_stage"], r["to_stage"]))
    return pa.Table.from_pylist(rows, table.schema)


def _all_months(spans: Sequence[pa.Table], rules: MeasureRules) -> list[datetime.date]:
    seen = sorted({day for span in spans for day in span["month"].to_pylist()})
    if not seen:
        return []
    last = rules.months.between(rules.as_of, rules.as_of)[0][0]
    months = [seen[0]]
    while months[-1] < last:
        months.append(next_month(months[-1]))
    return months


def _merged_sums(tables: Sequence[pa.Table]) -> dict[str, dict[tuple[datetime.date | None, str | None], _Sum]]:
    merged: dict[str, dict[tuple[datetime.date | None, str | None], _Sum]] = defaultdict(lambda: defaultdict(_Sum))
    for table in tables:
        for row in table.to_pylist():
            part = _Sum(row["numerator"] or Decimal(0), row["denominator"] or Decimal(0), row["n"], row["pending"])
            merged[row["metric"]][row["month"], row["currency"]].add(part)
    return merged


def _sum_rows(
    metric: Metric,
    sums: dict[tuple[datetime.date | None, str | None], _Sum],
    months: Sequence[datetime.date],
    rules: MeasureRules,
) -> Iterator[dict[str, Any]]:
    """A row for every month and over all, in every currency that the metric has; a row without one counts in each."""
    currencies: list[str | None] = [*sorted({c for _, c in sums if c is not None})] or [None]
    for currency in currencies:
        running = _Sum()
        for month in [*months, None]:
            total = _Sum()
            for key in {(month, currency), (month, None)}:
                if key in sums:
                    total.add(sums[key])
            if metric.accumulates and month is not None:
                running.add(total)
                total = _Sum(running.numerator, running.denominator, running.n, running.pending)
            divides = metric.shape in ("ratio", "score")
            if not divides:
                value = float(total.numerator)
            elif total.denominator:
                scale = 100 if metric.shape == "score" else 1
                value = float(Fraction(total.numerator) * scale / Fraction(total.denominator))
            else:
                value = None
            yield {
                **_period(metric.name, month, total.pending, rules),
                "currency": currency,
                "numerator": total.numerator,
                "denominator": total.denominator if divides else None,
                "value": value,
                "unit": metric.unit,
                "n": total.n,
                "method": "exact",
            }


def _period(name: str, month: datetime.date | None, pending: int, rules: MeasureRules) -> dict[str, Any]:
    end = next_month(month) if month is not None else None
    over = end is None or rules.months.begins(end) <= micros(rules.as_of)
    return {
        "metric": name,
        "period_kind": "all" if month is None else "month",
        "period_start": month,
        "period_end": end,
        "segment": "all",
        "segment_value": None,
        "status": "final" if over and not pending else "provisional",
    }


class _Distribution:
    """One metric in one period: how often each value came up."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.total = self.pending = 0
        self.is_bucket = False

    def add(self, row: Mapping[str, Any]) -> None:
        if row["value"] is None:
            self.pending += row["count"]
            return
        self.counts[row["value"]] += row["count"]
        self.total += row["total"]
        self.is_bucket |= row["is_bucket"]


def _merged_values(tables: Sequence[pa.Table]) -> dict[str, dict[datetime.date | None, _Distribution]]:
    """Distributions by metric and month (None: over all); in buckets throughout where the exact ones are too many."""
    if not tables:
        return {}
    together = pa.concat_tables(tables)
    merged: dict[str, dict[datetime.date | None, _Distribution]] = defaultdict(lambda: defaultdict(_Distribution))
    for name in sorted(set(together["metric"].to_pylist())):
        own = together.filter(pc.equal(together["metric"], name))
        known = own.filter(own["value"].is_valid())
        if (pc.sum(known["count"]).as_py() or 0) > EXACT_VALUES:
            own = to_buckets(own)
        for row in own.to_pylist():
            for month in {row["month"], None}:
                merged[name][month].add(row)
    return merged


def _distribution_rows(
    metric: Metric,
    distributions: Mapping[datetime.date | None, _Distribution],
    months: Sequence[datetime.date],
    rules: MeasureRules,
) -> Iterator[dict[str, Any]]:
    for month in [*months, None]:
        of_month = distributions.get(month, _Distribution())
        ordered = sorted(of_month.counts.items())
        n, total = of_month.counts.total(), of_month.total
        for statistic in metric.statistics:
            if not n:
                value = None
            elif statistic == "mean":
                value = float(Fraction(total, n * metric.divisor))
            else:
                value = float(quantile(ordered, n, Fraction(int(statistic[1:]), 100)) / metric.divisor)
            yield {
                **_period(f"{metric.name}_{statistic}", month, of_month.pending, rules),
                "currency": None,
                "numerator": Decimal(total) if statistic == "mean" else None,
                "denominator": Decimal(n) if statistic == "mean" else None,
                "value": value,
                "unit": metric.unit,
                "n": n,
                "method": "buckets" if of_month.is_bucket and statistic != "mean" else "exact",
            }


def quantile(ordered: Iterable[tuple[int, int]], n: int, share: Fraction) -> Fraction:
    """The quantile of values with counts, rising: linear between neighbours (Hyndman and Fan 7; the middle of two).

    >>> quantile([(10, 1), (20, 1)], 2, Fraction(1, 2))
    Fraction(15, 1)
    """
    place = (n - 1) * share
    low = int(place)
    found: list[int] = []
    seen = 0
    for value, count in ordered:
        seen += count
        while len(found) < 2 and seen > low + len(found):
            found.append(value)
        if len(found) == 2:
            break
    if len(found) == 1:
        found.append(found[0])
    return Fraction(found[0]) + (place - low) * (found[1] - found[0])


# --- Beam ----------------------------------------------------------------------------------------------------------


class _Measure(beam.DoFn):
    def __init__(self, rules: MeasureRules) -> None:
        self._rules = rules

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables) -> Iterator[tuple[str, pa.Table]]:
        yield from measure(shard, self._rules, self._connection).items()


class _Merge(beam.DoFn):
    def __init__(self, rules: MeasureRules, tables: tuple[Table, Table]) -> None:
        self._rules, self._tables = rules, tables

    def process(self, element: tuple[None, Iterable[tuple[str, pa.Table]]]) -> Iterator[tuple[str, pa.Table]]:
        partials: dict[str, list[pa.Table]] = {"sums": [], "values": [], "transitions": [], "span": []}
        for name, table in element[1]:
            partials[name].append(table)
        metrics, transitions = self._tables
        yield metrics.name, merge(partials, self._rules, metrics)
        if partials["transitions"]:
            yield transitions.name, merge_transitions(partials["transitions"], transitions)


class Measure(beam.PTransform):
    """ShardTables -> KV[table name, table]: lifecycle_metrics and stage_transitions."""

    def __init__(self, rules: MeasureRules, lifecycle_metrics: Table, stage_transitions: Table) -> None:
        super().__init__()
        self._rules, self._tables = rules, (lifecycle_metrics, stage_transitions)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        partials = shards | "PartialSums" >> beam.ParDo(_Measure(self._rules))
        merged = (
            keyed_tables(partials, str)
            | "ToOne"
            >> beam.Map(lambda kv: (None, kv)).with_output_types(
                beam.typehints.KV[None, beam.typehints.KV[str, pa.Table]]
            )
            | "Gather" >> beam.GroupByKey()
            | "Merge" >> beam.ParDo(_Merge(self._rules, self._tables))
        )
        return keyed_tables(merged, str)
