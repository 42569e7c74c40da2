"""Files of a run: exactly the declared columns, listed with their rows and check sums, nothing listed that is not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline

from schemas.tables import Column, Table
from transforms.batches import ShardTables, keyed_tables
from transforms.candidates import Block
from transforms.quarantine import quarantine_unreadable
from transforms.read_blocks import Problem
from transforms.write_tables import (
    GatherQuarantine,
    WriteListing,
    WriteShards,
    WriteTables,
    WrittenFile,
    to_parquet,
    write_table,
)

PEOPLE = Table(
    "people", "People.", "one person", ("name",),
    (
        Column("name", pa.string(), "Who."), Column("revenue", pa.decimal128(38, 4), "How much."),
        Column("seen_at", pa.timestamp("us", "UTC"), "When."), Column("orders", pa.int64(), "How many."),
    ),
)  # fmt: skip
OTHER = Table("other", "Others.", "one other", ("n",), (Column("n", pa.int64(), "N."),))
ROWS = pa.table(
    {
        "working": [1, 2],
        "orders": pa.array([1, 2], pa.int32()),
        "name": ["a", None],
        "revenue": pa.array([Decimal("1.5"), None], pa.decimal128(18, 4)),
    }
)


def test_a_file_has_the_declared_columns_and_no_other() -> None:
    found = pq.read_table(pa.BufferReader(to_parquet(ROWS, PEOPLE.schema)))
    assert found.schema.names == PEOPLE.schema.names
    assert found.schema.types == PEOPLE.schema.types
    assert found.to_pydict() == {
        "name": ["a", None], "revenue": [Decimal("1.5000"), None], "seen_at": [None, None], "orders": [1, 2],
    }  # fmt: skip


def test_a_value_that_does_not_fit_its_column_is_an_error() -> None:
    with pytest.raises(pa.ArrowInvalid):
        to_parquet(pa.table({"orders": ["many"]}), PEOPLE.schema)


def test_the_same_table_gives_the_same_bytes() -> None:
    cut = pa.concat_tables([ROWS.slice(0, 1), ROWS.slice(1)])
    assert to_parquet(ROWS, PEOPLE.schema).equals(to_parquet(cut, PEOPLE.schema))


def test_a_written_file_is_described(tmp_path: Path) -> None:
    one, other = (write_table(ROWS, PEOPLE.schema, "people", str(tmp_path)) for _ in range(2))
    assert one.path != other.path, "a second attempt is a file of its own"
    data = (tmp_path / one.path).read_bytes()
    assert one == WrittenFile("people", one.path, 2, len(data), hashlib.sha256(data).hexdigest())
    assert one.path.startswith("people/part-")


def collected(tmp_path: Path, build: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """What a PCollection of WrittenFile holds."""
    target = tmp_path / "collected"
    target.mkdir()
    with Pipeline() as pipeline:
        _ = build(pipeline) | "Collect" >> beam.Map(
            lambda file: (target / file.sha256).write_text(json.dumps(file._asdict()))
        )
    return [json.loads(path.read_text()) for path in target.iterdir()]


def test_shards_are_written_a_file_a_table_and_empty_ones_not(tmp_path: Path) -> None:
    shards = [
        ShardTables(people=ROWS, other=pa.table({"n": [1]}), unpublished=ROWS), ShardTables(people=ROWS.slice(0, 1), other=pa.table({"n": pa.array([], pa.int64())})),
    ]  # fmt: skip
    written = collected(
        tmp_path,
        lambda p: p | beam.Create(shards) | WriteShards({"people": PEOPLE, "other": OTHER}, str(tmp_path / "run")),
    )
    assert sorted((f["table"], f["rows"]) for f in written) == [("other", 1), ("people", 1), ("people", 2)]
    assert {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*.parquet")} == {
        f["path"] for f in written
    }


def bad(file: str, *positions: int) -> pa.Table:
    block = Block("events", file, "jsonl", pa.table({}), np.zeros(0, np.int64))
    n = len(positions)
    return quarantine_unreadable(block, "json.malformed", "", ["x"] * n, [1] * n, list(positions)).quarantine


def test_quarantine_is_gathered_in_order_with_the_run(tmp_path: Path, steps: Any) -> None:
    def build(pipeline: Any) -> Any:
        keyed = keyed_tables(pipeline | beam.Create([(0, bad("b", 5, 3)), (0, bad("a", 9)), (1, bad("c", 1))]), int)
        return keyed | GatherQuarantine("run-1") | WriteTables(steps.tables, str(tmp_path / "run"))

    written = collected(tmp_path, build)
    found = [pq.read_table(tmp_path / "run" / f["path"]) for f in sorted(written, key=lambda f: -f["rows"])]
    assert [[(r["run_id"], r["file"], r["position"]) for r in t.to_pylist()] for t in found] == [
        [("run-1", "a", 9), ("run-1", "b", 3), ("run-1", "b", 5)], [("run-1", "c", 1)],
    ]  # fmt: skip
    assert all(t.schema.names == steps.tables["quarantine"].schema.names for t in found)


def listing_of(tmp_path: Path, **parts: list[Any]) -> dict[str, Any]:
    with Pipeline() as pipeline:
        created = {name: pipeline | name >> beam.Create(values) for name, values in parts.items()}
        _ = created | WriteListing(str(tmp_path))
    (path,) = tmp_path.glob("listing-*.json")
    return json.loads(path.read_text())


def test_one_listing_with_tallies_added(tmp_path: Path) -> None:
    file = WrittenFile("people", "people/part-1.parquet", 2, 100, "abc")
    problem = Problem("f", "is damaged", "copy it again")
    tallies = [("records_in", "web", "", 3), ("records_in", "web", "", 4), ("quarantined", "web", "field.type", 1)]
    files = [file, file._replace(path="a")]
    assert listing_of(tmp_path, files=files, tallies=tallies, problems=[problem]) == {
        "files": [{**file._asdict(), "path": path} for path in ("a", "people/part-1.parquet")],
        "tallies": [
            {"name": "records_in", "source": "web", "code": "", "count": 7},
            {"name": "quarantined", "source": "web", "code": "field.type", "count": 1},
        ],
        "problems": [problem._asdict()],
        "examples": [],
    }


def test_a_listing_is_written_where_there_is_nothing_to_list(tmp_path: Path) -> None:
    assert listing_of(tmp_path, tallies=[], problems=[]) == {"files": [], "tallies": [], "problems": [], "examples": []}
