"""Working time, worked out by hand, and held against a count of minutes on the local clock."""

from __future__ import annotations

import datetime
import doctest
import zoneinfo
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import business_time
from transforms.business_time import WEEKDAYS, Schedule, Spans, WorkingHours, parse_week
from transforms.time_zones import micros

HOUR = 3600
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000

NO_HOURS: tuple[Spans, ...] = ((),) * 7
ALL_HOURS: tuple[Spans, ...] = (((0, 1440),),) * 7
#: Monday to Friday 7 h 30 min: 3 h, lunch, 4 h 30 min.
OFFICE = parse_week({day: ["09:00-12:00", "13:00-17:30"] for day in WEEKDAYS[:5]})


def at(text: str, zone: str = "Europe/Paris") -> int:
    """Microseconds UTC of a time on the wall in a zone, or of one that comes with its offset."""
    time = datetime.datetime.fromisoformat(text)
    return micros(time if time.tzinfo else time.replace(tzinfo=zoneinfo.ZoneInfo(zone)))


def always(week: tuple[Spans, ...], zone: str = "Europe/Paris", holidays: Sequence[str] = ()) -> Schedule:
    """A schedule whose hours never change."""
    days = frozenset(map(datetime.date.fromisoformat, holidays))
    return Schedule(zone, (WorkingHours(None, week),), days)


def daily(*spans: str, zone: str = "Europe/Paris") -> Schedule:
    """The same hours on each day of the week."""
    return always(parse_week({day: list(spans) for day in WEEKDAYS}), zone)


def between(schedule: Schedule, start: str, end: str) -> int:
    """Seconds of one ticket whose times are on the schedule's wall."""
    [found] = schedule.seconds_between(
        np.array([at(start, schedule.timezone)]), np.array([at(end, schedule.timezone)])
    ).tolist()
    return int(found)


# 5 January 2026 is a Monday.
@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        # Within a day
        ("2026-01-05 09:30", "2026-01-05 11:00", 1 * HOUR + 1800),  # 09:30 to 11:00
        ("2026-01-05 11:00", "2026-01-05 14:00", 2 * HOUR),  # 11 to 12, and 13 to 14
        ("2026-01-05 09:00", "2026-01-05 17:30", 7 * HOUR + 1800),  # 3 h and 4 h 30 min
        (
            "2026-01-05 00:00",
            "2026-01-06 00:00",
            7 * HOUR + 1800,
        ),  # the same: nothing before nine and after half past five
        ("2026-01-05 12:00", "2026-01-05 13:00", 0),  # lunch
        # Started before the doors open; ended in the lunch break; both
        ("2026-01-05 06:12:34", "2026-01-05 10:00", 1 * HOUR),  # 9 to 10
        ("2026-01-05 11:15", "2026-01-05 12:40", 45 * 60),  # 11:15 to 12
        ("2026-01-05 06:00", "2026-01-05 12:30", 3 * HOUR),  # 9 to 12
        ("2026-01-05 12:30", "2026-01-05 13:00:01", 1),  # 13:00:00 to 13:00:01
        # Over a night
        ("2026-01-05 17:00", "2026-01-06 09:20", 30 * 60 + 20 * 60),  # 17:00 to 17:30, and 09:00 to 09:20
        ("2026-01-05 22:00", "2026-01-06 03:00", 0),  # both outside, in one night
        ("2026-01-05 22:00", "2026-01-07 03:00", 7 * HOUR + 1800),  # both outside, Tuesday between them
        # Over a weekend
        ("2026-01-09 17:00", "2026-01-12 09:30", 1 * HOUR),  # half an hour on Friday, half an hour on Monday
        ("2026-01-10 10:00", "2026-01-11 16:00", 0),  # Saturday to Sunday
        ("2026-01-05 00:00", "2026-01-19 00:00", 10 * (7 * HOUR + 1800)),  # two weeks: ten days
        # No time at all, or less
        ("2026-01-05 10:00", "2026-01-05 10:00", 0),
        ("2026-01-05 09:00", "2026-01-05 09:00", 0),
        ("2026-01-05 11:00", "2026-01-05 10:00", 0),
        ("2026-01-12 10:00", "2026-01-05 10:00", 0),
        # Seconds, and microseconds that are cut off
        ("2026-01-05 09:00:07", "2026-01-05 09:01:50", 103),  # 110 - 7
        ("2026-01-05 09:00:00.600000", "2026-01-05 09:00:02.500000", 1),  # 1.9 s
        ("2026-01-05 09:00:00.600000", "2026-01-05 09:00:02.600000", 2),  # 2.0 s
        (
            "2026-01-05 11:59:59.999999",
            "2026-01-05 13:00:00.999999",
            1,
        ),  # 0.000001 + 0.999999 s: cut off once, at the end
        ("2026-01-05 11:59:59.999999", "2026-01-05 13:00:00.999998", 0),  # 0.999999 s
    ],
)
def test_office_hours(start: str, end: str, seconds: int) -> None:
    assert between(always(OFFICE), start, end) == seconds


