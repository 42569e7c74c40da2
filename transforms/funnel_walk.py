"""How far each customer gets along the steps of a funnel: on sorted arrays, in one pass a step.

A chain takes each step on a later touchpoint than the step before, other touchpoints may lie between, and every window
holds. Of all chains of k steps that end on a touchpoint only one need be remembered, the one that goes back the least at
every step: whatever another one can be carried on to, this one can, because its gaps and its age are the smallest. It is
found by taking, of the touchpoints on which a chain of k - 1 steps ends, the last one before. So no chain is tried twice,
and tests/transforms/test_funnel_walk.py holds it against all chains there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Whole microseconds: `steps` from each step to the next, at most; `in_all` from the first to the last."""

    steps: tuple[int, ...]
    in_all: int


@dataclass(frozen=True)
class Timeline:
    """n touchpoints in order: those of a group stand together, by (time, sequence).

    `group` int64[n] numbers who is told apart, 0.., rising; `time` int64[n] is microseconds; `matches` has the rows, rising,
    of each step.
    """

    group: np.ndarray
    time: np.ndarray
    matches: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Attempts:
    """The attempts that are counted: `reached` int64[m], steps taken, 1 or more; `is_open` bool[m], it can still convert;
    `rows` int64[steps, m], the touchpoint of each step, -1 where it was not reached."""

    reached: np.ndarray
    is_open: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class _Chains:
    """Chains of the same number of steps: the row where each ends (rising), the time it began, and which of the chains
    that are one step shorter it carries on."""

    row: np.ndarray
    began: np.ndarray
    before: np.ndarray


def furthest_of_group(timeline: Timeline, windows: Windows, as_of: int) -> Attempts:
    """One attempt for each group that took the first step: the one that gets furthest.

    Of several that convert it is the first to do so, of several that do not the last to get so far; and of those that end
    there, the one that began last, with every step as late as can be. The group is open if it did not convert and any
    attempt of it still can.
    """
    chains = _walk(timeline.group, timeline.time, timeline.matches, windows)
    groups = int(timeline.group[-1]) + 1 if len(timeline.group) else 0
    steps = len(chains)
    reached, last = np.zeros(groups, np.int64), np.full(groups, -1)
    is_open = np.zeros(groups, bool)
    for number, ends in enumerate(chains, start=1):
        whose, place = timeline.group[ends.row], np.arange(len(ends.row))
        reached[whose] = number
        if number == steps:
            last[whose[::-1]] = place[::-1]  # the last assignment wins: the first to convert
        else:
            last[whose] = place
            live = (timeline.time[ends.row] + windows.steps[number - 1] > as_of) & (ends.began + windows.in_all > as_of)
            is_open[whose[live]] = True
    entered = np.flatnonzero(reached)
    reached, last = reached[entered], last[entered]
    rows, place = np.full((steps, len(entered)), -1), np.zeros(len(entered), np.int64)
    for number in range(steps, 0, -1):
        place = np.where(reached == number, last, place)
        there, ends = np.flatnonzero(reached >= number), chains[number - 1]
        rows[number - 1, there] = ends.row[place[there]]
        place[there] = ends.before[place[there]]
    return Attempts(reached, is_open[entered] & (reached < steps), rows)


def each_entry(timeline: Timeline, windows: Windows, as_of: int) -> Attempts:
    """Every touchpoint of the first step as an attempt of its own, told by how far one can get from it.

    Of several ways to get there it is the one that arrives first, with every step as early as can be. A later touchpoint
    may serve several attempts. Worked out backwards: seen from its end, an attempt is a chain of the steps in reverse.
    """
    steps, entries = len(timeline.matches), timeline.matches[0]
    reached = np.zeros(len(entries), np.int64)
    is_open = np.zeros(len(entries), bool)
    rows = np.full((steps, len(entries)), -1)
    for number in range(steps, 0, -1):
        chains = _walk_back(timeline, windows, timeline.matches[:number])
        begun = _mirrored(timeline, chains[-1].row)
        mine = np.searchsorted(entries, begun)
        new = reached[mine] == 0
        mine, place = mine[new], np.flatnonzero(new)
        reached[mine] = number
        for step, ends in enumerate(reversed(chains)):
            rows[step, mine] = _mirrored(timeline, ends.row[place])
            place = ends.before[place]
        if number < steps:
            ends_here = timeline.matches[number - 1]
            live = ends_here[timeline.time[ends_here] + windows.steps[number - 1] > as_of]
            begun = _mirrored(timeline, _walk_back(timeline, windows, (*timeline.matches[: number - 1], live))[-1].row)
            begun = begun[timeline.time[begun] + windows.in_all > as_of]
            is_open[np.searchsorted(entries, begun)] = True
    return Attempts(reached, is_open & (reached < steps), rows)


def _walk(group: np.ndarray, time: np.ndarray, matches: Sequence[np.ndarray], windows: Windows) -> list[_Chains]:
    """The chains of 1, 2, ... steps. A window is kept to the microsecond: exactly as long is within it."""
    first = matches[0]
    chains = [_Chains(first, time[first], np.zeros(len(first), np.int64))]
    for rows, within in zip(matches[1:], windows.steps, strict=True):
        shorter = chains[-1]
        place = np.searchsorted(shorter.row, rows) - 1  # the last that ends before this row, not on it
        rows, place = rows[place >= 0], place[place >= 0]
        before = shorter.row[place]
        holds = (
            (group[before] == group[rows])
            & (time[rows] - time[before] <= within)
            & (time[rows] - shorter.began[place] <= windows.in_all)
        )
        chains.append(_Chains(rows[holds], shorter.began[place[holds]], place[holds]))
    return chains


def _walk_back(timeline: Timeline, windows: Windows, matches: Sequence[np.ndarray]) -> list[_Chains]:
    """The chains of the last of some steps, of the last two, ... back to the first, on rows counted from the end."""
    backwards = [_mirrored(timeline, rows)[::-1] for rows in reversed(matches)]
    between = tuple(reversed(windows.steps[: len(matches) - 1]))
    return _walk(timeline.group[::-1], -timeline.time[::-1], backwards, Windows(between, windows.in_all))


def _mirrored(timeline: Timeline, rows: np.ndarray) -> np.ndarray:
    return len(timeline.time) - 1 - rows
