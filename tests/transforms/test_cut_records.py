"""A stream of text to whole records. How whole files are read on any cut is held by test_read_blocks."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.cut_records import STEP, ReadLimits, RecordEnds, TextStream, TooLong, cut_records, skip_to_line


def stream(data: bytes) -> TextStream:
    return TextStream(io.BytesIO(data), "")


def cut(data: bytes, limits: ReadLimits, stop: int | None = None, quoted: bool = False) -> list[bytes | TooLong]:
    found: list[bytes | TooLong] = []
    for piece in cut_records(stream(data), 0, stop, quoted, limits):
        if isinstance(piece, TooLong):
            found.append(piece)
        else:
            starts = np.concatenate(([0], piece[2][:-1] + 1))
            found += [piece[1][a : b + 1] for a, b in zip(starts, piece[2], strict=True)]
    return found


@pytest.mark.parametrize(
    ("data", "quoted", "ends"),
    [
        (b"a\nb\n", False, [1, 3]), (b'"\n"\n', False, [1, 3]), (b'"\n"\n', True, [3]), (b'a,"\n"\n', True, [5]),
        (b'""\n', True, [2]), (b"", True, []), (b'"a""\n""b"\n', True, [9]), (b'"a"",",\n1\n', True, [7, 9]),
        (b'5" pipe\n"x\ny"\n', True, [7, 13]),  # a quote inside of a field is a letter
        (b'a"\n"b"\n', True, [2, 6]), (b'"a"b"\nc\n', True, [5, 7]), (b'"\n\n', True, []), (b' "\n"\n', True, [2]),
    ],
)  # fmt: skip
def test_where_records_end(data: bytes, quoted: bool, ends: list[int]) -> None:
    assert RecordEnds(quoted).find(data).tolist() == ends


@given(st.text(st.sampled_from('a",\n'), max_size=40), st.lists(st.integers(0, 40), max_size=5))
@example('"a""\n""b"\n', [3, 4, 7])
@example('a,"\n",5"\n', [2, 3])
def test_a_text_in_pieces_ends_where_the_whole_does(text: str, cuts: list[int]) -> None:
    data, record_ends, found = text.encode(), RecordEnds(quoted=True), []
    for start, stop in pairwise([0, *sorted(cuts), len(data)]):
        found += [int(end) + start for end in record_ends.find(data[start:stop])]
    assert found == RecordEnds(quoted=True).find(data).tolist()


def test_a_stream_takes_bytes_back() -> None:
    text = stream(b"abcdef")
    assert text.read(4) == b"abcd"
    text.unread(b"cd")
    assert (text.read(1), text.read(10), text.read(10)) == (b"c", b"d", b"ef")
    assert (text.consumed(), text.consumed()) == (6, 0)
    text.unread(b"zz")
    text.seek(1)
    assert text.read(2) == b"bc"


@pytest.mark.parametrize(("position", "line"), [(1, 3), (2, 3), (3, 3), (4, 6), (6, 6), (7, 8)])
def test_the_first_line_that_begins_at_or_behind(position: int, line: int) -> None:
    assert skip_to_line(stream(b"ab\ncd\nef"), position) == line


def test_a_range_owns_the_records_that_begin_in_it() -> None:
    data = b"aa\nbb\ncc\n"
    assert [cut(data, ReadLimits(1), stop) for stop in (1, 3, 4, 6, 9)] == [
        [b"aa\n"], [b"aa\n"], [b"aa\n", b"bb\n"], [b"aa\n", b"bb\n"], [b"aa\n", b"bb\n", b"cc\n"],
    ]  # fmt: skip


def test_what_was_read_ahead_is_no_record_that_is_too_long() -> None:
    data = b"a\n" + b"b\n" * STEP
    assert cut(data, ReadLimits(block_bytes=1, max_record_bytes=10), stop=1) == [b"a\n"]


def test_a_record_that_is_too_long_is_passed_over() -> None:
    limits = ReadLimits(block_bytes=4, max_record_bytes=5, raw_cap=3)
    long = b"x" * (3 * STEP)
    assert cut(b"a\n" + long + b"\nb\n", limits) == [b"a\n", TooLong(2, b"xxx", len(long)), b"b\n"]
    assert cut(b"a\n" + long, limits) == [b"a\n", TooLong(2, b"xxx", len(long))]
    quoted = b'"' + b"\n" * 20 + b'"'
    assert cut(quoted + b"\nb\n", limits, quoted=True) == [TooLong(0, b'"\n\n', 22), b"b\n"]


def test_a_quote_that_is_never_closed_makes_the_rest_one_record() -> None:
    assert cut(b'a\n"b\nc\n', ReadLimits(), quoted=True) == [b"a\n", b'"b\nc\n']


def test_the_last_line_needs_no_end_and_a_bom_stands_only_at_the_start() -> None:
    bom = b"\xef\xbb\xbf"
    assert cut(bom + b"a\n" + bom + b"b", ReadLimits(2)) == [b"a\n", bom + b"b\n"]
