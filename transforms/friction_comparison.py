"""What is compared when friction is priced: exposed spells and their controls, counted by cell and stratum.

It takes two looks at the shards. The first (friction_moments.py) tells which cells have enough exposed spells, and so which
strata need controls at all, and after which lags: the `Plan`. The second counts on both sides, in the data as they are and
in REPLICATES resamplings of the customers. All counts are whole numbers and add up over the shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import MONEY_SUM
from transforms.friction_moments import CostRules, Moments, cell_numbers, friction_numbers, mixed, with_lag

#: Nothing is claimed of fewer on either side, nor are they compared.
MIN_COMPARED = 30
#: Cells are compared, those with most exposed spells first, as long as they have no more strata than this in all: that
#: bounds the work and the memory of one worker, whatever the number of customers and subjects.
MOST_PAIRS = 20_000
REPLICATES = 200
#: Replicates at once, so that the weights of a shard's customers stay small; four to a hash.
_CHUNK = 40
#: The side of a pair of a cell and a stratum: exposed spells, and touches of exposed spells that are no controls any more;
#: of each how many, and how many with the outcome.
EXPOSED, EXPOSED_WON, REMOVED, REMOVED_WON = range(4)

#: Replicate sums at a place of the plan: a list of 1 + REPLICATES counts, the data as they are first.
_SUMS = pa.list_(pa.int32(), 1 + REPLICATES)
#: `totals`: all touches of a stratum, and those with the outcome.
TOTALS = pa.schema([("stratum", pa.int32()), ("n", _SUMS), ("won", _SUMS)])
#: `sides`: of a pair, one of the four sides above.
SIDES = pa.schema([("pair", pa.int32()), ("side", pa.int8()), ("n", _SUMS)])
#: `money`: what the outcomes of a stratum (or of the removed touches of a pair; the other is null) were worth, and the sum of
#: the squares, in hundredths of the currency: whole numbers, so that no order of adding changes it.
MONEY = pa.schema(
    [("stratum", pa.int32()), ("pair", pa.int32()), ("currency", pa.string()), ("amount", MONEY_SUM),
     ("squares", pa.decimal128(38, 0))]
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Which cells are compared, and in which strata. Pairs are by cell and stratum, strata by number."""

    pair_cell: np.ndarray  # uint64[pairs]
    pair_friction: np.ndarray  # uint64[pairs], that of the cell
    pair_stratum: np.ndarray  # int32[pairs], an index of the strata
    stratum: np.ndarray  # uint64[strata], rising; lags mixed in
    stratum_lag_s: np.ndarray  # int64[strata]

    @property
    def cells(self) -> np.ndarray:
        """uint64[cells], rising."""
        return np.unique(self.pair_cell)


def plan_comparison(cells: pa.Table, pairs: pa.Table, rules: CostRules) -> Plan:
    """What is compared, from the `cells` and `pairs` of all shards: nothing of it depends on an outcome."""
    number = cell_numbers(cells)
    n_exposed = cells["n_exposed"].to_numpy()
    of_cell = pairs["cell"].to_numpy()
    values, strata_of = np.unique(of_cell, return_counts=True)
    order = cells.append_column("row", pa.array(np.arange(len(number)))).sort_by(
        [("n_exposed", "descending"), *((key, "ascending") for key in ("kind", "subject", "stage"))]
    )
    chosen, room = [], MOST_PAIRS
    for row, kind in zip(order["row"].to_pylist(), order["kind"].to_pylist(), strict=True):
        if n_exposed[row] < MIN_COMPARED:
            break
        strata = int(strata_of[np.searchsorted(values, number[row])])
        if kind not in rules.unpriced and strata <= room:
            chosen.append(number[row])
            room -= strata
    kept = np.isin(of_cell, np.array(chosen, np.uint64))
    stratum, place = np.unique(pairs["stratum"].to_numpy()[kept], return_inverse=True)
    lag = np.zeros(len(stratum), np.int64)
    lag[place] = pairs["lag_s"].to_numpy()[kept]
    order_of_pairs = np.lexsort((place, of_cell[kept]))
    pair_cell = of_cell[kept][order_of_pairs]
    by_number = np.argsort(number)
    friction = friction_numbers(cells)[by_number][np.searchsorted(number[by_number], pair_cell)]
    return Plan(pair_cell, friction, place[order_of_pairs].astype(np.int32), stratum, lag)


