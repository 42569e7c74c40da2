"""Files to records: nothing is lost and nothing read twice, however a file is cut, packed or damaged."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from transforms.candidates import Block
from transforms.cut_records import ReadLimits
from transforms.read_blocks import FileRange, InputFile, UnreadableFile, read_csv_header, read_range, split_file

BOM = b"\xef\xbb\xbf"
Found = tuple[dict[int, str], dict[int, tuple[str, str, int]]]


def file_of(path: Path, data: bytes, kind: str = "jsonl", compression: str = "") -> InputFile:
    match compression:
        case "gz":
            data = gzip.compress(data, mtime=0)
        case "zst":
            data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)
    return InputFile("events", str(path), len(data), kind, compression)


def read(file: InputFile, limits: ReadLimits) -> Found:
    """({position: record}, {position: (code, raw, length)} of the refused), range by range."""
    records: dict[int, str] = {}
    refused: dict[int, tuple[str, str, int]] = {}
    consumed = 0
    for part in split_file(file, limits):
        for piece in read_range(part, limits):
            if isinstance(piece, Block):
                consumed += piece.input_bytes
                own = piece.records["record"].to_pylist()
                assert len(own) == len(piece.positions)
                for position, record in zip(piece.positions.tolist(), own, strict=True):
                    assert position not in records, "no record is read twice"
                    records[position] = record
            else:
                for row in piece.quarantine.to_pylist():
                    assert row["position"] not in refused
                    (error,) = row["errors"]
                    refused[row["position"]] = error["code"], row["raw"], row["raw_bytes"]
                counted = {name: count for name, _, _, count in piece.tallies}
                assert counted["records_in"] == counted["records_unreadable"] == piece.quarantine.num_rows
    return records, refused


def read_slowly(data: bytes, limits: ReadLimits, quoted: bool = False) -> Found:
    """The records of a text, one at a time; of a CSV file without its header."""
    start = len(BOM) if data.startswith(BOM) else 0
    if quoted:
        start = next(end for _, end in _lines(data, start, True))
    records: dict[int, str] = {}
    refused: dict[int, tuple[str, str, int]] = {}
    for begin, end in _lines(data, start, quoted):
        line = data[begin:end].removesuffix(b"\n")
        if not line.strip():
            continue
        if len(line) > limits.max_record_bytes:
            refused[begin] = "record.too_long", line[: limits.raw_cap].decode("utf-8", "ignore"), len(line)
            continue
        try:
            records[begin] = line.decode() + "\n"
        except UnicodeDecodeError:
            line = line.removesuffix(b"\r")
            refused[begin] = "encoding.invalid", line[: limits.raw_cap].decode("utf-8", "backslashreplace"), len(line)
    return records, refused


def _lines(data: bytes, start: int, quoted: bool) -> Iterator[tuple[int, int]]:
    """From where to where each record goes, its line end included."""
    inside, opens, begin = False, True, start  # opens: here a field begins, or a quote was closed just before
    for place in range(start, len(data)):
        byte = data[place : place + 1]
        if quoted and byte == b'"' and (inside or opens):
            inside = not inside
            opens = not inside
            continue
        if byte == b"\n" and not inside:
            yield begin, place + 1
            begin = place + 1
        opens = byte in (b",", b"\n")
    if begin < len(data):
        yield begin, len(data)


lines = st.one_of(
    st.sampled_from([b'{"a":1}', b"", b" ", b"\r", b'{"a":"\xc3\xa9"}\r', b"\xff", b'{"b":"\xc3"}\r', b"x" * 30, b"x" * 31, BOM,
                     b"\xe2\x80\xa8", b"\x85", b"\x0b\x0c", b"0"]),
    st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")),
)  # fmt: skip
documents = st.tuples(
    st.sampled_from([b"", b"", BOM]), st.lists(lines, max_size=12), st.sampled_from([b"", b"\n", b"\n\n"])
).map(lambda d: d[0] + b"\n".join(d[1]) + d[2])
sizes = st.sampled_from([1, 2, 3, 5, 8, 13, 40, 1000])
anywhere = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anywhere
@given(documents, sizes, st.sampled_from(["", "", "gz", "zst"]), st.integers(0, 9))
@example(BOM + b'{"a":1}', 1, "", 9)
@example(b"x" * 31 + b"\nyy\n" + b"z" * 40, 8, "gz", 9)
def test_lines_are_read_once_on_any_cut(tmp_path: Path, data: bytes, block: int, packed: str, cap: int) -> None:
    assume(data and not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1")))
    limits = ReadLimits(block, max_record_bytes=30, raw_cap=cap)
    assert read(file_of(tmp_path / "f", data, compression=packed), limits) == read_slowly(data, limits)


tables = st.lists(
    st.one_of(st.sampled_from([b"1,2", b'"a\nb",2', b'"a""\n""b",2', b"", b'x"y,2', b'"', b"\xff,1", b"z" * 31, b'"' + b"w" * 40 + b'",1',
                               b'"long\n' + b"v" * 40 + b'\n",1', b'5" pipe,"a\nb"']),
              st.text(st.sampled_from('a",\n'), max_size=9).map(str.encode)),
    max_size=10,
)  # fmt: skip


@anywhere
@given(
    tables,
    sizes,
    st.sampled_from(["", "gz", "zst"]),
    st.sampled_from([b"a,b\n", BOM + b"a,b\r\n", BOM + b'"a\nb",c\n']),
)
@example([b'"a\nb",2', b"1,2"], 3, "", b"a,b\n")
@example([b'5" pipe,2', b"3,4"], 3, "", b"a,b\n")
@example([b'"a"",",2', b'"b""\n",4'], 1, "", b"a,b\n")
def test_records_of_csv_are_read_once_on_any_cut(
    tmp_path: Path, rows: list[bytes], block: int, packed: str, header: bytes
) -> None:
    data = header + b"\n".join(rows)
    limits = ReadLimits(block, max_record_bytes=30, raw_cap=20)
    file = file_of(tmp_path / "f", data, "csv", packed)
    assert read(file, limits) == read_slowly(data, limits, quoted=True)
    assert read_csv_header(file) == header.removeprefix(BOM)
    for part in split_file(file, limits):
        for piece in read_range(part, limits):
            if isinstance(piece, Block):
                assert piece.records.schema.metadata == {b"header": header.removeprefix(BOM)}


def test_a_huge_file_is_cut_into_ranges_and_a_packed_one_is_not(tmp_path: Path) -> None:
    data = b'{"a":1}\n' * 100
    limits = ReadLimits(block_bytes=64)
    assert len(list(split_file(file_of(tmp_path / "f", data), limits))) == 13
    assert len(list(split_file(file_of(tmp_path / "c", b"a,b\n" + data, "csv"), limits))) > 5
    assert [(r.start, r.stop) for r in split_file(file_of(tmp_path / "g", data, compression="gz"), limits)] == [(0, -1)]


@pytest.mark.parametrize("packed", ["", "gz", "zst"])
def test_the_bytes_read_add_up_to_the_file(tmp_path: Path, packed: str) -> None:
    file = file_of(tmp_path / "f", b'{"a":1}\n' * 50_000, compression=packed)
    (part,) = split_file(file, ReadLimits())
    assert sum(block.input_bytes for block in read_range(part, ReadLimits()) if isinstance(block, Block)) == file.bytes


def test_a_packed_file_of_several_parts_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(gzip.compress(b"1\n2\n", mtime=0) + gzip.compress(b"3\n", mtime=0))
    gz = InputFile("events", str(tmp_path / "f"), 1, "jsonl", "gz")
    assert list(read(gz, ReadLimits())[0].values()) == ["1\n", "2\n", "3\n"]
    (tmp_path / "z").write_bytes(
        pa.compress(b"1\n2\n", "zstd", asbytes=True) + pa.compress(b"3\n", "zstd", asbytes=True)
    )
    zst = InputFile("events", str(tmp_path / "z"), 1, "jsonl", "zst")
    assert list(read(zst, ReadLimits())[0].values()) == ["1\n", "2\n", "3\n"]


@pytest.mark.parametrize("packed", ["gz", "zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_packed_file_that_is_cut_or_damaged_is_refused(tmp_path: Path, packed: str, kind: str) -> None:
    text = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
    whole = file_of(tmp_path / "f", text, kind, packed)
    data = (tmp_path / "f").read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF  # which only gz can tell: a zst file need not carry a check sum
    for spoiled in (data[: len(data) // 2], data[:-1], bytes(damaged) if packed == "gz" else data[:100]):
        (tmp_path / "f").write_bytes(spoiled)
        with pytest.raises(UnreadableFile, match="breaks off or is damaged"):
            read(whole, ReadLimits(block_bytes=1000))


@pytest.mark.parametrize(
    ("data", "kind", "compression", "message"),
    [
        (b"{}\n", "jsonl", "gz", "is named .gz, but is not gz compressed"),
        (gzip.compress(b"{}", mtime=0), "jsonl", "", "is gz compressed, but not named so"),
        (pa.compress(b"{}", "zstd", asbytes=True), "csv", "", "is zst compressed, but not named so"),
        (gzip.compress(b"{}", mtime=0), "jsonl", "zst", "is named .zst, but is not zst compressed"),
        (b"{}\n", "parquet", "", "is not a Parquet file"),
        (b"PAR1....", "jsonl", "", "is a Parquet file"),
        (b"PAR1....", "parquet", "", "is not a whole Parquet file"),
        (b"\n \n", "csv", "", "has no header line"),
        (gzip.compress(b"", mtime=0), "jsonl", "gz", "is empty"),
        (gzip.compress(b"", mtime=0), "csv", "gz", "has no header line"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, data: bytes, kind: str, compression: str, message: str
) -> None:
    path = tmp_path / "export"
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match=message) as error:
        read(InputFile("events", str(path), len(data), kind, compression), ReadLimits())
    assert error.value.problem.file == str(path)
    assert error.value.problem.mend


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        read(InputFile("events", str(tmp_path / "no"), 1, "jsonl", ""), ReadLimits())


def test_parquet_is_read_by_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"n": np.arange(250), "s": [str(n) for n in range(250)]}), path, row_group_size=100)
    file = InputFile("events", str(path), path.stat().st_size, "parquet", "")
    parts = list(split_file(file, ReadLimits()))
    assert [(p.start, p.stop, p.first_row) for p in parts] == [(0, 1, 0), (1, 2, 100), (2, 3, 200)]
    found: list[Any] = []
    for part in parts[::-1]:
        for block in read_range(part, ReadLimits()):
            assert isinstance(block, Block)
            assert block.positions.tolist() == block.records["n"].to_pylist()
            found += block.positions.tolist()
    assert sorted(found) == list(range(250))


def test_parquet_without_rows_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), path)
    file = InputFile("events", str(path), 100, "parquet", "")
    assert [b for part in split_file(file, ReadLimits()) for b in read_range(part, ReadLimits())] == []


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(
        pa.table({"s": [f"text {n}" for n in range(20_000)]}), path, compression="snappy", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    data[200:20_000] = bytes(19_800)
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="is damaged near row 0"):
        list(read_range(FileRange(InputFile("events", str(path), 1, "parquet", ""), 0, 1), ReadLimits()))


def test_a_record_longer_than_a_block_is_whole(tmp_path: Path) -> None:
    long = b'{"a":"' + b"x" * 3_000_000 + b'"}'
    file = file_of(tmp_path / "f", long + b"\n" + b"{}\n" + long)
    records, refused = read(file, ReadLimits(block_bytes=50_000, max_record_bytes=4_000_000))
    assert [len(r) for r in records.values()] == [len(long) + 1, 3, len(long) + 1]
    records, refused = read(file, ReadLimits(block_bytes=50_000, max_record_bytes=2_000_000))
    assert list(records.values()) == ["{}\n"]
    assert [(code, length) for code, _, length in refused.values()] == [("record.too_long", len(long))] * 2
