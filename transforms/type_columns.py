"""Columns to the types of the contracts, with a finding for every value that is not of its type.

Three kinds of input arrive here: raw JSON scalars (a number in quotes is no number), CSV text (everything is text and is
parsed), and typed columns of Parquet files or of a source description's SELECT.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Field
from transforms import duck
from transforms.candidates import Finding
from transforms.columns import first_bytes, texts, valid_mask

_EXPECTED = {
    "string": "string",
    "bool": "true or false",
    "int64": "whole number",
    "double": "number",
    "decimal128(18, 4)": "number",
    "timestamp[us, tz=UTC]": "RFC 3339 timestamp with offset",
}
_FITS = {
    "int64": "a whole number below 2^53, which every format keeps exactly",
    "double": "a finite number",
    "decimal128(18, 4)": "an amount of at most 14 digits before the point",
}
_TEXT_NUMBER = r"\A[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
_NOT_FINITE = r"\A-?(?i:nan|inf|infinity)\z"

# A whole number is exact in a double up to here; beyond it, 10.0 and 10 could not be told apart.
_WHOLE_LIMIT = 2.0**53


class ColumnTypeError(ValueError):
    """A whole column has a type that its field cannot take; `column`, `found` and `expected` say which."""

    def __init__(self, column: str, found: str, expected: str) -> None:
        super().__init__(f"column {column} is {found}; the contract wants {expected}")
        self.column, self.found, self.expected = column, found, expected


def type_json_scalars(
    field: Field, raw: pa.Array, connection: duckdb.DuckDBPyConnection
) -> tuple[pa.Array, list[Finding], np.ndarray]:
    """Raw JSON text of a number or flag to its type: (typed, findings, rows with NaN or an infinity)."""
    if field.x_arrow == "bool":
        wrong = valid_mask(raw) & ~_mask(pc.is_in(raw, pa.array(["true", "false"])))
        typed = pc.equal(_nulled(raw, wrong), "true")
        out_of_range = not_whole = np.zeros(len(raw), bool)
    else:
        first = first_bytes(raw)  # the parser has checked the rest: what begins like a number is one, or -Infinity
        wrong = valid_mask(raw) & ~(((first >= 48) & (first <= 57)) | (first == 45))
        wrong |= (first == 45) & _mask(pc.match_substring_regex(raw, _NOT_FINITE)) if (first == 45).any() else wrong
        typed, out_of_range, not_whole = _numbers(field, _nulled(raw, wrong), connection)
    nan_rows = wrong & _mask(pc.match_substring_regex(raw, _NOT_FINITE)) if wrong.any() else wrong
    if wrong.any():
        wrong &= ~_mask(pc.equal(raw, '""'))  # an empty string is an absent field, whatever the field's type
    return typed, _number_findings(field, raw, wrong | not_whole, out_of_range), np.flatnonzero(nan_rows)


def type_text(field: Field, values: pa.Array, connection: duckdb.DuckDBPyConnection) -> tuple[pa.Array, list[Finding]]:
    """CSV text to the field's type; white space around a number or flag is no part of it; times stay text."""
    if field.x_arrow in ("string", "timestamp[us, tz=UTC]"):
        return values, []
    trimmed = pc.utf8_trim_whitespace(values)
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    if field.x_arrow == "bool":
        lower = pc.utf8_lower(trimmed)
        true = pc.is_in(lower, pa.array(["true", "t", "yes", "1"]))
        wrong = valid_mask(lower) & ~_mask(true) & ~_mask(pc.is_in(lower, pa.array(["false", "f", "no", "0"])))
        typed = pc.if_else(pa.array(valid_mask(lower) & ~wrong), true, pa.scalar(None, pa.bool_()))
        return typed, _number_findings(field, values, wrong, np.zeros(len(values), bool))
    wrong = valid_mask(trimmed) & ~_mask(pc.match_substring_regex(trimmed, _TEXT_NUMBER))
    typed, out_of_range, not_whole = _numbers(field, _nulled(trimmed, wrong), connection)
    return typed, _number_findings(field, values, wrong | not_whole, out_of_range)


