"""What happened in a lake: the record of every run, published or not, its audit and its measures.

    LAKE/history/runs/<run_id>.parquet            one row, written anew whenever the run's state changes
    LAKE/history/audit_results/<run_id>.parquet   one row an expectation
    LAKE/history/run_measures/<run_id>.parquet    what later runs are compared with

It lies beside the runs and not in them: a run that was refused or that died is told of too, and so is one whose tables
were removed. Each file is there whole or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stores import Store
from schemas.tables import HISTORY_TABLES

_LOG = logging.getLogger("parcours")
#: States of a run that ended with whole tables; those of any other are left-overs.
WHOLE = ("refused", "accepted", "published")


class History:
    """The tables `runs`, `audit_results` and `run_measures` of one lake, over all its runs."""

    def __init__(self, store: Store, lake: str) -> None:
        self._store, self.folder = store, f"{lake}/history"

    def paths(self, table: str) -> list[str]:
        """The files of a table, the oldest run first."""
        return list(self._store.glob(f"{self.folder}/{table}", "*.parquet"))

    def readable(self, table: str) -> list[str]:
        """The files of a table, without those that are damaged."""
        return [path for path in self.paths(table) if self._rows(table, [path])]

    def runs(self) -> list[dict[str, Any]]:
        """The rows of `runs`, the oldest first."""
        return self._rows("runs", self.paths("runs"))

    def newest(self, most: int) -> list[dict[str, Any]]:
        """The last rows of `runs`, the oldest of them first."""
        return self._rows("runs", self.paths("runs")[-most:])

    def run(self, run_id: str) -> dict[str, Any] | None:
        """The row of one run; None where the lake knows none of that name."""
        path = self._path("runs", run_id)
        rows = self._rows("runs", [path]) if self._store.exists(path) else []
        return rows[0] if rows else None

    def record(self, run_id: str, **news: Any) -> dict[str, Any]:
        """Writes what is new of a run into its row, which begins with the first news of it."""
        known = self.run(run_id) or dict.fromkeys(HISTORY_TABLES["runs"].schema.names) | {"run_id": run_id}
        row = known | news
        self.write("runs", run_id, [row])
        return row

    def write(self, table: str, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes all rows that a run has in a table."""
        sink = pa.BufferOutputStream()
        given = pa.Table.from_pylist([dict(row) for row in rows], HISTORY_TABLES[table].schema)
        pq.write_table(given, sink, compression="zstd", store_schema=False)
        self._store.write_whole(self._path(table, run_id), sink.getvalue().to_pybytes())

    def read(self, table: str, run_ids: Iterable[str]) -> pa.Table:
        """The rows of some runs in a table, in the order given."""
        schema = HISTORY_TABLES[table].schema
        paths = [path for run_id in run_ids if self._store.exists(path := self._path(table, run_id))]
        return pa.Table.from_pylist(self._rows(table, paths), schema)

    def _path(self, table: str, run_id: str) -> str:
        return f"{self.folder}/{table}/{run_id}.parquet"

    def _rows(self, table: str, paths: Iterable[str]) -> list[dict[str, Any]]:
        """The rows of some files, each with all columns of the table. A file that cannot be read stops nobody."""
        nothing = dict.fromkeys(HISTORY_TABLES[table].schema.names)
        rows: list[dict[str, Any]] = []
        for path in paths:
            try:
                rows += [{name: row.get(name) for name in nothing} for row in self._table(path).to_pylist()]
            except (pa.ArrowException, OSError, ValueError) as error:  # whatever Parquet makes of damaged bytes
                _LOG.warning("%s cannot be read, and is left out: %s", path, " ".join(str(error).split()))
        return rows

    def _table(self, path: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(self._store.read_bytes(path)), use_threads=False, pre_buffer=False)
