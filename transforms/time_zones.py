"""Moments and calendar months in a time zone."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def micros(time: datetime.datetime) -> int:
    """Microseconds since 1970 UTC of an aware time."""
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


@dataclass(frozen=True)
class Months:
    """Calendar months of a time zone. A month begins at its local midnight, daylight saving included."""

    timezone: str

    def of(self, time: np.ndarray) -> pa.Array:
        """date32[n]: the first day of the local month of each moment (int64 microseconds UTC).

        Works out the boundaries once, so that a moment costs one binary search among some hundred months.
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
        months = self.of(times.drop_null().cast(pa.int64()).to_numpy())
        place = np.cumsum(valid) - 1
        return months.take(pa.array(place, mask=~valid))

    def begins(self, day: datetime.date) -> int:
        """Microseconds UTC at which a local day begins."""
        return micros(datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(self.timezone)))

    def local_day(self, time: datetime.datetime) -> datetime.date:
        """The local day of an aware time."""
        return _local_day(time, zoneinfo.ZoneInfo(self.timezone))

    def between(self, low: datetime.datetime, high: datetime.datetime) -> tuple[list[datetime.date], list[int]]:
        """The months that hold low to high: their first days, and the microseconds UTC at which they begin.

        December 9999 is the last: where it is already the next year by the clock on the wall, it goes on.
        """
        zone = zoneinfo.ZoneInfo(self.timezone)
        day = _local_day(low, zone).replace(day=1)
        end = _local_day(high, zone)
        days, begins = [], []
        while day <= end:
            days.append(day)
            begins.append(micros(datetime.datetime(day.year, day.month, 1, tzinfo=zone)))
            if day == LAST_MONTH:
                break
            day = next_month(day)
        return days, begins


#: The last month that has a name: Python's years end with it.
LAST_MONTH = datetime.date(9999, 12, 1)


def _local_day(time: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.date:
    """The day on the wall; at the edges of Python's years, the nearest one that there is."""
    try:
        return time.astimezone(zone).date()
    except OverflowError:
        return datetime.date.max if time.year == datetime.MAXYEAR else datetime.date.min


def next_month(day: datetime.date) -> datetime.date:
    """The first day of the month after that of a day. Raises ValueError after LAST_MONTH."""
    return datetime.date(day.year + day.month // 12, day.month % 12 + 1, 1)
