"""lifecycle_metrics from the partial sums of all shards: added up in any order, divided once."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionary import Metric
from schemas.tables import Table
from transforms.adding_up import adding_up
from transforms.lifespan import Churn, LifetimeRules, churn_taken, lifetime_value, years_of
from transforms.metric_inputs import Calendar
from transforms.partial_metrics import NO_VALUE, SUMS, VALUES, add_values
from transforms.quantiles import quantile
from transforms.survival import kaplan_meier

Month = datetime.date | None
#: A segment's name and value.
Cut = tuple[str, str | None]
EVERYONE: Cut = ("all", None)
ADD_SUMS = adding_up(SUMS, "numerator", "denominator", "n", "pending")


@dataclass
class _Sum:
    """One metric, cut, period and currency on its way."""

    numerator: Decimal = Decimal(0)
    denominator: Decimal = Decimal(0)
    n: int = 0
    pending: int = 0

    def add(self, other: _Sum) -> None:
        self.numerator += other.numerator
        self.denominator += other.denominator
        self.n += other.n
        self.pending += other.pending


@dataclass
class _Series:
    """The sums of one metric and cut, by period and currency."""

    sums: dict[tuple[Month, str | None], _Sum] = field(default_factory=lambda: defaultdict(_Sum))

    def add(self, other: _Series) -> None:
        for key, value in other.sums.items():
            self.sums[key].add(value)

    def of(self, month: Month, currency: str | None) -> _Sum:
        """What counts in a currency: its own rows, and those without one, which count in each."""
        total = _Sum()
        for key in {(month, currency), (month, None)}:
            if key in self.sums:
                total.add(self.sums[key])
        return total


@dataclass(frozen=True)
class OfPeriods:
    """The partial tables of all shards by the periods of one calendar; `first` is the first period with an event."""

    sums: Sequence[pa.Table]
    values: Sequence[pa.Table]
    first: datetime.date | None
    calendar: Calendar


def merge_metrics(
    parts: Sequence[OfPeriods], metrics: Sequence[Metric], lifetime: LifetimeRules, table: Table
) -> pa.Table:
    """The rows of lifecycle_metrics, in the order of its key: by months and over all, then by what else is asked for.

    What is expected, and a lifetime, is told of months and over all only.
    """
    rows = _rows(parts[0], metrics, lifetime)
    for part in parts[1:]:
        told = [metric for metric in metrics if not metric.is_forecast]
        rows += [row for row in _rows(part, told, lifetime) if row["period_start"] is not None]
    rows = _without_empty_segments(rows)
    rows.sort(
        key=lambda r: (
            r["metric"], r["period_kind"], r["period_start"] or datetime.date.min, r["segment"],
            r["segment_value"] or "", r["currency"] or "",
        )
    )  # fmt: skip
    return pa.Table.from_pylist(rows, table.schema)


def _rows(part: OfPeriods, metrics: Sequence[Metric], lifetime: LifetimeRules) -> list[dict[str, Any]]:
    """Every metric of every period, and over all."""
    series = _all_series(part.sums)
    spread = _all_values(part.values)
    periods = _periods(part.first, part.calendar)
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        if metric.shape == "distribution":
            rows += _distribution_rows(metric, spread.get(metric.name), periods)
            continue
        of_metric = _with_shared(metric, series.get(metric.name, {}))
        currencies = sorted({currency for part in of_metric.values() for currency in _currencies(part)})
        for cut in _cuts(metric, of_metric):
            rows += _sum_rows(metric, cut, of_metric.get(cut, _Series()), periods, lifetime, series, currencies)
    return rows


def all_months(first: datetime.date | None, calendar: Calendar) -> list[datetime.date]:
    """Every month from the first with an event to that of as-of: a month without data has its rows too."""
    return [] if first is None else calendar.table(first)["month"].to_pylist()


@dataclass(frozen=True)
class _Period:
    """A period that numbers are told by; over all it has no `start`. `is_over` is always true of what has none."""

    kind: str
    start: Month
    end: Month
    is_over: bool

    def row(self, name: str, cut: Cut, pending: int) -> dict[str, Any]:
        """The columns of a row that say what it is about, and whether it may still change."""
        return {
            "metric": name,
            "period_kind": self.kind,
            "period_start": self.start,
            "period_end": self.end,
            "segment": cut[0],
            "segment_value": cut[1],
            "status": "final" if self.is_over and not pending else "provisional",
        }


def _periods(first: datetime.date | None, calendar: Calendar) -> list[_Period]:
    """Every month (quarter, week, day) to that of as-of, and over all."""
    months = [
        _Period(calendar.months.kind, month, calendar.months.after(month), calendar.is_over(month))
        for month in all_months(first, calendar)
    ]
    return [*months, _Period("all", None, None, True)]


def _all_series(tables: Sequence[pa.Table]) -> dict[str, dict[Cut, _Series]]:
    added = ADD_SUMS(tables)
    series: dict[str, dict[Cut, _Series]] = defaultdict(lambda: defaultdict(_Series))
    for row in added.to_pylist():
        part = _Sum(
            row["numerator"] or Decimal(0), row["denominator"] or Decimal(0), row["n"] or 0, row["pending"] or 0
        )
        series[row["metric"]][row["segment"], row["segment_value"]].sums[row["month"], row["currency"]].add(part)
    return series


def _with_shared(metric: Metric, of_metric: dict[Cut, _Series]) -> dict[Cut, _Series]:
    """A row without a value of a dimension counts in each of its values: all active customers, under each feature."""
    found = dict(of_metric)
    for dimension in metric.dimensions:
        shared = found.pop((dimension, None), None)
        if shared is not None:
            for cut in [cut for cut in found if cut[0] == dimension]:
                together = _Series()
                together.add(found[cut])
                together.add(shared)
                found[cut] = together
    return found


def _currencies(series: _Series) -> list[str]:
    return sorted({currency for _, currency in series.sums if currency is not None})


def _cuts(metric: Metric, of_metric: Mapping[Cut, Any]) -> list[Cut]:
    cuts = set(of_metric)
    if not metric.by_dimension_only:
        cuts.add(EVERYONE)
    return sorted(cuts, key=lambda cut: (cut[0], cut[1] or ""))


def _sum_rows(
    metric: Metric,
    cut: Cut,
    series: _Series,
    periods: Sequence[_Period],
    lifetime: LifetimeRules,
    everything: Mapping[str, Mapping[Cut, _Series]],
    of_metric: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """A row for every month and over all, in every currency that the cut has; a row without one counts in each.

    A cut without money is told in the currencies `of_metric`: what nobody paid is 0 in euros, and not in no currency.
    """
    currencies: Sequence[str | None] = _currencies(series) or of_metric or [None]
    for currency in currencies:
        running, last = _Sum(), _Sum()
        for period in periods:
            month = period.start
            if month is not None:
                total = series.of(month, currency)
                if metric.over_all != "own" or metric.accumulates:
                    running.add(total)
                if metric.accumulates:
                    total = _Sum(running.numerator, running.denominator, running.n, running.pending)
                last = total
            elif metric.over_all == "last":
                total = last
            elif metric.over_all == "own" and not metric.accumulates:
                total = series.of(None, currency)
            else:
                total = running
            if metric.shape == "lifetime" and month is not None:
                continue
            pending = total.pending
            if month is None:
                pending += _open_ends(metric, cut, last, periods, everything)
            divides = metric.shape in ("ratio", "score", "lifetime")
            yield {
                **period.row(metric.name, cut, pending),
                "currency": currency,
                "numerator": total.numerator,
                "denominator": total.denominator if divides else None,
                "value": _value(metric, total, cut, lifetime, everything),
                "unit": metric.unit,
                "n": total.n,
                "method": "exact",
            }


def _value(
    metric: Metric, total: _Sum, cut: Cut, lifetime: LifetimeRules, everything: Mapping[str, Mapping[Cut, _Series]]
) -> float | None:
    if metric.shape in ("count", "sum"):
        return float(total.numerator)
    if not total.denominator:
        return None
    ratio = Fraction(total.numerator) / Fraction(total.denominator)
    if metric.shape == "score":
        return float(100 * ratio)
    if metric.shape == "ratio":
        return float(ratio)
    years = expected_years(cut, lifetime, everything)
    if years is None:
        return None
    return lifetime_value(Fraction(total.numerator), Fraction(total.denominator), years, lifetime)


def expected_years(
    cut: Cut, lifetime: LifetimeRules, everything: Mapping[str, Mapping[Cut, _Series]]
) -> Fraction | None:
    """How long a customer is expected to stay (lifespan.py), by the churn over all months.

    None where nobody could leave yet, as there was nobody at the beginning of any month; and where nobody knows who left.
    """
    taken = _churn_taken(cut, everything)
    return years_of(taken[1], lifetime) if taken else None


def _churn_taken(cut: Cut, everything: Mapping[str, Mapping[Cut, _Series]]) -> tuple[str, Churn] | None:
    def over_all(name: str) -> Churn:
        parts = everything.get(name, {}).get(cut, _Series()).sums.values()
        return Churn(sum((p.numerator for p in parts), Decimal(0)), sum((p.denominator for p in parts), Decimal(0)))

    return churn_taken(over_all)


def _open_ends(
    metric: Metric,
    cut: Cut,
    last: _Sum,
    periods: Sequence[_Period],
    everything: Mapping[str, Mapping[Cut, _Series]],
) -> int:
    """How much of a number over all still waits for the end of the month of as-of, `last` of which is in it.

    Who was there at that month's beginning may still leave in it, and who has left may come back before its end.
    """
    *months, _ = periods
    is_open = bool(months) and not months[-1].is_over
    if metric.compares_ends:
        return int(is_open and bool(last.denominator or last.numerator))
    taken = _churn_taken(cut, everything) if metric.shape == "lifetime" else None
    if taken is None:
        return 0
    churn = everything[taken[0]][cut].sums
    waits = is_open and any(part.denominator for (month, _), part in churn.items() if month == months[-1].start)
    return int(waits) + sum(part.pending for part in churn.values())


def _without_empty_segments(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the segments of which no customer has a value: a shop has no plans."""
    told = {row["segment"] for row in rows if row["segment_value"] not in (None, NO_VALUE)} | {"all"}
    return [row for row in rows if row["segment"] in told]


