"""The order of events is total, and ids are only looked at where it needs them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.total_order import in_order

#: In the order of their UTF-8 bytes. By UTF-16 the last two would change places.
IDS = ["", " ", "10", "9", "Z", "a", "a ", "ab", "é", "日", "\uffee", "😀"]
rows_of_all = st.lists(st.tuples(st.integers(-1, 2), st.integers(-2, 2)), max_size=20)


@settings(max_examples=300)
@given(rows_of_all, st.randoms(use_true_random=False))
def test_sorts_by_group_then_time_then_the_bytes_of_the_id(rows: list[tuple[int, int]], chance: object) -> None:
    ids = [prefix + str(number) for number, prefix in zip(range(len(rows)), IDS * 2, strict=False)]
    chance.shuffle(ids)  # type: ignore[attr-defined]
    group, time = np.array(rows, np.int64).reshape(-1, 2).T
    found = in_order(group, time, lambda some: pa.array([ids[row] for row in some], pa.string()))
    assert found.tolist() == sorted(range(len(rows)), key=lambda row: (*rows[row], ids[row].encode()))


def test_ids_are_asked_for_only_where_group_and_time_are_equal() -> None:
    asked: list[int] = []

    def ids(rows: np.ndarray) -> pa.Array:
        asked.extend(rows.tolist())
        return pa.array([str(9 - row) for row in rows])

    in_order(np.array([0, 0, 1, 1]), np.array([5, 6, 5, 7]), ids)
    assert asked == []
    found = in_order(np.array([0, 0, 1, 0]), np.array([5, 6, 5, 5]), ids)
    assert sorted(asked) == [0, 3]
    assert found.tolist() == [3, 0, 1, 2]


def test_a_column_of_ids_in_several_tied_runs() -> None:
    ids = pa.array(["b", "a", "a", "b", "c"])
    group, time = np.array([1, 1, 0, 0, 0]), np.array([0, 0, 0, 0, -1])
    assert in_order(group, time, lambda rows: ids.take(pa.array(rows))).tolist() == [4, 2, 3, 1, 0]
