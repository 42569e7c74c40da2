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


class RecordEnds:
    """Where records end: every line end, or for CSV those outside of quotes. Goes on from one piece of a text to the next.

    In CSV a quote opens a field only where one begins. Elsewhere it is a letter like any other (5" pipe) or a slip: it
    spoils its own record at most, and never swallows the records behind it.
    """

    def __init__(self, quoted: bool) -> None:
        self._quoted = quoted
        self._inside = False
        self._may_open = True  # the next byte begins a field, or follows a quote that closed one (and may be doubled)

    def find(self, data: bytes) -> np.ndarray:
        """The places of the line ends in this piece that end a record."""
        view = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(view == ord("\n"))
        if not self._quoted or not data:
            return ends
        quotes = self._quotes_that_count(view) if self._inside or b'"' in data else ends[:0]
        ends = ends[(np.searchsorted(quotes, ends) + self._inside) % 2 == 0]
        self._inside ^= bool(len(quotes) & 1)
        closed_last = not self._inside and len(quotes) > 0 and quotes[-1] == len(data) - 1
        self._may_open = closed_last or data.endswith((b",", b"\n"))
        return ends

    def _quotes_that_count(self, view: np.ndarray) -> np.ndarray:
        """Those that open a field or close one, in turn; a doubled quote closes and opens again."""
        quotes = np.flatnonzero(view == ord('"'))
        before = view[quotes - 1]
        if len(quotes) and quotes[0] == 0:
            before[0] = ord(",") if self._may_open else 0
        if np.isin(before[int(self._inside) :: 2], np.frombuffer(b',\n"', np.uint8)).all():
            return quotes  # what opens by turn may open: so it is with every file that is as it should be
        counting, inside, closed = [], self._inside, -2
        for number, (place, byte) in enumerate(zip(quotes.tolist(), before.tolist(), strict=True)):
            if inside:
                inside, closed = False, place
                counting.append(number)
            elif byte in b",\n" or closed == place - 1:
                inside = True
                counting.append(number)
        return quotes[counting]


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
        ends = RecordEnds(quoted).find(buffer)
        if at_end and buffer and (not len(ends) or ends[-1] < len(buffer) - 1):
            ends = np.append(ends, len(buffer) - 1)  # a quote was never closed: the rest is one record
        if stop is not None and len(ends):
            begins = np.concatenate(([0], ends[:-1] + 1)) + position
            ends = ends[: int(np.searchsorted(begins, stop))]
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield position, buffer[:cut], ends
        position, held = position + cut, buffer[cut:]
        if at_end or (stop is not None and position >= stop):  # what is held now belongs to the next range
            return
        if len(held) - held.endswith(b"\n") > limits.max_record_bytes:
            length = _skip_record(stream, held, quoted)
            yield TooLong(position, held[: limits.raw_cap], length)
            position, held = position + length + 1, b""


def _skip_record(stream: TextStream, held: bytes, quoted: bool) -> int:
    """Read over the rest of a record that is too long, without keeping it; its whole length."""
    length, last = len(held), held[-1:]
    record_ends = RecordEnds(quoted)
    record_ends.find(held)
    while data := stream.read(STEP):
        ends = record_ends.find(data)
        if len(ends):
            stream.unread(data[int(ends[0]) + 1 :])
            return length + int(ends[0])
        length, last = length + len(data), data[-1:]
    return length - (last == b"\n")  # a quote that is never closed takes all the rest, but not the file's last line end
