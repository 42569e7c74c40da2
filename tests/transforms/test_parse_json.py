"""JSON lines, held against Python's own parser in its strictest form: what is refused, and what every value becomes."""

from __future__ import annotations

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contracts import Contracts, Field
from transforms.candidates import FINGERPRINT, Block, Candidates
from transforms.parse_json import parse_json, readable_json

Cells = dict[str, Any]
Answer = tuple[Cells, Cells, set[tuple[str, str]]]  # typed fields, extra, findings (code, path)


class Number(str):
    """A JSON number as it was written."""


def parse(lines: list[str], contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> Candidates:
    table = pa.table({"record": pa.array(lines, pa.string())})
    return parse_json(Block("events", "file", "jsonl", table, np.arange(len(lines))), contracts, connection)


def answers(candidates: Candidates) -> list[Answer | None]:
    """For each line what came of it; None for a malformed one."""
    found: list[Answer | None] = [None] * candidates.records_in
    rows = candidates.events.to_pylist()
    for number, (line, row) in enumerate(zip(candidates.record_of.tolist(), rows, strict=True)):
        cells = {k: v for k, v in row.items() if v is not None and k not in ("extra", FINGERPRINT)}
        broken = {(f.code, f.path) for f in candidates.findings if number in f.rows}
        found[line] = cells, json.loads(row.get("extra") or "{}", parse_int=Number, parse_float=Number), broken
    malformed = {int(line) for finding in candidates.unreadable for line in finding.rows}
    assert malformed == {line for line, answer in enumerate(found) if answer is None}, "refused lines are reported"
    return found


def read_strictly(line: str, contracts: Contracts) -> Answer | None:
    """What the design says of a line, by Python's parser. None: json.malformed."""

    def refuse(token: str) -> Any:
        raise ValueError(token)

    def once(pairs: list[tuple[str, Any]]) -> Cells:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is named twice")
        return dict(pairs)

    try:
        record = json.loads(line, parse_constant=refuse, object_pairs_hook=once, parse_int=Number, parse_float=Number)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    cells: Cells = {}
    broken = set()
    for name, value in record.items():
        if value is None or name not in contracts.fields:
            continue
        cells[name], code = _typed(contracts.fields[name], value)
        if code:
            broken.add((code, name))
    extra = {k: _without_nulls(v) for k, v in record.items() if v is not None and k not in contracts.fields}
    return {k: v for k, v in cells.items() if v is not None}, extra, broken


def _typed(field: Field, value: Any) -> tuple[Any, str | None]:
    """(the cell, the rule that is broken)."""
    text = isinstance(value, str) and not isinstance(value, Number)
    match field.x_arrow:
        case "string" | "timestamp[us, tz=UTC]":
            return (value, None) if text else (None, "field.type")
        case _ if text and value == "":
            return None, None  # an empty string is an absent field
        case "bool":
            return (value, None) if isinstance(value, bool) else (None, "field.type")
    if not isinstance(value, Number):
        return None, "field.type"
    number = float(value) if value != "-0" else 0.0  # a whole number, which knows no negative zero
    match field.x_arrow:
        case "double":
            return (number, None) if math.isfinite(number) else (None, "field.range")
        case "int64" if math.isfinite(number) and number != math.floor(number):
            return None, "field.type"
        case "int64":
            return (int(number), None) if abs(number) < 2**53 else (None, "field.range")
    if not math.isfinite(number) or abs(number) > 1e14:
        return None, "field.range"
    amount = Decimal(value).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return (amount, None) if abs(amount) < 10**14 else (None, "field.range")


def _without_nulls(value: Any) -> Any:
    """A null is an absent field, everywhere: inside of objects too."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def same(one: Any, other: Any) -> bool:
    """Equal, numbers by their value: 1E5 may be written as 100000.0, but 0.1 as nothing else."""
    if isinstance(one, Number) and isinstance(other, Number):
        if any(map(math.isinf, (float(one), float(other)))):
            return one == other
        whole = "." not in one + other and "e" not in (one + other).lower()
        return int(one) == int(other) if whole else repr(float(one)) == repr(float(other))
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)  # -0.0 is not 0.0
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


numbers = st.one_of(
    st.sampled_from([
        "0", "-0", "-0.0", "1", "10.0", "1e1", "1E+2", "1e-4", "0.00005", "0.00004999", "-0.00005", "2.5", "1e400",
        "-1e400", "1e308", "5e-324", "123456789012345678901234567890", "9007199254740991", "9007199254740992",
        "9007199254740993", "-9007199254740993", "99999999999999.9999", "99999999999999.99995", "100000000000000",
        "0.1", "0.30000000000000004", "1.0000000000000000000000001",
    ]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**64), 2**64).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**13), max_value=10**13).map(str),
)  # fmt: skip
no_numbers = st.sampled_from(
    ["NaN", "nan", "-NaN", "Infinity", "-Infinity", "inf", "-inf", "+1", "01", ".5", "1.", "0x1", "1_0"]
)
characters = st.one_of(
    st.characters(blacklist_categories=("Cs",)),
    st.sampled_from(['\\"', "\\\\", "\\/", "\\n", "\\u0000", "\\u00e9", "\\ud83d\\ude00", "é", "😀", "\\u001e"]),
    st.sampled_from(['\\"', "\\\\", "\\n", "é", "\\ud800", "\\udc00", "\\x41", "\\'", "\\u12", "\t", "\x00", "\x1f"]),
)
plain = st.text("abc-:. 1é", max_size=8)
looks_otherwise = st.sampled_from([
    "1", "-1.5e3", "1e400", "NaN", "-nan", "Infinity", "true", "null", "{}", "[]", "[1]", '{"a":1}'.replace('"', '\\"'),
    "", " ", "2026-01-01T00:00:00Z", "20260101", "123456789012345", "1.5e-3", "{", "2026",
])  # fmt: skip
strings = st.one_of(plain, looks_otherwise, st.lists(characters, max_size=4).map("".join)).map(lambda s: f'"{s}"')
spaces = st.sampled_from(["", "", "", " ", "\t", " \r"])
commas = st.sampled_from([",", ",", ",", ",", ",", ",", ", ", ",,", ""])
ends = st.sampled_from(["", "", "", "", "", "", "", "", ",", " ,"])


def lists_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.lists(values, max_size=3), commas, ends).map(lambda t: f"[{t[1].join(t[0])}{t[2]}]")


def objects_of(keys: st.SearchStrategy[str], values: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(keys, spaces, values).map(lambda t: f'"{t[0]}"{t[1]}:{t[2]}'), max_size=most)
    return st.tuples(pairs, spaces, ends).map(lambda t: f"{{{t[1]}{(t[1] + ',').join(t[0])}{t[2]}}}")


scalars = st.one_of(strings, strings, numbers, numbers, st.sampled_from(["true", "false", "null"]), no_numbers)
nested = st.recursive(
    scalars, lambda inner: st.one_of(lists_of(inner), objects_of(st.sampled_from(["a", "b", "\\u0061"]), inner, 3)),
    max_leaves=4,
)  # fmt: skip
keys = st.one_of(
    st.sampled_from([
        "event_id", "event_type", "occurred_at", "channel", "score", "amount", "quantity", "clicked", "page_url",
        "event\\u005fid", "comment",
    ]),
    st.sampled_from(["x", "y", "", "x.y", "$", "extra", "fingerprint", "key_count", "a b", "é", "\\u00e9", "Channel"]),
)  # fmt: skip
values = st.one_of(scalars, scalars, scalars, nested)
lines = st.one_of(
    objects_of(keys, values, 6),
    objects_of(keys, values, 6),
    st.tuples(spaces, objects_of(keys, values, 3), st.sampled_from(["", " ", "\r", " x", "{}", "\x00", "//"])).map(
        "".join
    ),
    nested,
    st.sampled_from(["{", "}", '{"a"}', '{"a":}', "{a:1}", "{'a':1}", '\ufeff{"a":1}', '{"a":1 /* b */}', '{"a":tru}']),
)


@settings(max_examples=120)
@given(st.lists(lines.filter(lambda line: line.strip() and "\n" not in line), min_size=1, max_size=30))
def test_reads_like_a_strict_parser(steps: Any, batch: list[str]) -> None:
    found = answers(parse(batch, steps.contracts, steps.connection))
    for line, answer in zip(batch, found, strict=True):
        expected = read_strictly(line, steps.contracts)
        assert (answer is None) == (expected is None), f"{line!r} is {'refused' if answer is None else 'taken'}"
        if answer is not None and expected is not None:
            cells, extra, broken = answer
            assert broken == expected[2], repr(line)
            assert same(cells, expected[0]), f"{line!r} gives {cells}, must give {expected[0]}"
            assert same(extra, expected[1]), f"{line!r} leaves {extra}, must leave {expected[1]}"


def one(line: str, contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> Answer | None:
    return answers(parse([line], contracts, connection))[0]


@pytest.mark.parametrize(
    "line",
    [
        '{"event_id":"a","event_id":"b"}', '{"event_id":"a","event\\u005fid":"a"}', '{"x":{"a":1,"a":2}}',
        '{"channel":null,"channel":"x"}', '{"score":NaN}', '{"channel":NaN}', '{"x":-Infinity}', '{"x":[nan]}',
        '{"score":[NaN]}', '{"channel":[1,]}', '{"channel":{"a":1,"a":1}}', '{"clicked":[inf]}', '{"event_id":"a",}',
        '{"event_id":"a" , }', '{"x":[1,]}', '{"channel":"\\ud800"}', '{"\\udc00":1}', '{"x":"\\udc00\\ud800"}',
        '{"event_id":"a"} {"event_id":"b"}', '{"event_id":"a"}x', "[]", "1", "null", '"{}"', "not json", '\ufeff{}',
    ],
)  # fmt: skip
def test_malformed(contracts: Contracts, connection: duckdb.DuckDBPyConnection, line: str) -> None:
    assert one(line, contracts, connection) is None


@pytest.mark.parametrize(
    ("line", "cells", "broken"),
    [
        ('{"quantity":10.0}', {"quantity": 10}, set()),
        ('{"quantity":10.5}', {}, {("field.type", "quantity")}),
        ('{"quantity":"10"}', {}, {("field.type", "quantity")}),
        ('{"quantity":1e400}', {}, {("field.range", "quantity")}),
        ('{"score":1e400}', {}, {("field.range", "score")}),
        ('{"amount":-1e400}', {}, {("field.range", "amount")}),
        ('{"amount":0.1}', {"amount": Decimal("0.1000")}, set()),
        # 18 digits are more than a double holds.
        ('{"amount":99999999999999.9999}', {"amount": Decimal("99999999999999.9999")}, set()),
        ('{"amount":12345678901234.0001}', {"amount": Decimal("12345678901234.0001")}, set()),
        ('{"amount":-123456789012.3456}', {"amount": Decimal("-123456789012.3456")}, set()),
        ('{"amount":99999999999999.99995}', {}, {("field.range", "amount")}),
        ('{"amount":true}', {}, {("field.type", "amount")}),
        ('{"channel":12}', {}, {("field.type", "channel")}),
        ('{"channel":"12"}', {"channel": "12"}, set()),
        ('{"channel":false}', {}, {("field.type", "channel")}),
        ('{"channel":["a"]}', {}, {("field.type", "channel")}),
        ('{"channel":"[1]"}', {"channel": "[1]"}, set()),
        ('{"occurred_at":1767225600}', {}, {("field.type", "occurred_at")}),
        ('{"occurred_at":"1767225600"}', {"occurred_at": "1767225600"}, set()),
        ('{"clicked":1}', {}, {("field.type", "clicked")}),
        ('{"clicked":"","amount":"","score":"","quantity":""}', {}, set()),
        ('{"clicked":"true"}', {}, {("field.type", "clicked")}),
        ('{"channel":null}', {}, set()),
        ('{"comment":"a\\u0000b\\nc"}', {"comment": "a\0b\nc"}, set()),
    ],
)
def test_types(
    contracts: Contracts, connection: duckdb.DuckDBPyConnection, line: str, cells: Cells, broken: set[tuple[str, str]]
) -> None:
    assert one(line, contracts, connection) == (cells, {}, broken)


def test_unknown_fields_are_kept_as_they_came(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    line = '{"event_id":"a","b":123456789012345678901234567890,"a":{"z":[1,null,"NaN"],"gone":null},"gone":null}'
    events = parse([line, '{"event_id":"b"}'], contracts, connection).events
    assert events["extra"].to_pylist() == ['{"b":123456789012345678901234567890,"a":{"z":[1,null,"NaN"]}}', None]


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize("key", ["x", "channel", "score"])
def test_deep_nesting_is_survived(
    contracts: Contracts, connection: duckdb.DuckDBPyConnection, depth: int, key: str
) -> None:
    lines = ['{"event_id":"a"}', f'{{"event_id":"b","{key}":{"[" * depth}{"]" * depth}}}', '{"event_id":"c"}']
    found = answers(parse(lines, contracts, connection))
    assert [answer is None for answer in found] == [False, depth > 500, False]


def test_what_is_observed_is_the_raw_value(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    candidates = parse(['{"score":"9","channel":{"a":1}}'], contracts, connection)
    assert {f.path: f.observed.to_pylist() for f in candidates.findings} == {
        "score": ['"9"'], "channel": ['{"a":1}'],
    }  # fmt: skip


def test_a_refused_line_moves_no_finding_to_another(
    contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> None:
    lines = ['{"score":NaN}', '{"score":"9"}', "x", '{"score":{"a":NaN}}', '{"channel":1}', '{"score":9}']
    candidates = parse(lines, contracts, connection)
    assert candidates.record_of.tolist() == [1, 4, 5]
    assert [(f.path, candidates.record_of[f.rows].tolist()) for f in candidates.findings] == [
        ("channel", [4]),
        ("score", [1]),
    ]
    assert candidates.raw(np.array([1, 4])).to_pylist() == [lines[1], lines[4]]


def test_line_ends_are_no_part_of_a_record(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    candidates = parse(
        ['{"event_id":"a"}\n', '{"event_id":"b"}\r\n', '{"event_id":"c",}\n', "x\r\n"], contracts, connection
    )
    assert candidates.events["event_id"].to_pylist() == ["a", "b"]
    assert candidates.raw(np.array([0, 1, 3])).to_pylist() == ['{"event_id":"a"}', '{"event_id":"b"}', "x"]
    assert [f.observed.to_pylist() for f in candidates.unreadable] == [['{"event_id":"c",}', "x"]]


def test_equal_texts_have_equal_fingerprints_in_one_source_only(
    contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> None:
    def prints(source: str, lines: list[str]) -> list[int]:
        block = Block(source, "file", "jsonl", pa.table({"record": lines}), np.arange(len(lines)))
        return parse_json(block, contracts, connection).events[FINGERPRINT].to_pylist()

    first, second, third = prints("events", ['{"event_id":"a"}', '{"event_id":"b"}', '{"event_id":"a"}'])
    assert first == third != second
    assert prints("other", ['{"event_id":"a"}']) != [first]


def test_no_line_at_all(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
    assert answers(parse([], contracts, connection)) == []
    assert answers(parse(["x"], contracts, connection)) == [None]


def test_lines_of_a_described_source(connection: duckdb.DuckDBPyConnection) -> None:
    good, table = readable_json(pa.array(['{"a":1}', "x", '{"a":1,}', "[1]"]), connection)
    assert good.tolist() == [True, False, False, False]
    assert table.to_pydict() == {"record": ['{"a":1}']}
