"""Records on their way to become events: the block that was read, what is wrong with it, and where it came from."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import coders

from transforms.batches import HolderCoder
from transforms.columns import one_chunk

#: Column of events beside the contracts' fields: a hash of the record's own text, where that tells the whole event: a line
#: of Parcours' own JSON or CSV (with its header). Absent or 0: unknown.
#: Equal ones of one event_id are equal copies. It lives within a run only, so DuckDB's `hash` will do.
FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Block:
    """A few thousand records of one file.

    `records` is either one column `record` of text (JSON lines) or the columns of a CSV or Parquet file;
    `positions` says where each record stands: a byte offset (text) or a row number (Parquet), int64.
    """

    source: str
    file: str
    format: str
    records: pa.Table
    positions: np.ndarray
    input_bytes: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.records.nbytes + self.positions.nbytes)


@dataclass(frozen=True)
class Finding:
    """One broken rule and all rows that break it. `observed` is aligned with `rows`."""

    code: str
    path: str
    expected: str
    rows: np.ndarray
    observed: pa.Array


@dataclass
class Candidates:
    """Events of one block before they are accepted: typed columns, what is wrong, and the records they came from.

    `record_of` gives for each event the row of its record in `block`; `unreadable` are findings whose rows are records
    that gave no event at all. `raw` returns the text of some records, and is only called for quarantined ones.
    """

    block: Block
    events: pa.Table
    record_of: np.ndarray
    raw: Callable[[np.ndarray], pa.Array]
    findings: list[Finding] = field(default_factory=list)
    unreadable: list[Finding] = field(default_factory=list)
    records_in: int = 0
    skipped: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.block.nbytes + self.events.nbytes)


coders.registry.register_coder(Block, HolderCoder)
coders.registry.register_coder(Candidates, HolderCoder)


def fingerprint(hashes: pa.ChunkedArray, source: str) -> pa.Array:
    """Hashes of records' texts, made different for each source: the same text may mean another event there."""
    return pa.array(one_chunk(hashes).to_numpy() ^ np.uint64(zlib.crc32(source.encode())))


def lines_at(records: pa.Array, rows: np.ndarray) -> pa.Array:
    """The text of some records, without the line end that the reader leaves on each."""
    return pc.replace_substring_regex(records.take(pa.array(rows)), r"\r?\n\z", "")
