"""Arithmetic on rows in order, held against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.runs import changes, count_distinct, position_in_time, starts

small = st.lists(st.integers(0, 3), max_size=20)


@given(small)
def test_changes_and_starts(values: list[int]) -> None:
    array = np.array(values, np.int64)
    change = [n == 0 or values[n] != values[n - 1] for n in range(len(values))]
    assert changes(array).tolist() == change
    assert starts(array).tolist() == [max(m for m in range(n + 1) if change[m]) for n in range(len(values))]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=20))
def test_count_distinct(pairs: list[tuple[int, int]]) -> None:
    group, value = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    expected = [len({v for g, v in pairs if g == number}) for number in range(6)]
    assert count_distinct(group, value, 6).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6).map(sorted), min_size=1, max_size=5), st.data())
def test_position_in_time(ranges: list[list[int]], data: st.DataObject) -> None:
    time = np.array([t for own in ranges for t in own], np.int64)
    stop = np.cumsum([len(own) for own in ranges])
    start = stop - [len(own) for own in ranges]
    which = data.draw(st.lists(st.integers(0, len(ranges) - 1), max_size=8))
    at = data.draw(st.lists(st.integers(-1, 6), min_size=len(which), max_size=len(which)))
    found = position_in_time(time, start[which], stop[which], np.array(at, np.int64))
    expected = [int(start[w]) + sum(t <= moment for t in ranges[w]) for w, moment in zip(which, at, strict=True)]
    assert found.tolist() == expected, "the first row that is later, or the end of the range"
