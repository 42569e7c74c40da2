"""The one order of events: (group, occurred_at, event_id by its UTF-8 bytes). It is total: an event_id stands once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def in_order(group: np.ndarray, time: np.ndarray, event_ids: Callable[[np.ndarray], pa.Array]) -> np.ndarray:
    """int64[n]: rows in the order (group, time, event_id).

    Ids are texts, so they are only asked for, by `event_ids(rows)`, where group and time are equal.
    """
    order = np.lexsort((time, group))
    same = (group[order][1:] == group[order][:-1]) & (time[order][1:] == time[order][:-1])
    tied = np.flatnonzero(np.concatenate(([False], same)) | np.concatenate((same, [False])))
    if len(tied):
        rows = order[tied]
        run = np.cumsum(np.concatenate(([True], ~same))[tied])
        by_id = pc.sort_indices(event_ids(rows)).to_numpy()
        rank = np.empty(len(rows), np.int64)
        rank[by_id] = np.arange(len(rows))
        order[tied] = rows[np.lexsort((rank, run))]
    return order


def first_of_each(
    group: np.ndarray, time: np.ndarray, event_ids: Callable[[np.ndarray], pa.Array], groups: int
) -> np.ndarray:
    """int64[groups]: the first row of each group in the order (time, event_id); -1 where a group has none."""
    order = in_order(group, time, event_ids)
    first = np.full(groups, -1, np.int64)
    first[group[order][::-1]] = order[::-1]  # the last assignment wins: the first row
    return first