def test_holidays() -> None:
    schedule = always(OFFICE, holidays=["2026-01-06", "2026-01-10"])  # a Tuesday; a Saturday, free in any case
    assert (
        between(schedule, "2026-01-05 17:00", "2026-01-07 09:15") == 30 * 60 + 15 * 60
    )  # Monday's end, Wednesday's begin
    assert between(schedule, "2026-01-06 00:00", "2026-01-07 00:00") == 0
    assert between(schedule, "2026-01-06 10:00", "2026-01-06 11:00") == 0
    assert between(schedule, "2026-01-05 00:00", "2026-01-12 00:00") == 4 * (7 * HOUR + 1800)  # a week less one day


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # UTC+14 and UTC-11
def test_days_are_local(zone: str) -> None:
    week = parse_week({"monday": "00:00-24:00", "tuesday": "00:00-24:00"})
    schedule = always(week, zone, ["2026-01-06"])  # of Monday and Tuesday only Monday, 5 January, is left
    assert between(schedule, "2026-01-04 00:00", "2026-01-09 00:00") == 24 * HOUR
    assert between(schedule, "2026-01-04 23:59", "2026-01-05 00:01") == 60
    assert between(schedule, "2026-01-05 23:59", "2026-01-06 00:01") == 60
    assert between(schedule, "2026-01-05 00:00", "2026-01-05 23:59:59") == 24 * HOUR - 1


def test_hours_that_change_while_a_ticket_is_open() -> None:
    long, short = (parse_week(dict.fromkeys(WEEKDAYS, text)) for text in ("09:00-17:00", "10:00-14:00"))
    changes = (
        WorkingHours(None, long),
        WorkingHours(datetime.date(2026, 1, 7), short),
        WorkingHours(datetime.date(2026, 1, 9), NO_HOURS),
        WorkingHours(datetime.date(2026, 1, 12), long),
    )
    schedule = Schedule("Europe/Paris", changes, frozenset())
    # Tuesday 15 to 17: 2 h; Wednesday 10 to 14: 4 h; Thursday 10 to 11: 1 h
    assert between(schedule, "2026-01-06 15:00", "2026-01-08 11:00") == 7 * HOUR
    # Thursday 13 to 14: 1 h; closed from the 9th to the 11th; Monday 9 to 12: 3 h
    assert between(schedule, "2026-01-08 13:00", "2026-01-12 12:00") == 4 * HOUR
    assert between(schedule, "2025-12-01 09:00", "2025-12-01 17:00") == 8 * HOUR  # since ever
    assert between(schedule, "2030-01-01 09:00", "2030-01-01 17:00") == 8 * HOUR  # and from then on


