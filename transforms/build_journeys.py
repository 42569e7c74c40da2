"""Journeys: from a first touchpoint to an outcome or a long silence.

The later lines and the refunds of an order stay in the journey that its first line closed: they neither open nor close
one, and no silence is measured from them.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import MONEY_LIST, MONEY_SUM
from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.columns import one_chunk, valid_mask
from transforms.join_paths import join_paths
from transforms.runs import changes, count_distinct
from transforms.shard_step import ShardStep
from transforms.time_zones import Periods, micros


@dataclass(frozen=True)
class JourneyRules:
    as_of: datetime.datetime
    silence_us: int
    months: Periods


def build_journeys(shard: ShardTables, rules: JourneyRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `journeys` and `money`, and to the touchpoints `journey_no`, `journey_id` (0.. in the shard) and `month`."""
    touchpoints = shard["touchpoints"]
    customer = touchpoints["customer_no"].to_numpy()
    time = touchpoints["occurred_at"].cast(pa.int64()).to_numpy()
    outcome = outcomes(touchpoints, connection)
    journey, base = _journeys_of_rows(touchpoints, customer, time, valid_mask(outcome), rules.silence_us)
    first = base[changes(journey[base])]
    last = base[np.append(changes(journey[base])[1:], True)] if len(base) else base
    number = np.arange(len(first)) - np.searchsorted(customer[first], customer[first]) + 1
    touchpoints = with_columns(
        touchpoints,
        {
            "journey_id": pa.array(journey),
            "journey_no": pa.array(number[journey]),
            "month": rules.months.of(time),
        },
    )
    money = duck.select(connection, duck.read_sql("money"), {"touchpoints": touchpoints.select(
        ["customer_no", "journey_id", "is_known", "month", "currency", "event_type", "amount", "outcome"])})  # fmt: skip
    journeys = _journey_table(touchpoints, journey, base, first, last, outcome, rules)
    journeys = with_columns(
        journeys, {"journey_no": pa.array(number), **revenue_columns(money, "journey_id", len(first), connection)}
    )
    return ShardTables(shard, touchpoints=touchpoints, journeys=journeys, money=money)


def outcomes(touchpoints: pa.Table, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """string[n]: the outcome with which each row closes its journey (sql/outcomes.sql), else null."""
    wanted = touchpoints.select(["event_type", "opens_order", "outcome", "kind"])
    found = duck.select(connection, duck.read_sql("outcomes"), {"touchpoints": wanted})
    return one_chunk(found["outcome"].cast(pa.string()))


def revenue_columns(
    money: pa.Table, group: str, groups: int, connection: duckdb.DuckDBPyConnection
) -> dict[str, pa.Array]:
    """revenue, currency and revenue_by_currency for groups 0..groups-1; 0 and an empty list where there is no money."""
    answer = duck.select(
        connection,
        duck.read_sql("revenue_by"),
        {
            "money_of_group": money.select([group, "currency", "amount"]).rename_columns(
                ["group_no", "currency", "amount"]
            )
        },
    )
    place = np.full(groups, -1, np.int64)
    place[answer["group_no"].to_numpy()] = np.arange(answer.num_rows)
    rows = pa.array(place, mask=place < 0)
    none = pa.array(place < 0)
    revenue = one_chunk(answer["revenue"].cast(MONEY_SUM)).take(rows)
    lists = one_chunk(answer["revenue_by_currency"].cast(MONEY_LIST)).take(rows)
    return {
        "revenue": pc.if_else(none, pa.scalar(0, MONEY_SUM), revenue),
        "currency": one_chunk(answer["currency"]).take(rows),
        "revenue_by_currency": pc.if_else(none, pa.scalar([], MONEY_LIST), lists),
    }


def _journeys_of_rows(
    touchpoints: pa.Table, customer: np.ndarray, time: np.ndarray, is_outcome: np.ndarray, silence_us: int
) -> tuple[np.ndarray, np.ndarray]:
    """int64[n]: each row's journey, 0.. in the shard; and the rows that make journeys (all but later lines)."""
    order_row = touchpoints["order_row"].fill_null(-1).to_numpy()
    follows = (order_row >= 0) & (order_row != np.arange(len(customer)))
    base = np.flatnonzero(~follows)
    new = changes(customer[base])
    closed_before = np.concatenate(([False], is_outcome[base][:-1])) if len(base) else new
    silent_before = np.concatenate(([False], np.diff(time[base]) > silence_us)) if len(base) else new
    journey = np.empty(len(customer), np.int64)
    journey[base] = np.cumsum(new | closed_before | silent_before) - 1
    later = np.flatnonzero(follows)
    journey[later] = journey[order_row[later]]
    return journey, base


def _journey_table(
    touchpoints: pa.Table,
    journey: np.ndarray,
    base: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    outcome: pa.Array,
    rules: JourneyRules,
) -> pa.Table:
    count = len(first)
    time = one_chunk(touchpoints["occurred_at"])
    micros_of = time.cast(pa.int64()).to_numpy()
    customer = touchpoints["customer_no"].to_numpy()
    closed = valid_mask(outcome)[last]
    is_last = np.append(customer[first][1:] != customer[first][:-1], True) if count else np.zeros(0, bool)
    is_open = ~closed & is_last & (micros(rules.as_of) - micros_of[last] <= rules.silence_us)
    stage = one_chunk(touchpoints["stage"])
    considered = np.zeros(count, bool)
    considered[
        journey[base[pc.equal(stage, "consideration").fill_null(False).to_numpy(zero_copy_only=False)[base]]]
    ] = True
    status = np.select([closed, is_open, considered], [0, 3, 1], 2)
    session = touchpoints["session_no"].to_numpy()
    in_session = session >= 0
    last_rows = pa.array(last)
    return pa.table(
        {
            "customer_key": one_chunk(touchpoints["customer_key"]).take(pa.array(first)),
            "customer_no": pa.array(customer[first]),
            "started_at": time.take(pa.array(first)),
            "ended_at": pc.if_else(pa.array(is_open), pa.scalar(None, time.type), time.take(last_rows)),
            "status": pa.array(["closed", "abandoned", "ended", "open"]).take(pa.array(status)),
            "outcome": outcome.take(last_rows),
            "stage_path": _path(stage, journey, base, count),
            "channel_path": _path(one_chunk(touchpoints["channel"]), journey, base, count),
            "touchpoints": pa.array(np.bincount(journey, minlength=count)),
            "sessions": pa.array(count_distinct(journey[in_session], session[in_session], count)),
            "friction_points": pa.array(np.zeros(count, np.int64)),
        }
    )


def _path(values: pa.Array, journey: np.ndarray, base: np.ndarray, count: int) -> pa.Array:
    """The values of each journey in order, a run of one value once, absent ones left out; null where there is none."""
    encoded = values.dictionary_encode()
    code = encoded.indices.fill_null(-1).to_numpy()
    return join_paths(journey[base], code[base], encoded.dictionary, count)


class BuildJourneys(ShardStep):
    """ShardTables -> with `journeys` and `money`."""

    function = staticmethod(build_journeys)
