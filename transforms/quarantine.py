"""Records and events that broke a rule: kept whole, with every rule that they broke."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import coders

from schemas.tables import QUARANTINE_ERRORS
from transforms.batches import HolderCoder
from transforms.candidates import Block, Candidates, Finding
from transforms.columns import texts

_OBSERVED_CHARS = 200


@dataclass(frozen=True)
class Validated:
    """One block, sorted out. `tallies` are (name, source, code, count): what the run's sums are made of."""

    events: pa.Table
    quarantine: pa.Table
    tallies: tuple[tuple[str, str, str, int], ...]

    @property
    def nbytes(self) -> int:
        return int(self.events.nbytes + self.quarantine.nbytes)


coders.registry.register_coder(Validated, HolderCoder)


def quarantine(
    candidates: Candidates, events: pa.Table, findings: list[Finding], raw_cap: int
) -> tuple[pa.Table, Counter[str]]:
    """The quarantined events, then the unreadable records; and how many findings there are by code."""
    of_events = [(f, candidates.record_of[f.rows], f.rows) for f in findings]
    of_records = [(f, f.rows, np.full(len(f.rows), -1)) for f in candidates.unreadable]
    by_code: Counter[str] = Counter()
    pieces = []
    for group in (of_events, of_records):
        if group:
            pieces.append(_quarantine_rows(candidates, events, group, raw_cap))
            for finding, _, _ in group:
                by_code[finding.code] += len(finding.rows)
    return (pa.concat_tables(pieces) if pieces else pa.table({})), by_code


def _quarantine_rows(
    candidates: Candidates,
    events: pa.Table,
    group: list[tuple[Finding, np.ndarray, np.ndarray]],
    raw_cap: int,
) -> pa.Table:
    """One row an event (or record), its errors in the order (path, code)."""
    record = np.concatenate([r for _, r, _ in group])
    event = np.concatenate([e for _, _, e in group])
    sizes = [len(r) for _, r, _ in group]
    place = np.argsort(np.lexsort(([f.code for f, _, _ in group], [f.path for f, _, _ in group])))
    errors = pa.StructArray.from_arrays(
        [
            pa.array(np.repeat([f.code for f, _, _ in group], sizes)),
            pa.array(np.repeat([f.path for f, _, _ in group], sizes)),
            pa.array(np.repeat([f.expected for f, _, _ in group], sizes)),
            pc.utf8_slice_codeunits(pa.concat_arrays([f.observed for f, _, _ in group]), 0, _OBSERVED_CHARS),
        ],
        fields=list(QUARANTINE_ERRORS.value_type),
    )
    order = np.lexsort((np.repeat(place, sizes), event, record))
    record, event = record[order], event[order]
    first = np.flatnonzero(np.concatenate(([True], (record[1:] != record[:-1]) | (event[1:] != event[:-1]))))
    offsets = pa.array(np.append(first, len(record)).astype(np.int32))
    record, event = record[first], event[first]
    raw = texts(candidates.raw(record))

    def of_event(name: str) -> pa.Array:
        if name not in events.column_names or (event < 0).all():
            return pa.nulls(len(event), pa.string())
        return texts(events[name].take(pa.array(event, mask=event < 0)))

    block = candidates.block
    return pa.table(
        {
            "source": pa.array([block.source], pa.string()).take(pa.array(np.zeros(len(record), np.int64))),
            "file": pa.array([block.file], pa.string()).take(pa.array(np.zeros(len(record), np.int64))),
            "position": pa.array(block.positions[record].astype(np.int64)),
            "raw": _capped(raw, raw_cap),
            "raw_bytes": pc.cast(pc.binary_length(raw), pa.int64()),
            "event_id": of_event("event_id"),
            "event_type": of_event("event_type"),
            "errors": pa.ListArray.from_arrays(offsets, errors.take(pa.array(order))),
        }
    )


def _capped(raw: pa.Array, cap: int) -> pa.Array:
    """At most `cap` bytes of each text, cut between characters."""
    if len(raw) == 0 or pc.max(pc.binary_length(raw)).as_py() <= cap:
        return raw
    return pa.array(
        [t if t is None else t.encode()[:cap].decode("utf-8", "ignore") for t in raw.to_pylist()], pa.string()
    )


def quarantine_unreadable(
    block: Block, code: str, expected: str, raw: list[str], raw_bytes: list[int], positions: list[int]
) -> Validated:
    """Records that never became text (too long, not UTF-8), as a block of their own: quarantined, counted, kept."""
    n = len(raw)
    errors = [[{"code": code, "path": "", "expected": expected, "observed": f"{size} bytes"}] for size in raw_bytes]
    quarantine = pa.table(
        {
            "source": pa.array([block.source] * n, pa.string()),
            "file": pa.array([block.file] * n, pa.string()),
            "position": pa.array(positions, pa.int64()),
            "raw": pa.array(raw, pa.string()),
            "raw_bytes": pa.array(raw_bytes, pa.int64()),
            "event_id": pa.nulls(n, pa.string()),
            "event_type": pa.nulls(n, pa.string()),
            "errors": pa.array(errors, QUARANTINE_ERRORS),
        }
    )
    tallies = tuple(
        (name, block.source, rule, n)
        for name, rule in (("records_in", ""), ("records_unreadable", ""), ("quarantined", code))
    )
    return Validated(pa.table({}), quarantine, tallies)


def row_as_json(records: pa.Table, rows: np.ndarray) -> pa.Array:
    """Rows of a typed table as JSON text, for quarantine: only ever called for the few that are wrong."""
    taken = records.take(pa.array(rows))
    columns = [_values(column) for column in taken.columns]
    return pa.array(
        [
            json.dumps(dict(zip(taken.column_names, row, strict=True)), default=str, ensure_ascii=False)
            for row in zip(*columns, strict=True)
        ],
        pa.string(),
    )


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python's values of a column; as text where Python has none (nanoseconds, years after 9999)."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return [_written(column.slice(row, 1).combine_chunks()) for row in range(len(column))]


def _written(one: pa.Array) -> str | None:
    return " ".join(one.to_string().strip("[]\n").split()) if one.null_count == 0 else None
