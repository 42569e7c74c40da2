"""Whether the touchpoints of a run stand in order: checked on neighbours, in one pass, before anything is published.

The files of a run hold whole customers, each customer's touchpoints one behind the other by `seq`. What every reader
relies on is looked at where it stands: SQL would sort the table again to see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ("customer_key", "seq", "occurred_at")
#: What breaks a rule, a row each, at most so many of a rule and file.
BREAKS = pa.schema([("rule", pa.string()), ("customer_key", pa.string()), ("seq", pa.int64()), ("found", pa.string())])
MOST = 100


@dataclass(frozen=True)
class Checked:
    """One file's touchpoints: the rows that break a rule, and the customers in it, each once."""

    breaks: pa.Table
    customers: pa.Array


def check_timelines(touchpoints: pa.Table) -> Checked:
    """One file of `touchpoints`, COLUMNS of it, in its own order -> what is wrong with the order.

    Rules: `seq_has_no_gaps` (1, 2, 3, ... in a customer), `time_goes_forward` (no touchpoint before the one that it
    follows), `customer_is_in_one_place` (a customer's rows stand together).
    """
    if touchpoints.num_rows == 0:
        return Checked(BREAKS.empty_table(), pa.array([], pa.string()))
    keys = pc.dictionary_encode(touchpoints["customer_key"].combine_chunks().cast(pa.string()))
    codes = keys.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    seq = touchpoints["seq"].fill_null(-1).to_numpy()
    moments = touchpoints["occurred_at"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    begins = np.concatenate(([True], codes[1:] != codes[:-1]))
    after = np.concatenate(([0], seq[:-1]))
    gaps = np.flatnonzero(seq != np.where(begins, 1, after + 1))
    back = np.flatnonzero(np.concatenate(([False], moments[1:] < moments[:-1])) & ~begins)
    starts = np.flatnonzero(begins)
    _, first = np.unique(codes[starts], return_index=True)
    again = np.delete(starts, first)
    found = [
        _breaks("seq_has_no_gaps", touchpoints, gaps),
        _breaks("time_goes_forward", touchpoints, back),
        _breaks("customer_is_in_one_place", touchpoints, again),
    ]
    return Checked(pa.concat_tables(found), keys.dictionary)


def all_breaks(files: Iterable[Checked]) -> pa.Table:
    """The breaks of all files together."""
    return pa.concat_tables([BREAKS.empty_table(), *(checked.breaks for checked in files)])


def _breaks(rule: str, touchpoints: pa.Table, rows: np.ndarray) -> pa.Table:
    shown = touchpoints.take(pa.array(rows[:MOST]))
    found = [
        f"row {row} of its file: seq {seq}, {moment}, after seq {before}"
        for row, seq, moment, before in zip(
            rows[:MOST].tolist(),
            shown["seq"].to_pylist(),
            shown["occurred_at"].cast(pa.string()).to_pylist(),
            touchpoints["seq"].take(pa.array(np.maximum(rows[:MOST] - 1, 0))).to_pylist(),
            strict=True,
        )
    ]
    columns = [pa.array([rule] * len(found), pa.string()), shown["customer_key"].cast(pa.string()), shown["seq"]]
    return pa.table([*columns, pa.array(found, pa.string())], schema=BREAKS)
