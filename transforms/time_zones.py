"""Moments and periods of the calendar in a time zone: months, and on request quarters, weeks and days."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def micros(time: datetime.datetime) -> int:
    """Microseconds since 1970 UTC of an aware time."""
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


Kind = Literal["month", "quarter", "week", "day"]
_ONE_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Periods:
    """Periods of a time zone. One begins at the local midnight of its first day, daylight saving included.

    Weeks begin on Monday (ISO 8601).
    """

    timezone: str
    kind: Kind = "month"

    def of(self, time: np.ndarray) -> pa.Array:
        """date32[n]: the first day of the local period of each moment (int64 microseconds UTC).

        Works out the boundaries once, so that a moment costs one binary search among some hundred periods.
        """
        if not len(time):
            return pa.array([], pa.date32())
        low = _EPOCH + datetime.timedelta(microseconds=int(time.min()))
        high = _EPOCH + datetime.timedelta(microseconds=int(time.max()))
        days, begins = self.between(low, high)
        place = np.searchsorted(np.array(begins), time, "right") - 1
        return pa.array(days, pa.date32()).take(pa.array(place))

    def of_column(self, times: pa.ChunkedArray) -> pa.Array:
        """As `of`, for a column of timestamps; null stays null."""
        valid = np.asarray(times.is_valid().to_numpy())
        periods = self.of(times.drop_null().cast(pa.int64()).to_numpy())
        place = np.cumsum(valid) - 1
        return periods.take(pa.array(place, mask=~valid))

    def begins(self, day: datetime.date) -> int:
        """Microseconds UTC at which a local day begins."""
        return micros(datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(self.timezone)))

    def local_day(self, time: datetime.datetime) -> datetime.date:
        """The local day of an aware time."""
        return _local_day(time, zoneinfo.ZoneInfo(self.timezone))

    def first_day(self, day: datetime.date) -> datetime.date:
        """The first day of the period that a day lies in.

        >>> [str(Periods("UTC", kind).first_day(datetime.date(2026, 2, 18))) for kind in ("month", "quarter", "week", "day")]
        ['2026-02-01', '2026-01-01', '2026-02-16', '2026-02-18']
        """
        if self.kind == "month":
            return day.replace(day=1)
        if self.kind == "quarter":
            return datetime.date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
        return day - day.weekday() * _ONE_DAY if self.kind == "week" else day

    def after(self, first_day: datetime.date) -> datetime.date | None:
        """The first day of the next period; None after the last that has a name: Python's years end with 9999."""
        try:
            if self.kind == "month":
                return next_month(first_day)
            if self.kind == "quarter":
                return next_month(next_month(next_month(first_day)))
            return first_day + (7 if self.kind == "week" else 1) * _ONE_DAY
        except (ValueError, OverflowError):
            return None

    def between(self, low: datetime.datetime, high: datetime.datetime) -> tuple[list[datetime.date], list[int]]:
        """The periods that hold low to high: their first days, and the microseconds UTC at which they begin.

        The last of the year 9999 is the last: where it is already the next year by the clock on the wall, it goes on.
        """
        day: datetime.date | None = self.first_day(self.local_day(low))
        end = self.local_day(high)
        days, begins = [], []
        while day is not None and day <= end:
            days.append(day)
            begins.append(self.begins(day))
            day = self.after(day)
        return days, begins


def _local_day(time: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.date:
    """The day on the wall; at the edges of Python's years, the nearest one that there is."""
    try:
        return time.astimezone(zone).date()
    except OverflowError:
        return datetime.date.max if time.year == datetime.MAXYEAR else datetime.date.min


def next_month(day: datetime.date) -> datetime.date:
    """The first day of the month after that of a day. Raises ValueError after December 9999."""
    return datetime.date(day.year + day.month // 12, day.month % 12 + 1, 1)
