"""How long customers stay in each stage, where the most time goes, and how many wait now (docs/paths.md).

Who is still in a stage is not left out, which would tell only of the quick, but counts as staying at least so long
(Kaplan and Meier, survival.py).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import Table
from transforms import duck
from transforms.batches import ShardTables
from transforms.histograms import add_histograms, adding_histograms, each_group, method
from transforms.partial_metrics import NO_VALUE
from transforms.survival import kaplan_meier

#: How long runs of a stage lasted, or have lasted by as-of where they are open (histograms.py), in whole seconds.
STAGE_TIMES = pa.schema(
    [("stage", pa.string()), ("first_channel", pa.string()), ("is_open", pa.bool_()), ("value", pa.int64()),
     ("count", pa.int64()), ("total", pa.int64())]
)  # fmt: skip
ADD_STAGE_TIMES = adding_histograms(STAGE_TIMES, "stage")
#: Nobody waits there for a next step: left out of the shares of time.
RESTING = "churned"
_DAY_S = 86_400


def stage_durations(shard: ShardTables, as_of: datetime.datetime, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """STAGE_TIMES of one shard with journey_stages and customers."""
    tables = {
        "journey_stages": shard["journey_stages"].select(
            ["customer_no", "stage", "entered_at", "duration_s", "is_open"]
        ),
        "customers": shard["customers"].select(["customer_no", "first_channel"]),
    }
    times = duck.select(connection, duck.read_sql("stage_durations"), tables, {"as_of": as_of, "no_value": NO_VALUE})
    return ADD_STAGE_TIMES([times.select(STAGE_TIMES.names).cast(STAGE_TIMES)])


def merge_stage_durations(partials: Sequence[pa.Table], table: Table) -> pa.Table:
    """The table stage_durations from those of all shards: each stage of everyone, and by first channel."""
    times = ADD_STAGE_TIMES(partials)
    if not times.num_rows:
        return table.schema.empty_table()
    many = {stage for (stage,), rows in each_group(times, ("stage",)) if method(_count(rows)) == "buckets"}
    together = add_histograms([times.drop_columns(["first_channel"])], ("stage",))
    has_channels = set(pc.unique(times["first_channel"]).to_pylist()) != {NO_VALUE}
    cuts: list[tuple[str, str | None, str, pa.Table]] = [
        ("all", None, stage, rows) for (stage,), rows in each_group(together, ("stage",))
    ]
    if has_channels:
        cuts += [
            ("first_channel", channel, stage, rows)
            for (channel, stage), rows in each_group(times, ("first_channel", "stage"))
        ]
    spent: dict[tuple[str, str | None], int] = {}
    for segment, value, stage, rows in cuts:
        if stage != RESTING:
            spent[segment, value] = spent.get((segment, value), 0) + pc.sum(rows["total"]).as_py()
    rows = [
        _row(segment, value, stage, own, spent.get((segment, value), 0), stage in many)
        for segment, value, stage, own in cuts
    ]
    rows.sort(key=lambda row: (row["stage"].encode(), row["segment"], (row["segment_value"] or "").encode()))
    return pa.Table.from_pylist(rows, table.schema)


def _row(segment: str, value: str | None, stage: str, times: pa.Table, spent: int, in_buckets: bool) -> dict[str, Any]:
    is_open = times["is_open"].to_numpy()
    seconds, counts = times["value"].to_numpy(), times["count"].to_numpy()
    totals = times["total"].to_numpy()
    left, open_now = int(counts[~is_open].sum()), int(counts[is_open].sum())
    survival = kaplan_meier(seconds, ~is_open, counts)
    p90 = survival.quantile(0.9)
    total = int(totals.sum())
    return {
        "stage": stage,
        "segment": segment,
        "segment_value": value,
        "entries": left + open_now,
        "exits": left,
        "open_now": open_now,
        "median_s": survival.quantile(0.5),
        "p90_s": p90,
        "mean_left_s": int(totals[~is_open].sum()) / left if left else None,
        "customer_days": total / _DAY_S,
        "share_of_time": None if stage == RESTING else total / spent if spent else None,
        "open_beyond_p90": None if p90 is None else int(counts[is_open & (seconds > p90)].sum()),
        "method": "buckets" if in_buckets else "exact",
    }


def _count(rows: pa.Table) -> int:
    return int(np.sum(rows["count"].to_numpy()))
