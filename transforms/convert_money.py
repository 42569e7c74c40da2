"""Money into one currency, by the fixed rates of the settings: whole columns, in exact decimals.

Converted is what the contracts call money (`x-money`) where its currency has a rate, each amount by itself: times the
rate, rounded half to even to the four digits of an amount. What was sent stays beside it, in `original_<field>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Contracts, original
from transforms.batches import with_columns
from transforms.candidates import Finding
from transforms.columns import one_chunk, texts, valid_mask
from transforms.rates import Rates

_LIMIT = Decimal(10) ** 14  # the first amount that its column does not hold


def too_large(
    events: pa.Table, contracts: Contracts, rates: Rates, broken: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    """A finding for amounts that no longer fit once they are converted. `events` have the column `contract`."""
    largest = max(rate for _, rate in rates.worth)
    for name, currency in contracts.money.items():
        if not {name, currency} <= set(events.column_names) or not _reaches(events[name], _LIMIT / largest - 1):
            continue
        sent, rate = one_chunk(events[name]), rates.of(one_chunk(events[currency]))
        rows = np.flatnonzero(_knows(events, contracts, name) & valid_mask(rate) & valid_mask(sent))
        worth = pc.abs(_times(sent, rate, rows))
        rows = rows[pc.greater_equal(worth, pa.scalar(_LIMIT, worth.type)).to_numpy(zero_copy_only=False)]
        rows = rows[~np.isin(rows, broken.get(name, []))]
        if len(rows):
            expected = (
                f"an amount that in {rates.base}, by the setting `currency`, has at most 14 digits before the point"
            )
            yield Finding("field.range", name, expected, rows, texts(sent.take(pa.array(rows))))


def _reaches(amounts: pa.ChunkedArray, least: Decimal) -> bool:
    """Whether any can be too large at all: looked at first, for it costs next to nothing."""
    ends = pc.min_max(amounts).as_py()
    return ends["max"] is not None and max(ends["max"], -ends["min"]) >= least


def convert_money(events: pa.Table, contracts: Contracts, rates: Rates) -> pa.Table:
    """Money in the base where its currency has a rate, and what was sent in columns of its own.

    `events` are accepted: they have the column `contract`, and their amounts fit (`too_large`).
    """
    converted: dict[str, pa.Array] = {}
    for currency in dict.fromkeys(contracts.money.values()):
        if currency not in events.column_names:
            continue
        sent = one_chunk(events[currency])
        rate = rates.of(sent)
        of_money = np.zeros(len(events), bool)
        for name in (name for name, of in contracts.money.items() if of == currency):
            known = _knows(events, contracts, name) & valid_mask(rate)
            of_money |= known
            if name in events.column_names:
                converted |= _amounts(name, one_chunk(events[name]), rate, known)
        if of_money.any():
            mask = pa.array(of_money)
            converted[currency] = pc.if_else(mask, rates.base, sent)
            converted[original(currency)] = pc.if_else(mask, sent, pa.scalar(None, sent.type))
    return with_columns(events, converted)


def currencies_met(events: pa.Table, contracts: Contracts, rates: Rates) -> Iterator[tuple[str, str, int]]:
    """(`converted` or `without_rate`, currency as it was sent, how many events with money), after `convert_money`."""
    for currency in dict.fromkeys(contracts.money.values()):
        amounts = [name for name, of in contracts.money.items() if of == currency]
        if original(currency) in events.column_names:
            converted = _with_any(events, [original(name) for name in amounts])
            yield from _counted("converted", events[original(currency)].filter(converted))
        if currency in events.column_names:
            of_money = events[currency].filter(_with_any(events, amounts))
            yield from _counted("without_rate", of_money.filter(pc.not_equal(of_money, rates.base)))


def _with_any(events: pa.Table, names: list[str]) -> pa.Array:
    """bool[n]: has the event a value in any of the columns?"""
    has = np.zeros(events.num_rows, bool)
    for name in names:
        if name in events.column_names:
            has |= valid_mask(one_chunk(events[name]))
    return pa.array(has)


def _counted(what: str, currencies: pa.ChunkedArray) -> Iterator[tuple[str, str, int]]:
    counts = pc.value_counts(currencies.drop_null()).to_pylist()
    yield from sorted((what, entry["values"], entry["counts"]) for entry in counts)


def _amounts(name: str, sent: pa.Array, rate: pa.Array, known: np.ndarray) -> dict[str, pa.Array]:
    """The column of a field of money, and that of what was sent; nothing where there is nothing to convert."""
    mask = known & valid_mask(sent)
    if not mask.any():
        return {}
    worth = _times(sent, rate, np.flatnonzero(mask)).cast(sent.type)
    return {
        name: pc.replace_with_mask(sent, pa.array(mask), worth),
        original(name): pc.if_else(pa.array(mask), sent, pa.scalar(None, sent.type)),
    }


def _knows(events: pa.Table, contracts: Contracts, name: str) -> np.ndarray:
    """bool[n]: does the event's own contract know the field?"""
    return np.append(contracts.allowed(name), False)[events["contract"].to_numpy()]  # -1, no contract, takes the last


def _times(amounts: pa.Array, rate: pa.Array, rows: np.ndarray) -> pa.Array:
    """Amounts of some rows times their rates, rounded half to even to four digits."""
    taken = pa.array(rows)
    return pc.round(pc.multiply(amounts.take(taken), rate.take(taken)), 4, "half_to_even")
