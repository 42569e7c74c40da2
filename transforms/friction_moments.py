"""Moments: what can be compared when friction is priced (docs/friction-cost.md).

A moment is a touch of a customer. It lies in a spell, a run of touches in one stage of the path within one journey, and in
a stratum: moments of one stratum are alike in all that was known of them as they came. A spell is exposed to a kind of
friction, on one subject and in one stage (a cell), from its first point on. What a shard knows of its moments is here;
what is compared with what is in friction_comparison.py.
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
from transforms.groups import group_rows
from transforms.hashing import murmur3_128
from transforms.runs import changes, position_in_time
from transforms.time_zones import micros

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
#: Off the path of stages: a customer with a ticket is still where the ticket came in between.
OFF_PATH = "service"
#: Outcomes of a journey that somebody wanted; the others (docs/data-model.md) end it too, without one.
WANTED = ("order", "subscription_started", "renewal")
#: What counts as one doing, so that a payment that failed stands beside payments that were tried and worked.
PAYMENTS = ("purchase", "subscription_started", "renewal", "payment_failed")

#: Bins of what was known of a moment, by their lower edges: the how-manieth touch of its spell, and the days since the
#: customer's first touchpoint. Earlier spend goes by powers of ten.
TOUCH_EDGES = np.array([1, 2, 3, 6, 11])
TENURE_EDGES_US = np.array([0, 1, 30, 365]) * DAY_US
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
    The exposures are the first points of a cell in a spell, by cell and row; `exposed_stop` is where the spell ends.
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
    path = _path_stage(touchpoints, first)
    is_touch = _is_touch(touchpoints)
    spell = _spells(touchpoints, customer, path, outcome >= 0)
    stratum, strata = _strata(shard, customer, time, first, path, spell, is_touch)

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


def _path_stage(touchpoints: pa.Table, first: np.ndarray) -> pa.DictionaryArray:
    """The stage of the path that each row comes in; null before a customer's first.

    Service comes in between the stages, and what is paid, or fails to be, is done in the stage before: an order *makes*
    its customer's next stage. Before any stage there is none: the one to come would tell what comes of the moment.
    """
    stage = one_chunk(touchpoints["stage"]).dictionary_encode()
    code = stage.indices.fill_null(-1).to_numpy()
    names = stage.dictionary.to_pylist()
    on_path = (code >= 0) & (code != (names.index(OFF_PATH) if OFF_PATH in names else -1))
    rows = np.arange(len(code))
    start = np.repeat(first, np.diff(np.append(first, len(code))))
    last = np.maximum.accumulate(np.where(on_path, rows, -1))
    before = np.concatenate(([-1], last[:-1]))[: len(code)]
    given = np.where(on_path & ~_is_one_of(touchpoints["event_type"], PAYMENTS), rows, before)
    inside = given >= start
    indices = pa.array(np.where(inside, code[given], 0) if len(code) else code, pa.int32(), mask=~inside)
    return pa.DictionaryArray.from_arrays(indices, stage.dictionary)


def _is_one_of(values: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    return np.asarray(pc.is_in(values, pa.array(names)).to_numpy())


def _follows(touchpoints: pa.Table) -> np.ndarray:
    """bool[n]: later lines and refunds of an order, which stay in its journey (build_journeys.py)."""
    order_row = touchpoints["order_row"].fill_null(-1).to_numpy()
    return (order_row >= 0) & (order_row != np.arange(len(order_row)))


def _is_touch(touchpoints: pa.Table) -> np.ndarray:
    """bool[n]: all but the later lines of an order: it was paid once."""
    return ~(_follows(touchpoints) & _is_one_of(touchpoints["event_type"], ("purchase",)))


def _spells(
    touchpoints: pa.Table, customer: np.ndarray, path: pa.DictionaryArray, is_outcome: np.ndarray
) -> np.ndarray:
    """int64[n]: the spell of each row, 0.. in the shard. An outcome closes one, as do a silence and another stage."""
    new = changes(customer) | changes(path.indices.fill_null(-1).to_numpy())
    new[1:] |= is_outcome[:-1]
    base = np.flatnonzero(~_follows(touchpoints))
    journey = touchpoints["journey_id"].to_numpy()[base]
    silent = changes(journey)
    silent[1:] &= ~is_outcome[base[:-1]]
    new[base[silent]] = True
    return np.cumsum(new) - 1


def _strata(
    shard: ShardTables, customer: np.ndarray, time: np.ndarray, first: np.ndarray, path: pa.DictionaryArray,
    spell: np.ndarray, is_touch: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """int32[n] and uint64[s]: an index of the strata for each row, and a number for each that is the same in all shards."""
    touchpoints = shard["touchpoints"]
    touches = np.cumsum(is_touch)
    spell_start = np.flatnonzero(changes(spell))
    touch = touches - (touches - is_touch)[spell_start][spell] if len(spell) else touches
    tenure = time - time[first][customer] if len(time) else time
    channel = one_chunk(shard["customers"]["first_channel"]).dictionary_encode()
    event_type = one_chunk(touchpoints["event_type"]).dictionary_encode()
    page_kind = one_chunk(touchpoints["page_kind"]).dictionary_encode()
    is_visit = _is_one_of(touchpoints["event_type"], ("site_visit",))
    is_payment = _is_one_of(touchpoints["event_type"], PAYMENTS)
    doing = np.where(is_payment, 0, event_type.indices.to_numpy() + 1)
    parts = (
        (path.indices.fill_null(-1).to_numpy(), len(path.dictionary)),
        (np.searchsorted(TOUCH_EDGES, touch, "right") - 1, len(TOUCH_EDGES)),
        (np.searchsorted(TENURE_EDGES_US, tenure, "right") - 1, len(TENURE_EDGES_US)),
        (_earlier_spend(touchpoints, customer, first), 24),
        (channel.indices.fill_null(-1).to_numpy()[customer] if len(customer) else customer, len(channel.dictionary)),
        (doing, len(event_type.dictionary) + 1),
        (np.where(is_visit, page_kind.indices.fill_null(-1).to_numpy(), -1), len(page_kind.dictionary)),
    )
    combined = np.zeros(len(customer), np.int64)
    for values, width in parts:
        combined = combined * (width + 1) + (values + 1)
    rows = np.flatnonzero(is_touch)
    groups = group_rows(combined[rows])
    stratum = np.full(len(customer), -1, np.int32)
    stratum[rows] = groups.number
    values_of = [values[rows[groups.first]].tolist() for values, _ in parts]
    names = [path.dictionary.to_pylist(), None, None, None, channel.dictionary.to_pylist(),
             ["payment", *event_type.dictionary.to_pylist()], page_kind.dictionary.to_pylist()]  # fmt: skip
    named = [
        [("" if value < 0 else name[value]) if name else str(value) for value in values]
        for values, name in zip(values_of, names, strict=True)
    ]
    texts = ["\0".join(parts_of) for parts_of in zip(*named, strict=True)]
    return stratum, murmur3_128(pa.array(texts, pa.string()))[0]


def _earlier_spend(touchpoints: pa.Table, customer: np.ndarray, first: np.ndarray) -> np.ndarray:
    """int64[n]: 0 for nothing earned before the row, else 1 below one unit of money, 2 below 10, 3 below 100, ...

    Currencies are added up as they are: this tells the size of a customer, not a sum of money.
    """
    amount = touchpoints["amount"]
    is_paid = _is_one_of(touchpoints["event_type"], ("purchase", "subscription_started", "renewal"))
    is_paid &= ~_is_one_of(touchpoints["outcome"], ("declined",))
    is_back = _is_one_of(touchpoints["event_type"], ("refund",))
    rows = np.flatnonzero((is_paid | is_back) & valid_mask(amount))
    units = np.zeros(len(customer), np.int64)
    # whole units, and at most 1e12 of them: a sum then fits, and any order of adding gives the same
    whole = pc.cast(pc.trunc(one_chunk(amount.take(pa.array(rows)))), pa.int64()).to_numpy()
    units[rows] = np.minimum(whole, 10**12) * np.where(is_back[rows], -1, 1)
    has_paid = np.zeros(len(customer), np.int64)
    has_paid[rows] = 1
    until, events = np.cumsum(units) - units, np.cumsum(has_paid) - has_paid
    if len(customer):
        until, events = until - until[first][customer], events - events[first][customer]
    decade = np.searchsorted(10 ** np.arange(19, dtype=np.int64), until, "right") + 1
    return np.where((events > 0) & (until >= 0), decade, 0)


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
    parts = [pc.if_else(pc.is_valid(cells[name]), pc.binary_join_element_wise("=", cells[name].fill_null(""), ""), "")
             for name in ("kind", "subject", "stage")]  # fmt: skip
    return murmur3_128(one_chunk(pc.binary_join_element_wise(*parts, "\0")))[0]


def _exposures(points: pa.Table, first: np.ndarray, spell: np.ndarray) -> dict[str, np.ndarray]:
    """The first point of each cell in each spell: of several at one row the one that was established first."""
    row = (
        first[points["customer_no"].to_numpy()] + points["seq"].to_numpy() - 1
        if points.num_rows
        else np.zeros(0, np.int64)
    )
    cell = cell_numbers(points)
    lag = lag_class(points["known_at"].cast(pa.int64()).to_numpy() - points["started_at"].cast(pa.int64()).to_numpy())
    order = np.lexsort((lag, row, cell))
    begins = changes(cell[order]) | changes(spell[row[order]])
    chosen = order[begins]
    stops = np.append(np.flatnonzero(changes(spell))[1:], len(spell))
    return {
        "exposed_cell": cell[chosen],
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
