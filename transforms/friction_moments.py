"""Moments: what can be compared when friction is priced (docs/friction-cost.md).

A moment is a touch of a customer. It lies in a spell, a run of touches in one path stage within one journey, and in a
stratum (friction_strata.py). A spell is exposed to a friction, one kind on one subject, from its first point on. It enters
the comparison once, at that point, in the cell of that point's published stage: a ticket may come in between and change the
stage, and the spell is no control of any cell of this friction all the same. What a shard knows of its moments is here; what
is compared with what is in friction_comparison.py.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, fields

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import MONEY_SUM
from transforms import duck
from transforms.adding_up import adding_in_order
from transforms.batches import ShardTables, with_columns
from transforms.build_journeys import outcomes
from transforms.columns import one_chunk, valid_mask
from transforms.friction_strata import follows_order, path_stages, strata_of, touches
from transforms.hashing import murmur3_128
from transforms.runs import changes, position_in_time
from transforms.time_zones import DAY_US, SECOND_US, micros

#: Outcomes of a journey that somebody wanted; the others (docs/data-model.md) end it too, without one.
WANTED = ("order", "subscription_started", "renewal")
#: A point that is established later than it begins waits so long, rounded up, for its outcomes to count: seconds.
_HOUR_S, _DAY_S = 3_600, 86_400
LAGS_S = np.array(
    [0, 1, 10, 60, 600, _HOUR_S, 6 * _HOUR_S, *(_DAY_S * np.array([1, 3, 7, 14, 30, 60, 90, 180, 365]))], np.int64
)

#: The cells of a shard, all of whose numbers add up. n_entered spells were exposed: n_exposed are compared (their window
#: is over), n_pending wait for it, and of the others the journey was over before the point was established.
CELLS = pa.schema(
    [
        ("kind", pa.string()), ("area", pa.string()), ("subject", pa.string()), ("stage", pa.string()),
        ("n_points", pa.int64()), ("n_customers", pa.int64()), ("n_stage_runs", pa.int64()), ("minutes_lost", MONEY_SUM),
        ("n_entered", pa.int64()), ("n_exposed", pa.int64()), ("n_pending", pa.int64()),
    ]
)  # fmt: skip
#: How many spells that are compared were exposed to a cell in each stratum (its number with the lag mixed in).
PAIRS = pa.schema([("cell", pa.uint64()), ("stratum", pa.uint64()), ("lag_s", pa.int64()), ("n", pa.int64())])
#: Rows of journey_stages by stage.
ENTRANTS = pa.schema([("stage", pa.string()), ("entrants", pa.int64())])
ADD_CELLS = adding_in_order(CELLS, *CELLS.names[4:])
ADD_PAIRS = adding_in_order(PAIRS, "n")
ADD_ENTRANTS = adding_in_order(ENTRANTS, "entrants")


@dataclass(frozen=True)
class CostRules:
    """An outcome counts within `outcome_us` after its moment. `unpriced`: kinds whose definition contains the outcome."""

    as_of: datetime.datetime
    outcome_us: int = 30 * DAY_US
    unpriced: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Moments:
    """The moments of a shard, a row a touchpoint, and the outcomes that may follow. Arrays of n, o, s and e.

    `following` is the first outcome at a row or after it, -1 for none; `is_outcome` whether it is the row itself.
    `stratum` is an index of `strata`, -1 where the row is no touch of its own (a later line of an order).
    The exposures are the first points of a friction in a spell, by friction and row, with the cell that the point stands
    in; `exposed_stop` is where the spell ends.
    """

    customer: np.ndarray  # int32[n]
    time: np.ndarray  # int64[n], microseconds
    stratum: np.ndarray  # int32[n]
    following: np.ndarray  # int32[n]
    is_outcome: np.ndarray  # bool[n]
    strata: np.ndarray  # uint64[s]
    outcome_time: np.ndarray  # int64[o]
    outcome_wanted: np.ndarray  # bool[o]
    outcome_is_last: np.ndarray  # bool[o]: of its customer
    exposed_friction: np.ndarray  # uint64[e]
    exposed_cell: np.ndarray  # uint64[e]
    exposed_row: np.ndarray  # int64[e]
    exposed_stop: np.ndarray  # int64[e]
    exposed_lag_s: np.ndarray  # int64[e]
    customer_hash: np.ndarray  # uint64[customers]
    outcome_money: pa.Table  # outcome, currency, amount

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def outcomes(self, rows: np.ndarray, lag_s: int, rules: CostRules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of some rows: bool[m] pending, bool[m] settled, int32[m] the wanted outcome within the window, -1 for none.

        With a lag, what counts comes after it. A journey that was over by then is settled: such a customer was no longer
        at risk of the friction, and is on neither side. The touch itself is an outcome only where there is no lag.
        """
        following = self.following[rows]
        if lag_s:
            itself = self.is_outcome[rows]
            last = self.outcome_is_last[np.maximum(following, 0)] if len(self.outcome_time) else itself
            following = np.where(itself, np.where(last, -1, following + 1), following)
        there = following >= 0
        landmark = self.time[rows] + lag_s * SECOND_US
        if not there.any():
            return landmark + rules.outcome_us > micros(rules.as_of), np.zeros(len(rows), bool), following
        at = self.outcome_time[np.maximum(following, 0)]
        settled = there & (at <= landmark) if lag_s else np.zeros(len(rows), bool)
        pending = ~settled & (landmark + rules.outcome_us > micros(rules.as_of))
        wanted = there & ~settled & self.outcome_wanted[np.maximum(following, 0)] & (at - landmark <= rules.outcome_us)
        return pending, settled, np.where(wanted, following, -1)