def test_hours_change_at_the_local_midnight() -> None:
    changes = (WorkingHours(None, ALL_HOURS), WorkingHours(datetime.date(2026, 1, 7), NO_HOURS))
    schedule = Schedule("America/New_York", changes, frozenset())
    # 03:00 to 05:00 UTC, which is midnight in New York
    assert between(schedule, "2026-01-07T03:00+00:00", "2026-01-07T09:00+00:00") == 2 * HOUR


# In spring the clock goes from 02:00 to 03:00, in autumn from the end of a first hour back to its begin.
@pytest.mark.parametrize(
    ("zone", "spring", "autumn", "before_autumn"),
    [
        (
            "Europe/Paris",
            "2026-03-29",
            "2026-10-25",
            2,
        ),  # 03:00 back to 02:00: two full hours before the one that repeats
        ("America/New_York", "2026-03-08", "2026-11-01", 1),  # 02:00 back to 01:00
    ],
)
def test_daylight_saving_sundays(zone: str, spring: str, autumn: str, before_autumn: int) -> None:
    early = daily("00:00-06:00", zone=zone)
    assert between(early, f"{spring} 00:00", f"{spring} 12:00") == 5 * HOUR  # 0 to 2 and 3 to 6
    assert between(early, f"{autumn} 00:00", f"{autumn} 12:00") == 7 * HOUR  # 0 to 6, one hour twice
    assert between(early, f"{spring} 01:30", f"{spring} 03:30") == 1 * HOUR  # 01:30 to 02:00, 03:00 to 03:30
    start, end = f"{autumn} {before_autumn - 1:02}:30", f"{autumn} {before_autumn + 1:02}:30"
    assert between(early, start, end) == 3 * HOUR  # half an hour, the hour twice, half an hour
    day = daily("09:00-17:00", zone=zone)  # later on these days, and around them, nothing is special
    for sunday in (spring, autumn):
        assert between(day, f"{sunday} 00:00", f"{sunday} 23:59") == 8 * HOUR
        before = datetime.date.fromisoformat(sunday) - datetime.timedelta(days=1)
        assert between(day, f"{before} 16:00", f"{sunday} 10:00") == 2 * HOUR  # 16 to 17, 9 to 10


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        (["02:15-02:45"], 0),  # never on the clock
        (["01:00-02:30"], 1 * HOUR),  # 01:00 to the turn at 02:00
        (["02:30-06:00"], 3 * HOUR),  # from the turn, when it is 03:00
        (["00:00-02:00"], 2 * HOUR),  # all before
        (["03:00-06:00"], 3 * HOUR),  # all after
        (["01:00-02:20", "02:40-04:00"], 2 * HOUR),  # 01:00 to the turn; 03:00 to 04:00
    ],
)
def test_hours_that_the_clock_skips(spans: list[str], seconds: int) -> None:
    assert between(daily(*spans), "2026-03-29 00:00", "2026-03-29 23:00") == seconds


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        (["02:15-02:45"], 90 * 60),  # the first 02:15 is 00:15 UTC, the second 02:45 is 01:45 UTC
        (["02:00-03:00"], 2 * HOUR),  # the whole hour, twice
        (["01:00-02:30"], 2 * HOUR + 1800),  # 23:00 UTC to 01:30 UTC
        (["02:30-06:00"], 4 * HOUR + 1800),  # 00:30 UTC to 05:00 UTC
        (["00:00-02:00"], 2 * HOUR),  # over when the clock first shows 02:00: nothing of it comes twice
        (["03:00-06:00"], 3 * HOUR),  # all after
        (["01:00-02:30", "02:30-04:00"], 4 * HOUR),  # 23:00 UTC to 03:00 UTC: what both spans cover counts once
        (["01:00-02:20", "02:40-04:00"], 4 * HOUR),  # to 01:20 UTC, and from 00:40 UTC: the same
    ],
)
def test_hours_that_come_twice(spans: list[str], seconds: int) -> None:
    assert between(daily(*spans), "2026-10-25 00:00", "2026-10-25 23:00") == seconds


