"""Friction points: moments at which a customer struggled, one SQL file a kind (schemas/friction)."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionary import Friction
from schemas.parameters import FIT, sql_value
from schemas.tables import MONEY
from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.columns import one_chunk
from transforms.fit_stalls import StallDays
from transforms.friction_inputs import inputs_of_friction
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


class FrictionFileError(ValueError):
    """The SQL of a kind does not give what a friction point needs; the message names the kind."""


@dataclass(frozen=True)
class FrictionRules:
    """`stall_days` by stage, where a kind's parameter says "fit": as read from the data, none before that."""

    kinds: tuple[Friction, ...]
    as_of: datetime.datetime
    stall_days: Mapping[str, int | float] | None = None

    @property
    def wants_fit(self) -> bool:
        return any(value == FIT for kind in self.kinds for value in kind.parameters.values())


def find_friction(shard: ShardTables, rules: FrictionRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `friction_points` in the order of its key, and counts them into `journeys`.

    A kind's SQL sees whole customers (friction_inputs.py), and its parameters.
    """
    texts = [kind.sql for kind in rules.kinds]
    with duck.beside(connection) as other, inputs_of_friction(shard, texts, rules.as_of, connection, other):
        kinds = list(enumerate(rules.kinds))
        halves = duck.side_by_side(
            partial(_found, shard, rules, kinds[::2], connection), partial(_found, shard, rules, kinds[1::2], other)
        )
    found = [points for half in halves for points in half]
    nothing = POINT.append(pa.field("kind_no", pa.int64())).empty_table()
    everything = _completed(pa.concat_tables([nothing, *found]).combine_chunks(), rules.kinds, shard)
    order = ("customer_no", "seq", "friction_id", "subject", "ended_at")
    everything = _numbered(everything.sort_by([(column, "ascending") for column in order]))
    journeys = shard["journeys"]
    counts = np.bincount(everything["journey_id"].to_numpy(), minlength=journeys.num_rows)
    return ShardTables(
        shard,
        friction_points=everything,
        journeys=with_columns(journeys, {"friction_points": pa.array(counts.astype(np.int64))}),
    )


def _found(
    shard: ShardTables,
    rules: FrictionRules,
    kinds: Sequence[tuple[int, Friction]],
    connection: duckdb.DuckDBPyConnection,
) -> list[pa.Table]:
    """The points of some kinds, with their kind_no."""
    events = np.bincount(shard["touchpoints"]["customer_no"].to_numpy())
    found = []
    for number, kind in kinds:
        points = duck.select_windows(connection, duck.nested(kind.sql), None, _parameters(kind, rules))
        numbers = pa.array(np.full(points.num_rows, number, np.int64))
        found.append(_checked(points, kind, events).append_column("kind_no", numbers))
    return found


def _parameters(kind: Friction, rules: FrictionRules) -> dict[str, Any]:
    given = {name: rules.stall_days or {} if value == FIT else value for name, value in kind.parameters.items()}
    return {**{name: sql_value(value) for name, value in given.items()}, "as_of": rules.as_of}


def _checked(points: pa.Table, kind: Friction, events: np.ndarray) -> pa.Table:
    """The columns of POINT. Where the SQL does not say when a point was established, it was at its last event.

    `events`: how many each customer has. Raises FrictionFileError for a point that lies on no event of its customer: it
    would be told of another one.
    """
    missing = [name for name in POINT.names if name not in points.column_names and name != "known_at"]
    if missing:
        raise FrictionFileError(f"gives no column {', '.join(missing)}; docs/friction.md lists what it must give")
    if "known_at" not in points.column_names:
        points = points.append_column("known_at", pc.coalesce(points["ended_at"], points["started_at"]))
    points = points.select(POINT.names).cast(POINT)
    customer, seq = (points[name].fill_null(-1).to_numpy() for name in ("customer_no", "seq"))
    there = (customer >= 0) & (customer < len(events)) & (seq >= 1)
    there[there] = seq[there] <= events[customer[there]]
    wrong = int((~there).sum()) + points["started_at"].null_count + points["known_at"].null_count
    if wrong:
        raise FrictionFileError(
            f"gives {wrong} rows without started_at, or whose customer_no and seq are no event's (kind {kind.kind})"
        )
    return points


def _completed(points: pa.Table, kinds: tuple[Friction, ...], shard: ShardTables) -> pa.Table:
    """Stage, journey and identity of a point from its first event: row = the customer's first row + seq - 1."""
    touchpoints, journeys = shard["touchpoints"], shard["journeys"]
    first_row = np.flatnonzero(changes(touchpoints["customer_no"].to_numpy()))
    rows = pa.array(first_row[points["customer_no"].to_numpy()] + points["seq"].to_numpy() - 1)
    at = touchpoints.select(["event_id", "customer_key", "stage", "journey_no", "journey_id"]).take(rows)
    journey = journeys.select(["outcome", "ended_at"]).take(at["journey_id"])
    still_to_come = pc.and_(pc.is_valid(journey["outcome"]), pc.greater(journey["ended_at"], points["started_at"]))
    kind = pa.array([kind.kind for kind in kinds], pa.string()).take(one_chunk(points["kind_no"]))
    area = pa.array([kind.area for kind in kinds], pa.string()).take(one_chunk(points["kind_no"]))
    return with_columns(
        points.drop_columns(["kind_no"]),
        {
            "friction_id": one_chunk(pc.binary_join_element_wise(kind, one_chunk(at["event_id"]), ":")),
            "customer_key": at["customer_key"],
            "area": area,
            "kind": kind,
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


class _FindFitted(beam.DoFn):
    def __init__(self, rules: FrictionRules) -> None:
        self._rules = rules

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables, fitted: StallDays) -> Iterator[ShardTables]:
        yield find_friction(shard, replace(self._rules, stall_days=fitted.days), self._connection)


class FindFriction(ShardStep):
    """ShardTables -> with `friction_points`. `fitted` are the StallDays, where the rules ask for them."""

    function = staticmethod(find_friction)

    def __init__(self, rules: FrictionRules, fitted: beam.PCollection | None = None) -> None:
        super().__init__(rules)
        self._fitted = fitted

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        if self._fitted is None:
            return super().expand(shards)
        step = beam.ParDo(_FindFitted(self._rules), beam.pvalue.AsSingleton(self._fitted))
        return shards | step.with_output_types(ShardTables)
