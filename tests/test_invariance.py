"""The promise: the same events give the same tables, byte for byte.

Whatever the order of the lines, the files they stand in, how these are compressed and cut into blocks, the number of
shards, and however often a line comes again. tests/test_runners.py says the same of other runners.
"""

import csv
import functools
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from pipelines.run import run
from pipelines.settings import Settings, load_settings, parse_time
from schemas.contracts import load_contracts
from tests import hostile_identities
from tests.hostile_events import AS_OF, Event, make_events
from tests.lake_tables import assert_same_tables, counts, read_tables
from transforms import metric_inputs

#: Worlds of tests/hostile_identities.py, each under one policy.
POLICY_OF = {101: "device_split", 102: "last_auth", 103: "none"}


@dataclass(frozen=True)
class Cut:
    """One way to hand over the same lines. `order` is a seed; `copies` is how many accepted lines come again."""

    order: int
    files: tuple[str, ...]
    block_bytes: int
    shards: int
    copies: int


cuts = st.builds(
    Cut,
    order=st.integers(0, 1 << 30),
    files=st.lists(st.sampled_from(("jsonl", "jsonl.gz", "jsonl.zst")), min_size=1, max_size=4).map(tuple),
    block_bytes=st.sampled_from((2_500, 9_999, 32 << 20)),
    shards=st.integers(1, 7),
    copies=st.integers(0, 20),
)


@pytest.fixture(scope="module")
def run_uncut(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[list[str], Path]]:
    """The lines of a seed, and a lake made of them in one file, one block and one shard."""

    @functools.cache
    def lines_and_lake(seed: int) -> tuple[list[str], Path]:
        folder = tmp_path_factory.mktemp("uncut")
        lines = [json.dumps(event, ensure_ascii=False) for event in world(seed)]
        write_text(folder / "events.jsonl", lines)
        run([str(folder / "events.jsonl")], str(folder / "lake"), settings_of(seed, shards=1))
        return lines, folder / "lake"

    return lines_and_lake


def world(seed: int) -> list[Event]:
    """A small business; or, by its name below, identities that merge across files, and copies that differ."""
    return hostile_identities.make_events(seed) if seed in POLICY_OF else make_events(seed)


def settings_of(seed: int, **cut: int) -> Settings:
    return load_settings(as_of=AS_OF, identity_policy=POLICY_OF.get(seed), **cut)