def test_clocks_that_turn_at_midnight() -> None:
    cairo = "Africa/Cairo"  # Friday 24 April 2026: from 00:00 to 01:00; Thursday 29 October: from 24:00 to 23:00
    thursday, friday = (always(parse_week({d: "00:00-24:00"}), cairo) for d in ("thursday", "friday"))
    assert between(thursday, "2026-04-22 12:00", "2026-04-26 12:00") == 24 * HOUR
    assert between(friday, "2026-04-22 12:00", "2026-04-26 12:00") == 23 * HOUR  # 01:00 to 24:00
    assert (
        between(daily("00:00-09:00", zone=cairo), "2026-04-23 12:00", "2026-04-24 12:00") == 8 * HOUR
    )  # 01:00 to 09:00
    assert (
        between(daily("17:00-24:00", zone=cairo), "2026-04-23 12:00", "2026-04-24 12:00") == 7 * HOUR
    )  # 17:00 to 24:00
    assert between(thursday, "2026-10-28 12:00", "2026-11-01 12:00") == 25 * HOUR  # 23:00 to 24:00 twice
    assert between(friday, "2026-10-28 12:00", "2026-11-01 12:00") == 24 * HOUR
    havana = "America/Havana"  # Sunday 8 March 2026: from 00:00 to 01:00; Sunday 1 November: from 01:00 to 00:00
    saturday, sunday = (always(parse_week({d: "00:00-24:00"}), havana) for d in ("saturday", "sunday"))
    assert between(saturday, "2026-03-06 12:00", "2026-03-10 12:00") == 24 * HOUR
    assert between(sunday, "2026-03-06 12:00", "2026-03-10 12:00") == 23 * HOUR  # 01:00 to 24:00
    assert between(saturday, "2026-10-30 12:00", "2026-11-03 12:00") == 24 * HOUR  # both hours from 00:00 are Sunday's
    assert between(sunday, "2026-10-30 12:00", "2026-11-03 12:00") == 25 * HOUR


def test_a_day_that_a_zone_left_out() -> None:
    # Samoa went over the date line: Thursday 29 December 2011 was followed by Saturday.
    schedule = daily("09:00-17:00", zone="Pacific/Apia")
    assert between(schedule, "2011-12-29 00:00", "2011-12-31 23:00") == 16 * HOUR  # Thursday and Saturday
    friday = always(parse_week({"friday": "00:00-24:00"}), "Pacific/Apia")
    assert between(friday, "2011-12-25 00:00", "2012-01-04 00:00") == 0


