"""Input files read in the plainest way, whole and in one go: what blocks and byte ranges are held against."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BOM = b"\xef\xbb\xbf"


def records_of(path: str | Path) -> dict[int, bytes]:
    """Every record of a file by its position: byte offset (text) or row number (Parquet)."""
    name = str(path)
    if name.endswith(".parquet"):
        rows = pq.read_table(name).to_pylist()
        return {number: json.dumps(row, default=str, ensure_ascii=False).encode() for number, row in enumerate(rows)}
    data = Path(name).read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif name.endswith(".zst"):
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return records_in(data, is_csv=".csv" in name)


def records_in(data: bytes, is_csv: bool) -> dict[int, bytes]:
    """Every record of a text by its byte offset, without its \\n; blank lines, a BOM at the start and a header are none."""
    found = dict(_csv_records(data) if is_csv else _lines(data))
    if data.startswith(BOM):
        found = {len(BOM) if at == 0 else at: found[at].removeprefix(BOM) if at == 0 else found[at] for at in found}
    if is_csv:
        del found[min(found)]
    return {at: line for at, line in found.items() if line.strip()}


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    for line in data.split(b"\n"):
        yield position, line
        position += len(line) + 1


def _csv_records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Line ends in quotes end no record. A quote opens where a field begins, or again behind one that closed."""
    start, in_quotes, may_open = 0, False, True
    for position, byte in enumerate(data):
        if in_quotes:
            in_quotes = byte != ord('"')
            may_open = not in_quotes
            continue
        in_quotes = byte == ord('"') and (may_open or data[:position] == BOM)
        may_open = byte in b",\n"
        if byte == ord("\n"):
            yield start, data[start:position]
            start = position + 1
    yield start, data[start:].removesuffix(b"\n")


def as_quarantined(line: bytes, cap: int, longest: int = 16 << 20) -> tuple[int, str]:
    """(raw_bytes, raw) of a record in quarantine: at most `cap` bytes of it; bytes that are no UTF-8 are told as \\xff."""
    if len(line) > longest:
        return len(line), line[:cap].decode(errors="ignore")
    record = line.removesuffix(b"\r")
    return len(record), record[:cap].decode(errors="ignore" if is_text(record) else "backslashreplace")


def is_text(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_strict_object(record: bytes) -> bool:
    """One JSON object by RFC 8259, each key once, no NaN, no half of a surrogate pair: Python's parser says so."""

    def refuse(token: str) -> Any:
        raise ValueError(token)

    def once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is named twice")
        return dict(pairs)

    try:
        value = json.loads(record.decode(), parse_constant=refuse, object_pairs_hook=once)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)
