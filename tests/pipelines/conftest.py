"""Fixtures: `lake_maker` makes runs in a lake by the lake's own means, without a pipeline; `lake` has one published."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.catalog import write_catalog
from pipelines.lake import Lake, Run, new_run_id
from pipelines.manifest import File, Input, Manifest
from schemas.contracts import load_contracts
from schemas.tables import Table, tables

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def touchpoint(customer: str, seq: int, **fields: Any) -> dict[str, Any]:
    return {
        "customer_key": customer,
        "seq": seq,
        "event_id": f"{customer}-{seq}",
        "event_type": "site_visit",
        "occurred_at": START + timedelta(minutes=seq),
        "is_known": True,
        "stage": "consideration",
    } | fields


class LakeMaker:
    """Makes runs, step by step or whole. The touchpoints are ROWS in two parts; the other tables have no row."""

    ROWS = (
        touchpoint("c-1", 1),
        touchpoint("c-1", 2, event_type="purchase", stage="purchase", amount=Decimal("19.9000"), currency="EUR"),
        touchpoint("c-2", 1, amount=Decimal("0.0001"), channel='e-mail, "spring"'),
    )

    def __init__(self, path: str, all_tables: Mapping[str, Table], beam_args: Sequence[str] = ()) -> None:
        self.lake = Lake(path, beam_args)
        self.tables = all_tables

    def start(self) -> Run:
        return self.lake.start_run(new_run_id(START))

    def write_part(self, run: Run, rows: Sequence[Mapping[str, Any]], name: str) -> File:
        """One Parquet file of touchpoints, described as the pipeline's listing describes it."""
        table = self.tables["touchpoints"]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=table.schema), sink)
        data = sink.getvalue().to_pybytes()
        with self.lake.store.open_write(f"{run.table('touchpoints')}/{name}") as file:
            file.write(data)
        sha256 = hashlib.sha256(data).hexdigest()
        return File("touchpoints", f"touchpoints/{name}", len(rows), len(data), sha256)

    def write_parts(self, run: Run) -> list[File]:
        return [
            self.write_part(run, self.ROWS[:2], "part-0-a.parquet"),
            self.write_part(run, self.ROWS[2:], "part-1-b.parquet"),
        ]

    def write_manifest(self, run: Run, files: Sequence[File]) -> Manifest:
        return self.lake.write_manifest(
            run,
            files,
            tables=self.tables,
            started_at=START,
            as_of=datetime(2026, 11, 1, tzinfo=UTC),
            settings={"timezone": "UTC"},
            inputs=[Input("events.jsonl", "events", 100)],
            tallies=[{"name": "records_in", "source": "events", "code": None, "count": 3}],
        )

    def publish(self) -> Run:
        """A whole run, published."""
        run = self.start()
        manifest = self.write_manifest(run, self.write_parts(run))
        write_catalog(self.lake, manifest)
        self.lake.publish(run)
        self.lake.discard_staged(run)
        return run


@pytest.fixture(scope="session")
def all_tables() -> Mapping[str, Table]:
    return tables(load_contracts())


@pytest.fixture
def lake_maker(tmp_path: Path, all_tables: Mapping[str, Table]) -> LakeMaker:
    return LakeMaker(str(tmp_path / "lake"), all_tables)


@pytest.fixture
def lake(lake_maker: LakeMaker) -> Lake:
    lake_maker.publish()
    return lake_maker.lake
