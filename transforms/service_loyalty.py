"""Does the quality of service move loyalty? One row for each exposure and outcome.

A shard gives a contingency table (sql/service_loyalty.sql): how many customers had which value of an exposure and which
result. These add up, and all that is published comes from their sum: the difference between the better and the worse
served, the rank correlation, an interval for each, and what may be claimed of all rows together.

Each customer counts once in a row, so the customers of a row are independent, and to resample them is to draw from its
cells. What is found is an association: nobody was served badly by lot.
"""

from __future__ import annotations

import datetime
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.adding_up import adding_in_order
from transforms.quantiles import EXACT_VALUES, lower_edges

#: A shard's contingency table. value: whole seconds, 0 or 1, or 1/10000 of a scale; result: 0 or 1, or tenths of a point.
#: Where result is null, so is value: customers whose outcome may still arrive.
LOYALTY_CELLS = pa.schema(
    [("exposure", pa.string()), ("outcome", pa.string()), ("value", pa.int64()), ("result", pa.int64()),
     ("count", pa.int64())]
)  # fmt: skip
_ADD = adding_in_order(LOYALTY_CELLS, "count")
#: The columns of the table service_loyalty. A `reason` says why a row claims nothing; then it has the n's alone.
SERVICE_LOYALTY = pa.schema(
    [
        ("exposure", pa.string()), ("outcome", pa.string()),
        ("n", pa.int64()), ("n_better", pa.int64()), ("n_worse", pa.int64()), ("n_pending", pa.int64()),
        ("exposure_split", pa.float64()), ("outcome_better", pa.float64()), ("outcome_worse", pa.float64()),
        ("difference", pa.float64()), ("difference_low", pa.float64()), ("difference_high", pa.float64()),
        ("spearman", pa.float64()), ("spearman_low", pa.float64()), ("spearman_high", pa.float64()),
        ("p_value", pa.float64()), ("q_value", pa.float64()),
        ("claim", pa.string()), ("reason", pa.string()), ("method", pa.string()), ("bootstrap_replicates", pa.int64()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """One side of service. `parts` whole numbers of the cells are one of the unit that the name says.

    The better served lie at or below `split` where low is better, else at or above it; None: the median.
    """

    name: str
    parts: int
    low_is_better: bool
    split: int | None


EXPOSURES = (
    Exposure("first_response_minutes", 60, True, None),
    Exposure("resolution_hours", 3600, True, None),
    Exposure("reopened", 1, True, 0),
    Exposure("csat", 10_000, False, 7_500),
)
#: Outcomes, and how many whole numbers of the cells are one of their unit (a share, a point of NPS).
OUTCOMES = {"renewal": 1, "repurchase_90d": 1, "nps_change": 10}

MORE, LESS, NONE = "better service, more loyalty", "better service, less loyalty", "no difference shown"

#: Below this many customers nothing is said (metric dictionary), nor where one of the groups has fewer than ten: a
#: bootstrap takes what few it has for all there are, and its interval is too narrow.
MIN_CUSTOMERS, MIN_GROUP = 30, 10
LEVEL = 0.05

#: Times of more customers than this go into buckets half a per cent wide, as in lifecycle_metrics. It goes by customers
#: and not by cells, because customers add up: a shard over the limit means that the sum is over it, on any cut.
EXACT_CUSTOMERS = EXACT_VALUES

#: A limit of a 95 % interval is then a replicate itself, the 25th from either end.
REPLICATES = 999
#: Rows with more cells are resampled in groups of neighbouring values, as many to a group. A draw costs by the cell, so
#: the cost is bounded whatever the number of customers; the estimates themselves stay exact.
BOOTSTRAP_CELLS, MIN_VALUE_GROUPS = 256, 32
_CHUNK = 111  # replicates at once, so that the arrays stay small
_SEED = 20_260_101


# --- a shard -------------------------------------------------------------------------------------------------------


def exposures_and_outcomes(
    tables: Mapping[str, pa.Table], as_of: datetime.datetime, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """The contingency table (LOYALTY_CELLS) of one shard of whole customers.

    `tables`: touchpoints, tickets and answers, with the columns that the SQL of a metric sees (docs/metrics.md).
    """
    seen = {name: tables[name] for name in ("touchpoints", "tickets", "answers")}
    cells = duck.select_windows(connection, duck.read_sql("service_loyalty"), seen, {"as_of": as_of})
    return add_cells([cells.select(LOYALTY_CELLS.names).cast(LOYALTY_CELLS)])


def add_cells(partials: Sequence[pa.Table]) -> pa.Table:
    """The sum of contingency tables, sorted; times in buckets where there are too many customers."""
    cells = _ADD(partials)
    pieces = [
        _to_buckets(own) if _customers(own) > EXACT_CUSTOMERS and exposure.split is None else own
        for exposure in EXPOSURES
        for own in (_of(cells, exposure.name, outcome) for outcome in OUTCOMES)
    ]
    return _ADD(pieces)


def _of(cells: pa.Table, exposure: str, outcome: str) -> pa.Table:
    return cells.filter(pc.and_(pc.equal(cells["exposure"], exposure), pc.equal(cells["outcome"], outcome)))


def _customers(cells: pa.Table) -> int:
    """Those whose outcome is there."""
    return pc.sum(cells.filter(cells["result"].is_valid())["count"]).as_py() or 0


def _to_buckets(cells: pa.Table) -> pa.Table:
    """Values to the lower edges of their buckets. A lower edge stays where it is: to do it twice changes nothing."""
    lower = lower_edges(cells["value"].fill_null(0).to_numpy())
    mask = np.asarray(cells["value"].is_null().to_numpy())
    place = cells.schema.get_field_index("value")
    return cells.set_column(place, LOYALTY_CELLS.field("value"), pa.array(lower, pa.int64(), mask=mask))


# --- all shards ----------------------------------------------------------------------------------------------------


def merge_service_loyalty(partials: Sequence[pa.Table]) -> pa.Table:
    """The rows of service_loyalty (schema SERVICE_LOYALTY) from the contingency tables of all shards, in any order.

    Every pair of an exposure and an outcome has its row, in the order of EXPOSURES and OUTCOMES, even without a customer.
    """
    cells = add_cells(partials)
    rows = []
    for exposure in EXPOSURES:
        for outcome in OUTCOMES:
            own = _of(cells, exposure.name, outcome)
            known = own.filter(own["result"].is_valid())
            value, result, count = (known[name].to_numpy() for name in ("value", "result", "count"))
            pending = pc.sum(own["count"]).as_py() or 0
            row = compare(exposure, outcome, value, result, count)
            rows.append({**row, "n_pending": pending - row["n"]})
    _claim(rows)
    return pa.Table.from_pylist(rows, SERVICE_LOYALTY)


def compare(
    exposure: Exposure, outcome: str, value: np.ndarray, result: np.ndarray, count: np.ndarray
) -> dict[str, Any]:
    """A row of service_loyalty from its cells: all but n_pending, and q_value and claim, which need the other rows.

    `value`, `result`, `count`: int64[cells], each pair of value and result once, in any order. Where nothing can be said
    the row has a `reason` and no figures, so that nobody reads one into the few.
    """
    order = np.lexsort((result, value))
    value, result, count = value[order], result[order], count[order]
    n = int(count.sum())
    split = _lower_median(value, count) if exposure.split is None else exposure.split
    better = value <= split if exposure.low_is_better else value >= split
    n_better = int(count[better].sum())
    row = {"exposure": exposure.name, "outcome": outcome, "n": n, "n_better": n_better, "n_worse": n - n_better}
    reason = _why_silent(n, n_better, result)
    if reason:
        return {**row, "reason": reason}

    parts = OUTCOMES[outcome]
    mean_better, mean_worse = (Fraction(_dot(result[g], count[g]), _dot(count[g]) * parts) for g in (better, ~better))
    correlation, p_value = rank_correlation(value, result, count)
    cells = _Cells.of(value, result, better, count)
    generator = np.random.Generator(np.random.PCG64([_SEED, zlib.crc32(f"{exposure.name}:{outcome}".encode())]))
    differences, correlations = cells.resample(generator)
    # Groups of values have ties that the values do not: their correlation is a trifle weaker in every replicate.
    correlations = np.clip(correlations + (correlation - cells.correlation()), -1, 1)
    if exposure.low_is_better:  # positive: the better the service, the more loyalty
        correlation, correlations = -correlation, -correlations
    figures = {
        "exposure_split": split / exposure.parts,
        "outcome_better": float(mean_better),
        "outcome_worse": float(mean_worse),
        "difference": float(mean_better - mean_worse),
        **_interval("difference", differences / parts),
        "spearman": correlation,
        **_interval("spearman", correlations),
        "p_value": p_value,
    }
    return {
        **row,
        **{name: _rounded(figure) for name, figure in figures.items()},
        "method": "buckets" if exposure.split is None and n > EXACT_CUSTOMERS else "exact",
        "bootstrap_replicates": REPLICATES,
    }


def _why_silent(n: int, n_better: int, result: np.ndarray) -> str | None:
    smaller = min(n_better, n - n_better)
    if n < MIN_CUSTOMERS:
        return f"fewer than {MIN_CUSTOMERS} customers"
    if not smaller:
        return "one of the two groups is empty"
    if smaller < MIN_GROUP:
        return f"fewer than {MIN_GROUP} customers in one of the two groups"
    if result.min() == result.max():
        return "all outcomes equal"
    return None


def _claim(rows: Sequence[dict[str, Any]]) -> None:
    """Adds q_value and claim to the rows that have a p-value. All of them are one family: that many were looked at."""
    spoken = [row for row in rows if "p_value" in row]
    for row, q_value in zip(spoken, q_values([row["p_value"] for row in spoken]), strict=True):
        row["q_value"] = _rounded(q_value)
        row["claim"] = NONE
        if row["q_value"] <= LEVEL:
            # Two looks at one question. Where they contradict each other, in sign or in certainty, nothing is shown.
            if row["difference_low"] > 0 and row["spearman"] > 0:
                row["claim"] = MORE
            elif row["difference_high"] < 0 and row["spearman"] < 0:
                row["claim"] = LESS


# --- statistics ----------------------------------------------------------------------------------------------------


def rank_correlation(value: np.ndarray, result: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    """Spearman's correlation, ties at their middle rank, and its two-sided p-value by the t approximation.

    Of cells (int64[cells] each), as scipy.stats.spearmanr gives it of `count` copies of each pair. In whole numbers up to
    the last division, so that no machine and no order of adding gives another p-value. Neither side may be constant.

    >>> rank_correlation(np.array([1, 2, 3]), np.array([1, 3, 2]), np.array([1, 1, 1]))[0]
    0.5
    """
    from scipy.special import stdtr  # type: ignore[import-untyped]  # here: to import it takes longer than all the rest

    n = _dot(count)
    ranks = []
    for side in (value, result):
        _, level = np.unique(side, return_inverse=True)
        tally = np.zeros(int(level.max()) + 1, np.int64)
        np.add.at(tally, level, count)
        ranks.append((2 * np.cumsum(tally) - tally - n)[level])  # twice the middle rank, less twice the mean rank
    x, y = ranks
    square_x, square_y, product = _dot(x, x, count), _dot(y, y, count), _dot(x, y, count)
    rest = square_x * square_y - product * product
    if not rest:
        return math.copysign(1.0, product), 0.0
    t = abs(product) * math.sqrt(n - 2) / math.sqrt(rest)
    return product / math.sqrt(square_x * square_y), 2 * float(stdtr(n - 2, -t))


def q_values(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg (1995): the false discovery rate at which each would just be claimed.

    >>> q_values([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    m = len(p_values)
    adjusted = [1.0] * m
    least = 1.0
    for rank, i in reversed(list(enumerate(sorted(range(m), key=lambda i: p_values[i]), start=1))):
        least = adjusted[i] = min(least, p_values[i] * m / rank)
    return adjusted


@dataclass(frozen=True)
class _Cells:
    """A contingency table to draw from: arrays of one length, sorted by (place, level)."""

    place: np.ndarray  # 0, 1, ...: the value, or its group
    level: np.ndarray  # 0, 1, ...: the result, an index of `results`
    better: np.ndarray  # bool: the better served
    count: np.ndarray
    results: np.ndarray  # int64[levels], rising

    @classmethod
    def of(cls, value: np.ndarray, result: np.ndarray, better: np.ndarray, count: np.ndarray) -> _Cells:
        """From cells sorted by (value, result). If they are too many, neighbouring values on one side of the split, of
        as many customers each, become one group: with 32 groups the ranks lose 1/1,024 of their variance."""
        _, first, place = np.unique(value, return_index=True, return_inverse=True)
        results, level = np.unique(result, return_inverse=True)
        if len(count) <= BOOTSTRAP_CELLS:
            return cls(place, level, better, count, results)
        groups = max(BOOTSTRAP_CELLS // len(results), MIN_VALUE_GROUPS)
        customers = np.add.reduceat(count, first)
        middle = 2 * np.cumsum(customers) - customers
        group = middle * groups // (2 * int(count.sum())) + (better[first] != better[0])
        cell, where = np.unique(group[place] * len(results) + level, return_inverse=True)
        summed = np.zeros(len(cell), np.int64)
        np.add.at(summed, where, count)
        on_better = np.zeros(len(cell), bool)
        on_better[where] = better
        _, place = np.unique(cell // len(results), return_inverse=True)
        return cls(place, cell % len(results), on_better, summed, results)

    def resample(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """float64[REPLICATES] twice: difference of the mean results (better less worse), correlation of the ranks.

        To draw n customers with replacement is a multinomial draw over the cells. Who counts as better served stays so:
        the question is of this split, not of where another company's median would lie.
        """
        n = int(self.count.sum())
        shares = self.count / n
        figures = [self._figures(generator.multinomial(n, shares, size=_CHUNK)) for _ in range(REPLICATES // _CHUNK)]
        differences, correlations = zip(*figures, strict=True)
        return np.concatenate(differences), np.concatenate(correlations)

    def correlation(self) -> float:
        """That of the cells themselves."""
        return float(self._figures(self.count[np.newaxis])[1][0])

    def _figures(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Difference and correlation of each row of `draws` (int64[replicates, cells]).

        A replicate without one of the groups, or with equal outcomes throughout, shows nothing: 0.
        """
        weight = draws.astype(np.float64)
        is_level = self.level[:, np.newaxis] == np.arange(len(self.results))
        tallies = weight @ np.column_stack((is_level, self.better, self.better * self.results[self.level]))
        of_level, n_better, sum_better = tallies[:, :-2], tallies[:, -2], tallies[:, -1]
        n = of_level.sum(axis=1)
        sum_worse = of_level @ self.results - sum_better
        both = (n_better > 0) & (n_better < n)
        difference = _divide(sum_better, n_better, both) - _divide(sum_worse, n - n_better, both)

        begins = np.flatnonzero(np.diff(self.place, prepend=-1))
        of_place = np.add.reduceat(weight, begins, axis=1)
        x = 2 * np.cumsum(of_place, axis=1) - of_place - n[:, np.newaxis]  # as in rank_correlation
        y = 2 * np.cumsum(of_level, axis=1) - of_level - n[:, np.newaxis]
        square_x, square_y = (of_place * x * x).sum(axis=1), (of_level * y * y).sum(axis=1)
        product = (np.add.reduceat(weight * y[:, self.level], begins, axis=1) * x).sum(axis=1)
        scale = np.sqrt(square_x) * np.sqrt(square_y)
        return difference, _divide(product, scale, scale > 0)


def _divide(above: np.ndarray, below: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(len(above)), where=where)


def _interval(name: str, replicates: np.ndarray) -> dict[str, float]:
    """The middle 95 %: of 999 the 25th from either end."""
    ordered = np.sort(replicates)
    tail = (len(ordered) + 1) // 40
    return {f"{name}_low": float(ordered[tail - 1]), f"{name}_high": float(ordered[-tail])}


def _lower_median(value: np.ndarray, count: np.ndarray) -> int:
    """The middle of rising values, the lower of two; 0 of none."""
    up_to = np.cumsum(count)
    return int(value[np.searchsorted(up_to, (up_to[-1] + 1) // 2)]) if len(value) else 0


def _dot(*columns: np.ndarray) -> int:
    """The sum of their products, exact: ranks of ten million customers overflow 64 bits."""
    return sum(map(math.prod, zip(*(column.tolist() for column in columns), strict=True)))


def _rounded(figure: float) -> float:
    """To 9 significant digits, more than the data can bear and fewer than machines may differ in."""
    return float(f"{figure:.9g}") + 0.0  # no negative zero
