"""Sessions: runs of a customer's session events on one device, without a long gap.

Rules (docs/data-model.md "Sessions"): 30 minutes exactly still belong together; a change of source_session_id from one
value to another ends a session, and so does another customer's session event on the device; an event more than 24 h after
the session's start, or its 10,001st, starts a new one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transforms.runs import changes, position_in_time

GAP_US = 30 * 60 * 1_000_000
LONGEST_US = 24 * 3600 * 1_000_000
MOST_EVENTS = 10_000


class Sessions(NamedTuple):
    """`session` gives each row its session, 0.., -1 for none; sessions are numbered in the order of their first rows."""

    session: np.ndarray
    first_row: np.ndarray
    last_row: np.ndarray
    events: np.ndarray
    is_truncated: np.ndarray


def sessionize(
    customer: np.ndarray,
    device: np.ndarray,
    time: np.ndarray,
    source_session: np.ndarray,
    in_session: np.ndarray,
    starts_session: np.ndarray,
    gap_us: int = GAP_US,
    by_source: bool = False,
) -> Sessions:
    """Sessions of rows that are in order of (customer, time, event_id).

    Args, each [n]: customer int64; device int64, -1 for none (a track of its own); time int64 microseconds;
    source_session int64, -1 for none; in_session bool, the event's type belongs in sessions;
    starts_session bool, another customer's session event stands before it on the device.
    by_source: the gap ends no session.
    """
    rows = np.flatnonzero(in_session)
    session = np.full(len(customer), -1, np.int64)
    if not len(rows):
        nothing = np.zeros(0, np.int64)
        return Sessions(session, nothing, nothing, nothing, np.zeros(0, bool))
    rows = rows[np.lexsort((device[rows], customer[rows]))]  # stable: time order stays within a track
    new_track = changes(customer[rows]) | changes(device[rows])
    when = time[rows]
    cut = new_track.copy()
    if not by_source:
        cut[1:] |= np.diff(when) > gap_us
    cut |= starts_session[rows]
    cut, forced = _cut_tracks(when, source_session[rows], cut)
    number = np.cumsum(cut) - 1

    first = np.flatnonzero(cut)
    last = np.append(first[1:], len(rows)) - 1
    truncated = np.append(forced[first[1:]], False)
    by_first_row = np.argsort(rows[first])
    renumber = np.empty(len(first), np.int64)
    renumber[by_first_row] = np.arange(len(first))
    session[rows] = renumber[number]
    return Sessions(
        session,
        rows[first][by_first_row],
        rows[last][by_first_row],
        (last - first + 1)[by_first_row],
        truncated[by_first_row],
    )


def _source_changes(source: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """bool[n]: the source's session is another value than the last one seen since the cut; an absent one is no change."""
    n = len(source)
    index = np.arange(n)
    start = np.maximum.accumulate(np.where(cut, index, 0))
    last_known = np.maximum.accumulate(np.where(source >= 0, index, -1))
    before = np.concatenate(([-1], last_known[:-1]))
    has_before = (before >= start) & ~cut
    return (source >= 0) & has_before & (source[np.maximum(before, 0)] != source)


def _cut_tracks(time: np.ndarray, source: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(all cuts, those that only a limit forced), given the cuts that need no look at the session so far (`base`)."""
    cut = base | _source_changes(source, base)
    forced = np.zeros(len(time), bool)
    first = np.flatnonzero(cut)
    stop = np.append(first[1:], len(time))
    long = (time[stop - 1] - time[first] > LONGEST_US) | (stop - first > MOST_EVENTS)
    if not long.any():  # as nearly always: a session is seldom a day long
        return cut, forced
    # A session that a limit begins forgets the source's session before it: from there on its track is cut anew.
    tracks = np.flatnonzero(base)
    track, at = np.unique(np.searchsorted(tracks, first[long], "right") - 1, return_index=True)
    begin, end = first[long][at], np.append(tracks[1:], len(time))[track]
    for lower, upper in zip(begin, end, strict=True):
        cut[lower + 1 : upper] = False
    known = np.flatnonzero(source >= 0)
    switches = known[1:][source[known[1:]] != source[known[:-1]]]
    while len(begin):
        limit = np.minimum(position_in_time(time, begin, end, time[begin] + LONGEST_US), begin + MOST_EVENTS)
        told = np.append(known, len(time))[np.searchsorted(known, begin)]  # the first word of the source in the session
        switch = np.append(switches, len(time))[np.searchsorted(switches, told, "right")]
        upcoming = np.minimum(limit, switch)
        going_on = upcoming < end
        begin, end, switch = upcoming[going_on], end[going_on], switch[going_on]
        cut[begin] = True
        forced[begin] = begin != switch
    return cut, forced
