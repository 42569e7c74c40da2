"""Timestamps of whole columns, held against Python's datetime on one text at a time."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.timestamps import INVALID, NO_OFFSET, OK, parse_rfc3339

FORM = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:([Zz])|([+-]\d\d:[0-5]\d))?", re.ASCII)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


def parse_slowly(text: str | None) -> tuple[int, int]:
    """(microseconds, status) by datetime, which knows the calendar, after the form that RFC 3339 asks for."""
    if text is None:
        return 0, OK
    match = FORM.fullmatch(text)
    if match is None or len(text) > 63:
        return 0, INVALID
    day, clock, fraction, zulu, offset = match.groups()
    try:
        time = datetime.datetime.fromisoformat(f"{day}T{clock}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}")
        if offset is None and zulu is None:
            return 0, NO_OFFSET
        return (time.astimezone(datetime.UTC) - EPOCH) // MICROSECOND, OK
    except (ValueError, OverflowError):
        return 0, INVALID


def both(texts: list[str | None], kind: pa.DataType = pa.string()) -> None:
    micros, status = parse_rfc3339(pa.array(texts, kind))
    assert (micros.dtype, status.dtype) == (np.int64, np.uint8)
    found = list(zip(texts, micros.tolist(), status.tolist(), strict=True))
    assert found == [(text, *parse_slowly(text)) for text in texts]


times = st.datetimes(
    datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30), timezones=st.one_of(
        st.none(), st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: datetime.timezone(datetime.timedelta(minutes=m)))
    ),
)  # fmt: skip
endings = st.sampled_from(
    ["Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+05:60", "+0530", "+05", " Z", "ZZ"]
)
fractions = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=12).map(lambda d: "." + d), st.sampled_from(
    [".", ".a", ".1a", ",5", ".1 ", ".-1", ".999999999", ".9999995", ". 1"]
))  # fmt: skip
fields = st.tuples(
    st.sampled_from(["0000", "0001", "1900", "1970", "2000", "2023", "2024", "2100", "9999", "+024", "20 4"]),
    st.sampled_from(["00", "01", "02", "04", "12", "13", "1 "]),
    st.sampled_from(["00", "01", "28", "29", "30", "31", "32", "3/"]),
    st.sampled_from(["T", "t", " ", "_", "\u0054"]),
    st.sampled_from(["00", "23", "24", "12"]), st.sampled_from(["00", "59", "60"]), st.sampled_from(["00", "59", "60"]),
    fractions, endings,
).map(lambda p: f"{p[0]}-{p[1]}-{p[2]}{p[3]}{p[4]}:{p[5]}:{p[6]}{p[7]}{p[8]}")  # fmt: skip
right = st.tuples(times, st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"])).map(
    lambda t: t[0].isoformat(timespec=t[1])
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A right text with one character changed, left out or put in."""
    text = draw(right)
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.sampled_from(["", "0", "9", ":", "-", "+", ".", "Z", " ", "\0", "é", "٣", "/"])) + text[
        place + draw(st.integers(0, 1)) :
    ]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.one_of(right, right, fields, damaged(), st.text(max_size=30), st.none()), max_size=20))
@example(["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999-00:01", "9999-12-31T23:59:59.9999999Z"])
def test_agrees_with_datetime(texts: list[str | None]) -> None:
    both(texts)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-02-29T23:59:59.999999Z", "2024-02-29 23:59:59.999999"),
        ("2024-03-01T12:00:00.5+01:00", "2024-03-01 11:00:00.5"),
        ("2024-03-01t12:00:00z", "2024-03-01 12:00:00"),
        ("2024-03-01T12:00:00.1234569Z", "2024-03-01 12:00:00.123456"),  # cut, not rounded
        ("2024-03-01T12:00:00.000000999-23:59", "2024-03-02 11:59:00"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31 23:59:59.999999"),
    ],
)
def test_right_ones(text: str, time: str) -> None:
    micros, status = parse_rfc3339(pa.array([text]))
    assert status.tolist() == [OK]
    assert EPOCH + int(micros[0]) * MICROSECOND == datetime.datetime.fromisoformat(time).replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("2024-03-01T12:00:00", NO_OFFSET), ("2024-03-01T12:00:00.5", NO_OFFSET), ("2024-03-01", INVALID),
        ("2024-03-01T12:00:60Z", INVALID), ("2023-02-29T12:00:00Z", INVALID), ("2024-03-01T24:00:00Z", INVALID),
        ("2024-03-01 12:00:00Z", INVALID), ("2024-03-01T12:00:00.Z", INVALID), ("2024-03-01T12:00Z", INVALID),
        ("2024-03-01T12:00:00+24:00", INVALID), ("2024-03-01T12:00:00+0100", INVALID), ("", INVALID),
        ("2024-03-01T12:00:00.", INVALID), ("2024-02-30T12:00:00", INVALID), (" 2024-03-01T12:00:00Z", INVALID),
        ("2024-03-01T12:00:00Z\n", INVALID), ("2024-03-01T12:00:00." + "1" * 50 + "Z", INVALID), ("0000-01-01T00:00:00Z", INVALID),
    ],
)  # fmt: skip
def test_wrong_ones(text: str, status: int) -> None:
    assert parse_rfc3339(pa.array([text]))[1].tolist() == [status]


def test_any_kind_of_column() -> None:
    texts = [None, "2024-03-01T12:00:00Z", None, "x", "2024-03-01T12:00:00+02:00", ""]
    both(texts, pa.large_string())
    both([None, None])
    both([])
    micros, status = parse_rfc3339(pa.array(["x", *texts])[2:5])
    assert status.tolist() == [OK, OK, INVALID]
    assert micros.tolist() == [1_709_294_400_000_000, 0, 0]
