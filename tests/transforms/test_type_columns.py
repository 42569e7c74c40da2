"""Values to the contracts' types: text of CSV, columns of Parquet files, and what is no value of its type."""

from __future__ import annotations

import datetime
import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.type_columns import ColumnTypeError, type_column, type_text

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TRUE, FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
FIELDS = ("load_ms", "quantity", "amount", "clicked")


def typed(steps: Any, name: str, values: pa.Array, text_is_parsed: bool = False) -> tuple[list[Any], list[str | None]]:
    """(values, for each row the code of its finding)."""
    field = steps.contracts.fields[name]
    found, findings = type_column(field, values, steps.connection, text_is_parsed)
    assert len(found) == len(values)
    codes: list[str | None] = [None] * len(values)
    for finding in findings:
        assert finding.path == name
        for row, observed in zip(finding.rows.tolist(), finding.observed.to_pylist(), strict=True):
            assert codes[row] is None, "one finding a value"
            assert observed is not None
            codes[row] = finding.code
    return found.to_pylist(), codes


def read_slowly(name: str, text: str | None) -> tuple[Any, str | None]:
    """One text of a CSV file, by Python's own numbers."""
    text = (text or "").strip()
    if not text:
        return None, None
    if name == "clicked":
        known = text.lower() in TRUE + FALSE
        return (text.lower() in TRUE, None) if known else (None, "field.type")
    if not NUMBER.fullmatch(text):
        return None, "field.type"
    if math.isinf(float(text)):
        return None, "field.range"
    match name:
        case "load_ms":
            return float(text), None
        case "quantity":
            if float(text) != math.floor(float(text)):
                return None, "field.type"
            return (int(float(text)), None) if abs(float(text)) < 2**53 else (None, "field.range")
    amount = Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_UP) if abs(float(text)) <= 1e15 else Decimal("inf")
    return (amount, None) if abs(amount) < 10**14 else (None, "field.range")


texts = st.one_of(
    st.none(), st.integers(-(2**60), 2**60).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-(10**14), 10**14, places=4).map(str), st.decimals(-10, 10, places=6).map(str),
    st.text("0123456789.eE+- ", max_size=6), st.sampled_from([
        "+5", "-5", "5.", ".5", "-.5", "+.5e1", "1e3", "1E-3", "1e400", "-1e400", "1e-400", "0x10", "1_000", "1,5", "NaN", "inf",
        "-inf", "Infinity", "nan", " 7 ", "\t7", "\u00a07", "٣", "true", "TRUE", "No", "f", "yes", "y", "1", "0", "1.0", "",
        " ", "-", ".", "e5", "99999999999999.99995", "99999999999999.99994", "0.00005", "-0.00005", "-0", "10.0",
        "9007199254740991", "9007199254740992", "12345678901234.5678", "0000000000000000000000001",
        "1.00000000000000000000000000000000000000001",
    ]),
)  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(FIELDS), st.lists(texts, min_size=1, max_size=30))
@example("load_ms", ["+5"])
@example("quantity", ["+5", "5."])
@example("amount", ["+5", ".5", "1e3", "5."])
def test_text_is_parsed_as_python_does(steps: Any, name: str, values: list[str | None]) -> None:
    expected = [read_slowly(name, value) for value in values]
    found, codes = typed(steps, name, pa.array(values, pa.string()), text_is_parsed=True)
    assert list(zip(values, found, codes, strict=True)) == [(v, *e) for v, e in zip(values, expected, strict=True)]


def test_text_fields_and_times_stay_text(steps: Any) -> None:
    for name in ("channel", "occurred_at"):
        values, findings = type_text(steps.contracts.fields[name], pa.array([" a ", "1", None]), steps.connection)
        assert (values.to_pylist(), findings) == ([" a ", "1", None], [])


