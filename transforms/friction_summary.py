"""What friction costs: each kind, subject and stage with what it goes with, ranked by money. docs/friction-cost.md.

Exposed spells are compared with moments of the same stratum that were not exposed (friction_comparison.py). The difference
of the shares that reach an outcome is Mantel and Haenszel's; its standard error is the largest of three, because each of
them is too small somewhere. What is found is an association: nobody met friction by lot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import coders, pvalue

from schemas.tables import Table
from transforms import duck
from transforms.adding_up import Sum
from transforms.batches import HolderCoder, ShardTables, declared, keyed_tables, to_one
from transforms.friction_comparison import (
    EXPOSED,
    EXPOSED_WON,
    MIN_COMPARED,
    REMOVED,
    REMOVED_WON,
    Comparison,
    Plan,
    compare_moments,
    plan_comparison,
)
from transforms.friction_moments import (
    ADD_CELLS,
    ADD_ENTRANTS,
    ADD_PAIRS,
    CostRules,
    Moments,
    cell_numbers,
    find_moments,
)

LEVEL = 0.05
#: Standard errors on either side of an estimate that make a 95 % interval.
_Z = 1.959963984540054
CLAIM = "fewer conversions"
METHOD = "mantel-haenszel"

_FOUR_DIGITS = Decimal("0.0001")


@dataclass(frozen=True)
class Found:
    """What was found of all shards in the first look: its three tables, summed, and what is to be compared."""

    cells: pa.Table
    entrants: pa.Table
    plan: Plan

    @property
    def nbytes(self) -> int:
        plan = self.plan
        arrays = (plan.pair_cell, plan.pair_friction, plan.pair_stratum, plan.stratum, plan.stratum_lag_s)
        return int(self.cells.nbytes + self.entrants.nbytes + sum(array.nbytes for array in arrays))


def add_found(partials: Iterable[tuple[str, pa.Table]], rules: CostRules) -> Found:
    """The partial tables `cells`, `pairs` and `entrants` of all shards, in any order."""
    sums = {"cells": Sum(ADD_CELLS), "pairs": Sum(ADD_PAIRS), "entrants": Sum(ADD_ENTRANTS)}
    for name, table in partials:
        sums[name].include(table)
    cells, pairs, entrants = (total.total() for total in sums.values())
    return Found(cells, entrants, plan_comparison(cells, pairs, rules))


# --- statistics ----------------------------------------------------------------------------------------------------


def risk_difference(n1: np.ndarray, won1: np.ndarray, n0: np.ndarray, won0: np.ndarray) -> np.ndarray:
    """Controls less exposed, over the strata (first axis) by the weights of Mantel and Haenszel; NaN without a stratum
    that has both sides. Integers of one shape: exposed, those with the outcome, controls, those with it.

    >>> risk_difference(np.array([10, 20]), np.array([2, 5]), np.array([10, 60]), np.array([4, 21])).tolist()
    0.125
    """
    both = (n1 > 0) & (n0 > 0)
    n = np.where(both, n1 + n0, 1)
    weight = np.where(both, n1 * n0 / n, 0).sum(axis=0)
    above = np.where(both, (won0 * n1 - won1 * n0) / n, 0).sum(axis=0)
    return np.divide(above, weight, out=np.full(np.shape(above), np.nan), where=weight > 0)


def greenland_robins(n1: np.ndarray, won1: np.ndarray, n0: np.ndarray, won0: np.ndarray) -> float:
    """Standard error of the risk difference, whether strata are few and large or many and small.

    Greenland and Robins, Estimation of a common effect parameter from sparse follow-up data, Biometrics 41 (1985).
    """
    n1, won1, n0, won0 = (v.astype(np.float64)[(n1 > 0) & (n0 > 0)] for v in (n1, won1, n0, won0))
    n = n1 + n0
    above = (won1 * (n1 - won1) * n0**3 + won0 * (n0 - won0) * n1**3) / (n1 * n0 * n**2)
    return float(math.sqrt(above.sum()) / (n1 * n0 / n).sum())


def without_difference(n1: np.ndarray, won1: np.ndarray, n0: np.ndarray, won0: np.ndarray) -> float:
    """Standard error of the risk difference if there is none: that of Mantel and Haenszel's own test (1959).

    Where none of a few exposed has the outcome, the other standard errors take it that none ever will, and are far too
    small. This one knows the margins of each stratum alone.
    """
    n1, won1, n0, won0 = (v.astype(np.float64)[(n1 > 0) & (n0 > 0)] for v in (n1, won1, n0, won0))
    n, won = n1 + n0, won1 + won0
    return float(math.sqrt((n1 * n0 * won * (n - won) / (n**2 * (n - 1))).sum()) / (n1 * n0 / n).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979): the family-wise error rate at which each would just be claimed.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = [1.0] * len(p_values)
    most = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        most = adjusted[i] = max(most, min(1.0, p_values[i] * (len(p_values) - rank)))
    return adjusted


# --- all shards ----------------------------------------------------------------------------------------------------


def friction_summary(found: Found, comparison: Comparison, rules: CostRules, table: Table) -> pa.Table:
    """The rows of friction_summary in the order of their rank, every kind, subject and stage that has a point."""
    entrants = dict(zip(found.entrants["stage"].to_pylist(), found.entrants["entrants"].to_pylist(), strict=True))
    money = _Money.of(comparison.money, found.plan)
    compared = set(found.plan.cells.tolist())
    rows = []
    for cell, number in zip(found.cells.to_pylist(), cell_numbers(found.cells).tolist(), strict=True):
        row = {**cell, "entrants": entrants.get(cell["stage"], 0), "_number": number}
        row["share"] = _rounded(cell["n_stage_runs"] / row["entrants"]) if row["entrants"] else None
        rows.append(row)
        if cell["kind"] in rules.unpriced:
            row["reason"] = "the kind is defined by the outcome that did not come"
        elif cell["n_exposed"] < MIN_COMPARED:
            row["reason"] = f"fewer than {MIN_COMPARED} exposed spells"
        elif number not in compared:
            row["reason"] = "not among the largest cells, which alone are compared"
        else:
            row.update(_compare(number, comparison, money))
    _claim(rows)
    rows.sort(key=_rank)
    for rank, row in enumerate(rows, start=1):
        row["rank"] = rank
    return pa.Table.from_pylist([{name: row.get(name) for name in table.schema.names} for row in rows], table.schema)


def _compare(number: int, comparison: Comparison, money: _Money) -> dict[str, Any]:
    """What the strata of one cell come to, without a claim."""
    plan = comparison.plan
    low, high = (int(np.searchsorted(plan.pair_cell, np.uint64(number), side)) for side in ("left", "right"))
    stratum = plan.pair_stratum[low:high]
    sides = comparison.sides[:, low:high]
    n1, won1 = sides[EXPOSED], sides[EXPOSED_WON]
    n0 = comparison.total[stratum] - sides[REMOVED]
    won0 = comparison.total_won[stratum] - sides[REMOVED_WON]
    data = tuple(side[:, 0] for side in (n1, won1, n0, won0))
    both = (data[0] > 0) & (data[2] > 0)
    n_matched, n_controls = int(data[0][both].sum()), int(data[2][both].sum())
    row: dict[str, Any] = {"n_matched": n_matched, "n_controls": n_controls}
    if min(n_matched, n_controls) < MIN_COMPARED:
        fewer = "exposed spells with controls like them" if n_matched < MIN_COMPARED else "controls"
        return {**row, "reason": f"fewer than {MIN_COMPARED} {fewer}"}
    difference = float(risk_difference(*data))
    replicates = risk_difference(n1[:, 1:], won1[:, 1:], n0[:, 1:], won0[:, 1:])
    bootstrap = float(np.nanstd(replicates, ddof=1))
    error = max(greenland_robins(*data), without_difference(*data), bootstrap)
    if not error > 0:
        return {**row, "reason": "all outcomes equal"}
    m1, w1, m0, w0 = (side[both] for side in data)
    weight = m1 * m0 / (m1 + m0)
    share = _share_of_outcomes(weight, w1, m1), _share_of_outcomes(weight, w0, m0)
    return {
        **row,
        "outcome_exposed": _rounded(share[0]),
        "outcome_controls": _rounded(share[1]),
        "risk_difference": _rounded(difference),
        "risk_difference_low": _rounded(difference - _Z * error),
        "risk_difference_high": _rounded(difference + _Z * error),
        "p_value": _rounded(math.erfc(abs(difference) / error / math.sqrt(2))),
        "method": METHOD,
        "_error": error,
        "_values": money.of_controls(low, high, data),
    }


def _share_of_outcomes(weight: np.ndarray, won: np.ndarray, n: np.ndarray) -> float:
    return float((weight * won / n).sum() / weight.sum())


def _claim(rows: Sequence[dict[str, Any]]) -> None:
    """Adds p_holm to all rows that were compared, one family, and to those that hold what is lost, or why nothing is said."""
    compared = [row for row in rows if "p_value" in row]
    for row, p_holm in zip(compared, holm([row["p_value"] for row in compared]), strict=True):
        row["p_holm"] = _rounded(p_holm)
        if row["p_holm"] > LEVEL:
            row["reason"] = "no difference shown"
        elif row["risk_difference"] < 0:
            row["reason"] = "more conversions than the controls: no loss to price"
        else:
            row["claim"] = CLAIM
            for end in ("", "_low", "_high"):
                row[f"excess_losses{end}"] = _rounded(row[f"risk_difference{end}"] * row["n_matched"])
            values = row["_values"]
            row["revenue_at_risk_by_currency"] = [
                {"currency": currency, "amount": _money(row["excess_losses"] * value.mean)}
                for currency, value in sorted(values.items())
            ]
            if len(values) == 1:
                ((row["currency"], value),) = values.items()
                losses, error = row["excess_losses"], row["_error"] * row["n_matched"]
                row["mean_value"] = _money(value.mean)
                ends = zip(("", "_low", "_high"), value.at_risk(losses, error), strict=True)
                row |= {f"revenue_at_risk{end}": _money(amount) for end, amount in ends}


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A total order: money, then losses, then points, the most first, and those without at the end; then the key."""
    money, losses = row.get("revenue_at_risk"), row.get("excess_losses")
    key = tuple((row[name] is not None, row[name] or "") for name in ("kind", "subject", "stage"))
    return (money is None, -(money or 0), losses is None, -(losses or 0), -row["n_points"], key)


