"""The promise: every record of the input is accounted for, once, whatever is wrong with it.

records_in = records_mapped + records_skipped + records_unreadable, and events_in = touchpoints + duplicates +
quarantined + after_as_of + excluded: by the run's own counts, by the rows of its tables, and by a plain reading of its
files, in which the text of everything quarantined is found again at its file and position.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from pipelines.run import run
from pipelines.settings import AuditLimits, load_settings
from schemas.contracts import Contracts, load_contracts
from tests.hostile_events import AS_OF, make_events
from tests.lake_tables import counts, read_tables
from tests.plain_reading import BOM, as_quarantined, is_strict_object, is_text, records_in, records_of
from transforms import cut_records, duck
from transforms.candidates import Block
from transforms.cut_records import ReadLimits
from transforms.map_source import SourceMapping, map_source
from transforms.quarantine import Validated
from transforms.read_blocks import InputFile, read_range, split_file
from transforms.time_zones import micros
from transforms.validate import Limits, validate

COMPANY = Path(__file__).parent.parent / "fixtures" / "company"


# ---- a cut loses nothing: every block size against a plain reading

TOKENS = (b"a", b"bc", b"\n", b"\n", b"\r\n", b'"', b'""', b",", b" ", "é".encode(), b"\xff", BOM, b"\0", b"x" * 9)
texts = st.lists(st.sampled_from(TOKENS), max_size=25).map(b"".join)
LONG, CAP = 12, 7  # bytes: a longer record is quarantined as record.too_long, with so much of it


def read_cut(path: Path, form: str, compression: str, limits: ReadLimits) -> dict[int, tuple[int, str]]:
    """Position -> (bytes, text) of every record that comes out of all ranges of a file; none comes out twice."""
    file = InputFile("events", str(path), path.stat().st_size, form, compression)
    found: list[tuple[int, tuple[int, str]]] = []
    for part in split_file(file, limits):
        for piece in read_range(part, limits):
            found += _of_block(piece) if isinstance(piece, Block) else _of_quarantine(piece)
    assert len(dict(found)) == len(found), "a record came out twice"
    return dict(found)


def _of_block(block: Block) -> Iterator[tuple[int, tuple[int, str]]]:
    for position, text in zip(block.positions.tolist(), block.records["record"].to_pylist(), strict=True):
        line = text.removesuffix("\n").removesuffix("\r")
        yield position, (len(line.encode()), line)


def _of_quarantine(validated: Validated) -> Iterator[tuple[int, tuple[int, str]]]:
    for row in validated.quarantine.to_pylist():
        yield row["position"], (row["raw_bytes"], row["raw"])


def read_plainly(data: bytes, is_csv: bool) -> dict[int, tuple[int, str]]:
    """The same by a plain reading; what is too long or no text leaves as quarantine, capped."""
    return {
        at: as_quarantined(line, CAP if len(line) > LONG or not is_text(line) else len(line), LONG)
        for at, line in records_in(data, is_csv).items()
    }


@pytest.mark.parametrize("compression, step", [("", 1), ("", 5), ("", 64), ("gz", 5), ("zst", 64)])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
@hypothesis.settings(max_examples=60)
@hypothesis.given(text=texts)
@hypothesis.example(text=BOM + b"a\nb")
@hypothesis.example(text=BOM)
@hypothesis.example(text=b"\n\n" + b"y" * 40 + b"\na")
@hypothesis.example(text=b'a,"\n' + b"z" * 40 + b'\n",b\nc\n')
@hypothesis.example(text=b'aaaaaaaaaa"\r\n')
def test_any_block_size_reads_what_a_plain_reading_reads(
    form: str, compression: str, step: int, text: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = (b"one,two\n" if form == "csv" else b"") + text
    if not data:
        return
    path = tmp_path_factory.getbasetemp() / f"cut.{form}"
    path.write_bytes(compressed(data, compression))
    want = read_plainly(data, form == "csv")
    with mock.patch.object(cut_records, "STEP", step):
        for block_bytes in range(1, len(data) + 3):
            limits = ReadLimits(block_bytes, max_record_bytes=LONG, raw_cap=CAP)
            assert read_cut(path, form, compression, limits) == want, f"block_bytes={block_bytes}"


def compressed(data: bytes, compression: str) -> bytes:
    if not compression:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {"gz": "gzip", "zst": "zstd"}[compression]) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("row_group", [1, 7, 100])
def test_rows_of_parquet_are_numbered_through_its_row_groups(row_group: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"n": range(100)}), path, row_group_size=row_group)
    file = InputFile("events", str(path), path.stat().st_size, "parquet", "")
    found: dict[int, int] = {}
    for part in split_file(file, ReadLimits()):
        for block in read_range(part, ReadLimits()):
            assert isinstance(block, Block)
            found |= dict(zip(block.positions.tolist(), block.records["n"].to_pylist(), strict=True))
    assert found == {n: n for n in range(100)}


# ---- whatever happens to the bytes, each record is accepted, set aside, or quarantined where it stands


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return load_contracts()


@pytest.fixture(scope="module")
def connections() -> Iterator[list[Any]]:
    """One connection, in a list: hypothesis keeps what it was given, and DuckDB complains of what outlives it."""
    connections = [duck.connect()]
    yield connections
    connections.pop().close()


def spoil(rng: random.Random, lines: list[bytes]) -> bytes:
    """The lines as bytes of a file to which a few things have happened, as they do to exports."""
    lines = list(lines)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(1, len(lines))  # the first one is the header of CSV
        line = lines[at] or b" "
        place = rng.randrange(len(line))
        lines[at] = rng.choice(
            (
                line[:place],
                line[:place] + bytes([line[place] ^ 1 << rng.randrange(8)]) + line[place + 1 :],
                line[:place]
                + rng.choice((b"\0", b"\n", b"\xff", b'"', b"\\u0000", b"\\ud83d", BOM, b","))
                + line[place:],
                line.replace(b": 1", b": NaN", 1) if rng.random() < 0.5 else line.replace(b"0", b"Infinity", 1),
                line.replace(b": ", b": [", 1),
                line + line,
                b"",
                b" \t",
                b"[]",
                b'{"a": 1, "a": 2}',
                line + b"\r",
                b" " + line,
                line.replace(b"currency", b"Currency"),
                line[:-1] + b", }",
                b"{" * 5000,
            )
        )
    end = b"\r\n" if rng.random() < 0.2 else b"\n"
    start = BOM if rng.random() < 0.3 else b""
    return start + end.join(lines) + (b"" if rng.random() < 0.3 else end)


def good_lines(seed: int, is_csv: bool) -> list[bytes]:
    events = make_events(seed, count=25)
    if not is_csv:
        return [json.dumps(event, ensure_ascii=False).encode() for event in events]
    names = list(dict.fromkeys(name for event in events for name in event))
    rows = [names, *([_cell(event.get(name)) for name in names] for event in events)]
    return [",".join(row).encode() for row in rows]


def _cell(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(' ,"') else text


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=st.integers(0, 1 << 30), block_bytes=st.sampled_from((100, 1000, 1 << 20)))
def test_every_record_of_a_spoilt_file_is_accounted_for(
    form: str,
    seed: int,
    block_bytes: int,
    contracts: Contracts,
    connections: list[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = random.Random(seed)
    data = spoil(rng, good_lines(seed, form == "csv"))
    path = tmp_path_factory.getbasetemp() / f"spoilt.{form}"
    path.write_bytes(data)
    records = records_in(data, form == "csv")
    count, quarantine = sort_out(path, form, ReadLimits(block_bytes), contracts, connections[0])

    assert count["records_in"] == len(records)
    assert count["records_in"] == count["records_mapped"] + count["records_unreadable"]
    assert count["events_in"] == count["records_mapped"]  # in our own format a record is an event
    aside = ("accepted", "quarantined_events", "after_as_of")
    assert count["events_in"] == sum(count[name] for name in aside)
    assert len(quarantine) == count["quarantined_events"] + count["records_unreadable"]
    assert len({row["position"] for row in quarantine}) == len(quarantine)
    assert sum(len(row["errors"]) for row in quarantine) == count["quarantined"]
    for row in quarantine:
        assert (row["raw_bytes"], row["raw"]) == as_quarantined(records[row["position"]], cap=4096)
    if form == "jsonl":
        unreadable = {at for at, line in records.items() if not is_strict_object(line)}
        assert unreadable == {row["position"] for row in quarantine if row["errors"][0]["code"] in UNREADABLE}


UNREADABLE = ("json.malformed", "encoding.invalid")


def sort_out(
    path: Path, form: str, limits: ReadLimits, contracts: Contracts, connection: Any
) -> tuple[Counter[str], list[dict[str, Any]]]:
    """What the steps up to validation make of a file, without Beam: the counts by name, and the quarantined rows."""
    count: Counter[str] = Counter()
    quarantine: list[dict[str, Any]] = []
    rules = Limits(micros(AS_OF), 0)
    for part in split_file(InputFile("events", str(path), path.stat().st_size, form, ""), limits):
        for piece in read_range(part, limits):
            if isinstance(piece, Block):
                if not piece.records.num_rows:
                    continue
                candidates = map_source(piece, SourceMapping(None), contracts, connection)
                piece = validate(candidates, contracts, rules, connection)
                count["accepted"] += piece.events.num_rows
            quarantine += piece.quarantine.to_pylist()
            for name, _, _, number in piece.tallies:
                count[name] += number
    return count, quarantine


# ---- the same of whole runs


def assert_accounted(lake: Path, files: Sequence[Path]) -> None:
    """The sums of a published run hold, by its counts, its tables and a plain reading of its files."""
    tables, count = read_tables(lake), counts(lake)
    records = {str(file): records_of(file) for file in files}
    assert count["records_in"] == sum(map(len, records.values()))
    assert count["records_in"] == sum(count[f"records_{fate}"] for fate in ("mapped", "skipped", "unreadable"))
    fates = ("touchpoints", "duplicates", "quarantined", "after_as_of", "excluded")
    assert count["events_in"] == sum(count[fate] for fate in fates)
    assert count["touchpoints"] == tables["touchpoints"].num_rows
    assert len(set(tables["touchpoints"]["event_id"].to_pylist())) == count["touchpoints"]
    quarantine = tables["quarantine"].to_pylist()
    assert count["quarantined"] + count["records_unreadable"] == len(quarantine)
    assert len({(row["file"], row["position"], row["event_id"]) for row in quarantine}) == len(quarantine)
    for row in quarantine:
        assert row["errors"] and row["source"]
        assert (row["raw_bytes"], row["raw"]) == as_quarantined(records[row["file"]][row["position"]], cap=4096)


@pytest.mark.skipif(not (COMPANY / "_expected.json").exists(), reason="fixtures/company is not made yet")
def test_nothing_of_the_company_is_lost(tmp_path: Path) -> None:
    as_of = json.loads((COMPANY / "_expected.json").read_text())["as_of"]
    run([str(COMPANY)], str(tmp_path / "lake"), load_settings(as_of=as_of, block_bytes=500, shards=3))
    files = [path for path in COMPANY.iterdir() if path.suffix != ".md" and not path.name.startswith("_")]
    assert_accounted(tmp_path / "lake", files)


CALLS = '''
description = "Calls of a help desk."
format = "csv"
record_key = "'call:' || number"
select = """
select record_no, 'ticket_' || unnest(['opened', 'resolved']) as event_type, began as occurred_at, number as ticket_id,
    nullif(caller, '-') as customer_id
