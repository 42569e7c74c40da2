"""Histograms of many groups: they add up in any order, and what is told does not show how they were cut."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import histograms
from transforms.histograms import add_histograms, adding_histograms, each_group, method, quantile_of
from transforms.quantiles import EXACT_VALUES, lower_edges

SCHEMA = pa.schema(
    [
        ("stage", pa.string()),
        ("is_open", pa.bool_()),
        ("value", pa.int64()),
        ("count", pa.int64()),
        ("total", pa.int64()),
    ]
)
Cell = tuple[str | None, bool, int | None, int]


def table(*cells: Cell) -> pa.Table:
    rows = [(stage, is_open, value, count, (value or 0) * count) for stage, is_open, value, count in cells]
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


def rows_of(found: pa.Table) -> list[tuple[object, ...]]:
    return sorted((tuple(row.values()) for row in found.to_pylist()), key=repr)


def test_equal_values_of_a_group_become_one_row() -> None:
    found = add_histograms(
        [table(("a", False, 3, 1), ("b", False, 3, 1)), table(("a", False, 3, 2), ("a", True, 3, 1))], ("stage",)
    )
    assert rows_of(found) == [("a", False, 3, 3, 9), ("a", True, 3, 1, 3), ("b", False, 3, 1, 3)]
    assert add_histograms([SCHEMA.empty_table()], ("stage",)).equals(SCHEMA.empty_table())


def test_up_to_the_limit_values_are_kept_and_above_it_their_buckets() -> None:
    """The limit is of one distribution: open and finished stays of a stage together, and no other stage's."""
    most = table(("a", False, 1_000_003, EXACT_VALUES - 1), ("a", True, 1_000_007, 1), ("b", False, 1_000_003, 1))
    assert rows_of(add_histograms([most], ("stage",))) == rows_of(most)
    found = add_histograms([most, table(("a", True, None, 1))], ("stage",))
    edge = int(lower_edges(most["value"].to_numpy()[:1])[0])
    assert 0.995 * 1_000_003 < edge < 1_000_003
    assert rows_of(found) == sorted([
        ("a", False, edge, EXACT_VALUES - 1, 1_000_003 * (EXACT_VALUES - 1)), ("a", True, edge, 1, 1_000_007),
        ("a", True, None, 1, 0), ("b", False, 1_000_003, 1, 1_000_003),
    ], key=repr)  # fmt: skip
    assert [method(n) for n in (0, EXACT_VALUES, EXACT_VALUES + 1)] == ["exact", "exact", "buckets"]


cells = st.tuples(
    st.sampled_from(["a", "b", None]), st.booleans(), st.one_of(st.none(), st.integers(0, 100_000)), st.integers(1, 4)
)


@given(st.lists(st.lists(cells, max_size=6).map(lambda cs: table(*cs)), min_size=1, max_size=5), st.data())
def test_any_order_and_any_grouping_add_up_to_the_same(parts: list[pa.Table], data: st.DataObject) -> None:
    """Also across the limit, which here is ten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "EXACT_VALUES", 10)
        add = adding_histograms(SCHEMA, "stage")
        whole = rows_of(add(parts))
        shuffled = data.draw(st.permutations(parts))
        cut = data.draw(st.integers(0, len(parts)))
        assert rows_of(add([add(shuffled[:cut]), *[add([part]) for part in shuffled[cut:]]])) == whole
        assert sum(row[3] for row in whole) == sum(sum(part["count"].to_pylist()) for part in parts)  # type: ignore[misc]


def test_each_group_comes_once_with_rising_values() -> None:
    found = list(
        each_group(table(("b", False, 2, 1), (None, True, 5, 1), ("a", True, 9, 1), ("b", True, 1, 1)), ("stage",))
    )
    assert [(key, rows["value"].to_pylist()) for key, rows in found] == [
        (("a",), [9]),
        (("b",), [1, 2]),
        ((None,), [5]),
    ]
    assert list(each_group(SCHEMA.empty_table(), ("stage",))) == []


def test_a_quantile_is_of_the_counts() -> None:
    rows = table(("a", False, 10, 3), ("a", False, 20, 1))
    assert quantile_of(rows, Fraction(1, 2)) == 10
    assert quantile_of(rows, Fraction(9, 10)) == 17
    assert quantile_of(SCHEMA.empty_table(), Fraction(1, 2)) is None