# --- distributions -------------------------------------------------------------------------------------------------


def _all_values(tables: Sequence[pa.Table]) -> dict[str, pa.Table]:
    """Distributions by metric, one row a value or bucket."""
    values = add_values(tables)
    names = sorted(pc.unique(values["metric"]).to_pylist())
    return {name: values.filter(pc.field("metric") == name) for name in names}


@dataclass
class _Distribution:
    """One metric in one cut and period: rising values, and how often each came up."""

    values: np.ndarray
    is_open: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    is_bucket: np.ndarray
    pending: np.ndarray

    @cached_property
    def known(self) -> np.ndarray:
        return ~self.is_open

    @cached_property
    def n(self) -> int:
        """How many values are known."""
        return int(self.counts[self.known].sum())

    @cached_property
    def total(self) -> int:
        """The sum of those."""
        return int(self.totals[self.known].sum())

    @cached_property
    def has_buckets(self) -> bool:
        return bool(self.is_bucket.any())

    def method(self, name: str) -> str:
        """How the statistic comes about: a mean is exact however many values, and waits count in km_p50 alone."""
        if name == "mean" or not self.has_buckets:
            return "exact"
        used = self.is_bucket if name == "km_p50" else self.is_bucket & self.known
        return "buckets" if used.any() else "exact"

    def statistic(self, name: str, divisor: int) -> float | None:
        if not len(self.values):
            return None
        if name == "km_p50":
            median = kaplan_meier(self.values, self.known, self.counts).quantile(0.5)
            return None if median is None else float(Fraction(median, divisor))
        if not self.n:
            return None
        if name == "mean":
            return float(Fraction(self.total, self.n * divisor))
        values, counts = self.values[self.known], self.counts[self.known]
        return float(quantile(values, counts, Fraction(int(name[1:]), 100)) / divisor)