UTC = datetime.UTC
T0 = datetime.datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("name", "column", "values"),
    [
        ("customer_id", pa.array([1001, None, -1]), ["1001", None, "-1"]),
        ("customer_id", pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        ("order_id", pa.array([Decimal("5"), None], pa.decimal128(10, 0)), ["5", None]),
        ("channel", pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        ("channel", pa.array(["a"], pa.large_string()), ["a"]),
        ("channel", pa.array(["a"], pa.string_view()), ["a"]),
        ("channel", pa.nulls(2), [None, None]),
        ("amount", pa.nulls(2), [None, None]),
        ("occurred_at", pa.nulls(1), [None]),
        ("occurred_at", pa.array(["2026-01-01T12:00:00Z"]), ["2026-01-01T12:00:00Z"]),
        ("occurred_at", pa.array([T0], pa.timestamp("ns", "Europe/Berlin")), [T0.replace(tzinfo=UTC)]),
        ("occurred_at", pa.array([T0, None], pa.timestamp("s", "UTC")), [T0.replace(tzinfo=UTC), None]),
        ("amount", pa.array([0.1, 0.30000000000000004, 1e13]), [Decimal("0.1"), Decimal("0.3"), Decimal(10**13)]),
        ("amount", pa.array([0.1], pa.float32()), [Decimal("0.1")]),
        ("amount", pa.array([Decimal("1.23456789")], pa.decimal128(38, 8)), [Decimal("1.2346")]),
        ("amount", pa.array([7, -7], pa.int8()), [Decimal(7), Decimal(-7)]),
        ("quantity", pa.array([2.0, None, -3.0]), [2, None, -3]),
        ("quantity", pa.array([2], pa.uint16()), [2]),
        ("quantity", pa.array([Decimal("10.00")], pa.decimal128(6, 2)), [10]),
        ("load_ms", pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        ("load_ms", pa.array([-0.0, 5e-324, 1.7976931348623157e308]), [-0.0, 5e-324, 1.7976931348623157e308]),
        ("clicked", pa.array([True, None, False]), [True, None, False]),
    ],
)  # fmt: skip
def test_columns_of_parquet(steps: Any, name: str, column: pa.Array, values: list[Any]) -> None:
    found, codes = typed(steps, name, column)
    assert found == values
    assert set(codes) == {None}


def test_digits_behind_a_microsecond_are_cut(steps: Any) -> None:
    nanoseconds = pa.array([1_767_225_600_123_456_999, -1], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    found, _ = typed(steps, "occurred_at", nanoseconds)
    assert found[0] == datetime.datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "column", "codes"),
    [
        ("quantity", pa.array([1.5, 2.0]), ["field.type", None]),
        ("quantity", pa.array([2**53, -(2**53)]), ["field.range", "field.range"]),
        ("load_ms", pa.array([math.nan, 1.0]), ["field.type", None]),
        ("load_ms", pa.array([math.inf, -math.inf]), ["field.type", "field.type"]),
        ("amount", pa.array([1e14, math.nan, 1e300]), ["field.range", "field.type", "field.range"]),
        ("amount", pa.array([Decimal(10**14)], pa.decimal128(38, 0)), ["field.range"]),
    ],
)
def test_values_that_a_column_of_the_right_kind_may_hold(
    steps: Any, name: str, column: pa.Array, codes: list[str | None]
) -> None:
    found, found_codes = typed(steps, name, column)
    assert found_codes == codes
    assert [value is None for value in found] == [code is not None for code in codes]


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("amount", pa.array(["1"]), "column amount is string; the contract wants number"),
        ("clicked", pa.array(["true"]), "column clicked is string; the contract wants true or false"),
        ("clicked", pa.array([1]), "column clicked is int64; the contract wants true or false"),
        ("quantity", pa.array([True]), "column quantity is bool; the contract wants whole number"),
        ("channel", pa.array([1.5]), "column channel is double; the contract wants string"),
        ("channel", pa.array([["a"]]), "column channel is list.*; the contract wants string"),
        (
            "occurred_at",
            pa.array([T0]),
            r"column occurred_at is timestamp\[us\] \(no time zone\); the contract wants RFC 3339",
        ),
        ("occurred_at", pa.array([1_767_225_600]), "column occurred_at is int64"),
        ("amount", pa.array([T0]), "column amount is timestamp"),
    ],
)
def test_columns_in_which_nothing_can_be_right(steps: Any, name: str, column: pa.Array, message: str) -> None:
    with pytest.raises(ColumnTypeError, match=message):
        typed(steps, name, column)
