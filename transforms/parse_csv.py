"""Records of a CSV file to columns of text; a record that does not fit the header stays one bad record."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from transforms.candidates import Block, lines_at
from transforms.columns import texts

_BEFORE_A_FIELD = np.frombuffer(b',\n"', np.uint8)
_BEHIND_A_FIELD = np.frombuffer(b',\r\n"', np.uint8)

#: What Python's parser takes for one field. A longer record never comes here (`max_record_bytes`).
csv.field_size_limit(1 << 30)


class HeaderError(ValueError):
    """The header line cannot be used."""


def column_names(header: bytes) -> list[str]:
    """The names in a header line. Raises HeaderError for bytes that are no UTF-8 and names that stand twice."""
    try:
        names = next(csv.reader(io.StringIO(header.decode("utf-8"))))
    except (UnicodeDecodeError, StopIteration, csv.Error) as error:
        raise HeaderError(f"the header line is not readable: {error}") from error
    names = [name.strip() for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HeaderError(f"the header names {', '.join(repr(n) for n in twice)} more than once")
    return names


def parse_csv(block: Block) -> tuple[pa.Table, np.ndarray]:
    """(columns of text for the records that fit, int64: rows of the block that do not).

    RFC 4180: a comma between fields, quotes around a field, doubled inside. An empty field is null.
    """
    names = column_names(block.records.schema.metadata[b"header"])
    records = texts(block.records["record"])
    table, bad = _parse(records, names)
    if table is None:
        table, bad = _parse_one_by_one(records, names)
    return table, bad


def _parse(records: pa.Array, names: list[str]) -> tuple[pa.Table | None, np.ndarray]:
    """All records at once; None where a quote is astray, or the parser sees other records than the reader did."""
    bad: list[int] = []

    def note(row: pa_csv.InvalidRow) -> str:
        bad.append(row.number - 1)
        return "skip"

    if not len(records):
        return pa.table({name: pa.array([], pa.string()) for name in names}), np.zeros(0, np.int64)
    data = _joined(records)
    if not _is_well_quoted(data):
        return None, np.zeros(0, np.int64)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names, block_size=data.size + 1),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid:
        return None, np.zeros(0, np.int64)
    if len(table) + len(bad) != len(records):
        return None, np.zeros(0, np.int64)
    return table, np.array(bad, np.int64)


def _joined(records: pa.Array) -> pa.Buffer:
    """The records as one text, each on its own line: those of the reader have their line ends still."""
    if not pc.all(pc.ends_with(records, "\n")).as_py():
        records = pc.binary_join_element_wise(lines_at(records, np.arange(len(records))), "\n", "")
    whole = pa.ListArray.from_arrays(pa.array([0, len(records)], pa.int32()), records)
    return pc.binary_join(whole, "")[0].as_buffer()


def _is_well_quoted(data: pa.Buffer) -> bool:
    """Each quote opens a field, closes one, or is doubled inside one. Elsewhere parsers differ on what it means."""
    view = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(view == ord('"'))
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]  # of a doubled quote, one closes and the other opens again
    before = np.where(opening == 0, ord("\n"), view[opening - 1])
    return bool(np.isin(before, _BEFORE_A_FIELD).all() and np.isin(view[closing + 1], _BEHIND_A_FIELD).all())


def _parse_one_by_one(records: pa.Array, names: list[str]) -> tuple[pa.Table, np.ndarray]:
    """The slow way, for a block with a stray quote: each record for itself, by Python's csv module."""
    rows, bad = [], []
    for number, record in enumerate(records.to_pylist()):
        try:
            parsed = list(csv.reader(io.StringIO(record), strict=True))
        except csv.Error:
            parsed = []
        if len(parsed) == 1 and len(parsed[0]) == len(names):
            rows.append([value or None for value in parsed[0]])
        else:
            bad.append(number)
    table = pa.table([pa.array([row[i] for row in rows], pa.string()) for i in range(len(names))], names=names)
    return table, np.array(bad, np.int64)
