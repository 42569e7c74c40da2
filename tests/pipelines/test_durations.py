"""Spans of time, as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.durations import LONGEST_S, parse_duration, spelled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800), ("2w", 1_209_600), ("1h30m", 5_400),
        ("1d12h", 129_600), (" 90m ", 5_400), ("3650d", LONGEST_S), ("0d1s", 1),
    ],
)  # fmt: skip
def test_spans_that_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a span"), ("7", "is not a span"), ("7 days", "is not a span"), ("1.5h", "is not a span"),
        ("-1h", "is not a span"), ("1y", "is not a span"), ("1H", "is not a span"), ("h", "is not a span"),
        (7, "is not a span"), (None, "is not a span"), ("٣d", "is not a span"), ("9999999999s", "is not a span"),
        ("30m1h", "in another order"), ("1h1h", "units twice"), ("0m", "longer than nothing"),
        ("3651d", "at most 3650d"), ("3650d1s", "at most 3650d"),
    ],
)  # fmt: skip
def test_spans_that_are_not(text: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.5, "0.5s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3_600, "1h"), (3_601, "1h"),
        (5_400, "1h 30m"), (86_400, "1d"), (90_000, "1d 1h"), (86_460, "1d"), (604_800, "7d"), (3_599.6, "1h"),
    ],
)  # fmt: skip
def test_spans_as_they_are_told(seconds: float, text: str) -> None:
    assert spelled(seconds) == text


@given(st.integers(1, LONGEST_S))
def test_any_number_of_seconds_is_a_span(seconds: int) -> None:
    assert parse_duration(f"{seconds}s") == seconds
