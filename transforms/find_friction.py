"""Friction points: moments at which a customer struggled, one SQL file a kind (schemas/friction)."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionary import Friction
from schemas.tables import MONEY
from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.columns import one_chunk
from transforms.runs import changes
from transforms.shard_step import ShardStep

#: What a kind's SQL gives; known_at it may leave out. The rest of a friction point follows from its first event.
POINT = pa.schema(
    [
        ("customer_no", pa.int64()),
        ("seq", pa.int64()),
        ("subject", pa.string()),
        ("started_at", pa.timestamp("us", "UTC")),
        ("ended_at", pa.timestamp("us", "UTC")),
        ("known_at", pa.timestamp("us", "UTC")),
        ("n_events", pa.int64()),
        ("event_ids", pa.list_(pa.string())),
        ("minutes_lost", MONEY),
    ]
)


@dataclass(frozen=True)
class FrictionRules:
    kinds: tuple[Friction, ...]
    as_of: datetime.datetime


def find_friction(shard: ShardTables, rules: FrictionRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `friction_points` in the order of its key, and counts them into `journeys`.

    A kind's SQL sees touchpoints, sessions, journeys, tickets and subscriptions of whole customers, and its parameters.
    """
    tables = {
        "touchpoints": shard["touchpoints"],
        "sessions": with_columns(shard["sessions"], {"session_no": pa.array(np.arange(shard["sessions"].num_rows))}),
        "journeys": shard["journeys"],
        "tickets": shard["tickets"],
        "subscriptions": shard["subscriptions"],
    }
    points = []
    for kind in rules.kinds:
        found = duck.select_windows(connection, kind.sql, tables, {**kind.parameters, "as_of": rules.as_of})
        points.append(_complete(_with_known_at(found).select(POINT.names).cast(POINT), kind, shard))
    everything = pa.concat_tables(points).combine_chunks()
    order = ("customer_no", "seq", "friction_id", "subject", "ended_at")
    everything = _numbered(everything.sort_by([(column, "ascending") for column in order]))
    journeys = shard["journeys"]
    counts = np.bincount(everything["journey_id"].to_numpy(), minlength=journeys.num_rows)
    return ShardTables(
        shard,
        friction_points=everything,
        journeys=with_columns(journeys, {"friction_points": pa.array(counts.astype(np.int64))}),
    )


def _with_known_at(points: pa.Table) -> pa.Table:
    """Where the SQL does not say when a point was established, it was at its last event."""
    if "known_at" in points.column_names:
        return points
    return points.append_column("known_at", pc.coalesce(points["ended_at"], points["started_at"]))


def _complete(points: pa.Table, kind: Friction, shard: ShardTables) -> pa.Table:
    """Stage, journey and identity of a point from its first event: row = the customer's first row + seq - 1."""
    touchpoints, journeys = shard["touchpoints"], shard["journeys"]
    first_row = np.flatnonzero(changes(touchpoints["customer_no"].to_numpy()))
    rows = pa.array(first_row[points["customer_no"].to_numpy()] + points["seq"].to_numpy() - 1)
    at = touchpoints.select(["event_id", "customer_key", "stage", "journey_no", "journey_id"]).take(rows)
    journey = journeys.select(["outcome", "ended_at"]).take(at["journey_id"])
    still_to_come = pc.and_(
        pc.is_valid(journey["outcome"]), pc.greater_equal(journey["ended_at"], points["started_at"])
    )
    n = points.num_rows
    return with_columns(
        points,
        {
            "friction_id": one_chunk(pc.binary_join_element_wise(kind.kind, at["event_id"], ":")),
            "customer_key": at["customer_key"],
            "area": pa.array([kind.area], pa.string()).take(pa.array(np.zeros(n, np.int64))),
            "kind": pa.array([kind.kind], pa.string()).take(pa.array(np.zeros(n, np.int64))),
            "stage": at["stage"],
            "journey_no": at["journey_no"],
            "journey_id": at["journey_id"],
            "next_outcome": pc.if_else(
                still_to_come.fill_null(False), journey["outcome"], pa.scalar(None, pa.string())
            ),
        },
    )


def _numbered(points: pa.Table) -> pa.Table:
    """The points, in order; of several of one kind on one first event, the second and later ids end in :2, :3, ..."""
    ids = one_chunk(points["friction_id"])
    if len(pc.unique(ids)) == len(ids):
        return points
    seen: Counter[str] = Counter()
    numbered = []
    for friction_id in ids.to_pylist():
        seen[friction_id] += 1
        numbered.append(f"{friction_id}:{seen[friction_id]}" if seen[friction_id] > 1 else friction_id)
    return with_columns(points, {"friction_id": pa.array(numbered, pa.string())})


class FindFriction(ShardStep):
    """ShardTables -> with `friction_points`."""

    function = staticmethod(find_friction)
