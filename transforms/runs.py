"""Arithmetic on rows that are in order: starts of groups, positions in time, sums of groups."""

from __future__ import annotations

import numpy as np


def changes(values: np.ndarray) -> np.ndarray:
    """bool[n]: the value is not that of the row before; the first row changes."""
    if not len(values):
        return np.zeros(0, bool)
    return np.concatenate(([True], values[1:] != values[:-1]))


def starts(values: np.ndarray) -> np.ndarray:
    """int64[n]: the first row of each row's run of equal values."""
    return np.maximum.accumulate(np.where(changes(values), np.arange(len(values)), 0))


def position_in_time(time: np.ndarray, low: np.ndarray, high: np.ndarray, at: np.ndarray) -> np.ndarray:
    """int64[m]: for each `at`, the first row of [low, high) whose time is later, or high. Times rise in each range.

    A binary search of all m at once: m can be as many as there are customers.
    """
    low, high = low.copy(), high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        later = time[np.minimum(middle, len(time) - 1)] > at
        high = np.where(open_ & later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    return low


def count_distinct(group: np.ndarray, value: np.ndarray, groups: int) -> np.ndarray:
    """int64[groups]: how many different values each group has."""
    if not len(group):
        return np.zeros(groups, np.int64)
    order = np.lexsort((value, group))
    new = changes(group[order]) | changes(value[order])
    return np.bincount(group[order][new], minlength=groups)