#: Wider than ten thousand times either way an interval says no more, and no column holds it.
_WIDEST = math.log(10_000)


@dataclass(frozen=True)
class Value:
    """The mean of what `outcomes` controls' outcomes were worth, and its variance from one to the next."""

    mean: float
    variance: float
    outcomes: int

    def at_risk(self, losses: float, error: float) -> tuple[float, float, float]:
        """What so many losses, more than none, were worth, and the ends of its interval.

        A few large orders make a sum of money: the interval is even on the scale of its logarithm, and never below nothing.
        Where the outcomes were worth less than nothing (more was paid back than in) there is no logarithm.
        """
        amount, error_of_money = losses * self.mean, self.error(losses, error)
        if amount <= 0:
            return amount, amount - _Z * error_of_money, amount + _Z * error_of_money
        factor = math.exp(min(_Z * error_of_money / amount, _WIDEST))
        return amount, amount / factor, amount * factor

    def error(self, losses: float, error: float) -> float:
        """Standard error of the money lost with so many losses, told with such an error.

        Losses that differ from each other are not worth the mean each, and that mean is itself of some outcomes only.
        """
        losses = max(losses, 0.0)
        return math.sqrt((self.mean * error) ** 2 + losses * self.variance * (1 + losses / self.outcomes))


_Sums = Mapping[tuple[int, str], tuple[Decimal, Decimal]]
_NOTHING = (Decimal(0), Decimal(0))


