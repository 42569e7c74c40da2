"""What a published run holds, read as any reader would: current.json, its manifest, and the files that it lists."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake import Lake
from pipelines.manifest import Manifest

#: What may differ between two runs of the same events: the attempt itself, and where a record stood in the input.
OF_THE_ATTEMPT: Mapping[str, frozenset[str]] = {"quarantine": frozenset(("run_id", "file", "position"))}


def read_tables(lake: str | Path, died: bool = False) -> dict[str, pa.Table]:
    """Every table of the published run, empty ones too. Each file is held against the manifest on the way."""
    store = Lake(str(lake))
    manifest = store.published()
    folder = Path(store.run(manifest.run_id).folder)
    _hold_files(manifest, folder, died)
    return {entry.name: _read(manifest, folder, entry.name) for entry in manifest.tables}


def _hold_files(manifest: Manifest, folder: Path, died: bool) -> None:
    # A run that died just after its publication leaves its scratch, which no reader sees, to the next one.
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    there = {name for name in there if not name.startswith("_staged/")} if died else there
    listed = {file.path for file in manifest.files}
    assert there == listed | {"manifest.json", "catalog.duckdb"}, "a run's folder holds what its manifest lists"
    rows: Counter[str] = Counter()
    for file in manifest.files:
        data = (folder / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256), file.path
        rows[file.table] += file.rows
    assert {entry.name: entry.rows for entry in manifest.tables} == {e.name: rows[e.name] for e in manifest.tables}


def _read(manifest: Manifest, folder: Path, name: str) -> pa.Table:
    """The table's files one behind the other, each of exactly one schema; its rows are in the order of its key."""
    entry = next(entry for entry in manifest.tables if entry.name == name)
    pieces = [pq.read_table(folder / path) for path in manifest.paths(name)]
    for piece in pieces:
        assert piece.schema.equals(pieces[0].schema), f"{name}: all files have one schema"
        assert piece.column_names == [column["name"] for column in entry.columns], name
    return pa.concat_tables(pieces) if pieces else pa.table({column["name"]: pa.nulls(0) for column in entry.columns})


def in_order_of_key(lake: str | Path, died: bool = False) -> dict[str, bytes]:
    """Each table of the run, less what belongs to the attempt, as the bytes of one file sorted by its key.

    The key decides first and the other columns after it: copies of one bad record have one key in `quarantine`.
    """
    keys = {entry.name: entry.key for entry in Lake(str(lake)).published().tables}
    return {
        name: _as_bytes(table.drop_columns(list(OF_THE_ATTEMPT.get(name, ()))), keys[name])
        for name, table in read_tables(lake, died).items()
    }


def _as_bytes(table: pa.Table, key: Collection[str]) -> bytes:
    order = [*(name for name in key if name in table.column_names), *table.column_names]
    place = [pa.array([repr(value) for value in table[name].to_pylist()], pa.string()) for name in order]
    by = pa.table(place, names=[str(number) for number in range(len(place))])
    indices = pa.compute.sort_indices(by, sort_keys=[(name, "ascending") for name in by.column_names])
    sink = pa.BufferOutputStream()
    pq.write_table(table.take(indices).combine_chunks(), sink)
    return sink.getvalue().to_pybytes()


def assert_same_tables(lake: str | Path, other: str | Path, without: Collection[str] = ()) -> None:
    """All tables of two published runs are the same, byte for byte; says which rows are not."""
    these, those = in_order_of_key(lake), in_order_of_key(other)
    assert list(these) == list(those)
    for name, data in these.items():
        if name not in without and data != those[name]:
            raise AssertionError(f"{name} is not the same:\n{_difference(data, those[name])}")


def _difference(data: bytes, other: bytes) -> str:
    these, those = (pq.read_table(pa.BufferReader(given)) for given in (data, other))
    if not these.schema.equals(those.schema):
        return f"schemas\n{these.schema}\nand\n{those.schema}"
    one, two = (Counter(repr(row) for row in table.to_pylist()) for table in (these, those))
    only = [f"- {row}" for row in (one - two)] + [f"+ {row}" for row in (two - one)]
    return "\n".join(sorted(only, key=lambda line: line[2:])[:20]) or "the same rows in other bytes"


def counts(lake: str | Path) -> dict[str, Any]:
    """The row of the published run in `runs`."""
    opened = Lake(str(lake))
    row = opened.history.run(opened.published().run_id)
    assert row is not None
    return row
