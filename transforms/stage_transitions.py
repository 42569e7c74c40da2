"""Steps from stage to stage: how many, after how long, what share of all who leave, and how many then convert."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import Table
from transforms import duck
from transforms.adding_up import adding_up
from transforms.batches import ShardTables, with_columns
from transforms.channel_touches import as_micros
from transforms.columns import valid_mask
from transforms.histograms import adding_histograms, each_group, method, quantile_of
from transforms.runs import changes, position_in_time

START, OPEN = "(start)", "(open)"
_PAIR = ("from_stage", "to_stage")
#: Partial counts; all add up.
TRANSITIONS = pa.schema(
    [("from_stage", pa.string()), ("to_stage", pa.string()), ("transitions", pa.int64()), ("customers", pa.int64()),
     ("converted", pa.int64()), ("not_converted", pa.int64())]
)  # fmt: skip
#: How long customers were in from_stage (histograms.py), in whole seconds.
TRANSITION_TIMES = pa.schema(
    [("from_stage", pa.string()), ("to_stage", pa.string()), ("value", pa.int64()), ("count", pa.int64()),
     ("total", pa.int64())]
)  # fmt: skip
ADD_TRANSITIONS = adding_up(TRANSITIONS, *TRANSITIONS.names[2:])
ADD_TRANSITION_TIMES = adding_histograms(TRANSITION_TIMES, *_PAIR)


def stage_transitions(shard: ShardTables, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """`transitions` and `transition_times` of one shard with journeys and journey_stages."""
    stages = shard["journey_stages"]
    entered = journeys_entered(shard)
    customer = stages["customer_no"].to_numpy()
    is_last = np.append(changes(customer)[1:], True) if len(customer) else np.zeros(0, bool)
    then = np.append(entered[1:], -1)[: len(entered)]
    journeys = shard["journeys"]
    tables = {
        "journey_stages": with_columns(
            stages.select(["customer_no", "stage_no", "stage", "next_stage", "entered_at", "left_at", "duration_s"]),
            {
                "journey_id": pa.array(entered, mask=entered < 0),
                "next_journey_id": pa.array(then, mask=is_last | (then < 0)),
            },
        ),
        "journeys": journeys.select(["status", "outcome", "ended_at"]).append_column(
            "journey_id", pa.array(np.arange(journeys.num_rows))
        ),
    }
    counts = duck.select(connection, duck.read_sql("stage_transitions"), tables)
    times = duck.select(connection, duck.read_sql("transition_times"), {"journey_stages": tables["journey_stages"]})
    return {
        "transitions": counts.select(TRANSITIONS.names).cast(TRANSITIONS),
        "transition_times": ADD_TRANSITION_TIMES([times.select(TRANSITION_TIMES.names).cast(TRANSITION_TIMES)]),
    }


def journeys_entered(shard: ShardTables) -> np.ndarray:
    """int64[stages]: the journey in which each run of a stage began; -1 for none.

    That of the touchpoint that gave the stage. A lapse, or a term that ended, is no touchpoint: it falls into the journey of
    the last touchpoint before it, as long as that goes on.
    """
    touchpoints, stages = shard["touchpoints"], shard["journey_stages"]
    journey = touchpoints["journey_id"].to_numpy()
    customer, time = touchpoints["customer_no"].to_numpy(), as_micros(touchpoints["occurred_at"])
    rows_of = stages["touchpoints"].to_numpy()
    entered, of = as_micros(stages["entered_at"]), stages["customer_no"].to_numpy()
    # Each touchpoint with a stage is in one run, and runs stand in the order of their touchpoints.
    with_stage = np.append(np.flatnonzero(valid_mask(touchpoints["stage"])), 0)
    row = with_stage[np.cumsum(rows_of) - rows_of]
    by_event = (rows_of > 0) & (time[row] == entered) if len(time) else np.zeros(0, bool)
    first = np.flatnonzero(changes(customer))
    stop = np.append(first[1:], len(customer))
    lapsed = np.flatnonzero(~by_event)
    row[lapsed] = position_in_time(time, first[of[lapsed]], stop[of[lapsed]], entered[lapsed]) - 1
    is_before = np.zeros(len(row), bool)
    is_before[lapsed] = row[lapsed] < first[of[lapsed]]
    return np.where(is_before, -1, journey[np.maximum(row, 0)]) if len(journey) else np.zeros(0, np.int64)


def merge_stage_transitions(counts: Sequence[pa.Table], times: Sequence[pa.Table], table: Table) -> pa.Table:
    """The table stage_transitions from those of all shards."""
    pairs = ADD_TRANSITIONS(counts).to_pylist()
    spent = dict(each_group(ADD_TRANSITION_TIMES(times), _PAIR))
    leaving: dict[str, int] = defaultdict(int)
    for row in pairs:
        if row["to_stage"] != OPEN:
            leaving[row["from_stage"]] += row["transitions"]
    rows = [_row(row, leaving, spent.get((row["from_stage"], row["to_stage"]))) for row in pairs]
    rows.sort(key=lambda r: (r["from_stage"].encode(), r["to_stage"].encode()))
    return pa.Table.from_pylist(rows, table.schema)


def _row(pair: Mapping[str, Any], leaving: Mapping[str, int], times: pa.Table | None) -> dict[str, Any]:
    over = pair["converted"] + pair["not_converted"]
    row = {**pair, "conversion_share": pair["converted"] / over if over else None}
    if row["to_stage"] != OPEN:
        row["share_of_leaving"] = row["transitions"] / leaving[row["from_stage"]]
    if times is not None:
        n, total = pc.sum(times["count"]).as_py(), pc.sum(times["total"]).as_py()
        median, p90 = (quantile_of(times, share) for share in (Fraction(1, 2), Fraction(9, 10)))
        assert median is not None
        assert p90 is not None
        row |= {
            "total_duration_s": total,
            "mean_duration_s": total / n,
            "median_duration_s": float(median),
            "p90_duration_s": float(p90),
            "method": method(n),
        }
    return row