def type_column(
    field: Field, values: pa.Array, connection: duckdb.DuckDBPyConnection, text_is_parsed: bool
) -> tuple[pa.Array, list[Finding]]:
    """A typed column to the field's type. Text for a number is parsed only where `text_is_parsed` (CSV).

    Raises ColumnTypeError where no value of the column could be right: text for a number, a naive timestamp, a list.
    """
    found, wanted = values.type, field.arrow
    if pa.types.is_dictionary(found):
        values = values.cast(found.value_type)
        found = values.type
    if pa.types.is_null(found):
        return pa.nulls(len(values), pa.string() if pa.types.is_timestamp(wanted) else wanted), []
    is_text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    if is_text:
        values = values.cast(pa.string())
        if pa.types.is_string(wanted) or pa.types.is_timestamp(wanted):
            return values, []
        if text_is_parsed:
            return type_text(field, values, connection)
        raise ColumnTypeError(field.name, str(found), _EXPECTED[field.x_arrow])
    is_number = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found)
    if pa.types.is_timestamp(wanted):
        if pa.types.is_timestamp(found) and found.tz is not None:
            return values.cast(pa.timestamp("us", "UTC"), safe=False), []
        raise ColumnTypeError(field.name, f"{found} (no time zone)" if pa.types.is_timestamp(found) else str(found),
                              _EXPECTED[field.x_arrow])  # fmt: skip
    if pa.types.is_string(wanted) and (pa.types.is_integer(found) or pa.types.is_decimal(found)):
        return values.cast(pa.string()), []  # identifiers that are numbers become their decimal text
    if pa.types.is_boolean(wanted) and pa.types.is_boolean(found):
        return values, []
    if is_number and not pa.types.is_boolean(wanted) and not pa.types.is_string(wanted):
        text = _number_text(values)
        wrong = valid_mask(text) & ~_mask(pc.match_substring_regex(text, _TEXT_NUMBER))
        typed, out_of_range, not_whole = _numbers(field, _nulled(text, wrong), connection)
        return typed, _number_findings(field, text, wrong | not_whole, out_of_range)
    raise ColumnTypeError(field.name, str(found), _EXPECTED[field.x_arrow])


def _number_text(values: pa.Array) -> pa.Array:
    """The shortest text of each number, so that a double's 0.1 becomes the decimal 0.1 and not its binary neighbour."""
    return texts(values)


def _numbers(
    field: Field, text: pa.Array, connection: duckdb.DuckDBPyConnection
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Texts that are numbers to the field's type: (typed, bool[n] too large, bool[n] not whole where it must be)."""
    nothing = np.zeros(len(text), bool)
    valid = valid_mask(text)
    doubles = text.cast(pa.float64())
    infinite = np.isinf(doubles.to_numpy(zero_copy_only=False))
    if field.x_arrow == "double":
        return pc.if_else(pa.array(~infinite), doubles, pa.scalar(None, pa.float64())), infinite, nothing
    if field.x_arrow == "int64":
        numbers = np.nan_to_num(doubles.to_numpy(zero_copy_only=False), nan=0.0, posinf=0.0, neginf=0.0)
        not_whole = valid & (numbers != np.floor(numbers))
        too_large = infinite | (valid & (np.abs(numbers) >= _WHOLE_LIMIT))
        whole = pa.array(np.where(not_whole | too_large, 0, numbers).astype(np.int64))
        return (
            pc.if_else(pa.array(valid & ~not_whole & ~too_large), whole, pa.scalar(None, pa.int64())),
            too_large,
            not_whole,
        )
    numbers = {"numbers": pa.table({"text": text})}
    typed = duck.select(connection, "select try_cast(text as decimal(18, 4)) as value from numbers", numbers)["value"]
    typed = typed.combine_chunks()
    return typed, valid & ~valid_mask(typed), nothing


def _number_findings(field: Field, raw: pa.Array, wrong: np.ndarray, out_of_range: np.ndarray) -> list[Finding]:
    findings = []
    for code, mask, expected in (
        ("field.type", wrong, _EXPECTED[field.x_arrow]),
        ("field.range", out_of_range & ~wrong, _FITS.get(field.x_arrow, "")),
    ):
        rows = np.flatnonzero(mask)
        if len(rows):
            findings.append(Finding(code, field.name, expected, rows, texts(raw.take(pa.array(rows)))))
    return findings


def _mask(values: pa.Array) -> np.ndarray:
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _nulled(values: pa.Array, wrong: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(wrong), pa.scalar(None, values.type), values) if wrong.any() else values