@dataclass(frozen=True)
class _Money:
    """What the outcomes of the strata, and of the removed touches of the pairs, were worth: amounts and their squares."""

    stratum: _Sums
    pair: _Sums
    currencies: Mapping[int, tuple[str, ...]]  # by stratum
    plan: Plan

    @classmethod
    def of(cls, money: pa.Table, plan: Plan) -> _Money:
        by: dict[str, dict[tuple[int, str], tuple[Decimal, Decimal]]] = {"stratum": {}, "pair": {}}
        currencies: dict[int, set[str]] = {}
        for row in money.to_pylist():
            for name, sums in by.items():
                if row[name] is not None:
                    sums[row[name], row["currency"]] = row["amount"], row["squares"]
            if row["stratum"] is not None:
                currencies.setdefault(row["stratum"], set()).add(row["currency"])
        return cls(by["stratum"], by["pair"], {k: tuple(sorted(v)) for k, v in currencies.items()}, plan)

    def of_controls(self, low: int, high: int, data: tuple[np.ndarray, ...]) -> dict[str, Value]:
        """What a control's outcome is worth, by currency, the strata weighted as in the risk difference."""
        above: dict[str, tuple[float, float]] = {}
        below, outcomes = 0.0, 0
        for place in range(low, high):
            n1, _, n0, won0 = (int(side[place - low]) for side in data)
            if not (n1 and n0 and won0):
                continue
            weight = n1 / (n1 + n0)
            below += won0 * weight
            outcomes += won0
            stratum = int(self.plan.pair_stratum[place])
            for currency in self.currencies.get(stratum, ()):
                of_all, of_removed = self.stratum[stratum, currency], self.pair.get((place, currency), _NOTHING)
                amount, squares = (a - b for a, b in zip(of_all, of_removed, strict=True))
                if squares:
                    so_far = above.get(currency, (0.0, 0.0))
                    above[currency] = so_far[0] + float(amount) * weight, so_far[1] + float(squares) / 10_000 * weight
        return {
            currency: Value(amount / below, max(squares / below - (amount / below) ** 2, 0.0), outcomes)
            for currency, (amount, squares) in above.items()
        }


