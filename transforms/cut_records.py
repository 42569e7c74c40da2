"""A stream of text to whole records: lines, or CSV records that may hold line ends in quotes.

A range of a file owns the records that begin in it. Nothing is read twice but the end of a range's last record, and a record
that is too long is passed over without being held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

BOM = b"\xef\xbb\xbf"
#: How much is read at a time where a record's end is looked for.
STEP = 1 << 20


@dataclass(frozen=True)
class ReadLimits:
    """block_bytes: how much text becomes one block; max_record_bytes: longer records go to quarantine."""

    block_bytes: int = 32 << 20
    max_record_bytes: int = 16 << 20
    raw_cap: int = 4096


class TextStream:
    """Bytes in order, plain or decompressed, that takes bytes back; knows how much of the file it has consumed."""

    def __init__(self, raw: BinaryIO, compression: str) -> None:
        self._raw = raw
        self._bytes: Any = raw
        if compression:
            codec = {"gz": "gzip", "zst": "zstd"}[compression]
            self._bytes = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
        self._back = b""
        self._reported = 0

    def read(self, size: int) -> bytes:
        if self._back:
            data, self._back = self._back[:size], self._back[size:]
            return data
        return bytes(self._bytes.read(size))

    def unread(self, data: bytes) -> None:
        self._back = data + self._back

    def seek(self, position: int) -> None:
        """Only for plain files."""
        self._raw.seek(position)
        self._back = b""

    def consumed(self) -> int:
        """Bytes of the file read since the last call."""
        now = self._raw.tell()
        news, self._reported = now - self._reported, now
        return max(news, 0)


class TooLong(NamedTuple):
    position: int
    head: bytes
    length: int


def record_ends(data: bytes, quoted: bool, in_quotes: bool = False) -> np.ndarray:
    """Where records end: every line end, or for CSV those outside of quotes."""
    view = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(view == 10)
    if quoted and (in_quotes or b'"' in data):
        quotes = np.flatnonzero(view == 34)
        before = np.searchsorted(quotes, ends) + int(in_quotes)
        ends = ends[before % 2 == 0]
    return ends


def skip_to_line(stream: TextStream, position: int) -> int:
    """The first line that begins at or behind `position`: a range does not own a line that began before it."""
    stream.seek(position - 1)
    position -= 1
    while data := stream.read(STEP):
        end = data.find(b"\n")
        if end >= 0:
            stream.unread(data[end + 1 :])
            return position + end + 1
        position += len(data)
    return position


def cut_records(
    stream: TextStream, position: int, stop: int | None, quoted: bool, limits: ReadLimits
) -> Iterator[tuple[int, bytes, np.ndarray] | TooLong]:
    """Whole records that begin before `stop`: (position, bytes, where each ends); the stream stands at a record."""
    held = b""
    while stop is None or position < stop:
        want = limits.block_bytes
        if stop is not None:
            want = min(want, stop - position - len(held))
        data = stream.read(want if want > 0 else max(STEP, len(held)))
        buffer = held + data
        if position == 0 and buffer.startswith(BOM):
            position, buffer = len(BOM), buffer[len(BOM) :]
        at_end = not data
        if at_end and buffer and not buffer.endswith(b"\n"):
            buffer += b"\n"
        ends = record_ends(buffer, quoted)
        if at_end and buffer and (not len(ends) or ends[-1] < len(buffer) - 1):
            ends = np.append(ends, len(buffer) - 1)  # a quote was never closed: the rest is one record
        if stop is not None and len(ends):
            begins = np.concatenate(([0], ends[:-1] + 1)) + position
            ends = ends[: int(np.searchsorted(begins, stop))]
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield position, buffer[:cut], ends
        position, held = position + cut, buffer[cut:]
        if at_end:
            return
        if len(held) - held.endswith(b"\n") > limits.max_record_bytes:
            length = _skip_record(stream, held, quoted)
            yield TooLong(position, held[: limits.raw_cap], length)
            position, held = position + length + 1, b""


def _skip_record(stream: TextStream, held: bytes, quoted: bool) -> int:
    """Read over the rest of a record that is too long, without keeping it; its whole length."""
    length, last = len(held), held[-1:]
    in_quotes = quoted and bool(held.count(b'"') & 1)
    while data := stream.read(STEP):
        ends = record_ends(data, quoted, in_quotes)
        if len(ends):
            stream.unread(data[int(ends[0]) + 1 :])
            return length + int(ends[0])
        length, last = length + len(data), data[-1:]
        in_quotes ^= quoted and bool(data.count(b'"') & 1)
    return length - (last == b"\n")  # a quote that is never closed takes all the rest, but not the file's last line end
