"""Files to blocks of records: JSON lines, CSV and Parquet; plain, gz and zst; one huge file in parallel.

A range owns the records that begin in it. Nothing is read twice but the end of the last record of a range, and nothing
is lost: a record that is too long or no UTF-8 leaves as quarantine, a file that cannot be read leaves as a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.batches import declared
from transforms.candidates import Block
from transforms.cut_records import BOM, STEP, ReadLimits, RecordEnds, TextStream, TooLong, cut_records, skip_to_line
from transforms.quarantine import Validated, quarantine_unreadable

_LONGEST_HEADER = 16 << 20
_MAGIC = {"gz": b"\x1f\x8b", "zst": b"\x28\xb5\x2f\xfd"}


class InputFile(NamedTuple):
    """A file to read, as the launcher found it."""

    source: str
    path: str
    bytes: int
    format: str  # jsonl, csv or parquet
    compression: str  # '', gz or zst


class FileRange(NamedTuple):
    """A part of a file: bytes [start, stop) of text, row groups [start, stop) of Parquet; stop -1 is the end."""

    file: InputFile
    start: int
    stop: int
    first_row: int = 0
    header: bytes = b""


class Problem(NamedTuple):
    """Why the run cannot go on: nothing is published, exit status 3."""

    file: str
    what: str
    mend: str


def split_file(file: InputFile, limits: ReadLimits) -> Iterator[FileRange]:
    """Cut a file into ranges that can be read apart. Raises UnreadableFile."""
    with _open(file.path) as stream:
        _check_magic(file, stream.read(4))
        if file.format == "parquet":
            yield from _split_parquet(file, stream)
        elif file.compression:
            yield FileRange(file, 0, -1)
        elif file.format == "csv":
            yield from _split_csv(file, limits)
        else:
            step = max(limits.block_bytes, len(BOM) + 1)  # the range with the BOM owns the record behind it
            for start in range(0, file.bytes, step):
                yield FileRange(file, start, min(start + step, file.bytes))


def read_range(part: FileRange, limits: ReadLimits) -> Iterator[Block | Validated]:
    """The blocks of a range, and what of it is no record (as quarantine). Raises UnreadableFile."""
    if part.file.format == "parquet":
        yield from _read_parquet(part)
    else:
        yield from _read_text(part, limits)


class UnreadableFile(Exception):
    """A file that cannot be read as what its name says; carries the Problem."""

    def __init__(self, file: str, what: str, mend: str) -> None:
        super().__init__(f"{file}: {what}")
        self.problem = Problem(file, what, mend)


def _open(path: str) -> BinaryIO:
    try:
        stream: BinaryIO = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return stream
    except (OSError, ValueError) as error:
        raise UnreadableFile(
            path, f"cannot be opened: {error}", "check that the file exists and may be read"
        ) from error
    except Exception as error:  # BeamIOError and the object stores' own
        raise UnreadableFile(
            path, f"cannot be opened: {error}", "check that the file exists and may be read"
        ) from error


def _check_magic(file: InputFile, head: bytes) -> None:
    for name, magic in _MAGIC.items():
        if file.compression == name and not head.startswith(magic):
            raise UnreadableFile(
                file.path, f"is named .{name}, but is not {name} compressed", f"remove .{name} from its name"
            )
        if not file.compression and head.startswith(magic):
            raise UnreadableFile(file.path, f"is {name} compressed, but not named so", f"add .{name} to its name")
    if file.format == "parquet" and head != b"PAR1":
        raise UnreadableFile(file.path, "is not a Parquet file", "export it again, or give it its true ending")
    if file.format != "parquet" and head == b"PAR1":
        raise UnreadableFile(file.path, "is a Parquet file", "name it .parquet")


# --- Parquet -------------------------------------------------------------------------------------------------------


def _parquet(path: str, stream: BinaryIO) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(
            path, f"is not a whole Parquet file: {_one_line(error)}", "copy or export the file again"
        ) from error


def _split_parquet(file: InputFile, stream: BinaryIO) -> Iterator[FileRange]:
    parquet = _parquet(file.path, stream)
    names = parquet.schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableFile(file.path, f"names {', '.join(twice)} more than once", "give each column one name")
    metadata = parquet.metadata
    first_row = 0
    for group in range(metadata.num_row_groups):
        yield FileRange(file, group, group + 1, first_row)
        first_row += metadata.row_group(group).num_rows


def _read_parquet(part: FileRange) -> Iterator[Block]:
    with _open(part.file.path) as stream:
        yield from _row_groups(part, _parquet(part.file.path, stream))


def _row_groups(part: FileRange, parquet: pq.ParquetFile) -> Iterator[Block]:
    row = part.first_row
    share = part.file.bytes // max(parquet.metadata.num_row_groups, 1)
    try:
        batches = parquet.iter_batches(100_000, row_groups=list(range(part.start, part.stop)), use_threads=False)
        for number, batch in enumerate(batches):
            table = pa.Table.from_batches([batch])
            positions = np.arange(row, row + len(batch))
            yield Block(part.file.source, part.file.path, "parquet", table, positions, share if number == 0 else 0)
            row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(
            part.file.path, f"is damaged near row {row}: {_one_line(error)}", "copy or export the file again"
        ) from error


# --- text ----------------------------------------------------------------------------------------------------------


def _split_csv(file: InputFile, limits: ReadLimits) -> Iterator[FileRange]:
    """CSV may hold line ends in quotes, so a cut needs to know the quotes before it: one scan reads them all."""
    with _open(file.path) as raw:
        stream = TextStream(raw, "")
        header, start = _csv_header(file, stream)
        record_ends, position, range_start = RecordEnds(quoted=True), start, start
        while data := stream.read(limits.block_bytes):
            ends = record_ends.find(data)
            if len(ends):
                cut = position + int(ends[-1]) + 1
                yield FileRange(file, range_start, cut, header=header)
                range_start = cut
            position += len(data)
        if position > range_start:
            yield FileRange(file, range_start, position, header=header)


def read_csv_header(file: InputFile) -> bytes:
    """The header line of a CSV file. Raises UnreadableFile."""
    with _open(file.path) as raw:
        try:
            return _csv_header(file, TextStream(raw, file.compression))[0]
        except (OSError, EOFError, pa.ArrowException) as error:
            raise UnreadableFile(file.path, f"breaks off or is damaged: {_one_line(error)}", "copy it again") from error


def _csv_header(file: InputFile, stream: TextStream) -> tuple[bytes, int]:
    """The first record, without a BOM, and where the second begins; the stream stands there."""
    head = b""
    while True:
        more = stream.read(STEP)
        head += more
        line = head.removeprefix(BOM)
        ends = RecordEnds(quoted=True).find(line)
        if len(ends) or not more:
            break
        if len(line) > _LONGEST_HEADER:
            raise UnreadableFile(
                file.path, "has no end to its header line", "close the quotes in it, or export it again"
            )
    if b"\r" in (line[: int(ends[0])] if len(ends) else line).rstrip(b"\r\n").replace(b"\r\n", b""):
        raise UnreadableFile(
            file.path,
            "ends its lines with a carriage return alone",
            "save it with line ends of Unix (LF) or Windows (CRLF)",
        )
    if not line.strip():
        raise UnreadableFile(file.path, "has no header line", "export it with column names, or remove the file")
    header = line[: int(ends[0]) + 1] if len(ends) else line
    stream.unread(line[len(header) :])
    return header, len(head) - len(line) + len(header)


def _read_text(part: FileRange, limits: ReadLimits) -> Iterator[Block | Validated]:
    """The blocks of a range of text. The header of a CSV file is read here where the file could not be split."""
    file = part.file
    with _open(file.path) as raw:
        try:
            stream = TextStream(raw, file.compression)
            position, header, stop = part.start, part.header, part.stop if part.stop >= 0 else None
            if file.format == "csv" and not header:
                header, position = _csv_header(file, stream)
            elif file.compression:
                _refuse_nothing(file, stream)
            elif part.start > 0:
                stream.seek(position)
                stream.consumed()
                if file.format != "csv":
                    position = skip_to_line(stream, position)
            for piece in cut_records(stream, position, stop, file.format == "csv", limits):
                if isinstance(piece, TooLong):
                    yield _quarantine_too_long(file, [piece], limits)
                else:
                    yield from _blocks(file, header, piece[0], piece[1], piece[2], stream.consumed(), limits)
        except (OSError, EOFError, pa.ArrowException) as error:
            raise UnreadableFile(
                file.path,
                f"breaks off or is damaged: {_one_line(error)}",
                "copy or export the file again; a part of it is never taken for the whole",
            ) from error


def _refuse_nothing(file: InputFile, stream: TextStream) -> None:
    """A file without a byte is refused before it is read; here one whose bytes are nothing, compressed."""
    first = stream.read(1)
    if not first:
        raise UnreadableFile(file.path, "is empty", "remove it, or export it again")
    stream.unread(first)


def _blocks(
    file: InputFile, header: bytes, position: int, data: bytes, ends: np.ndarray, consumed: int, limits: ReadLimits
) -> Iterator[Block | Validated]:
    """Bytes of whole records to a block, without copying; blank lines are no records."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts
    offsets = np.concatenate((starts, [len(data)])).astype(np.int32)
    records = pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    keep = ~_blank(records, data, starts, lengths)
    too_long = np.flatnonzero(lengths > limits.max_record_bytes)
    if len(too_long):
        keep[too_long] = False
        found = [
            TooLong(position + int(starts[i]), data[starts[i] : starts[i] + limits.raw_cap], int(lengths[i]))
            for i in too_long
        ]
        yield _quarantine_too_long(file, found, limits)
    not_text = _not_utf8(data, starts, ends)
    not_text = not_text[keep[not_text]]
    if len(not_text):
        keep[not_text] = False
        empty = Block(file.source, file.path, file.format, pa.table({}), np.zeros(0, np.int64))
        lines = [data[starts[i] : ends[i]].removesuffix(b"\r") for i in not_text]
        raw = [line[: limits.raw_cap].decode("utf-8", "backslashreplace") for line in lines]
        sizes = [len(line) for line in lines]
        places = [position + int(starts[i]) for i in not_text]
        yield quarantine_unreadable(empty, "encoding.invalid", "UTF-8 text", raw, sizes, places)
    positions = starts + position
    if not keep.all():
        records, positions = records.filter(pa.array(keep)), positions[keep]
    # Every record is checked to be UTF-8 by now, so the bytes may be called text.
    text = pa.Array.from_buffers(pa.string(), len(records), records.buffers(), offset=records.offset)
    table = pa.table({"record": text}, metadata={b"header": header}) if header else pa.table({"record": text})
    yield Block(file.source, file.path, file.format, table, positions, consumed)