@hypothesis.given(seed=st.sampled_from((1, 2, *POLICY_OF)), cut=cuts)
@hypothesis.settings(
    max_examples=4,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # a smaller example is not worth the minutes
)
@hypothesis.example(seed=1, cut=Cut(1, ("jsonl", "jsonl.gz", "jsonl.zst"), 700, 7, 40))
@hypothesis.example(seed=101, cut=Cut(2, ("jsonl", "jsonl.gz", "jsonl.zst"), 2_500, 5, 30))
@hypothesis.example(seed=102, cut=Cut(3, ("jsonl", "jsonl"), 9_999, 3, 10))
def test_any_order_any_cut_any_shard_count_and_added_copies(
    run_uncut: Callable[[int], tuple[list[str], Path]], seed: int, cut: Cut
) -> None:
    lines, lake = run_uncut(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = copies_of_accepted(lake, lines, cut)
        patterns = write_cut(folder / "cut", [*lines, *copies], cut)
        settings = settings_of(seed, shards=cut.shards, block_bytes=cut.block_bytes)
        run(patterns, str(folder / "lake"), settings)

        assert_same_tables(lake, folder / "lake")
        added = {"records_in", "records_mapped", "events_in", "duplicates"}
        one, other = counts(lake), counts(folder / "lake")
        for count in ("records_in", "records_mapped", "records_skipped", "records_unreadable", "events_in",
                      "touchpoints", "duplicates", "quarantined", "after_as_of", "excluded"):  # fmt: skip
            assert other[count] == one[count] + (len(copies) if count in added else 0), count


def test_few_rows_and_many_are_asked_alike(
    run_uncut: Callable[[int], tuple[list[str], Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DuckDB is asked about: small tables are copied, of large ones it sees the Arrow table itself."""
    lines, lake = run_uncut(1)
    monkeypatch.setattr(metric_inputs, "_FEW_ROWS", 0)
    write_text(tmp_path / "events.jsonl", lines)
    run([str(tmp_path / "events.jsonl")], str(tmp_path / "lake"), settings_of(1, shards=1))
    assert_same_tables(lake, tmp_path / "lake")


def copies_of_accepted(lake: Path, lines: Sequence[str], cut: Cut) -> list[str]:
    """Some lines that gave a touchpoint or a duplicate of one: a copy of a bad line is a bad line more."""
    tables = read_tables(lake)
    bad = set(tables["quarantine"]["raw"].to_pylist())
    kept = set(tables["touchpoints"]["event_id"].to_pylist())
    fit = [line for line in lines if line not in bad and json.loads(line)["event_id"] in kept]
    fit = [line for line in fit if parse_time(json.loads(line)["occurred_at"]) <= AS_OF]
    return random.Random(cut.order).choices(fit, k=cut.copies)


def write_cut(folder: Path, lines: Sequence[str], cut: Cut) -> list[str]:
    """The lines in another order, dealt out to files; a pattern for each, the last file first."""
    rng = random.Random(cut.order)
    shuffled = rng.sample(lines, len(lines))
    folder.mkdir()
    dealt: list[list[str]] = [[] for _ in cut.files]
    for line in shuffled:
        rng.choice(dealt).append(line)
    patterns = []
    for number, (ending, part) in enumerate(zip(cut.files, dealt, strict=True)):
        if part:
            write_text(folder / f"{number}.{ending}", part)
            patterns.append(str(folder / f"{number}.{ending}"))
    return patterns[::-1]


def write_text(path: Path, lines: Sequence[str]) -> None:
    """Lines to a file, compressed as its name says, in two streams one behind the other as log shippers write them."""
    codec = {"gz": "gzip", "zst": "zstd"}.get(path.suffix[1:])
    half = len(lines) // 2
    with path.open("wb") as file:
        for part in (lines[:half], lines[half:]):
            data = "".join(f"{line}\n" for line in part).encode()
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, codec) if codec else sink as stream:
                stream.write(data)
            file.write(sink.getvalue())


# ---- the formats


def write_csv(path: Path, events: Sequence[Event]) -> None:
    """Every field in a column of its own; flags as JSON writes them, an absent field as nothing."""
    names = list(dict.fromkeys(name for event in events for name in event))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for event in events:
            writer.writerow({k: json.dumps(v) if isinstance(v, bool) else v for k, v in event.items()})


def write_parquet(path: Path, events: Sequence[Event]) -> None:
    """Every field in a column of its contract's type; several row groups."""
    contracts = load_contracts()
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(name for event in events for name in event):
        kind = contracts.fields[name].arrow
        columns[name] = pa.array([_typed(event.get(name), kind) for event in events], kind)
    pq.write_table(pa.table(columns), path, row_group_size=17)


def _typed(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value)
    return Decimal(str(value)) if pa.types.is_decimal(kind) else value


@pytest.fixture(scope="module")
def events_of_contracts() -> list[Event]:
    """Good events without an unknown field: in JSON such a one may be a number, in CSV it is a text."""
    return [{k: v for k, v in e.items() if k != "load_time"} for e in make_events(11, count=90, spoilt=False)]


@pytest.fixture(scope="module")
def lake_of_json(events_of_contracts: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    write_text(folder / "events.jsonl", [json.dumps(event) for event in events_of_contracts])
    run([str(folder / "events.jsonl")], str(folder / "lake"), load_settings(as_of=AS_OF))
    return folder / "lake"


@pytest.mark.parametrize("ending", ["csv", "parquet", "all three"])
def test_json_csv_and_parquet_give_the_same_tables(
    ending: str, events_of_contracts: list[Event], lake_of_json: Path, tmp_path: Path
) -> None:
    thirds = [events_of_contracts[number::3] for number in range(3)]
    if ending == "all three":
        write_text(tmp_path / "events.jsonl", [json.dumps(event) for event in thirds[0]])
        thirds = thirds[1:]
    if ending != "parquet":
        write_csv(tmp_path / "events.csv", events_of_contracts if ending == "csv" else thirds[0])
    if ending != "csv":
        write_parquet(tmp_path / "events.parquet", events_of_contracts if ending == "parquet" else thirds[1])
    run([str(tmp_path / "events.*")], str(tmp_path / "lake"), load_settings(as_of=AS_OF, block_bytes=3_000, shards=2))
    assert_same_tables(lake_of_json, tmp_path / "lake")
    assert counts(tmp_path / "lake")["touchpoints"] == counts(lake_of_json)["touchpoints"] > 60


# ---- copies that differ


def test_one_row_under_two_headers_is_two_events(tmp_path: Path) -> None:
    """The same text, the same id, the same time, and two meanings: the contents decide, not the files' names."""
    headers = ("customer_id,anonymous_id", "anonymous_id,customer_id")
    kept = []
    for number, order in enumerate((headers, headers[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, header in zip("ab", order, strict=True):
            rows = f"event_id,event_type,occurred_at,page_url,{header}\ne1,site_visit,2025-01-01T10:00:00Z,/,ann,ben\n"
            (folder / f"{name}.csv").write_text(rows)
        run([str(folder / "*.csv")], str(folder / "lake"), load_settings(as_of=AS_OF))
        kept.append(read_tables(folder / "lake")["touchpoints"]["customer_key"].to_pylist())
    assert kept[0] == kept[1] and len(kept[0]) == 1


def test_events_of_one_record_with_one_id(tmp_path: Path) -> None:
    """A description that gives one id to several events is a mistake; but the tables do not follow from the cut."""
    (tmp_path / "own" / "till").mkdir(parents=True)
    (tmp_path / "own" / "till" / "lines.toml").write_text(
        """description = "three of one"
format = "csv"
record_key = "id"
select = '''
select record_no, id as event_id, 'site_visit' as event_type, '2025-01-01T10:00:00Z' as occurred_at,
    customer as customer_id, page as page_url
from records cross join (select unnest(['/one', '/two', '/three']) as page)
'''
"""
    )
    (tmp_path / "lines.csv").write_text("id,customer\n" + "".join(f"e{n},c{n % 7}\n" for n in range(300)))
    pages = []
    for block_bytes in (150, 700, 32 << 20):
        settings = load_settings(as_of=AS_OF, block_bytes=block_bytes, sources=str(tmp_path / "own"))
        lake = str(tmp_path / f"lake-{block_bytes}")
        run([f"till.lines:{tmp_path}/lines.csv"], lake, settings)
        rows = read_tables(lake)["touchpoints"].select(["event_id", "page_url"]).to_pylist()
        pages.append(sorted((row["event_id"], row["page_url"]) for row in rows))
    assert pages[0] == pages[1] == pages[2] and len(pages[0]) == 300


# ---- the comparison


def test_the_comparison_sees_a_ten_thousandth_of_a_euro(
    events_of_contracts: list[Event], lake_of_json: Path, tmp_path: Path
) -> None:
    kept = read_tables(lake_of_json)["touchpoints"].to_pylist()
    changed = next(row["event_id"] for row in kept if row["event_type"] == "purchase")
    lines = [
        json.dumps(event | {"amount": event["amount"] + 0.0001} if event["event_id"] == changed else event)
        for event in events_of_contracts
    ]
    write_text(tmp_path / "events.jsonl", lines)
    run([str(tmp_path / "events.jsonl")], str(tmp_path / "lake"), load_settings(as_of=AS_OF))
    with pytest.raises(AssertionError, match="touchpoints is not the same"):
        assert_same_tables(lake_of_json, tmp_path / "lake")
