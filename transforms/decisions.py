"""What a round of identity decided: answers for the blocks, refusals for identity_decisions, and counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.tables import IDENTITY_DECISIONS

_SCHEMA = IDENTITY_DECISIONS.schema.remove_metadata()
_SCHEMA = pa.schema([pa.field(field.name, field.type) for field in _SCHEMA])


#: Customers and devices with fewer events are never told to the operator as unlikely ones.
MANY_EVENTS = 1_000
_TOLD = 3


class Decided(NamedTuple):
    """`answers` are ANSWERS with the column `block`; `tallies` are as those of the run, (name, source, code, count)."""

    answers: pa.Table
    decisions: pa.Table = _SCHEMA.empty_table()
    tallies: tuple[tuple[str, str, str, int], ...] = ()


def busiest(what: str, names: pa.ChunkedArray, events: np.ndarray) -> list[tuple[str, str, str, int]]:
    """A few tallies `busiest_<what>` of those with very many events: the run's summary warns of an unlikely share."""
    most = np.lexsort((np.arange(len(events)), -events))[:_TOLD]
    return [(f"busiest_{what}", "", names[int(i)].as_py(), int(events[i])) for i in most if events[i] >= MANY_EVENTS]


def decisions(
    kind: str,
    identifiers: pa.Array | pa.ChunkedArray,
    decision: str,
    reason: str,
    events: np.ndarray,
    customers: np.ndarray | None = None,
) -> pa.Table:
    """Rows of identity_decisions, one an identifier; `customers` and `events` are how many it concerns."""
    n = len(identifiers)

    def word(value: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([value])).cast(pa.string())

    columns = {
        "kind": word(kind),
        "identifier": identifiers,
        "decision": word(decision),
        "reason": word(reason),
        "n_customers": pa.nulls(n, pa.int64()) if customers is None else pa.array(customers, pa.int64()),
        "n_events": pa.array(events, pa.int64()),
    }
    return pa.table([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)
