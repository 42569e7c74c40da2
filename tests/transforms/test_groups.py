"""Rows that share their values, held against a dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.groups import group_rows

WIDEST = 2**40
values = st.sampled_from([-1, 0, 1, 2, 3, 255, WIDEST])


@settings(max_examples=300)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[values] * width), max_size=25)), st.data())
def test_groups_as_a_dict_does(rows: list[tuple[int, ...]], data: st.DataObject) -> None:
    width = len(rows[0]) if rows else 2
    kinds = [data.draw(st.sampled_from([np.int64, np.int32])) for _ in range(width)]
    cut = [tuple(min(v, 2**31 - 2) if k is np.int32 else v for v, k in zip(row, kinds, strict=True)) for row in rows]
    columns = [np.array([row[place] for row in cut], kind) for place, kind in enumerate(kinds)]
    found = group_rows(*columns)

    members: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(cut):
        members.setdefault(row, []).append(place)
    numbers = {row: number for number, row in enumerate(members)}
    assert found.number.tolist() == [numbers[row] for row in cut], "in the order of first rows"
    assert found.first.tolist() == [places[0] for places in members.values()]
    assert found.rows.tolist() == [len(places) for places in members.values()]


def test_none_is_a_value_of_its_own() -> None:
    found = group_rows(np.array([0, -1, 0, -1]), np.array([-1, 0, -1, -1]))
    assert found.number.tolist() == [0, 1, 0, 2]


def test_values_do_not_carry_over_into_the_next_column() -> None:
    """(0, 3) and (1, 0) would be one number if a column's width were taken too small."""
    found = group_rows(np.array([0, 1, 0, 1]), np.array([3, 0, 0, 3]))
    assert found.number.tolist() == [0, 1, 2, 3]
