"""How far each customer gets along the steps of a funnel: on sorted arrays, in a few passes a step.

Every touchpoint of the first step is an attempt. It is told by how far one can get from it: each step on a later touchpoint
than the step before, others may lie between, and every window holds. Chains are not tried one by one. Of all chains of k
steps that end on a touchpoint only the one that goes back the least at every step matters: whatever another one can be
carried on to, this one can, because its gaps and its age are the smallest. It is found by taking, of the touchpoints on
which a chain of k - 1 steps ends, the last one before. The same, seen from the end, gives for each attempt the chain that
arrives first. tests/transforms/test_funnel_walk.py holds both against all chains that there are.
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
    """One attempt for each group that took the first step: the one that gets furthest, of several the first.

    Its steps are each as early as can be. The group is open if no attempt of it converted and any of them still can.
    """
    steps, groups = len(timeline.matches), int(timeline.group[-1]) + 1 if len(timeline.group) else 0
    reached, is_open = np.zeros(groups, np.int64), np.zeros(groups, bool)
    for number, ends in enumerate(_walk(timeline.group, timeline.time, timeline.matches, windows), start=1):
        whose = timeline.group[ends.row]
        reached[whose] = number
        if number < steps:
            live = (timeline.time[ends.row] + windows.steps[number - 1] > as_of) & (ends.began + windows.in_all > as_of)
            is_open[whose[live]] = True
    rows = np.full((steps, groups), -1)
    for number in range(1, steps + 1):
        # Only of the groups that get just so far: all these passes together look at a touchpoint once a step.
        matches = [match[reached[timeline.group[match]] == number] for match in timeline.matches[:number]]
        chains = _walk_back(timeline, windows, matches)
        place = np.full(groups, -1)
        place[timeline.group[_mirrored(timeline, chains[-1].row)]] = np.arange(
            len(chains[-1].row)
        )  # the first one wins
        whose = np.flatnonzero(place >= 0)
        _trace(timeline, chains, place[whose], rows, whose)
    entered = np.flatnonzero(reached)
    return Attempts(reached[entered], (is_open & (reached < steps))[entered], rows[:, entered])


def each_entry(timeline: Timeline, windows: Windows, as_of: int) -> Attempts:
    """Every attempt by itself, with its steps each as early as can be. A later touchpoint may serve several."""
    steps, entries = len(timeline.matches), timeline.matches[0]
    reached, is_open = np.zeros(len(entries), np.int64), np.zeros(len(entries), bool)
    rows = np.full((steps, len(entries)), -1)
    for number in range(steps, 0, -1):
        chains = _walk_back(timeline, windows, timeline.matches[:number])
        mine = np.searchsorted(entries, _mirrored(timeline, chains[-1].row))
        place = np.flatnonzero(reached[mine] == 0)
        reached[mine[place]] = number
        _trace(timeline, chains, place, rows, mine[place])
        if number < steps:
            ends_here = timeline.matches[number - 1]
            live = ends_here[timeline.time[ends_here] + windows.steps[number - 1] > as_of]
            begun = _mirrored(timeline, _walk_back(timeline, windows, (*timeline.matches[: number - 1], live))[-1].row)
            begun = begun[timeline.time[begun] + windows.in_all > as_of]
            is_open[np.searchsorted(entries, begun)] = True
    return Attempts(reached, is_open & (reached < steps), rows)


def _trace(timeline: Timeline, chains: list[_Chains], place: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Writes the touchpoints of some chains of `_walk_back`, first step first, into columns of `rows`."""
    for step, ends in enumerate(reversed(chains)):
        rows[step, columns] = _mirrored(timeline, ends.row[place])
        place = ends.before[place]


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