def _rounded(figure: float) -> float:
    """To 9 significant digits, more than the data can bear and fewer than machines may differ in."""
    return float(f"{figure:.9g}") + 0.0  # no negative zero


def _money(figure: float) -> Decimal:
    return Decimal(f"{figure:.9g}").quantize(_FOUR_DIGITS)


# --- Beam ----------------------------------------------------------------------------------------------------------

coders.registry.register_coder(Moments, HolderCoder)
coders.registry.register_coder(Found, HolderCoder)


class _FindMoments(beam.DoFn):
    def __init__(self, rules: CostRules) -> None:
        self._rules = rules

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables) -> Iterator[Any]:
        moments, partials = find_moments(shard, self._rules, self._connection)
        yield moments
        for element in partials.items():
            yield pvalue.TaggedOutput("found", element)


class _Found(beam.DoFn):
    def __init__(self, rules: CostRules) -> None:
        self._rules = rules

    def process(self, element: tuple[None, Iterable[tuple[str, pa.Table]]]) -> Iterator[Found]:
        yield add_found(element[1], self._rules)


class _CompareMoments(beam.DoFn):
    def __init__(self, rules: CostRules) -> None:
        self._rules = rules

    def process(self, moments: Moments, found: Found) -> Iterator[tuple[str, pa.Table]]:
        yield from compare_moments(moments, found.plan, self._rules).items()


class _Summarise(beam.DoFn):
    def __init__(self, rules: CostRules, table: Table) -> None:
        self._rules, self._table = rules, table

    def process(
        self, element: tuple[None, Iterable[tuple[str, pa.Table]]], found: Found
    ) -> Iterator[tuple[str, pa.Table]]:
        comparison = Comparison.of(found.plan, element[1])
        yield self._table.name, friction_summary(found, comparison, self._rules, self._table)


class FrictionSummary(beam.PTransform):
    """ShardTables with friction_points and customers -> KV["friction_summary", table].

    The shards' moments, some 20 bytes a touchpoint, wait for the first look at all of them.
    """

    def __init__(self, rules: CostRules, table: Table) -> None:
        super().__init__()
        self._rules, self._table = rules, table

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        looked = shards | "FindMoments" >> beam.ParDo(_FindMoments(self._rules)).with_outputs("found", main="moments")
        found = (
            to_one(keyed_tables(looked["found"], str), "Found")
            | "AddFound" >> beam.ParDo(_Found(self._rules)).with_output_types(Found)
        )  # fmt: skip
        compared = declared(looked["moments"], Moments) | "CompareMoments" >> beam.ParDo(
            _CompareMoments(self._rules), pvalue.AsSingleton(found)
        ).with_output_types(beam.typehints.KV[str, pa.Table])
        return to_one(compared, "Compared") | "Summarise" >> beam.ParDo(
            _Summarise(self._rules, self._table), pvalue.AsSingleton(found)
        ).with_output_types(beam.typehints.KV[str, pa.Table])
