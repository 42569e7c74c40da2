"""Quantiles of values with counts, against numpy; and the buckets in which many values stand."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.quantiles import bucket_edges, lower_edges, quantile


def counted(sample: list[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(np.array(sample, np.int64), return_counts=True)


# --- quantiles -------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(st.integers(-20, 50), min_size=1, max_size=40), st.sampled_from([0, 1, 10, 25, 50, 75, 90, 99, 100]))
def test_a_quantile_is_numpys(sample: list[int], percent: int) -> None:
    found = quantile(*counted(sample), Fraction(percent, 100))
    assert float(found) == pytest.approx(float(np.percentile(sample, percent, method="linear")), abs=1e-9)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 39), st.integers(0, 100))
def test_a_value_may_stand_in_several_rows(sample: list[int], cut: int, percent: int) -> None:
    """As those of several months do, side by side."""
    parts = [counted(part) for part in (sample[:cut], sample[cut:]) if part]
    values, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(values, kind="stable")
    share = Fraction(percent, 100)
    assert quantile(values[order], counts[order], share) == quantile(*counted(sample), share)


def test_the_median_of_an_even_number_is_the_middle_of_two() -> None:
    half = Fraction(1, 2)
    assert quantile(np.array([1, 2, 5, 100]), np.array([1, 1, 1, 1]), half) == Fraction(7, 2)
    assert quantile(np.array([1, 100]), np.array([2, 2]), half) == Fraction(101, 2)
    assert quantile(np.array([1, 100]), np.array([3, 2]), half) == 1


def test_a_quantile_lies_between_its_neighbours_in_proportion() -> None:
    """Of 10, 20, 30, 40 the p90 has the place 0.9 x 3 = 2.7: seven tenths of the way from 30 to 40."""
    assert quantile(np.array([10, 20, 30, 40]), np.array([1, 1, 1, 1]), Fraction(90, 100)) == 37
    assert quantile(np.array([7]), np.array([1]), Fraction(90, 100)) == 7


def test_a_quantile_of_large_whole_numbers_is_exact() -> None:
    large = 2**60
    assert quantile(np.array([large, large + 1]), np.array([1, 1]), Fraction(1, 2)) == Fraction(2 * large + 1, 2)


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_buckets_are_half_a_per_cent_wide() -> None:
    edges = bucket_edges(10**9)
    assert edges[:4] == [0, 1, 2, 3]
    assert all(b - a == 1 or 200 * b <= 201 * a for a, b in pairwise(edges))
    assert edges == bucket_edges(10**12)[: len(edges)], "the same buckets whatever the largest value"


def test_up_to_the_top_every_value_has_a_bucket() -> None:
    for top in (0, 1, 399, 400, 401, 10**6):
        edges = bucket_edges(top)
        assert edges[-2] <= top < edges[-1]


@given(st.lists(st.integers(0, 10**10), max_size=50))
def test_a_value_is_understated_by_at_most_half_a_per_cent(sample: list[int]) -> None:
    values = np.array(sample, np.int64)
    lower = lower_edges(values)
    edges = set(bucket_edges(10**10))
    assert len(lower) == len(values) and lower.dtype == np.int64
    for value, edge in zip(sample, lower.tolist(), strict=True):
        assert edge in edges
        assert edge <= value and 201 * edge >= 200 * value - 201
        assert value > 200 or edge == value, "small whole numbers stay as they are"


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50))
def test_a_lower_edge_stays_where_it_is(sample: list[int]) -> None:
    once = lower_edges(np.array(sample, np.int64))
    assert lower_edges(once).tolist() == once.tolist()
    assert [int(lower_edges(np.array([value], np.int64))[0]) for value in sample] == once.tolist(), (
        "whoever is beside it"
    )


def test_negative_values_stay_as_they_are() -> None:
    assert lower_edges(np.array([-1000, -1, 0, 1000])).tolist() == [-1000, -1, 0, 997]
    assert lower_edges(np.array([-5])).tolist() == [-5]
    assert lower_edges(np.array([], np.int64)).tolist() == []
