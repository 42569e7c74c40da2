"""What breaks the order of touchpoints is found where it stands, and nothing else is."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.timelines import BREAKS, MOST, all_breaks, check_timelines

START = datetime(2026, 1, 1, tzinfo=UTC)
Row = tuple[str | None, int | None, int]


def touchpoints(*rows: Row) -> pa.Table:
    """(customer_key, seq, minute) a row."""
    keys, seqs, minutes = ([row[i] for row in rows] for i in range(3))
    moments = pa.array([START + timedelta(minutes=m or 0) for m in minutes], pa.timestamp("us", "UTC"))
    return pa.table(
        {"customer_key": pa.array(keys, pa.string()), "seq": pa.array(seqs, pa.int64()), "occurred_at": moments}
    )


def breaks(*rows: Row) -> list[tuple[str, str | None, int | None]]:
    found = check_timelines(touchpoints(*rows)).breaks
    return [(row["rule"], row["customer_key"], row["seq"]) for row in found.to_pylist()]


RIGHT: tuple[Row, ...] = (("b", 1, 5), ("b", 2, 5), ("b", 3, 9), ("a", 1, 0), ("c", 1, 7), ("c", 2, 8))


def test_right_timelines_have_no_breaks() -> None:
    checked = check_timelines(touchpoints(*RIGHT))
    assert checked.breaks.num_rows == 0 and checked.breaks.schema == BREAKS
    assert sorted(checked.customers.to_pylist()) == ["a", "b", "c"]
    assert check_timelines(touchpoints()).breaks.num_rows == 0


@pytest.mark.parametrize(
    ("place", "row", "found"),
    [
        (1, ("b", 3, 5), [("seq_has_no_gaps", "b", 3), ("seq_has_no_gaps", "b", 3)]),  # 1, 3, 3
        (0, ("b", 0, 5), [("seq_has_no_gaps", "b", 0), ("seq_has_no_gaps", "b", 2)]),
        (3, ("a", 2, 0), [("seq_has_no_gaps", "a", 2)]),  # does not begin with 1
        (2, ("b", None, 9), [("seq_has_no_gaps", "b", None)]),
        (2, ("b", 3, 4), [("time_goes_forward", "b", 3)]),
        (5, ("b", 1, 9), [("customer_is_in_one_place", "b", 1)]),
        (5, (None, 1, 9), []),  # that a key is missing is another rule's
    ],
)
def test_each_break_is_found_where_it_stands(place: int, row: Row, found: list[object]) -> None:
    rows = list(RIGHT)
    rows[place] = row
    assert breaks(*rows) == found


def test_a_break_says_what_was_found() -> None:
    [told] = check_timelines(touchpoints(("a", 1, 5), ("a", 2, 4))).breaks["found"].to_pylist()
    assert told == "row 1 of its file: seq 2, 2026-01-01 00:04:00.000000Z, after seq 1"


def test_no_more_are_told_than_anybody_reads() -> None:
    rows = [("a", 7, 0)] * 1000
    assert (
        all_breaks([check_timelines(touchpoints(*rows))]).num_rows == MOST  # each a gap, none back in time
    )  # each a gap, none back in time


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 3)), max_size=12))
def test_it_agrees_with_a_plain_reading(rows: list[Row]) -> None:
    expected = []
    seen: set[str | None] = set()
    for number, (key, seq, minute) in enumerate(rows):
        before = rows[number - 1] if number else (None, 0, 0)
        begins = number == 0 or before[0] != key
        if seq != (1 if begins else (before[1] or 0) + 1):
            expected.append(("seq_has_no_gaps", key, seq))
        if not begins and minute < before[2]:
            expected.append(("time_goes_forward", key, seq))
        if begins and key in seen:
            expected.append(("customer_is_in_one_place", key, seq))
        seen.add(key)
    assert sorted(breaks(*rows)) == sorted(expected)
