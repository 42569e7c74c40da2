"""What a round of identity decided: answers for the blocks, refusals for identity_decisions, and counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.tables import IDENTITY_DECISIONS

_SCHEMA = IDENTITY_DECISIONS.schema.remove_metadata()
_SCHEMA = pa.schema([pa.field(field.name, field.type) for field in _SCHEMA])


class Decided(NamedTuple):
    """`answers` are ANSWERS with the column `block`; `tallies` are as those of the run, (name, source, code, count)."""

    answers: pa.Table
    decisions: pa.Table = _SCHEMA.empty_table()
    tallies: tuple[tuple[str, str, str, int], ...] = ()


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
