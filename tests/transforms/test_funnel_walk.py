"""How far one gets along a funnel: cases by hand, and all small worlds against all chains that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.funnel_walk import Attempts, Timeline, Windows, each_entry, furthest_of_group

#: A touchpoint: group, time, and the letters of the steps that it matches.
Touch = tuple[int, int, str]
LONG = 10**9
AB, ABC, AAA = ("a", "b"), ("a", "b", "c"), ("a", "a", "a")


def timeline(touches: Sequence[Touch], steps: Sequence[str]) -> Timeline:
    group, time = (np.array([touch[part] for touch in touches], np.int64) for part in (0, 1))
    matches = tuple(np.array([i for i, t in enumerate(touches) if step in t[2]], np.int64) for step in steps)
    return Timeline(group, time, matches)


def told(attempts: Attempts) -> list[tuple[int, bool, tuple[int, ...]]]:
    """(steps taken, can still convert, the touchpoint of each step) of each attempt."""
    return [
        (int(reached), bool(is_open), tuple(int(row) for row in rows if row >= 0))
        for reached, is_open, rows in zip(attempts.reached, attempts.is_open, attempts.rows.T, strict=True)
    ]


def one(touches: Sequence[Touch], steps: Sequence[str], windows: Windows, as_of: int = LONG) -> tuple[int, bool, tuple]:
    [attempt] = told(furthest_of_group(timeline(touches, steps), windows, as_of))
    return attempt


# --- by hand ---------------------------------------------------------------------------------------------------------

PEERS = [(0, 13 * 60, "a"), (0, 13 * 60 + 30, "a"), (0, 13 * 60 + 45, "b"), (0, 14 * 60 + 15, "c")]


def test_the_last_entry_before_converts_where_the_first_does_not() -> None:
    """A 13:00, A 13:30, B 13:45, C 14:15, window 1 h."""
    window = Windows((60, 60), 60)
    assert one(PEERS, ABC, window) == (3, False, (1, 2, 3))
    assert one([PEERS[0], *PEERS[2:]], ABC, window) == (2, False, (0, 1))
    assert told(each_entry(timeline(PEERS, ABC), window, LONG)) == [(2, False, (0, 2)), (3, False, (1, 2, 3))]


def test_a_later_step_in_the_middle_saves_the_window_of_the_next() -> None:
    """The first B is too early for C, the second is not: the earliest next step is not always the one to take."""
    touches = [(0, 0, "a"), (0, 10, "b"), (0, 50, "b"), (0, 90, "c")]
    assert one(touches, ABC, Windows((60, 60), LONG)) == (3, False, (0, 2, 3))
    assert told(each_entry(timeline(touches, ABC), Windows((60, 60), LONG), LONG)) == [(3, False, (0, 2, 3))]


@pytest.mark.parametrize(("late", "reached"), [(0, 2), (1, 1)])
def test_a_window_holds_to_the_microsecond(late: int, reached: int) -> None:
    touches = [(0, 100, "a"), (0, 160 + late, "b")]
    for windows in (Windows((60,), LONG), Windows((LONG,), 60)):
        assert one(touches, AB, windows)[0] == reached
        assert told(each_entry(timeline(touches, AB), windows, LONG))[0][0] == reached


def test_two_steps_never_share_a_touchpoint() -> None:
    anything = Windows((LONG, LONG), LONG)
    assert one([(0, 0, "ab")], AB, Windows((LONG,), LONG))[0] == 1
    assert one([(0, 0, "a"), (0, 0, "a")], AAA, anything)[0] == 2
    assert one([(0, 0, "a"), (0, 0, "a"), (0, 0, "a")], AAA, anything) == (3, False, (0, 1, 2))


def test_at_the_same_time_the_order_of_the_touchpoints_decides() -> None:
    window = Windows((LONG,), LONG)
    assert one([(0, 5, "a"), (0, 5, "b")], AB, window)[0] == 2
    assert one([(0, 5, "b"), (0, 5, "a")], AB, window)[0] == 1


def test_others_may_lie_between_and_another_group_is_none_of_ours() -> None:
    window = Windows((LONG,), LONG)
    assert one([(0, 0, "a"), (0, 1, ""), (0, 2, "c"), (0, 3, "b")], AB, window) == (2, False, (0, 3))
    found = told(furthest_of_group(timeline([(0, 0, "a"), (1, 1, "b"), (2, 2, "a"), (2, 3, "b")], AB), window, LONG))
    assert found == [(1, False, (0,)), (2, False, (2, 3))]  # group 1 never entered


def test_of_several_attempts_that_get_as_far_the_first_counts() -> None:
    window = Windows((10,), 10)
    twice = [(0, 0, "a"), (0, 1, "b"), (0, 100, "a"), (0, 105, "b")]
    assert one(twice, AB, window) == (2, False, (0, 1))
    assert one([(0, 0, "a"), (0, 100, "a")], AB, window) == (1, False, (0,))
    # Within the window the first entry converts, though later ones would convert sooner.
    assert one([(0, 0, "a"), (0, 4, "a"), (0, 6, "b"), (0, 7, "b")], AB, window) == (2, False, (0, 2))


@pytest.mark.parametrize(("as_of", "is_open"), [(159, True), (160, False), (161, False)])
def test_open_until_its_window_has_elapsed(as_of: int, is_open: bool) -> None:
    """What happened at as-of itself is in the data: with exactly the window gone, nothing can come any more."""
    for windows in (Windows((60,), LONG), Windows((LONG,), 60)):
        assert one([(0, 100, "a")], AB, windows, as_of) == (1, is_open, (0,))
        assert told(each_entry(timeline([(0, 100, "a")], AB), windows, as_of)) == [(1, is_open, (0,))]


def test_open_while_any_attempt_can_convert_though_another_got_further() -> None:
    touches = [(0, 0, "a"), (0, 1, "b"), (0, 100, "a")]
    assert one(touches, ABC, Windows((10, 10), 20), as_of=105) == (2, True, (0, 1))
    assert one(touches, ABC, Windows((10, 10), 20), as_of=110) == (2, False, (0, 1))
    assert told(each_entry(timeline(touches, ABC), Windows((10, 10), 20), 105)) == [(2, False, (0, 1)), (1, True, (2,))]


def test_nobody_and_nothing() -> None:
    window = Windows((10,), 10)
    for walk in (furthest_of_group, each_entry):
        assert told(walk(timeline([], AB), window, 0)) == []
        assert told(walk(timeline([(0, 1, "b"), (1, 1, "b")], AB), window, 0)) == []


# --- against all chains ----------------------------------------------------------------------------------------------


def chains(world: Timeline, windows: Windows, count: int) -> Iterator[tuple[int, ...]]:
    """Every chain of the first `count` steps, as the definition has it."""
    for rows in product(*(matches.tolist() for matches in world.matches[:count])):
        if (
            all(
                a < b and world.group[a] == world.group[b] and world.time[b] - world.time[a] <= within
                for a, b, within in zip(rows, rows[1:], windows.steps, strict=False)
            )
            and world.time[rows[-1]] - world.time[rows[0]] <= windows.in_all
        ):
            yield rows


def can_go_on(world: Timeline, windows: Windows, chain: tuple[int, ...], as_of: int) -> bool:
    """Would it convert if all the steps that it lacks were taken in the first microsecond after as-of?"""
    soon = as_of + 1
    return (
        len(chain) < len(world.matches)
        and soon - world.time[chain[-1]] <= windows.steps[len(chain) - 1]
        and soon - world.time[chain[0]] <= windows.in_all
    )


def by_definition(
    world: Timeline, windows: Windows, as_of: int, by_entry: bool
) -> list[tuple[int, bool, tuple[int, ...]]]:
    steps = len(world.matches)
    every = [chain for count in range(1, steps + 1) for chain in chains(world, windows, count)]
    found = []
    whose = [(row if by_entry else int(world.group[row])) for row in world.matches[0].tolist()]
    for unit in dict.fromkeys(whose):
        own = [chain for chain in every if (chain[0] if by_entry else world.group[chain[0]]) == unit]
        furthest = max(map(len, own))
        best = [chain for chain in own if len(chain) == furthest]
        entry = min(chain[0] for chain in best)
        counted = min((chain for chain in best if chain[0] == entry), key=lambda chain: chain[::-1])
        is_open = furthest < steps and any(can_go_on(world, windows, chain, as_of) for chain in own)
        found.append((furthest, is_open, counted))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Touch], tuple[str, ...], Windows, int]:
    """A few touchpoints close together: ties in time, one that matches several steps, a step that comes twice, windows
    that are met exactly."""
    steps = tuple(draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=4)))
    letters = st.sets(st.sampled_from("abc"), max_size=2).map(lambda s: "".join(sorted(s)))
    touches = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), letters), max_size=10))
    windows = Windows(
        tuple(draw(st.lists(st.integers(0, 9), min_size=len(steps) - 1, max_size=len(steps) - 1))),
        draw(st.integers(0, 12)),
    )
    return sorted(touches, key=lambda touch: touch[:2]), steps, windows, draw(st.integers(9, 20))


@example(world=(PEERS, ABC, Windows((60, 60), 60), 1_000))
@given(world=worlds())
def test_as_all_chains_say(world: tuple[list[Touch], tuple[str, ...], Windows, int]) -> None:
    touches, steps, windows, as_of = world
    groups = {number: place for place, number in enumerate(dict.fromkeys(touch[0] for touch in touches))}
    line = timeline([(groups[number], at, letters) for number, at, letters in touches], steps)
    assert told(furthest_of_group(line, windows, as_of)) == by_definition(line, windows, as_of, by_entry=False)
    assert told(each_entry(line, windows, as_of)) == by_definition(line, windows, as_of, by_entry=True)