from records
where wrong_number <> 'yes'
"""
'''


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_of_spoilt_exports_is_lost(seed: int, tmp_path: Path) -> None:
    """Four files in our own format and one described; some records give no event, and some give two."""
    rng = random.Random(seed)
    data = tmp_path / "in"
    data.mkdir()
    (data / "plain.jsonl").write_bytes(spoil(rng, good_lines(seed, False)))
    (data / "packed.jsonl.gz").write_bytes(compressed(spoil(rng, good_lines(seed + 100, False)), "gz"))
    (data / "table.csv.zst").write_bytes(compressed(spoil(rng, good_lines(seed, True)), "zst"))
    visits = {
        "event_id": [f"visit-{n % 90}" for n in range(100)],
        "event_type": ["site_visit", "site_visit", "site_vist", None] * 25,
        "occurred_at": ["2025-06-01T00:00:00Z", "2025-06-01", "2027-06-01T00:00:00Z", None, "2025-06-02T00:00:00Z"]
        * 20,
        "anonymous_id": [4, None] * 50,
        "page_url": ["/"] * 100,
    }
    pq.write_table(pa.table(visits), data / "visits.parquet", row_group_size=30)
    calls = ["number,began,caller,wrong_number"]
    calls += [f"{n},2025-0{1 + n % 9}-3{n % 2}T10:00:00Z,{rng.choice(('c-1', '-'))},{rng.choice(('yes', 'no'))}"
              for n in range(40)]  # fmt: skip
    (tmp_path / "calls.csv").write_bytes(spoil(rng, [line.encode() for line in calls]))
    (tmp_path / "sources" / "desk").mkdir(parents=True)
    (tmp_path / "sources" / "desk" / "calls.toml").write_text(CALLS)

    settings = load_settings(
        as_of=AS_OF, sources=str(tmp_path / "sources"), exclude="email = 'ben@example.com'", block_bytes=1000, shards=2,
        audit=AuditLimits(quarantine_block_share=1.0),
    )  # fmt: skip
    run([str(data), f"desk.calls:{tmp_path}/calls.csv"], str(tmp_path / "lake"), settings)
    assert_accounted(tmp_path / "lake", [*data.iterdir(), tmp_path / "calls.csv"])
    count = counts(tmp_path / "lake")
    for name in ("records_skipped", "records_unreadable", "duplicates", "quarantined", "after_as_of", "excluded"):
        assert count[name] > 0, f"the case shows no {name}"