def _blank(records: pa.Array, data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """bool[n]: lines of white space only. Looks at the first byte, and at the line where that is white."""
    first = np.frombuffer(data, np.uint8)[starts]
    blank = np.zeros(len(starts), bool)
    for row in np.flatnonzero(first <= 32):
        blank[row] = not data[starts[row] : starts[row] + lengths[row]].strip()
    return blank


def _not_utf8(data: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Records that are not UTF-8: one check of the whole block, and of its lines only where that fails."""
    if data.isascii():
        return np.zeros(0, np.int64)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        bad = []
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            line = data[start:end]
            if not line.isascii():
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    bad.append(row)
        return np.array(bad, np.int64)
    return np.zeros(0, np.int64)


def _quarantine_too_long(file: InputFile, found: list[TooLong], limits: ReadLimits) -> Validated:
    empty = Block(file.source, file.path, file.format, pa.table({}), np.zeros(0, np.int64))
    return quarantine_unreadable(
        empty,
        "record.too_long",
        f"at most {limits.max_record_bytes} bytes",
        [one.head[: limits.raw_cap].decode("utf-8", "ignore") for one in found],
        [one.length for one in found],
        [one.position for one in found],
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


# --- Beam ----------------------------------------------------------------------------------------------------------


class _SplitFiles(beam.DoFn):
    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits

    def process(self, file: InputFile) -> Iterable[FileRange | beam.pvalue.TaggedOutput]:
        try:
            yield from split_file(file, self._limits)
        except UnreadableFile as error:
            yield beam.pvalue.TaggedOutput("problems", error.problem)


class _ReadRanges(beam.DoFn):
    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits

    def process(self, part: FileRange) -> Iterable[Block | beam.pvalue.TaggedOutput]:
        try:
            for piece in read_range(part, self._limits):
                yield piece if isinstance(piece, Block) else beam.pvalue.TaggedOutput("unreadable", piece)
        except UnreadableFile as error:
            yield beam.pvalue.TaggedOutput("problems", error.problem)


class ReadBlocks(beam.PTransform):
    """InputFile -> blocks (main), unreadable records (`unreadable`: Validated) and unreadable files (`problems`)."""

    def __init__(self, limits: ReadLimits) -> None:
        super().__init__()
        self._limits = limits

    def expand(self, files: beam.PCollection[InputFile]) -> dict[str, beam.PCollection[Any]]:
        ranges = files | "SplitFiles" >> beam.ParDo(_SplitFiles(self._limits)).with_outputs("problems", main="ranges")
        blocks = (
            ranges.ranges
            | "SpreadRanges" >> beam.Reshuffle()
            | "ReadRanges"
            >> beam.ParDo(_ReadRanges(self._limits)).with_outputs("problems", "unreadable", main="blocks")
        )
        problems = (ranges.problems, blocks.problems) | "Problems" >> beam.Flatten()
        return {
            "blocks": declared(blocks.blocks, Block),
            "unreadable": declared(blocks.unreadable, Validated),
            "problems": problems,
        }