def lag_class(lag_us: np.ndarray) -> np.ndarray:
    """int64[n]: seconds that a lag is rounded up to: a step of LAGS_S, above them whole years of 365 days.

    >>> lag_class(np.array([0, 1, 24 * 3600 * 1_000_000, 400 * DAY_US])).tolist()
    [0, 1, 86400, 63072000]
    """
    lag_s = -(-np.maximum(lag_us, 0) // SECOND_US)
    step = np.searchsorted(LAGS_S, lag_s)
    years = -(-lag_s // LAGS_S[-1]) * LAGS_S[-1]
    return np.where(step < len(LAGS_S), LAGS_S[np.minimum(step, len(LAGS_S) - 1)], years)


def with_lag(strata: np.ndarray, lag_s: np.ndarray | int) -> np.ndarray:
    """uint64[n]: the strata's numbers with a lag mixed in; without one they stay."""
    return strata ^ mixed(np.atleast_1d(np.asarray(lag_s, np.uint64)))


def mixed(x: np.ndarray) -> np.ndarray:
    """uint64[...]: well mixed bits of whole numbers, 0 for 0 (the finaliser of splitmix64, Steele and others 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# --- a shard -------------------------------------------------------------------------------------------------------


def find_moments(
    shard: ShardTables, rules: CostRules, connection: duckdb.DuckDBPyConnection
) -> tuple[Moments, dict[str, pa.Table]]:
    """The moments of a shard of whole customers, and its partial tables `cells`, `pairs` and `entrants`."""
    touchpoints, journeys = shard["touchpoints"], shard["journeys"]
    customer = touchpoints["customer_no"].to_numpy()
    time = touchpoints["occurred_at"].cast(pa.int64()).to_numpy()
    first = np.flatnonzero(changes(customer))
    outcome = _outcomes(touchpoints, connection)
    path = path_stages(touchpoints, first)
    spell = _spells(touchpoints, customer, path, outcome >= 0)
    stratum, strata = strata_of(shard, first, path, spell, touches(touchpoints))

    row = np.flatnonzero(outcome >= 0)
    following = np.searchsorted(row, np.arange(len(customer)))
    same = following < len(row)
    same[same] = customer[row[following[same]]] == customer[same]
    is_last = np.append(customer[row][1:] != customer[row][:-1], True) if len(row) else np.zeros(0, bool)
    money = journeys["revenue_by_currency"].take(pa.array(touchpoints["journey_id"].to_numpy()[row]))
    moments = Moments(
        customer=customer.astype(np.int32),
        time=time,
        stratum=stratum,
        following=np.where(same, following, -1).astype(np.int32),
        is_outcome=outcome >= 0,
        strata=strata,
        outcome_time=time[row],
        outcome_wanted=outcome[row] < len(WANTED),
        outcome_is_last=is_last,
        customer_hash=murmur3_128(one_chunk(shard["customers"]["customer_key"]))[0],
        outcome_money=_flat(one_chunk(money)),
        **_exposures(shard["friction_points"], first, spell),
    )
    return moments, _partials(shard, moments, rules, connection)


def _outcomes(touchpoints: pa.Table, connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """int64[n]: an index of WANTED where the row closes its journey with one, more where with another, else -1."""
    given = outcomes(touchpoints, connection)
    place = pc.index_in(given, pa.array(WANTED)).fill_null(len(WANTED)).to_numpy()
    return np.where(valid_mask(given), place, -1)


def _spells(
    touchpoints: pa.Table, customer: np.ndarray, path: pa.DictionaryArray, is_outcome: np.ndarray
) -> np.ndarray:
    """int64[n]: the spell of each row, 0.. in the shard. An outcome closes one, as do a silence and another stage."""
    new = changes(customer) | changes(path.indices.fill_null(-1).to_numpy())
    new[1:] |= is_outcome[:-1]
    base = np.flatnonzero(~follows_order(touchpoints))
    journey = touchpoints["journey_id"].to_numpy()[base]
    silent = changes(journey)
    silent[1:] &= ~is_outcome[base[:-1]]
    new[base[silent]] = True
    return np.cumsum(new) - 1


def _flat(money: pa.Array) -> pa.Table:
    """Lists of amounts by currency as rows: outcome (an index of the lists), currency, amount."""
    values = money.flatten()
    return pa.table(
        {
            "outcome": pc.list_parent_indices(money).cast(pa.int32()),
            "currency": values.field("currency") if len(values) else pa.array([], pa.string()),
            "amount": values.field("amount") if len(values) else pa.array([], MONEY_SUM),
        }
    )


def cell_numbers(cells: pa.Table) -> np.ndarray:
    """uint64[n]: a number for each kind, subject and stage, the same in all shards."""
    return _numbers(cells, ("kind", "subject", "stage"))


def friction_numbers(cells: pa.Table) -> np.ndarray:
    """uint64[n]: likewise for each kind and subject, whatever the stage."""
    return _numbers(cells, ("kind", "subject"))


def _numbers(cells: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    parts = [pc.if_else(pc.is_valid(cells[name]), pc.binary_join_element_wise("=", cells[name].fill_null(""), ""), "")
             for name in names]  # fmt: skip
    return murmur3_128(one_chunk(pc.binary_join_element_wise(*parts, "\0")))[0]


def _exposures(points: pa.Table, first: np.ndarray, spell: np.ndarray) -> dict[str, np.ndarray]:
    """The first point of each friction in each spell: of several at one row the one that was established first."""
    row = (
        first[points["customer_no"].to_numpy()] + points["seq"].to_numpy() - 1
        if points.num_rows
        else np.zeros(0, np.int64)
    )
    friction = friction_numbers(points)
    lag = lag_class(points["known_at"].cast(pa.int64()).to_numpy() - points["started_at"].cast(pa.int64()).to_numpy())
    order = np.lexsort((lag, row, friction))
    begins = changes(friction[order]) | changes(spell[row[order]])
    chosen = order[begins]
    stops = np.append(np.flatnonzero(changes(spell))[1:], len(spell))
    return {
        "exposed_friction": friction[chosen],
        "exposed_cell": cell_numbers(points)[chosen],
        "exposed_row": row[chosen],
        "exposed_stop": stops[spell[row[chosen]]] if len(chosen) else np.zeros(0, np.int64),
        "exposed_lag_s": lag[chosen],
    }


# --- what adds up --------------------------------------------------------------------------------------------------


def _partials(
    shard: ShardTables, moments: Moments, rules: CostRules, connection: duckdb.DuckDBPyConnection
) -> dict[str, pa.Table]:
    points, stages = shard["friction_points"], shard["journey_stages"]
    cells = duck.select(
        connection,
        duck.read_sql("friction_cells"),
        {"friction_points": with_columns(
            points.select(["kind", "area", "subject", "stage", "customer_no", "minutes_lost"]),
            {"run_no": pa.array(_stage_runs(points, stages))},
        )},
    )  # fmt: skip
    number = cell_numbers(cells)
    order = np.argsort(number)
    of_cell = order[np.searchsorted(number[order], moments.exposed_cell)]
    pending = np.zeros(len(of_cell), bool)
    settled = np.zeros(len(of_cell), bool)
    for lag_s in np.unique(moments.exposed_lag_s).tolist():
        own = moments.exposed_lag_s == lag_s
        pending[own], settled[own], _ = moments.outcomes(moments.exposed_row[own], lag_s, rules)
    stratum = moments.stratum[moments.exposed_row]
    compared = ~pending & ~settled & (stratum >= 0)
    counts = {
        "n_entered": np.bincount(of_cell, minlength=len(number)),
        "n_exposed": np.bincount(of_cell[compared], minlength=len(number)),
        "n_pending": np.bincount(of_cell[pending], minlength=len(number)),
    }
    cells = with_columns(cells, {name: pa.array(count.astype(np.int64)) for name, count in counts.items()})
    lag_s = moments.exposed_lag_s[compared]
    pairs = pa.table(
        {
            "cell": moments.exposed_cell[compared],
            "stratum": with_lag(moments.strata[stratum[compared]], lag_s),
            "lag_s": lag_s,
            "n": np.ones(len(lag_s), np.int64),
        }
    )
    entrants = stages.group_by("stage").aggregate([([], "count_all")]).rename_columns(["stage", "entrants"])
    return {
        "cells": cells.select(CELLS.names).cast(CELLS),
        "pairs": ADD_PAIRS([pairs]),
        "entrants": entrants.select(ENTRANTS.names).cast(ENTRANTS),
    }


def _stage_runs(points: pa.Table, stages: pa.Table) -> np.ndarray:
    """int64[points]: in which row of journey_stages, counted in the shard, each point begins."""
    customer = points["customer_no"].to_numpy()
    stage_customer = stages["customer_no"].to_numpy()
    low, high = (np.searchsorted(stage_customer, customer, side) for side in ("left", "right"))
    entered = stages["entered_at"].cast(pa.int64()).to_numpy()
    return (
        position_in_time(entered, low, high, points["started_at"].cast(pa.int64()).to_numpy()) if len(entered) else low
    )
