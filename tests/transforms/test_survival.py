"""Kaplan and Meier: against scipy, and against the figures that the literature prints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf  # type: ignore[import-untyped]

from transforms.survival import Survival, kaplan_meier

#: Each a duration, whether its end came, and how often it was seen.
Stay = tuple[int, bool, int]

#: Remission in weeks under 6-MP, + where it still lasted. Freireich et al., Blood 21 (1963), 699-716; Gehan (1965).
SIX_MP = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def of(stays: list[Stay]) -> Survival:
    durations, ended, counts = (np.array(column) for column in zip(*stays, strict=True))
    return kaplan_meier(durations, ended, counts)


def written(text: str) -> list[Stay]:
    return [(int(word.removesuffix("+")), not word.endswith("+"), 1) for word in text.split()]


# --- the literature --------------------------------------------------------------------------------------------------


def test_the_example_of_kaplan_and_meier() -> None:
    """Their section 2 (1958): deaths at 0.8, 3.1, 5.4 and 9.2, losses at 1.0, 2.7, 7.0 and 12.1; here in tenths.

    7/8 = .875; x 4/5 = .7; x 3/4 = .525; x 1/2 = .2625.
    """
    found = of(written("8 10+ 27+ 31 54 70+ 92 121+"))
    assert found.at.tolist() == [8, 31, 54, 92]
    assert found.share.tolist() == pytest.approx([0.875, 0.7, 0.525, 0.2625], abs=1e-15)
    assert found.quantile(0.5) == 92


def test_the_remissions_under_6_mp() -> None:
    """The table that every textbook has (Cox and Oakes 1984, Kleinbaum and Klein 2012): median 23 weeks."""
    found = of(written(SIX_MP))
    assert found.at.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert found.share.tolist() == pytest.approx([0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], abs=5e-5)
    assert found.quantile(0.5) == 23
    assert found.quantile(0.25) == 13
    assert found.quantile(0.75) is None, "more than a quarter were still in remission"


def test_the_remissions_under_a_placebo() -> None:
    """No one was censored: the part that lasts longer is a plain share; median 8 weeks."""
    found = of(written(PLACEBO))
    lasts = [int(word) for word in PLACEBO.split()]
    for week in range(25):
        assert found.beyond(week) == pytest.approx(sum(last > week for last in lasts) / 21, abs=1e-12)
    assert (found.quantile(0.5), found.beyond(23)) == (8, 0.0)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_who_leaves_unseen_at_a_duration_was_still_there_at_it() -> None:
    """Of two, one ends at 5 and one is last seen at 5: 1 - 1/2."""
    assert of([(5, True, 1), (5, False, 1)]).share.tolist() == [0.5]


def test_the_median_is_none_while_fewer_than_half_ended() -> None:
    assert of([(1, True, 2), (9, False, 3)]).quantile(0.5) is None
    assert of([(1, True, 2), (9, False, 2)]).quantile(0.5) == 1, "half is enough"
    assert of([(9, False, 3)]).quantile(0.5) is None, "none ended"


def test_a_half_is_met_in_spite_of_rounding() -> None:
    """9 of 18 are gone by the ninth day; the product of the nine fractions is 1/2 and a digit."""
    found = of([(day, True, 1) for day in range(1, 19)])
    assert found.quantile(0.5) == 9
    for n in range(2, 120, 2):
        assert of([(day, True, 1) for day in range(1, n + 1)]).quantile(0.5) == n // 2


def test_beyond_is_a_step_down_at_each_end() -> None:
    found = of([(2, True, 1), (4, True, 1), (6, False, 2)])
    assert [found.beyond(at) for at in (-1, 0, 1, 2, 3, 4, 5, 6, 100)] == [1, 1, 1, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5]


def test_of_nobody_nothing_is_said() -> None:
    found = kaplan_meier(np.array([], np.int64), np.array([], bool), np.array([], np.int64))
    assert (len(found.at), found.quantile(0.5), found.beyond(0)) == (0, None, 1.0)


stays = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(1, 4)), min_size=1, max_size=25)


@settings(max_examples=300)
@given(stays)
def test_it_is_scipys(sample: list[Stay]) -> None:
    """Compared at each duration, because scipy also lists those at which nobody's end came."""
    each = [(duration, ended) for duration, ended, count in sample for _ in range(count)]
    uncensored, right = ([d for d, e in each if e is wanted] for wanted in (True, False))
    theirs = ecdf(CensoredData(uncensored=uncensored, right=right)).sf
    ours = of(sample)
    for duration in range(-1, 14):
        assert ours.beyond(duration) == pytest.approx(float(theirs.evaluate(duration)), abs=1e-12), duration


@settings(max_examples=100)
@given(st.data())
def test_the_order_does_not_matter(data: st.DataObject) -> None:
    sample = data.draw(stays)
    whole, again = of(sample), of(data.draw(st.permutations(sample)))
    assert (again.at.tolist(), again.share.tolist()) == (whole.at.tolist(), whole.share.tolist())


@settings(max_examples=100)
@given(stays)
def test_a_count_is_so_many_rows(sample: list[Stay]) -> None:
    """And twice as many of everyone say the same."""
    whole = of(sample)
    one_by_one = of([(duration, ended, 1) for duration, ended, count in sample for _ in range(count)])
    doubled = of([(duration, ended, 2 * count) for duration, ended, count in sample])
    for other in (one_by_one, doubled):
        assert other.at.tolist() == whole.at.tolist()
        assert other.share.tolist() == pytest.approx(whole.share.tolist(), abs=1e-12)


def test_weights_may_be_parts() -> None:
    """A customer with three gaps weighs as much as one with one: gaps of ann 1, 2, 3 (a third each), of bob 4, still open.

    At 1: 1 - (1/3)/2 = 5/6; at 2: x 1 - (1/3)/(5/3) = 4/6; at 3: x 1 - (1/3)/(4/3) = 3/6.
    """
    found = kaplan_meier(
        np.array([3, 4, 1, 2]), np.array([True, False, True, True]), np.array([1 / 3, 1, 1 / 3, 1 / 3])
    )
    assert found.share.tolist() == pytest.approx([5 / 6, 4 / 6, 3 / 6], abs=1e-12)
    assert found.quantile(0.5) == 3
