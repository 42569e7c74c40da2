"""Calendar months of a time zone, held against zoneinfo on one moment at a time."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.metric_inputs import Calendar
from transforms.time_zones import Periods, micros, next_month

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Pacific/Apia", "Asia/Kathmandu", "America/Sao_Paulo"]
HOUR = 3_600_000_000


@settings(max_examples=150)
@given(
    st.sampled_from(ZONES),
    st.lists(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2037, 12, 30)), min_size=1, max_size=8),
    st.integers(-2, 2),
)
def test_the_month_is_the_local_one(zone: str, local: list[datetime.datetime], shift: int) -> None:
    info = zoneinfo.ZoneInfo(zone)
    # The moments themselves, and the ones next to the beginnings of their months.
    moments = [micros(time.replace(tzinfo=info)) for time in local]
    moments += [micros(datetime.datetime(t.year, t.month, 1, tzinfo=info)) + shift for t in local]
    moments += [moments[0] + shift * HOUR]
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    expected = [(epoch + datetime.timedelta(microseconds=m)).astimezone(info).date().replace(day=1) for m in moments]
    assert Periods(zone).of(np.array(moments)).to_pylist() == expected


@pytest.mark.parametrize(
    ("zone", "day", "utc"),
    [
        ("America/New_York", datetime.date(2026, 1, 1), "2026-01-01 05:00"),
        ("America/New_York", datetime.date(2026, 4, 1), "2026-04-01 04:00"),  # daylight saving since 8 March
        ("America/New_York", datetime.date(2026, 11, 1), "2026-11-01 04:00"),  # ends at 2 o'clock of this very day
        ("Europe/Berlin", datetime.date(2026, 1, 1), "2025-12-31 23:00"),
        ("Europe/Berlin", datetime.date(2026, 4, 1), "2026-03-31 22:00"),
        ("Europe/Berlin", datetime.date(2026, 11, 1), "2026-10-31 23:00"),  # winter time since 25 October
    ],
)
def test_a_month_begins_at_its_local_midnight(zone: str, day: datetime.date, utc: str, microseconds: Any) -> None:
    months = Periods(zone)
    begins = microseconds(utc)
    assert months.begins(day) == begins
    before = (day - datetime.timedelta(days=1)).replace(day=1)
    assert months.of(np.array([begins - 1, begins])).to_pylist() == [before, day]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_december_9999_is_the_last_month_everywhere(zone: str) -> None:
    """Its end may be January 10000 on the wall of Kiritimati, which Python cannot say."""
    low, high = (
        datetime.datetime(9999, 11, 5, tzinfo=datetime.UTC),
        datetime.datetime.max.replace(tzinfo=datetime.UTC),
    )
    november, december = datetime.date(9999, 11, 1), datetime.date(9999, 12, 1)
    days, begins = Periods(zone).between(low, high)
    assert days == [november, december] and begins == sorted(begins)
    moments = np.array([micros(low), micros(high)])
    assert Periods(zone).of(moments).to_pylist() == days
    assert Periods(zone).local_day(high) >= datetime.date(9999, 12, 31)
    calendar = Calendar(Periods(zone), high)
    assert calendar.table(november)["month"].to_pylist() == days
    assert [calendar.is_over(day) for day in days] == [True, False]


def test_a_column_keeps_its_nulls(microseconds: Any) -> None:
    times = [None, microseconds("2026-02-01"), None, microseconds("2025-12-31 23:59:59.999999"), None]
    column = pa.chunked_array(
        [pa.array(times[:2], pa.timestamp("us", "UTC")), pa.array(times[2:], pa.timestamp("us", "UTC"))]
    )
    found = Periods("UTC").of_column(column)
    assert found.to_pylist() == [None, datetime.date(2026, 2, 1), None, datetime.date(2025, 12, 1), None]
    assert Periods("UTC").of_column(pa.chunked_array([pa.nulls(2, pa.timestamp("us", "UTC"))])).to_pylist() == [
        None,
        None,
    ]


def test_the_months_between_two_moments() -> None:
    low, high = (
        datetime.datetime(2025, 11, 30, 23, 30, tzinfo=datetime.UTC),
        datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC),
    )
    assert Periods("UTC").between(low, high)[0] == [datetime.date(2025, 11, 1), *(
        datetime.date(y, m, 1) for y, m in ((2025, 12), (2026, 1), (2026, 2))
    )]  # fmt: skip
    assert Periods("Europe/Berlin").between(low, low)[0] == [datetime.date(2025, 12, 1)]


def test_next_month() -> None:
    assert next_month(datetime.date(2025, 12, 1)) == datetime.date(2026, 1, 1)
    assert next_month(datetime.date(2026, 1, 1)) == datetime.date(2026, 2, 1)


def test_micros_loses_nothing() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=45))
    assert micros(datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC)) == -1
    assert (
        micros(datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=zone))
        == 253_402_300_799_999_999 - 20_700_000_000
    )
