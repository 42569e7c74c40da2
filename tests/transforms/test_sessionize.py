"""Sessions, held against the design's rules read one event at a time."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import sessionize as module
from transforms.sessionize import GAP_US, LONGEST_US, Sessions, sessionize

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


@dataclass(frozen=True)
class Event:
    customer: int
    device: int
    time: int
    source: int
    in_session: bool
    starts_session: bool = False


@dataclass
class Session:
    rows: list[int]
    source: int
    truncated: bool = False


def run(events: list[Event], **options: object) -> Sessions:
    columns = [
        np.array([getattr(e, name) for e in events], np.int64) for name in ("customer", "device", "time", "source")
    ]
    flags = [np.array([getattr(e, name) for e in events], bool) for name in ("in_session", "starts_session")]
    return sessionize(*columns, *flags, **options)


def read_slowly(events: list[Event], gap: int, longest: int, most: int, by_source: bool) -> list[Session]:
    """The rules of the design, word by word, on events in the order (customer, time)."""
    sessions: list[Session] = []
    on_track: dict[tuple[int, int], Session] = {}
    for row, event in enumerate(events):
        if not event.in_session:
            continue  # other events have no session, and cut none
        track = (event.customer, event.device)
        now = on_track.get(track)
        starts = now is None
        if now is not None:
            pause = event.time - events[now.rows[-1]].time
            other_source = event.source >= 0 and now.source >= 0 and event.source != now.source
            starts = other_source or event.starts_session or (not by_source and pause > gap)
            if not starts and (event.time - events[now.rows[0]].time > longest or len(now.rows) >= most):
                now.truncated, starts = True, True  # it would have stayed
        if starts:
            now = Session([], event.source)  # whatever began it, what the source called the one before is forgotten
            sessions.append(now)
            on_track[track] = now
        elif event.source >= 0:
            now.source = event.source
        now.rows.append(row)
    return sessions


pauses = st.sampled_from(
    [
        0,
        1,
        SECOND,
        10 * MINUTE,
        29 * MINUTE,
        GAP_US - 1,
        GAP_US,
        GAP_US + 1,
        45 * MINUTE,
        2 * HOUR - 1,
        2 * HOUR,
        5 * HOUR,
    ]
)


@st.composite
def timelines(draw: st.DrawFn) -> list[Event]:
    events = []
    for customer in range(draw(st.integers(1, 3))):
        time = draw(st.integers(0, 3)) * HOUR
        for _ in range(draw(st.integers(1, 25))):
            time += draw(pauses)
            device, source = draw(st.integers(-1, 1)), draw(st.sampled_from([-1, -1, 0, 1]))
            kinds = st.sampled_from([(True, False)] * 4 + [(True, True), (False, False), (False, True)])
            events.append(Event(customer, device, time, source, *draw(kinds)))
    return events


@settings(max_examples=400)
@given(timelines(), st.booleans(), st.integers(2, 6), st.sampled_from([1, 20 * MINUTE, HOUR, 2 * HOUR, LONGEST_US]))
def test_reads_like_the_rules(events: list[Event], by_source: bool, most: int, longest: int) -> None:
    with mock.patch.object(module, "MOST_EVENTS", most), mock.patch.object(module, "LONGEST_US", longest):
        found = run(events, by_source=by_source)
    expected = read_slowly(events, GAP_US, longest, most, by_source)

    assert found.session.tolist() == [
        next((n for n, s in enumerate(expected) if row in s.rows), -1) for row in range(len(events))
    ], "each event is in its session, and sessions are numbered by their first rows"
    assert found.first_row.tolist() == [s.rows[0] for s in expected]
    assert found.last_row.tolist() == [s.rows[-1] for s in expected]
    assert found.events.tolist() == [len(s.rows) for s in expected]
    assert found.is_truncated.tolist() == [s.truncated for s in expected]


def every(*times: int, customer: int = 0, device: int = 0, source: int = -1) -> list[Event]:
    return [Event(customer, device, time, source, True) for time in times]


@pytest.mark.parametrize(("pause", "sessions"), [(GAP_US, [0, 0]), (GAP_US + 1, [0, 1])])
def test_thirty_minutes_exactly_stay_together(pause: int, sessions: list[int]) -> None:
    found = run(every(0, pause))
    assert found.session.tolist() == sessions
    assert not found.is_truncated.any()


def test_a_day_exactly_stays_and_a_microsecond_more_is_cut() -> None:
    half_hours = [n * GAP_US for n in range(49)]  # the last one 24 h after the first
    assert len(run(every(*half_hours)).first_row) == 1

    found = run(every(*half_hours, LONGEST_US + 1))
    assert found.events.tolist() == [49, 1]
    assert found.is_truncated.tolist() == [True, False]


def test_a_long_pause_after_a_day_truncates_nothing() -> None:
    found = run(every(*(n * GAP_US for n in range(49)), LONGEST_US + GAP_US + 1))
    assert found.events.tolist() == [49, 1]
    assert found.is_truncated.tolist() == [False, False], "the event would not have stayed anyhow"


@pytest.mark.parametrize(
    ("events", "sizes"), [(10_000, [10_000]), (10_001, [10_000, 1]), (20_001, [10_000, 10_000, 1])]
)
def test_the_10001st_event_starts_a_session(events: int, sizes: list[int]) -> None:
    found = run(every(*range(events)))
    assert found.events.tolist() == sizes
    assert found.is_truncated.tolist() == [*(True for _ in sizes[1:]), False]


def test_events_without_a_device_are_a_track_of_their_own() -> None:
    with_gap = [*every(0), *every(20 * MINUTE, device=-1), *every(40 * MINUTE), *every(50 * MINUTE, device=-1)]
    assert run(with_gap).session.tolist() == [0, 1, 2, 1], "they join no session on a device, and bridge no gap"


def test_a_source_session_ends_only_where_one_value_follows_another() -> None:
    events = [Event(0, 0, minute * MINUTE, source, True) for minute, source in enumerate((7, -1, 7, -1, 8, 8, -1))]
    assert run(events).session.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_after_a_pause_the_source_session_before_it_is_forgotten() -> None:
    events = [Event(0, 0, 0, 7, True), Event(0, 0, HOUR, -1, True), Event(0, 0, HOUR + 1, 8, True)]
    assert run(events).session.tolist() == [0, 1, 1]


@pytest.mark.parametrize("by_source", [False, True])
def test_another_customers_event_between_starts_a_session(by_source: bool) -> None:
    events = [Event(0, 0, minute * MINUTE, -1, True, minute == 2) for minute in range(4)]
    found = run(events, by_source=by_source)
    assert found.session.tolist() == [0, 0, 1, 1]
    assert not found.is_truncated.any(), "the event would not have stayed"


def test_another_customers_event_cuts_its_own_device_only() -> None:
    events = [Event(0, minute % 2, minute * MINUTE, -1, True, minute == 2) for minute in range(5)]
    assert run(events).session.tolist() == [0, 1, 2, 1, 2]


def test_after_another_customers_event_the_source_session_is_forgotten() -> None:
    events = [Event(0, 0, 0, 7, True), Event(0, 0, 1, -1, True, True), Event(0, 0, 2, 8, True)]
    assert run(events).session.tolist() == [0, 1, 1]


def test_what_is_no_session_event_starts_none() -> None:
    events = [Event(0, 0, 0, -1, True), Event(0, 0, 1, -1, False, True), Event(0, 0, 2, -1, True)]
    assert run(events).session.tolist() == [0, -1, 0]


def test_by_source_no_pause_ends_a_session_but_the_limits_do() -> None:
    events = [Event(0, 0, time, 7, True) for time in (0, 10 * HOUR, LONGEST_US, LONGEST_US + 1)]
    found = run(events, by_source=True)
    assert found.session.tolist() == [0, 0, 0, 1]
    assert found.is_truncated.tolist() == [True, False]


def test_nothing_at_all() -> None:
    assert run([]).session.tolist() == []
    assert run([Event(0, 0, 0, 0, False)]).session.tolist() == [-1]