@pytest.mark.parametrize(
    "week", [ALL_HOURS, (((0, 90), (90, 150), (150, 1440)),) * 7], ids=["days", "spans that touch"]
)
@pytest.mark.parametrize(
    "zone",
    ["UTC", "Europe/Paris", "America/New_York", "Africa/Cairo", "America/Havana", "America/St_Johns", "Pacific/Apia",
     "Pacific/Kwajalein", "Australia/Lord_Howe", "Africa/Monrovia", "Asia/Kathmandu"],
)  # fmt: skip
def test_who_always_works_works_calendar_time(zone: str, week: tuple[Spans, ...]) -> None:
    low, high = at("1960-01-01T00:00Z"), at("2030-01-01T00:00Z")
    random = np.random.default_rng(7)
    start = random.integers(low, high, 2_000)
    end = np.minimum(start + random.integers(0, 400 * DAY_US, 2_000), high)
    assert (always(week, zone).seconds_between(start, end) == (end - start) // 1_000_000).all()


def test_nobody_works() -> None:
    assert between(always(NO_HOURS), "2026-01-01 00:00", "2026-03-01 00:00") == 0


def test_no_tickets() -> None:
    found = always(OFFICE).seconds_between(np.array([], np.int64), np.array([], np.int64))
    assert found.dtype == np.int64 and found.tolist() == []


def test_many_tickets_at_once() -> None:
    tickets = [
        ("2026-01-12 09:00", "2026-01-12 09:10", 600),
        ("2026-01-05 09:00", "2026-01-05 09:05", 300),
        ("2026-01-09 17:00", "2026-01-12 09:30", 1 * HOUR),
        ("9000-01-01 09:00", "0100-01-01 09:00", 0),  # its years are not gone through
        ("2026-01-10 09:00", "2026-01-10 10:00", 0),
    ]
    start, end = np.array([at(text) for text, _, _ in tickets]), np.array([at(text) for _, text, _ in tickets])
    start.flags.writeable = end.flags.writeable = False  # as arrays out of Arrow are
    found = always(OFFICE).seconds_between(start, end)
    assert found.dtype == np.int64
    assert found.tolist() == [seconds for _, _, seconds in tickets]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize(
    ("start", "end"),
    [("0001-01-01T00:00Z", "0001-01-03T00:00:01Z"), ("9999-12-29T23:59:58.999999Z", "9999-12-31T23:59:59.999999Z")],
)
def test_the_first_and_the_last_days(zone: str, start: str, end: str) -> None:
    # 2 days and 1 second
    assert between(always(ALL_HOURS, zone), start, end) == 2 * 24 * HOUR + 1


#: Zones with a day on which their clock turns, and the minutes strictly inside the hour that comes twice. A span that begins
#: or ends there is not what a count of the local minutes gives: the team comes the first time, and leaves the second time.
TURNS = [
    ("Europe/Paris", "2026-03-29", range(0)),
    ("Europe/Paris", "2026-10-25", range(121, 180)),
    ("America/New_York", "2026-03-08", range(0)),
    ("America/New_York", "2026-11-01", range(61, 120)),
    ("America/Havana", "2026-03-08", range(0)),
    ("America/Havana", "2026-11-01", range(1, 60)),
    ("Africa/Cairo", "2026-04-24", range(0)),
    ("Africa/Cairo", "2026-10-30", range(1381, 1440)),
    ("Australia/Lord_Howe", "2026-04-05", range(91, 120)),  # by half an hour
    ("Asia/Kathmandu", "2026-01-01", range(0)),  # never; UTC+05:45
    ("Pacific/Apia", "2011-12-30", range(0)),  # a day left out
]


@st.composite
def weeks(draw: st.DrawFn, without: range = range(0)) -> tuple[Spans, ...]:
    """Any hours, often to midnight and from it, often touching, whose edges are not among some minutes."""
    edges = st.one_of(st.sampled_from([0, 60, 120, 180, 1380, 1440]), st.integers(0, 1440)).filter(
        lambda m: m not in without
    )
    kinds: list[Spans] = [()]
    for _ in range(3):
        rising = sorted(draw(st.sets(edges, max_size=6)))
        kinds.append(tuple(pairwise(rising)))
        kinds.append(tuple(zip(rising[::2], rising[1::2], strict=False)))
    return tuple(draw(st.lists(st.sampled_from(kinds), min_size=7, max_size=7)))


@st.composite
def schedules(draw: st.DrawFn, zone: str, around: datetime.date, without: range = range(0)) -> Schedule:
    """Any schedule with changes and holidays in the week around a day."""
    near = st.integers(-3, 3).map(lambda n: around + datetime.timedelta(days=n))
    changes = [None, *sorted(draw(st.sets(near, max_size=2)))]
    hours = tuple(WorkingHours(day, draw(weeks(without))) for day in changes)
    return Schedule(zone, hours, draw(st.frozensets(near, max_size=2)))


def minute_by_minute(schedule: Schedule, start: int, end: int) -> int:
    """Seconds of the minutes from start to end at whose begin the local clock shows working time."""
    zone = zoneinfo.ZoneInfo(schedule.timezone)
    seconds = 0
    for minute in range(start // MINUTE_US, end // MINUTE_US):
        local = datetime.datetime.fromtimestamp(minute * 60, zone)
        day, clock = local.date(), local.hour * 60 + local.minute
        [*_, hours] = (h for h in schedule.hours if h.valid_from is None or h.valid_from <= day)
        works = any(begin <= clock < stop for begin, stop in hours.week[day.weekday()])
        seconds += 60 * (works and day not in schedule.holidays)
    return seconds


@settings(max_examples=100)
@given(st.data(), st.sampled_from(TURNS), st.integers(-3 * 1440, 3 * 1440), st.integers(0, 3 * 1440))
def test_as_a_count_of_local_minutes(
    data: st.DataObject, turn: tuple[str, str, range], begin: int, length: int
) -> None:
    zone, day, twice = turn
    schedule = data.draw(schedules(zone, datetime.date.fromisoformat(day), twice))
    start = at(f"{day}T12:00Z") + begin * MINUTE_US
    end = start + length * MINUTE_US
    [found] = schedule.seconds_between(np.array([start]), np.array([end])).tolist()
    assert found == minute_by_minute(schedule, start, end)


@settings(max_examples=100)
@given(
    st.data(),
    st.sampled_from(TURNS),
    st.lists(st.one_of(st.integers(-5 * DAY_US, 5 * DAY_US), st.integers(-120, 120).map(lambda h: h * 3_600_000_000)), min_size=3, max_size=3),
)  # fmt: skip
def test_parts_sum_up(data: st.DataObject, turn: tuple[str, str, range], moments: list[int]) -> None:
    zone, day, _ = turn
    schedule = data.draw(schedules(zone, datetime.date.fromisoformat(day)))
    a, b, c = (at(f"{day}T12:00Z") + moment for moment in sorted(moments))
    pairs = [(a, b), (b, c), (a, c), (b, a), (c, a)]
    together = schedule.seconds_between(*(np.array(side) for side in zip(*pairs, strict=True))).tolist()
    # A ticket's time does not depend on the other tickets.
    assert together == [schedule.seconds_between(np.array([p]), np.array([q])).tolist()[0] for p, q in pairs]
    first, second, whole, *backwards = together
    assert first + second <= whole <= first + second + 1  # each part may lose up to a second
    assert 0 <= first <= (b - a) // 1_000_000  # never more than calendar time; `whole` is never less than a part: above
    assert backwards == [0, 0]


def test_a_week_from_settings() -> None:
    week = parse_week(
        {"monday": "09:00-17:00", "TUESDAY": ["13:00-17:30", "9:00-12:00"], "Sunday": " 22:00 - 24:00 ", "friday": []}
    )
    assert week == (((540, 1020),), ((540, 720), (780, 1050)), (), (), (), (), ((1320, 1440),))
    assert parse_week({}) == NO_HOURS
    assert parse_week(dict.fromkeys(WEEKDAYS, "00:00-24:00")) == ALL_HOURS
    touching = parse_week({"monday": ["12:00-17:00", "09:00-12:00"]})
    assert touching[0] == ((540, 720), (720, 1020))
    assert WorkingHours(None, touching).week is touching


@pytest.mark.parametrize("name", ["mon", "Montag", "", "monday ", "weekdays"])
def test_unknown_weekdays(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name!r} is no weekday; write one of monday, .*, sunday"):
        parse_week({name: "09:00-17:00"})


def test_a_weekday_given_twice() -> None:
    with pytest.raises(ValueError, match="monday is given twice, again as 'MONDAY'; put all its hours into one list"):
        parse_week({"Monday": "09:00-12:00", "MONDAY": "13:00-17:00"})


@pytest.mark.parametrize(
    "text",
    ["", "-", "9-17", "09:00", "09:00-", "09:00-17:60", "09:00-24:01", "09:00-25:00", "09:00–17:00", "09.00-17.00",
     "09:00-17:00-18:00", "09:00-17:00, 18:00-19:00", "9:0-17:0", "009:00-17:00", "09:00:00-17:00:00", "9am-5pm", "-1:00-5:00",
     "٠٩:٠٠-١٧:٠٠", "09:00-17:00\nx"],
)  # fmt: skip
def test_malformed_spans(text: str) -> None:
    for texts in (text, ["08:00-08:30", text]):
        with pytest.raises(ValueError) as error:
            parse_week({"Friday": texts})
        assert str(error.value) == f'friday: {text!r} is not a span of hours; write it as "09:00-17:30", up to "24:00"'


@pytest.mark.parametrize(
    "text", ["17:00-09:00", "22:00-06:00", "09:00-09:00", "24:00-24:00", "24:00-06:00", "00:00-00:00", "18:00-00:00"]
)
def test_spans_that_end_before_they_start(text: str) -> None:
    with pytest.raises(
        ValueError, match=f"friday: '{text}' does not end after its start; .* over midnight as two spans"
    ):
        parse_week({"friday": text})


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["09:00-13:00", "12:00-17:00"], "'09:00-13:00' and '12:00-17:00'"),
        (["12:00-17:00", "09:00-12:01"], "'09:00-12:01' and '12:00-17:00'"),
        (["09:00-17:00", "12:00-13:00"], "'09:00-17:00' and '12:00-13:00'"),
        (["09:00-17:00", "09:00-17:00"], "'09:00-17:00' and '09:00-17:00'"),
        (["00:00-24:00", "23:59-24:00"], "'00:00-24:00' and '23:59-24:00'"),
    ],
)
def test_spans_that_overlap(texts: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=f"thursday: {named} overlap; make one span of them, or part them"):
        parse_week({"thursday": texts})


