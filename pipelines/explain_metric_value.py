"""What the parts of a number come to, worked out again from them: to be held against what was published.

Divided, halved and multiplied by the rules that the run used (transforms/quantiles.py, survival.py, lifespan.py), but from
the single parts, where the run had sums of shards. Nothing here imports Beam.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np

from pipelines.explain_identity import Row, rows
from pipelines.manifest import Manifest
from schemas.dictionary import Metric
from transforms.lifespan import CHURNS, Churn, LifetimeRules, churn_taken, lifetime_value, years_of
from transforms.quantiles import lower_edges, quantile
from transforms.survival import kaplan_meier

#: Metrics that have no value where nobody knows the days after which a buyer has lapsed.
_NEED_LAPSES = ("churn_rate_lapsed", "clv_simple")


@dataclass(frozen=True)
class Lifespan:
    """How long customers are expected to stay: by the churn over all of `metric`, in `years`."""

    metric: str
    churn: Churn
    years: Fraction
    rules: LifetimeRules

    def as_row(self) -> Row:
        return {
            "churn_metric": self.metric,
            "left": self.churn.left,
            "could_leave": self.churn.could_leave,
            "monthly_churn": float(Fraction(self.churn.left) / Fraction(self.churn.could_leave)),
            "expected_years": float(self.years),
            "max_lifespan_years": self.rules.max_years,
            "margin": self.rules.margin,
        }


def lifespan(con: duckdb.DuckDBPyConnection, manifest: Manifest, cut: tuple[str, str | None]) -> Lifespan | None:
    """As the run took it, from the churn that it published of the same segment; None where nobody could leave."""
    given = manifest.settings.get("lifetime_value") or {}
    rules = LifetimeRules(given.get("margin", 1.0), given.get("max_lifespan_years", 5.0))
    told = rows(con, """
        select metric, numerator, denominator from lifecycle_metrics
        where list_contains($names, metric) and period_kind = 'all' and segment = $segment
            and segment_value is not distinct from $value
    """, names=list(CHURNS), segment=cut[0], value=cut[1])  # fmt: skip
    churns = {row["metric"]: Churn(row["numerator"], row["denominator"]) for row in told}
    taken = churn_taken(churns.get)
    return None if taken is None else Lifespan(*taken, years_of(taken[1], rules), rules)


def why_null(con: duckdb.DuckDBPyConnection, metric: Metric, published: Sequence[Row]) -> str | None:
    """The reason that the run knows for a number without a value; None where there is none but an empty denominator."""
    if metric.name not in _NEED_LAPSES or all(row.get("value") is not None for row in published):
        return None
    told = rows(con, "select reason from model_parameters where model = 'inactivity' and not converged")
    if not told:
        return None
    return f'inactivity_days = "fit" found no days: {told[0]["reason"]}. So nobody knows who has lapsed'


def worked_out(
    metric: Metric,
    published: Row,
    total: Mapping[str, Any],
    contributions: Sequence[Row],
    lifespan: Lifespan | None,
) -> float | None:
    """The value that the parts come to, as one published row tells it; `total` is their sum in its currency."""
    if metric.shape == "distribution":
        return _statistic(metric, published, contributions)
    if metric.shape in ("count", "sum"):
        return float(total["numerator"])
    if not total["denominator"]:
        return None
    above, below = Fraction(total["numerator"]), Fraction(total["denominator"])
    if metric.shape == "lifetime":
        return None if lifespan is None else lifetime_value(above, below, lifespan.years, lifespan.rules)
    return float((100 if metric.shape == "score" else 1) * above / below)


def _statistic(metric: Metric, published: Row, contributions: Sequence[Row]) -> float | None:
    name = published["metric"].removeprefix(f"{metric.name}_")
    values = np.array([int(row["value"]) for row in contributions], np.int64)
    is_known = np.array([not row.get("is_open") for row in contributions], bool)
    if name == "mean":
        known = [int(row["value"]) for row in contributions if not row.get("is_open")]
        return float(Fraction(sum(known), len(known) * metric.divisor)) if known else None
    if published["method"] == "buckets":
        values = lower_edges(values)
    if name == "km_p50":
        if not len(values):
            return None
        median = kaplan_meier(values, is_known, np.ones(len(values), np.int64)).quantile(0.5)
        return None if median is None else float(Fraction(median, metric.divisor))
    if not is_known.any():
        return None
    known_values, counts = np.unique(values[is_known], return_counts=True)
    return float(quantile(known_values, counts, Fraction(int(name[1:]), 100)) / metric.divisor)
