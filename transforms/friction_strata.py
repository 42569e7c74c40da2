"""Strata: touches that are alike in all that was known of them as they came (docs/friction-cost.md).

Two notions of a stage meet here. The *stage* of a touchpoint is the one that is published with it, `service` among them.
The *path stage* is where its customer stood on the path as it came: a ticket comes in between, and an order, which makes
the next stage, is tried in the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batches import ShardTables
from transforms.columns import one_chunk, valid_mask
from transforms.groups import group_rows
from transforms.hashing import murmur3_128
from transforms.runs import changes
from transforms.time_zones import DAY_US

#: Off the path of stages: a customer with a ticket is still where the ticket came in between.
OFF_PATH = "service"
#: Types of event that are one doing, told by a word: a payment that failed stands beside payments that were tried and worked,
#: a ticket that is opened again beside tickets that were resolved. Any other type is a doing of its own.
DOINGS = {
    "payment": ("purchase", "subscription_started", "renewal", "payment_failed"),
    "resolution": ("ticket_resolved", "ticket_reopened"),
}
#: Types of event with which a customer pays; a renewal also where it is declined, and then nothing is paid.
PAID = ("purchase", "subscription_started", "renewal")

#: Bins, by their lower edges: the how-manieth touch of its spell, and the time since the customer's first touchpoint.
TOUCH_EDGES = np.array([1, 2, 3, 6, 11])
TENURE_EDGES_US = np.array([0, 1, 30, 365]) * DAY_US


@dataclass(frozen=True)
class _Trait:
    """One thing that was known of each row: a code, -1 for none, and what the codes mean (None: themselves)."""

    code: np.ndarray
    meaning: list[str] | None
    codes: int

    @classmethod
    def of(cls, values: pa.DictionaryArray) -> _Trait:
        meaning = values.dictionary.to_pylist()
        return cls(values.indices.fill_null(-1).to_numpy(), meaning, len(meaning))

    @classmethod
    def bins(cls, values: np.ndarray, edges: np.ndarray) -> _Trait:
        return cls(np.searchsorted(edges, values, "right") - 1, None, len(edges))

    def texts(self, rows: np.ndarray) -> list[str]:
        codes = self.code[rows].tolist()
        return ["" if code < 0 else self.meaning[code] if self.meaning else str(code) for code in codes]


def strata_of(
    shard: ShardTables, first: np.ndarray, path: pa.DictionaryArray, spell: np.ndarray, is_touch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """int32[n] and uint64[s]: each row's place among the strata of the shard, and a number for each stratum that is the
    same in all shards. -1 for a row that is no touch. `first` is the first row of each customer, `path` of `path_stages`.
    """
    touchpoints = shard["touchpoints"]
    customer = touchpoints["customer_no"].to_numpy()
    time = touchpoints["occurred_at"].cast(pa.int64()).to_numpy()
    channel = one_chunk(shard["customers"]["first_channel"]).take(touchpoints["customer_no"].combine_chunks())
    is_visit = is_one_of(touchpoints["event_type"], ("site_visit",))
    traits = (
        _Trait.of(path),
        _Trait.bins(_touch_of_spell(spell, is_touch), TOUCH_EDGES),
        _Trait.bins(time - time[first][customer] if len(time) else time, TENURE_EDGES_US),
        _Trait(_earlier_spend(touchpoints, customer, first), None, _SPENDS),
        _Trait.of(one_chunk(channel).dictionary_encode()),
        _Trait.of(_doings(touchpoints["event_type"])),
        _Trait.of(pc.if_else(is_visit, one_chunk(touchpoints["page_kind"]), None).dictionary_encode()),
    )
    combined = np.zeros(len(customer), np.int64)
    for trait in traits:
        combined = combined * (trait.codes + 1) + (trait.code + 1)
    rows = np.flatnonzero(is_touch)
    groups = group_rows(combined[rows])
    place = np.full(len(customer), -1, np.int32)
    place[rows] = groups.number
    told = zip(*(trait.texts(rows[groups.first]) for trait in traits), strict=True)
    return place, murmur3_128(pa.array(["\0".join(texts) for texts in told], pa.string()))[0]


def path_stages(touchpoints: pa.Table, first: np.ndarray) -> pa.DictionaryArray:
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
    given = np.where(on_path & ~is_one_of(touchpoints["event_type"], DOINGS["payment"]), rows, before)
    inside = given >= start
    indices = pa.array(np.where(inside, code[given], 0) if len(code) else code, pa.int32(), mask=~inside)
    return pa.DictionaryArray.from_arrays(indices, stage.dictionary)


def follows_order(touchpoints: pa.Table) -> np.ndarray:
    """bool[n]: later lines and refunds of an order, which stay in its journey (build_journeys.py)."""
    order_row = touchpoints["order_row"].fill_null(-1).to_numpy()
    return (order_row >= 0) & (order_row != np.arange(len(order_row)))


def touches(touchpoints: pa.Table) -> np.ndarray:
    """bool[n]: all but the later lines of an order: it was paid once."""
    return ~(follows_order(touchpoints) & is_one_of(touchpoints["event_type"], ("purchase",)))


def is_one_of(values: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    """bool[n]: false where there is no value."""
    return np.asarray(pc.is_in(values, pa.array(names)).to_numpy())


def _touch_of_spell(spell: np.ndarray, is_touch: np.ndarray) -> np.ndarray:
    """int64[n]: how many touches its spell has had, the row itself among them."""
    so_far = np.cumsum(is_touch)
    start = np.flatnonzero(changes(spell))
    return so_far - (so_far - is_touch)[start][spell] if len(spell) else so_far


def _doings(event_type: pa.ChunkedArray) -> pa.DictionaryArray:
    kinds = one_chunk(event_type).dictionary_encode()
    doing_of = {kind: doing for doing, kinds_of in DOINGS.items() for kind in kinds_of}
    told = pa.array(
        [doing_of.get(kind, kind) for kind in kinds.dictionary.to_pylist()], pa.string()
    ).dictionary_encode()
    return pa.DictionaryArray.from_arrays(told.indices.take(kinds.indices), told.dictionary)


#: Codes of earlier spend: none, below one unit of money, and a power of ten each.
_DECADES = 19
_SPENDS = _DECADES + 2


def _earlier_spend(touchpoints: pa.Table, customer: np.ndarray, first: np.ndarray) -> np.ndarray:
    """int64[n]: 0 for nothing earned before the row, else 1 below one unit of money, 2 below 10, 3 below 100, ...

    Currencies are added up as they are: this tells the size of a customer, not a sum of money.
    """
    amount = touchpoints["amount"]
    is_paid = is_one_of(touchpoints["event_type"], PAID)
    is_paid &= ~is_one_of(touchpoints["outcome"], ("declined",))
    is_back = is_one_of(touchpoints["event_type"], ("refund",))
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
    decade = np.searchsorted(10 ** np.arange(_DECADES, dtype=np.int64), until, "right") + 1
    return np.where((events > 0) & (until >= 0), decade, 0)
