"""Paths as texts: repeats, loops, cuts, and the examples of the peers' own docs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.join_paths import CUT, REPEATS, SEPARATOR, join_paths

NAMES = pa.array(["A", "B", "C", "D"])


def joined(*paths: str, repeats: str = "collapse", longest: int | None = None) -> list[str | None]:
    """Paths written as letters; a dot is an event that is no item."""
    unit = np.array([n for n, path in enumerate(paths) for _ in path], np.int64)
    code = np.array(["ABCD.".index(item) for path in paths for item in path], np.int64)
    return join_paths(unit, np.where(code == 4, -1, code), NAMES, len(paths), repeats, longest).to_pylist()


def test_a_run_of_one_item_is_written_once() -> None:
    assert joined("AABA", "B", "", ".", "A.A") == ["A > B > A", "B", None, None, "A"]


def test_the_peers_example() -> None:
    """fractribution's: D>A>B>B>C>D>C>C is D>A>B>C>D>C by `exposure`, and D>A>B>C by `first`."""
    assert joined("DABBCDCC") == ["D > A > B > C > D > C"]
    assert joined("DABBCDCC", repeats="first") == ["D > A > B > C"]


def test_a_loop_stays_unless_each_item_is_told_once() -> None:
    assert joined("ABAB", "ABAC") == ["A > B > A > B", "A > B > A > C"]
    assert joined("ABAB", "ABAC", repeats="first") == ["A > B", "A > B > C"]


@pytest.mark.parametrize(
    ("path", "told"),
    [("AB", "A > B"), ("ABC", f"A > B > {CUT}"), ("AABBB", "A > B"), ("ABABAB", f"A > B > {CUT}"), ("A", "A")],
)
def test_a_long_path_is_cut_and_says_so(path: str, told: str) -> None:
    """Repeats are written once before anything is cut."""
    assert joined(path, "C", longest=2) == [told, "C"]


def test_cuts_come_after_repeats_of_either_kind() -> None:
    assert joined("ABABABC", repeats="first", longest=3) == ["A > B > C"]


def test_no_unit_at_all() -> None:
    nothing = np.array([], np.int64)
    assert join_paths(nothing, nothing, NAMES, 0).to_pylist() == []
    assert join_paths(nothing, nothing, pa.array([], pa.string()), 2, "first", 3).to_pylist() == [None, None]


@given(
    st.lists(st.text("ABCD.", max_size=8), max_size=6),
    st.sampled_from(REPEATS),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_as_a_plain_loop_tells_them(paths: list[str], repeats: str, longest: int | None) -> None:
    expected = []
    for path in paths:
        told: list[str] = []
        for item in path.replace(".", ""):
            if (repeats == "first" and item not in told) or (repeats == "collapse" and told[-1:] != [item]):
                told.append(item)
        if longest is not None and len(told) > longest:
            told = [*told[:longest], CUT]
        expected.append(SEPARATOR.join(told) or None)
    assert joined(*paths, repeats=repeats, longest=longest) == expected