def _distribution_rows(metric: Metric, values: pa.Table | None, periods: Sequence[_Period]) -> Iterator[dict[str, Any]]:
    values = VALUES.empty_table() if values is None else values
    cuts: dict[Cut, list[int]] = defaultdict(list)
    for row, cut in enumerate(zip(values["segment"].to_pylist(), values["segment_value"].to_pylist(), strict=True)):
        cuts[cut].append(row)
    months_of = (
        np.array(values["month"].to_pylist(), "datetime64[D]") if values.num_rows else np.array([], "datetime64[D]")
    )
    names = ("value", "is_open", "count", "total", "is_bucket", "pending")
    columns = [values[name].to_numpy() for name in names]
    nothing = _Distribution(*(column[:0] for column in columns))
    for cut in _cuts(metric, cuts):
        rows = np.array(cuts.get(cut, []), np.int64)
        rows = rows[np.lexsort((columns[1][rows], columns[0][rows]))] if len(rows) else rows
        for period in periods:
            own = rows if period.start is None else rows[months_of[rows] == np.datetime64(period.start)]
            of = _Distribution(*(column[own] for column in columns)) if len(own) else nothing
            pending = int(of.pending.sum())
            for statistic in metric.statistics:
                is_mean = statistic == "mean"
                yield {
                    **period.row(f"{metric.name}_{statistic}", cut, pending),
                    "currency": None,
                    "numerator": Decimal(of.total) if is_mean else None,
                    "denominator": Decimal(of.n) if is_mean else None,
                    "value": of.statistic(statistic, metric.divisor),
                    "unit": metric.unit,
                    "n": int(of.counts.sum()) if statistic == "km_p50" else of.n,
                    "method": of.method(statistic),
                }