# --- a shard -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Units:
    """Moments that count somewhere: the place where, whose they are, and the outcome that they won, -1 for none."""

    place: np.ndarray
    customer: np.ndarray
    outcome: np.ndarray

    @property
    def won(self) -> _Units:
        has = self.outcome >= 0
        return _Units(self.place[has], self.customer[has], self.outcome[has])

    @classmethod
    def join(cls, pieces: list[_Units]) -> _Units:
        empty = np.zeros(0, np.int64)
        return cls(
            *(np.concatenate([empty, *(getattr(p, f) for p in pieces)]) for f in ("place", "customer", "outcome"))
        )


def compare_moments(moments: Moments, plan: Plan, rules: CostRules) -> dict[str, pa.Table]:
    """The partial tables `totals`, `sides` and `money` of a shard: rows only where there is something."""
    lags, by_key = np.unique(plan.stratum_lag_s).tolist(), _Pairs(plan)
    total = _Units.join([_touches(moments, plan, rules, lag) for lag in lags])
    exposed = _Units.join([_exposed(moments, plan, rules, by_key, lag) for lag in lags])
    removed = _Units.join([_removed(moments, plan, rules, by_key, lag) for lag in lags])
    sides = (exposed, exposed.won, removed, removed.won)
    # one product of matrices for all: places of strata, of strata with the outcome, of pairs by side
    strata, pairs = len(plan.stratum), len(plan.pair_cell)
    offsets = (0, strata, *(2 * strata + side * pairs for side in range(4)))
    all_units = [
        _Units(units.place + offset, units.customer, units.outcome)
        for units, offset in zip((total, total.won, *sides), offsets, strict=True)
    ]
    place, sums = replicate_sums(_Units.join(all_units), moments.customer_hash)
    is_total = place < strata
    is_won = (place >= strata) & (place < 2 * strata)
    won = np.zeros((int(is_total.sum()), 1 + REPLICATES), np.int32)
    won[np.searchsorted(place[is_total], place[is_won] - strata)] = sums[is_won]
    rest = place[place >= 2 * strata] - 2 * strata
    return {
        "totals": pa.table(
            [pa.array(place[is_total].astype(np.int32)), _lists(sums[is_total]), _lists(won)], schema=TOTALS
        ),
        "sides": pa.table(
            [
                pa.array((rest % max(pairs, 1)).astype(np.int32)),
                pa.array((rest // max(pairs, 1)).astype(np.int8)),
                _lists(sums[place >= 2 * strata]),
            ],
            schema=SIDES,
        ),
        "money": add_money([_money(moments, total.won, "stratum"), _money(moments, removed.won, "pair")]),
    }


def _touches(moments: Moments, plan: Plan, rules: CostRules, lag_s: int) -> _Units:
    """All moments of the strata of one lag, where both the lag and the window are over."""
    place_of = _places(plan.stratum, with_lag(moments.strata, lag_s))
    place_of[plan.stratum_lag_s[place_of] != lag_s] = -1
    place = np.where(moments.stratum >= 0, place_of[moments.stratum], -1) if len(place_of) else moments.stratum
    rows = np.flatnonzero(place >= 0)
    return _counted(moments, rules, rows, place[rows], lag_s)


def _counted(moments: Moments, rules: CostRules, rows: np.ndarray, place: np.ndarray, lag_s: int) -> _Units:
    pending, settled, outcome = moments.outcomes(rows, lag_s, rules)
    counts = ~(pending | settled)
    return _Units(place[counts].astype(np.int64), moments.customer[rows[counts]], outcome[counts])


class _Pairs:
    """The pairs of a plan, found by cell and stratum."""

    def __init__(self, plan: Plan) -> None:
        key = self._key(plan.pair_cell, plan.stratum[plan.pair_stratum])
        self._order = np.argsort(key)
        self._rising = key[self._order]

    @staticmethod
    def _key(cell: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        return mixed(cell) ^ stratum

    def units(self, moments: Moments, rules: CostRules, cell: np.ndarray, row: np.ndarray, lag_s: int) -> _Units:
        """Rows of moments, by the pairs of the cells beside them and of their own strata; rows of no pair left out."""
        stratum = moments.stratum[row]
        is_touch = stratum >= 0
        cell, row, stratum = cell[is_touch], row[is_touch], stratum[is_touch]
        place = _places(self._rising, self._key(cell, with_lag(moments.strata[stratum], lag_s)))
        there = place >= 0
        return _counted(moments, rules, row[there], self._order[place[there]], lag_s)


def _exposed(moments: Moments, plan: Plan, rules: CostRules, pairs: _Pairs, lag_s: int) -> _Units:
    """By pair: the exposed moments of one lag."""
    cells, _ = _cells_of_lag(plan, lag_s)
    own = np.flatnonzero((moments.exposed_lag_s == lag_s) & np.isin(moments.exposed_cell, cells))
    return pairs.units(moments, rules, moments.exposed_cell[own], moments.exposed_row[own], lag_s)


def _removed(moments: Moments, plan: Plan, rules: CostRules, pairs: _Pairs, lag_s: int) -> _Units:
    """By pair: all touches of exposed spells, from their exposure on, in the strata of one lag.

    Where a friction has points of several lags, a touch after the first point is a control after none of them, and where it
    has several cells, in none of them.
    """
    cells, friction = _cells_of_lag(plan, lag_s)
    which, cell = _matches(moments.exposed_friction, friction)
    row = moments.exposed_row[which]
    length = moments.exposed_stop[which] - row
    later = np.repeat(row, length) + np.arange(length.sum()) - starts_of(length)
    return pairs.units(moments, rules, np.repeat(cells[cell], length), later, lag_s)


def _cells_of_lag(plan: Plan, lag_s: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64[n], rising: the cells that have a stratum of this lag; uint64[n]: their frictions."""
    of_lag = plan.stratum_lag_s[plan.pair_stratum] == lag_s
    cells, pair = np.unique(plan.pair_cell[of_lag], return_index=True)
    return cells, plan.pair_friction[of_lag][pair]


def _matches(values: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[m], int64[m]: every pair of places where both have the same."""
    order = np.argsort(others, kind="stable")
    low, high = (np.searchsorted(others[order], values, side) for side in ("left", "right"))
    length = high - low
    place = np.repeat(low, length) + np.arange(length.sum()) - starts_of(length)
    return np.repeat(np.arange(len(values)), length), order[place]


def _places(rising: np.ndarray, values: np.ndarray) -> np.ndarray:
    """int64[n]: where each value stands in rising values, -1 where it does not."""
    if not len(rising):
        return np.full(len(values), -1, np.int64)
    place = np.minimum(np.searchsorted(rising, values), len(rising) - 1)
    return np.where(rising[place] == values, place, -1)


def _money(moments: Moments, won: _Units, name: str) -> pa.Table:
    """What the outcomes were worth, by place and currency."""
    money = moments.outcome_money
    order = np.argsort(money["outcome"].to_numpy(), kind="stable")
    outcome = money["outcome"].to_numpy()[order]
    low, high = (np.searchsorted(outcome, won.outcome, side) for side in ("left", "right"))
    length = high - low
    rows = np.repeat(low, length) + np.arange(length.sum()) - starts_of(length)
    taken = money.take(pa.array(order[rows] if len(order) else rows))
    place = pa.array(np.repeat(won.place, length).astype(np.int32))
    missing = pa.nulls(len(place), pa.int32())
    columns = {"stratum": place, "pair": missing} if name == "stratum" else {"stratum": missing, "pair": place}
    hundredths = pc.round(pc.multiply(taken["amount"].cast(pa.float64()), 100.0)).cast(pa.decimal128(18, 0))
    squares = pc.multiply(hundredths, hundredths)
    return pa.table({**columns, "currency": taken["currency"], "amount": taken["amount"], "squares": squares}).cast(
        MONEY
    )


def starts_of(length: np.ndarray) -> np.ndarray:
    """int64[sum of lengths]: where each row's run begins, runs of such lengths following each other."""
    return np.repeat(np.cumsum(length) - length, length)


def replicate_sums(units: _Units, customer_hash: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[places], rising, and int32[places, 1 + REPLICATES]: how many units, and how many in each replicate.

    In a replicate a customer counts Poisson(1) times, so that to draw needs no knowledge of the others (Chamandy and others,
    Estimating Uncertainty for Massive Data Streams, 2012). Floats here hold whole numbers, and add them exactly.
    """
    if not len(units.place):
        return np.zeros(0, np.int64), np.zeros((0, 1 + REPLICATES), np.int32)
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # here: it takes a tenth of a second

    place, row = np.unique(units.place, return_inverse=True)
    whose, column = np.unique(units.customer, return_inverse=True)
    shape = (len(place), len(whose))
    exact = np.float32 if len(units.place) * len(_POISSON_AT) < _EXACT_IN_SINGLE else np.float64  # it costs half
    counts = csr_matrix((np.ones(len(row), exact), (row, column)), shape)
    sums = np.empty((len(place), 1 + REPLICATES), np.int32)
    sums[:, 0] = np.bincount(row, minlength=len(place))
    for start in range(0, REPLICATES, _CHUNK):
        weights = poisson_weights(customer_hash[whose], start, start + _CHUNK)
        sums[:, 1 + start : 1 + start + _CHUNK] = counts @ weights.astype(exact)
    return place, sums


def poisson_weights(customer_hash: np.ndarray, start: int, stop: int) -> np.ndarray:
    """uint8[n, stop - start]: how often each customer counts in the replicates from `start` (a multiple of 4) on.

    A hash of the customer's own and of b // 4 gives four replicates, 16 bits each.
    """
    blocks = np.arange(start // 4 + 1, stop // 4 + 1, dtype=np.uint64) * _GOLDEN
    bits = mixed(customer_hash[:, np.newaxis] + blocks)
    return _POISSON[bits.view("<u2").reshape(len(customer_hash), stop - start)]


#: Single precision holds every whole number below.
_EXACT_IN_SINGLE = 2**24
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
#: Of 65,536 values of 16 bits, how many count so often: e**-1 / k! of them, the mean exactly 1.
_POISSON_AT = (24_109, 24_110, 12_055, 4_018, 1_004, 201, 33, 5, 1)


def _poisson() -> np.ndarray:
    return np.repeat(np.arange(len(_POISSON_AT), dtype=np.uint8), _POISSON_AT)


_POISSON = _poisson()


def _lists(sums: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(sums, np.int32).ravel()), 1 + REPLICATES)


# --- all shards ----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Comparison:
    """The counts of all shards, added up as they come: int64[.., 1 + REPLICATES]. It is as large as the plan."""

    plan: Plan

    def __post_init__(self) -> None:
        strata, pairs = len(self.plan.stratum), len(self.plan.pair_cell)
        self.total, self.total_won = (np.zeros((strata, 1 + REPLICATES), np.int64) for _ in range(2))
        self.sides = np.zeros((4, pairs, 1 + REPLICATES), np.int64)
        self.money = MONEY.empty_table()

    def add(self, name: str, table: pa.Table) -> None:
        """A partial table of a shard, by its name."""
        if name == "totals":
            rows = table["stratum"].to_numpy()
            self.total[rows] += _array(table["n"])
            self.total_won[rows] += _array(table["won"])
        elif name == "sides":
            self.sides[table["side"].to_numpy(), table["pair"].to_numpy()] += _array(table["n"])
        else:
            self.money = add_money([self.money, table])

    @classmethod
    def of(cls, plan: Plan, partials: Iterable[tuple[str, pa.Table]]) -> Comparison:
        comparison = cls(plan)
        for name, table in partials:
            comparison.add(name, table)
        return comparison


def _array(lists: pa.ChunkedArray) -> np.ndarray:
    values = lists.combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    return values.flatten().to_numpy().reshape(-1, 1 + REPLICATES)


def add_money(partials: list[pa.Table]) -> pa.Table:
    """The sum of partial `money`, sorted."""
    keys = MONEY.names[:-2]
    sums = [(name, "sum") for name in MONEY.names[-2:]]
    summed = pa.concat_tables(partials).group_by(keys).aggregate(sums).rename_columns(MONEY.names)
    return summed.cast(MONEY).sort_by([(key, "ascending") for key in keys])