@pytest.mark.parametrize(
    ("spans", "wrong"),
    [
        (((-1, 60),), "(-1, 60) must start at 0 or later"),
        (((60, 60),), "(60, 60) must start at 0 or later and end after its start"),
        (((60, 1441),), "(60, 1441) must start at 0 or later and end after its start, by 1440"),
        (((0, 60), (59, 70)), "(59, 70) must start at 60 or later"),
        (((600, 660), (0, 60)), "(0, 60) must start at 660 or later"),
    ],
)
def test_hours_that_are_none(spans: Spans, wrong: str) -> None:
    with pytest.raises(ValueError) as error:
        WorkingHours(None, (*NO_HOURS[:6], spans))
    assert str(error.value).startswith(f"sunday: the span {wrong}")


def test_a_week_has_seven_days() -> None:
    with pytest.raises(ValueError, match=r"a week of 5 days; give 7, Monday first, a day off as \(\)"):
        WorkingHours(None, NO_HOURS[:5])


@pytest.mark.parametrize("zone", ["", "Paris", "America", "../etc/passwd", "Europe/Atlantis"])
def test_unknown_time_zones(zone: str) -> None:
    with pytest.raises(ValueError, match=f"timezone '{zone}' is not an IANA time zone such as Europe/Paris"):
        always(OFFICE, zone)


def test_hours_out_of_order() -> None:
    first, second = datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)
    not_since_ever: list[list[datetime.date | None]] = [[], [first], [first, None]]
    for days in not_since_ever:
        with pytest.raises(ValueError, match="the first working hours must hold since ever; give them valid_from=None"):
            Schedule("UTC", tuple(WorkingHours(day, OFFICE) for day in days), frozenset())
    not_rising: list[list[datetime.date | None]]
    not_rising = [[None, second, first], [None, first, first], [None, None], [None, first, None]]
    for days in not_rising:
        with pytest.raises(ValueError, match="give each a day of its own, in rising order"):
            Schedule("UTC", tuple(WorkingHours(day, OFFICE) for day in days), frozenset())


def test_the_examples_run() -> None:
    done = doctest.testmod(business_time)
    assert done.attempted > 3 and not done.failed
