"""CSV, held against Python's csv module in its strict form, one record at a time."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.candidates import Block
from transforms.parse_csv import HeaderError, column_names, parse_csv

Cells = list[str | None]


def parse(records: list[str], header: str = "a,b") -> tuple[list[Cells], list[int]]:
    """(rows in order, numbers of the bad records)."""
    table = pa.table({"record": pa.array(records, pa.string())}, metadata={b"header": header.encode()})
    found, bad = parse_csv(Block("events", "file", "csv", table, np.arange(len(records))))
    assert found.schema.types == [pa.string()] * len(found.schema)
    assert found.num_rows + len(bad) == len(records)
    return [list(row.values()) for row in found.to_pylist()], sorted(bad.tolist())


def parse_slowly(records: list[str], columns: int = 2) -> tuple[list[Cells], list[int]]:
    rows: list[Cells] = []
    bad = []
    for number, record in enumerate(records):
        try:
            parsed = list(csv.reader(io.StringIO(record), strict=True))
        except csv.Error:
            parsed = []
        if len(parsed) == 1 and len(parsed[0]) == columns:
            rows.append([cell or None for cell in parsed[0]])
        else:
            bad.append(number)
    return rows, bad


cells = st.text(st.sampled_from("ab\",\n\r é;'\t0.5"), max_size=6)
tables = st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=8)


@settings(max_examples=200)
@given(tables, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_reads_what_python_writes(rows: list[list[str]], quoting: int, end: str, with_ends: bool) -> None:
    records = []
    for row in rows:
        text = io.StringIO()
        csv.writer(text, quoting=quoting, lineterminator="\r\n").writerow(row)
        records.append(text.getvalue().removesuffix("\r\n") + (end if with_ends else ""))
    assert parse(records) == ([[cell or None for cell in row] for row in rows], [])


@st.composite
def hostile(draw: st.DrawFn) -> list[str]:
    """Any text, cut into records as the reader cuts: at line ends outside of quoted fields; blank lines are none."""
    text = draw(st.text(st.sampled_from('aab",,,\n\n\r é'), max_size=60))
    records, start, inside, opens = [], 0, False, True
    for place, character in enumerate(text):
        if character == '"' and (inside or opens):
            inside = not inside
            opens = not inside  # doubled, it opens again
            continue
        if character == "\n" and not inside:
            records.append(text[start : place + 1])
            start = place + 1
        opens = character in ",\n"
    return [record for record in records if record.strip()]


@settings(max_examples=300)
@given(hostile())
@example(["a,b\n", '"a" ,b\n', '"a",b\n'])
@example(['a,"b\n', 'c","d\n'])
def test_each_record_is_read_as_if_it_stood_alone(records: list[str]) -> None:
    assert parse(records) == parse_slowly(records)


def test_a_record_with_more_or_fewer_fields_is_bad_and_no_other() -> None:
    assert parse(["1,2\n", "1\n", "1,2,3\n", ",\n", "3,4\n"]) == ([["1", "2"], [None, None], ["3", "4"]], [1, 2])


def test_a_stray_quote_spoils_its_own_record_only() -> None:
    assert parse(["1,2\n", '"a"b,2\n', '3,4"\n', "5,6\n"]) == ([["1", "2"], ["3", '4"'], ["5", "6"]], [1])


def test_an_empty_field_is_null_in_quotes_too() -> None:
    assert parse(['"",x\n', ',""\n']) == ([[None, "x"], [None, None]], [])


def test_white_space_is_kept() -> None:
    assert parse([" 1 ,\t2\r\n"]) == ([[" 1 ", "\t2"]], [])


def test_one_column() -> None:
    assert parse(["x\n", '"y,z"\n'], header="a") == ([["x"], ["y,z"]], [])


def test_no_record_at_all() -> None:
    assert parse([]) == ([], [])


def test_a_field_longer_than_pythons_own_limit() -> None:
    long = "x" * 200_000
    assert parse([f"{long},1\n", '"a"b,2\n']) == ([[long, "1"]], [1])


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,b\n", ["a", "b"]), ('a , "b"\r\n', ["a", '"b"']), ('"a,b",c', ["a,b", "c"]), ("é,\n", ["é", ""]),
        ('"two\nlines",b\n', ["two\nlines", "b"]),
    ],
)  # fmt: skip
def test_names_of_columns(header: str, names: list[str]) -> None:
    assert column_names(header.encode()) == names


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"a,b,a\n", "'a' more than once"),
        (b"\xff,b\n", "not readable"),
        (b"", "not readable"),
        (b"a, a\n", "more than once"),
    ],
)
def test_headers_that_cannot_be_used(header: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        column_names(header)
