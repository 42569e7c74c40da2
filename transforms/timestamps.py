"""RFC 3339 timestamps with an offset, whole columns at a time, to UTC microseconds.

Texts of one length are cut into a matrix of digits, so the cost is a few numpy operations a column and not a parser
call a value.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

OK, NO_OFFSET, INVALID = 0, 1, 2
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MAX_LENGTH = 64
#: The years 1 to 9999 in UTC: an offset may lead out of them, and no reader of the tables could show such a time.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


def parse_rfc3339(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Parse `YYYY-MM-DDThh:mm:ss[.f...](Z|+hh:mm)`; digits past the sixth are cut; second 60 is invalid.

    Args: texts, string[n] (nulls give OK and 0).
    Returns: (int64[n] microseconds since 1970 UTC, uint8[n] of OK, NO_OFFSET or INVALID).
    Source of the rules: RFC 3339 section 5.6, and docs/data-model.md "Times".
    """
    n = len(texts)
    micros = np.zeros(n, np.int64)
    status = np.full(n, INVALID, np.uint8)
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    status[~valid] = OK
    _, offsets_buffer, data_buffer = texts.buffers()
    if data_buffer is None or n == 0:
        return micros, status
    data = np.frombuffer(data_buffer, np.uint8)
    dtype = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    offsets = np.frombuffer(offsets_buffer, dtype)[texts.offset : texts.offset + n + 1]
    lengths = np.diff(offsets)
    counts = np.bincount(np.minimum(lengths[valid], _MAX_LENGTH), minlength=_MAX_LENGTH + 1)
    for length in np.flatnonzero(counts):
        if 19 <= length < _MAX_LENGTH:
            rows = np.flatnonzero(valid & (lengths == length))
            windows = np.lib.stride_tricks.sliding_window_view(data, int(length))
            micros[rows], status[rows] = _parse_fixed(np.ascontiguousarray(windows[offsets[rows]].T))
    return micros, status


def _calendar() -> tuple[np.ndarray, np.ndarray]:
    """For year * 12 + month - 1: days from 1970-01-01 to the month's first, and the month's length."""
    year, month = np.divmod(np.arange(10_000 * 12), 12)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = np.array(_DAYS_IN_MONTH)[month] + ((month == 1) & leap)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    return (starts - starts[1970 * 12]).astype(np.int32), lengths.astype(np.int32)


_MONTH_START, _MONTH_LENGTH = _calendar()


def _parse_fixed(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parse uint8[length, n], 19 <= length: one row a place, so that each operation runs over adjacent bytes."""
    digits = text - 48  # uint8: what is no digit wraps to more than 9
    bad = np.zeros(text.shape[1], bool)
    for place in (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18):
        bad |= digits[place] > 9
    for place, mark in ((4, 45), (7, 45), (13, 58), (16, 58)):
        bad |= text[place] != mark
    bad |= (text[10] | 32) != 116  # T or t

    def pair(place: int) -> np.ndarray:
        return digits[place] * np.uint8(10) + digits[place + 1]

    month, day, hour, minute, second = pair(5), pair(8), pair(11), pair(14), pair(17)
    year = pair(0).astype(np.int32) * 100 + pair(2)
    bad |= (month < 1) | (month > 12) | (day < 1) | (hour > 23) | (minute > 59) | (second > 59) | (year < 1)
    index = np.where(bad, 0, year * 12 + month - 1)
    bad |= day > _MONTH_LENGTH[index]
    seconds = (_MONTH_START[index] + day.astype(np.int32) - 1).astype(np.int64) * 86_400
    seconds += hour.astype(np.int32) * 3_600 + minute.astype(np.int32) * 60 + second
    micros = seconds * 1_000_000

    plain = _add_plain_fraction(text, digits, micros)
    status = np.where(bad, INVALID, OK).astype(np.uint8)
    odd = np.flatnonzero(~plain & ~bad)
    if len(odd):
        tail = np.ascontiguousarray(text[:, odd].T)
        fraction, end, fraction_bad = _fraction(tail)
        offset, no_offset, offset_bad = _offset(tail, end)
        micros[odd] += fraction - offset * 60_000_000
        beyond = (micros[odd] < _FIRST) | (micros[odd] > _LAST)
        status[odd] = np.where(fraction_bad | offset_bad | beyond, INVALID, np.where(no_offset, NO_OFFSET, OK))
    return np.where(status == OK, micros, 0), status


def _add_plain_fraction(text: np.ndarray, digits: np.ndarray, micros: np.ndarray) -> np.ndarray:
    """Add the fraction where the text ends in `.ddd...Z` or `Z`, in place; bool[n]: where it does."""
    length = len(text)
    if length == 19:
        return np.zeros(text.shape[1], bool)
    plain = (text[length - 1] | 32) == 122
    if length == 20:
        return plain
    plain &= (text[19] == 46) & (length > 21)
    fraction = np.zeros(text.shape[1], np.int32)
    for place in range(20, length - 1):
        plain &= digits[place] <= 9
        if place < 26:
            fraction += digits[place] * np.int32(10 ** (25 - place))
    np.add(micros, fraction, out=micros, where=plain)
    return plain


def _fraction(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of uint8[n, length]: the fraction in microseconds, where it ends, and whether a point has no digit behind it."""
    n, length = text.shape
    if length == 19:
        return np.zeros(n, np.int64), np.full(n, 19), np.zeros(n, bool)
    has_point = text[:, 19] == 46
    running = has_point.copy()
    digits = np.zeros(n, np.int64)
    micros = np.zeros(n, np.int64)
    for place in range(20, length):
        digit = text[:, place].astype(np.int64) - 48
        running &= (digit >= 0) & (digit <= 9)
        if not running.any():
            break
        if place < 26:
            micros += np.where(running, digit * 10 ** (25 - place), 0)
        digits += running
    end = np.where(has_point, 20 + digits, 19)
    return micros, end, has_point & (digits == 0)


def _offset(text: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The offset in minutes from `start[n]` on: (minutes, is absent, is malformed)."""
    n, length = text.shape
    left = length - start
    padded = np.concatenate([text, np.zeros((n, 6), np.uint8)], axis=1)
    tail = padded[np.arange(n)[:, None], start[:, None] + np.arange(6)].astype(np.int64)
    zulu = (left == 1) & ((tail[:, 0] == 90) | (tail[:, 0] == 122))
    sign = np.where(tail[:, 0] == 43, 1, np.where(tail[:, 0] == 45, -1, 0))
    digits = tail[:, [1, 2, 4, 5]] - 48
    hours, minutes = digits[:, 0] * 10 + digits[:, 1], digits[:, 2] * 10 + digits[:, 3]
    numeric = (left == 6) & (sign != 0) & (tail[:, 3] == 58) & ((digits >= 0) & (digits <= 9)).all(axis=1)
    numeric &= (hours <= 23) & (minutes <= 59)
    absent = left == 0
    return np.where(numeric, sign * (hours * 60 + minutes), 0), absent, ~(zulu | numeric | absent)
