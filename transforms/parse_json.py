"""JSON lines to typed event columns: one pass of DuckDB's parser over a block, and a close look at the odd rows only.

DuckDB is lenient where the contract is strict: it takes NaN, a comma before a closing brace and a key named twice, and
it turns a number into text where text is asked for. What is lenient is found again cheaply: a row whose number of keys
is the number of contract fields that came out has no unknown, repeated or null key; a text that reads like another
JSON value is looked at again. Only such rows cost more.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Contracts, Field
from transforms import duck
from transforms.candidates import FINGERPRINT, Block, Candidates, Finding, fingerprint, lines_at
from transforms.columns import byte_at, first_bytes, texts, valid_mask
from transforms.type_columns import type_json_scalars

_NOT_TEXT = rb"-0123456789tfNnIi{["  # first bytes of a JSON value that is not a string (null never comes out as text)
_IN_NUMBER = b"0123456789.eE+-INFAinfaty\0"  # of -Infinity and -nan too; 0: the text has ended
_MAY_HIDE = r"(?s)\A\{.*([{\[]|(?i:nan|inf))"


def parse_json(block: Block, contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> Candidates:
    """Parse a block of JSON lines into columns of the contracts' fields and `extra` (JSON text of unknown keys).

    A line that is no strict JSON object is a finding `json.malformed` in `unreadable`; a value of the wrong JSON type is
    a finding `field.type`, and its cell is null.
    """
    records = texts(block.records["record"])
    malformed = ~_is_json(records, connection)
    malformed |= _ends_with_comma(records)
    readable = np.flatnonzero(~malformed)
    lines = _take(records, readable)
    parsed = _transform(lines, contracts, connection)
    strict, extra = _odd_rows(lines, parsed, contracts, connection)
    if not strict.all():
        malformed[readable[~strict]] = True
        readable, parsed, extra = readable[strict], parsed.filter(pa.array(strict)), extra.filter(pa.array(strict))
        lines = _take(records, readable)
    columns, findings, not_strict = _typed_columns(lines, parsed, contracts, connection)
    columns[FINGERPRINT] = fingerprint(parsed["fingerprint"], block.source)
    if extra.null_count < len(extra):
        columns["extra"] = extra
    candidates = Candidates(
        block,
        pa.table(columns),
        readable,
        partial(lines_at, records),
        findings,
        records_in=len(records),
    )
    if not_strict.any():
        malformed[readable[not_strict]] = True
        candidates = _without(candidates, not_strict)
    _report_malformed(candidates, np.flatnonzero(malformed))
    return candidates


def readable_json(records: pa.Array, connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, pa.Table]:
    """For a described source of JSON lines: bool[n], which lines are objects, and those in one column `record`."""
    good = _is_json(records, connection) & ~_ends_with_comma(records)
    return good, pa.table({"record": records.filter(pa.array(good))})


def _take(records: pa.Array, rows: np.ndarray) -> pa.Array:
    return records if len(rows) == len(records) else records.take(pa.array(rows))


def _is_json(records: pa.Array, connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """bool[n]: DuckDB can parse the line, and it is an object."""
    answer = duck.select(
        connection, "select json_valid(record) as ok from records", {"records": pa.table({"record": records})}
    )["ok"]
    # An object begins with a brace after white space, and DuckDB has checked the rest.
    starts = pc.match_substring_regex(records, r"\A[ \t\r\n]*\{")
    return np.asarray(answer.to_numpy(), bool) & starts.to_numpy(zero_copy_only=False).astype(bool)


def _ends_with_comma(records: pa.Array) -> np.ndarray:
    """bool[n]: a comma before the closing brace. Looks at one byte a line, and at the whole end where that is odd."""
    n = len(records)
    if n == 0:
        return np.zeros(0, bool)
    _, offsets_buffer, data_buffer = records.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[records.offset : records.offset + n + 1]
    data = np.frombuffer(data_buffer, np.uint8)
    stop = offsets[1:] - (data[np.maximum(offsets[1:] - 1, 0)] == 10)  # before the line end that the reader leaves
    before, last = data[np.maximum(stop - 2, offsets[:-1])], data[np.maximum(stop - 1, 0)]
    odd = (last != 125) | (before <= 32) | (before == 44)
    result = np.zeros(n, bool)
    rows = np.flatnonzero(odd)
    if len(rows):
        found = pc.match_substring_regex(records.take(pa.array(rows)), r",[ \t\r\n]*\}[ \t\r\n]*\z")
        result[rows] = found.to_numpy(zero_copy_only=False)
    return result


def _transform(records: pa.Array, contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """`fingerprint`, `key_count` and every contract field as text: unquoted for text fields, raw JSON for numbers and flags."""
    shape = json.dumps({f.name: "VARCHAR" if _is_text(f) else "JSON" for f in contracts.fields.values()})
    return duck.select(
        connection,
        "select hash(record) as fingerprint, len(json_keys(record)) as key_count, "
        "unnest(json_transform(record, $shape)) from records",
        {"records": pa.table({"record": records})},
        {"shape": shape},
    ).combine_chunks()


def _is_text(field: Field) -> bool:
    return field.x_arrow in ("string", "timestamp[us, tz=UTC]")


def _odd_rows(
    records: pa.Array, parsed: pa.Table, contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> tuple[np.ndarray, pa.Array]:
    """bool[n]: is strict JSON; string[n]: unknown keys as JSON. Rows without unknown, repeated or null keys pass by."""
    found = np.zeros(len(records), np.int32)
    for name in contracts.fields:
        if parsed[name].null_count < len(records):
            found += valid_mask(parsed[name])
    odd = np.flatnonzero(found != np.asarray(parsed["key_count"].to_numpy()))
    strict = np.ones(len(records), bool)
    if len(odd) == 0:
        return strict, pa.nulls(len(records), pa.string())
    table = pa.table({"record": records.take(pa.array(odd))})
    looked = duck.select(
        connection,
        """
        select
            len(json_keys(record)) = len(list_distinct(json_keys(record))) as keys_once,
            json_merge_patch('{}', json_merge_patch(record, $nothing))::varchar as extra
        from records
        """,
        {"records": table},
        {"nothing": json.dumps(dict.fromkeys(contracts.fields))},
    )
    strict[odd] = looked["keys_once"].to_numpy()
    extra = texts(looked["extra"])
    # DuckDB has no strict mode: what an unknown key may hide (nesting, NaN) is read once more by Python's parser.
    suspicious = np.flatnonzero(pc.match_substring_regex(extra, _MAY_HIDE).to_numpy(zero_copy_only=False))
    for row in suspicious:
        strict[odd[row]] = strict[odd[row]] and _is_strict(table["record"][int(row)].as_py())
    extra = pc.if_else(pc.equal(extra, "{}"), pa.scalar(None, pa.string()), extra)
    whole = pa.nulls(len(records), pa.string())
    if extra.null_count < len(extra):
        mask = np.zeros(len(records), bool)
        mask[odd] = True
        whole = pc.replace_with_mask(whole, pa.array(mask), extra)
    return strict, whole


def _is_strict(record: str) -> bool:
    def refuse(token: str) -> Any:
        raise ValueError(token)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is named twice")
        return dict(pairs)

    try:
        json.loads(record, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return False
    return True


def _typed_columns(
    records: pa.Array, parsed: pa.Table, contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> tuple[dict[str, pa.Array], list[Finding], np.ndarray]:
    """The columns with a value; what has the wrong JSON type; and bool[n]: rows that are no strict JSON after all."""
    columns: dict[str, pa.Array] = {}
    findings: list[Finding] = []
    not_strict = np.zeros(len(records), bool)
    for field in contracts.fields.values():
        raw = texts(parsed[field.name])
        if raw.null_count == len(raw):
            continue
        if _is_text(field):
            rows = _look_like_other_json(raw, not pa.types.is_string(field.arrow))
            if len(rows):
                rows, observed = _are_other_json(records, rows, field.name, connection)
                not_strict[rows[pc.match_substring_regex(observed, r"^-?[NnIi]").to_numpy(zero_copy_only=False)]] = True
                if len(rows):
                    findings.append(Finding("field.type", field.name, "string", rows, observed))
                    raw = _null_at(raw, rows)
            columns[field.name] = raw
        else:
            typed, found, nan_rows = type_json_scalars(field, raw, connection)
            if pa.types.is_decimal(field.arrow) and _may_be_rounded(typed, found):
                typed, found, nan_rows = type_json_scalars(field, _as_written(raw, records, field.name), connection)
            not_strict[nan_rows] = True
            findings.extend(found)
            columns[field.name] = typed
    for finding in findings:  # what a list or an object in the place of a value may hide, as in `extra`
        nested = pc.match_substring_regex(finding.observed, r"\A[\[{]").to_numpy(zero_copy_only=False)
        for row in finding.rows[nested]:
            not_strict[row] |= not _is_strict(records[int(row)].as_py())
    return columns, findings, not_strict


def _may_be_rounded(typed: pa.Array, findings: list[Finding]) -> bool:
    """DuckDB reads a fraction as a double, which holds 15 digits: of money 11 before the point and 4 behind it."""
    largest = pc.max(pc.abs(typed)).as_py()
    return (largest is not None and largest >= 10**11) or any(f.code == "field.range" for f in findings)


def _as_written(raw: pa.Array, records: pa.Array, name: str) -> pa.Array:
    """The numbers of a field, large fractions as they stand in their records."""
    large = pc.match_substring_regex(raw, r"\A-?[0-9]{12,}\.").fill_null(False)
    written = []
    for row in np.flatnonzero(large.to_numpy(zero_copy_only=False)):
        try:
            written.append(json.loads(records[int(row)].as_py(), parse_float=str)[name])
        except (ValueError, RecursionError):  # refused for something else in it
            written.append(raw[int(row)].as_py())
    return pc.replace_with_mask(raw, large, pa.array(written, pa.string()))


def _look_like_other_json(values: pa.Array, is_time: bool) -> np.ndarray:
    """Rows whose text could be a JSON number, flag, object or list: by a few bytes, and by the whole where those fit.

    A time begins with digits, so it is told from a number by the dash behind its year.
    """
    table = np.zeros(256, bool)
    table[np.frombuffer(_NOT_TEXT, np.uint8)] = True
    rows = np.flatnonzero(table[first_bytes(values)])
    if is_time:
        rows = rows[byte_at(values, rows, 4) != ord("-")]
    digits = (byte_at(values, rows, 0) <= 57) & (byte_at(values, rows, 0) >= 45)
    rest, numbers = rows[~digits], rows[digits]
    table[:] = False
    table[np.frombuffer(_IN_NUMBER, np.uint8)] = True
    for place in range(1, 12):  # an id of hex digits seldom has a dozen that could stand in a number
        numbers = numbers[table[byte_at(values, numbers, place)]]
    rows = np.sort(np.concatenate((rest, numbers)))
    if len(rows) == 0:
        return rows
    looks = pc.match_substring_regex(
        values.take(pa.array(rows)),
        r"(?s)\A(-?[0-9][0-9]*(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|-?(?i:nan|inf|infinity)|\{.*\}|\[.*\])\z",
    )
    return rows[looks.to_numpy(zero_copy_only=False)]


def _are_other_json(
    records: pa.Array, rows: np.ndarray, name: str, connection: duckdb.DuckDBPyConnection
) -> tuple[np.ndarray, pa.Array]:
    """Of rows whose text looks like another JSON value, those in which it is one, with the raw value."""
    answer = duck.select(
        connection,
        """
        select row, json_extract(record, $path)::varchar as observed
        from records
        where json_type(record, $path) <> 'VARCHAR'
        """,
        {"records": pa.table({"record": records.take(pa.array(rows)), "row": rows})},
        {"path": f"$.{name}"},
    )
    return np.asarray(answer["row"].to_numpy(), np.int64), texts(answer["observed"])


def _null_at(values: pa.Array, rows: np.ndarray) -> pa.Array:
    mask = np.zeros(len(values), bool)
    mask[rows] = True
    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)


def _without(candidates: Candidates, drop: np.ndarray) -> Candidates:
    """The candidates less some events; findings keep their rows."""
    keep = ~drop
    new_row = np.cumsum(keep) - 1
    candidates.events = candidates.events.filter(pa.array(keep))
    candidates.record_of = candidates.record_of[keep]
    findings = []
    for finding in candidates.findings:
        stays = keep[finding.rows]
        if stays.any():
            observed = finding.observed.filter(pa.array(stays))
            findings.append(
                Finding(finding.code, finding.path, finding.expected, new_row[finding.rows[stays]], observed)
            )
    candidates.findings = findings
    return candidates


def _report_malformed(candidates: Candidates, rows: np.ndarray) -> None:
    if len(rows):
        observed = pc.utf8_slice_codeunits(candidates.raw(rows), 0, 80)
        candidates.unreadable.append(Finding("json.malformed", "", "one strict JSON object", rows, observed))
