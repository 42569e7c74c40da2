"""Which touches led to which conversion: what channel paths and channel credit are both made of.

A touch is the first touchpoint of a session that carries a channel. The window of a conversion reaches from so many
calendar days before it up to it; that of a customer who never converted, up to the last touch. An earlier conversion does
not cut a window: whoever orders again within the days was brought there by the same touches (as in Snowplow's model).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.batches import ShardTables
from transforms.columns import one_chunk
from transforms.metric_inputs import Calendar
from transforms.runs import changes, position_in_time

#: Outcomes that are a conversion; a renewal keeps what was won before.
CONVERSIONS = ("order", "subscription_started")
#: Of more touches in a window the last count: a robot's ten thousand sessions must not be told for each of its orders.
MOST_TOUCHES = 100


@dataclass(frozen=True)
class ChannelTouches:
    """`windows`: one row a window (sql/channel_windows.sql). The others, [touches in windows], in the order of windows and
    time: `window` (row of windows), `channel` (index of `names`), `time` (int64 microseconds)."""

    windows: pa.Table
    window: np.ndarray
    channel: np.ndarray
    time: np.ndarray
    names: pa.Array

    @property
    def touches(self) -> np.ndarray:
        """int64[windows]: how many each window has."""
        return np.bincount(self.window, minlength=self.windows.num_rows)


def channel_touches(
    shard: ShardTables, look_back_days: int, calendar: Calendar, connection: duckdb.DuckDBPyConnection
) -> ChannelTouches:
    """Of a shard with journeys. Days are calendar days in the calendar's time zone."""
    touchpoints, journeys = shard["touchpoints"], shard["journeys"]
    customer = touchpoints["customer_no"].to_numpy()
    time = touchpoints["occurred_at"].cast(pa.int64()).to_numpy()
    encoded = one_chunk(touchpoints["channel"]).dictionary_encode()
    channel = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    touch = first_touches(touchpoints["session_no"].to_numpy(), channel)
    tables = {
        "touches": pa.table(
            {"customer_no": pa.array(customer[touch]), "touched_at": touchpoints["occurred_at"].take(pa.array(touch))}
        ),
        "journeys": pa.table(
            {
                "journey_id": pa.array(np.arange(journeys.num_rows)),
                **{name: journeys[name] for name in ("customer_no", "outcome", "ended_at")},
                "currency": closing_currency(touchpoints, journeys.num_rows),
            }
        ),
    }
    windows = duck.select_windows(
        connection,
        duck.read_sql("channel_windows"),
        tables,
        {"as_of": calendar.as_of, "timezone": calendar.months.timezone, "look_back_days": look_back_days},
    )
    of = windows["customer_no"].to_numpy()
    begins, ends = (windows[name].cast(pa.int64()).to_numpy() for name in ("begins_at", "ended_at"))
    touch_time, touch_customer = time[touch], customer[touch]
    first, stop = np.searchsorted(touch_customer, of, "left"), np.searchsorted(touch_customer, of, "right")
    low = position_in_time(touch_time, first, stop, begins - 1)
    high = position_in_time(touch_time, first, stop, ends)
    low = np.maximum(low, high - MOST_TOUCHES)
    count = high - low
    window = np.repeat(np.arange(windows.num_rows), count)
    place = low[window] + np.arange(len(window)) - (np.cumsum(count) - count)[window]
    return ChannelTouches(windows, window, channel[touch][place], touch_time[place], encoded.dictionary)


def first_touches(session: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """int64[touches]: the first row of each session (-1: of none) that has a channel (-1: none), rising."""
    rows = np.flatnonzero((session >= 0) & (channel >= 0))
    first = np.full(int(session.max(initial=-1)) + 1, -1, np.int64)
    first[session[rows[::-1]]] = rows[::-1]  # the last assignment wins: the first row
    return np.sort(first[first >= 0])


def closing_rows(touchpoints: pa.Table) -> np.ndarray:
    """int64[journeys]: the row of each journey's outcome, or its last; later lines and refunds of an order are not it."""
    journey = touchpoints["journey_id"].to_numpy()
    base = base_rows(touchpoints)
    of = journey[base]
    return base[np.append(changes(of)[1:], True)] if len(base) else base


def base_rows(touchpoints: pa.Table) -> np.ndarray:
    """int64[m]: the rows that make journeys: all but the later lines and refunds of an order (build_journeys.py)."""
    order_row = touchpoints["order_row"].fill_null(-1).to_numpy()
    return np.flatnonzero((order_row < 0) | (order_row == np.arange(len(order_row))))


def closing_currency(touchpoints: pa.Table, journeys: int) -> pa.Array:
    """string[journeys]: the currency of the event that closed each journey."""
    rows = closing_rows(touchpoints)
    assert len(rows) == journeys
    return one_chunk(touchpoints["currency"]).take(pa.array(rows))


def is_conversion(outcomes: pa.ChunkedArray) -> np.ndarray:
    """bool[n]: the outcome is a conversion."""
    found = pc.is_in(one_chunk(outcomes), value_set=pa.array(CONVERSIONS))
    return np.asarray(found.to_numpy(zero_copy_only=False))


def as_micros(times: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: microseconds UTC, -1 where null."""
    return np.asarray(times.cast(pa.int64()).fill_null(-1).to_numpy())
