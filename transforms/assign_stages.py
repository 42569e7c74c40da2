"""The stage of each touchpoint, and the table of maximal runs of one stage.

Which stage an event gives is SQL (sql/assign_stages.sql, or the file that the setting names). What SQL leaves null keeps
the stage that the customer is in. A lapse, or a term that ended unrenewed, is no event but a moment: it puts the customer
into `churned` between two touchpoints.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa

from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.columns import one_chunk
from transforms.fit_inactivity import Inactivity
from transforms.runs import changes, count_distinct, position_in_time, starts
from transforms.shard_step import ShardStep

#: Columns that a stage file may use, beside the types' own fields.
_LAPSE_COLUMNS = ("customer_no", "seq", "occurred_at", "event_type", "opens_order", "is_known")


@dataclass(frozen=True)
class StageRules:
    """`sql` is the text of the stage file; `inactivity_days` after the last order a buyer lapses (None: as fitted; and
    where nothing could be fitted nobody knows, and nobody lapses)."""

    sql: str
    as_of: datetime.datetime
    inactivity_days: int | None


class StageFileError(ValueError):
    """The SQL of the stages does not give one row with row_no and stage for each touchpoint."""


def stages_of_events(touchpoints: pa.Table, sql: str, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """string[n]: the stage that each event gives, null for none."""
    rows = np.arange(touchpoints.num_rows)
    numbered = with_columns(touchpoints, {"row_no": pa.array(rows)})
    answer = duck.select(connection, sql, {"touchpoints": numbered})
    if not {"row_no", "stage"} <= set(answer.column_names):
        raise StageFileError(f"gives the columns {', '.join(answer.column_names)}; it must give row_no and stage")
    row_no = answer["row_no"].to_numpy()
    order = np.argsort(row_no, kind="stable")
    if not np.array_equal(row_no[order], rows):
        raise StageFileError(f"gives {answer.num_rows} rows for {len(rows)} touchpoints; it must give each row_no once")
    return one_chunk(answer["stage"].cast(pa.string())).take(pa.array(order))


def assign_stages(shard: ShardTables, rules: StageRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `stage` to the touchpoints, and the tables `journey_stages` and `lapses` (customer_no, happened_at, kind, reason).

    And `inactivity`, one row: the `days` after which a buyer lapses, null where nobody knows them.
    """
    touchpoints = shard["touchpoints"]
    lapses = duck.select_windows(
        connection,
        duck.read_sql("lapses"),
        {"touchpoints": touchpoints.select(_LAPSE_COLUMNS), "subscription_periods": shard["subscription_periods"]},
        {"as_of": rules.as_of, "inactivity_days": rules.inactivity_days},
    )
    given = stages_of_events(touchpoints, rules.sql, connection)
    stage, journey_stages = _fill_and_run(touchpoints, given, lapses)
    return ShardTables(
        shard,
        touchpoints=with_columns(touchpoints, {"stage": stage}),
        journey_stages=journey_stages,
        lapses=lapses,
        inactivity=pa.table({"days": pa.array([rules.inactivity_days], pa.int64())}),
    )


def _fill_and_run(touchpoints: pa.Table, given: pa.Array, lapses: pa.Table) -> tuple[pa.Array, pa.Table]:
    """The stage of every touchpoint, and one row a run of one stage, with customer_no, and seq of the event that began it."""
    customer = touchpoints["customer_no"].to_numpy()
    time = touchpoints["occurred_at"].cast(pa.int64()).to_numpy()
    n = len(customer)
    encoded = given.dictionary_encode()
    names = [*encoded.dictionary.to_pylist(), "churned"]
    churned = names.index("churned")
    code = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)

    # Points are what sets a stage: touchpoints with one, and lapses, each behind the last row that is not later.
    first = np.flatnonzero(changes(customer))
    stop = np.append(first[1:], n)
    lapse_customer = lapses["customer_no"].to_numpy()
    lapse_time = lapses["happened_at"].cast(pa.int64()).to_numpy()
    behind = position_in_time(time, first[lapse_customer], stop[lapse_customer], lapse_time)
    rows = np.flatnonzero(code >= 0)
    place = np.concatenate((rows * 2, behind * 2 - 1))
    order = np.argsort(place, kind="stable")
    point_place = place[order]
    point_customer = np.concatenate((customer[rows], lapse_customer))[order]
    point_time = np.concatenate((time[rows], lapse_time))[order]
    point_code = np.concatenate((code[rows], np.full(len(lapse_time), churned)))[order]

    enters = changes(point_customer) | changes(point_code)
    run_customer, run_code, run_time = point_customer[enters], point_code[enters], point_time[enters]
    run_place = point_place[enters]
    # The run that each touchpoint is in: the last one that begins at or before it, if it is the same customer's.
    run_of_row = np.searchsorted(run_place, np.arange(n) * 2, "right") - 1
    inside = run_of_row >= 0
    inside[inside] = run_customer[run_of_row[inside]] == customer[inside]
    run_of_row[~inside] = -1

    runs = len(run_code)
    dictionary = pa.array(names, pa.string())
    stage = pa.array(run_code).take(pa.array(run_of_row, mask=~inside)) if runs else pa.nulls(n, pa.int64())
    last = np.append(run_customer[1:] != run_customer[:-1], True) if runs else np.zeros(0, bool)
    left = np.append(run_time[1:], 0)[:runs]
    next_code = np.append(run_code[1:], 0)[:runs]
    session = touchpoints["session_no"].to_numpy()
    in_session = inside & (session >= 0)
    keys = one_chunk(touchpoints["customer_key"]).take(pa.array(first))
    table = pa.table(
        {
            "customer_key": keys.take(pa.array(run_customer)),
            "stage_no": pa.array(np.arange(runs) - starts(run_customer) + 1),
            "stage": dictionary.take(pa.array(run_code)),
            "entered_at": _time(run_time),
            "left_at": _time(left, last),
            "next_stage": dictionary.take(pa.array(next_code, mask=last)),
            "duration_s": pa.array((left - run_time) // 1_000_000, mask=last),
            "touchpoints": pa.array(np.bincount(run_of_row[inside], minlength=runs)),
            "sessions": pa.array(count_distinct(run_of_row[in_session], session[in_session], runs)),
            "is_open": pa.array(last),
            "customer_no": pa.array(run_customer),
            "seq": pa.array(_seq(run_place // 2, first, run_customer), mask=run_place % 2 == 1),
        }
    )
    return dictionary.take(stage), table


def _seq(row: np.ndarray, first: np.ndarray, customer: np.ndarray) -> np.ndarray:
    """Of rows of the shard, the place in their customer, 1.."""
    return row - first[customer] + 1


def _time(micros: np.ndarray, absent: np.ndarray | None = None) -> pa.Array:
    return pa.array(micros, pa.int64(), mask=absent).cast(pa.timestamp("us", "UTC"))


class _AssignFitted(beam.DoFn):
    def __init__(self, rules: StageRules) -> None:
        self._rules = rules

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, shard: ShardTables, fitted: Inactivity) -> Iterator[ShardTables]:
        yield assign_stages(shard, replace(self._rules, inactivity_days=fitted.days), self._connection)


class AssignStages(ShardStep):
    """ShardTables -> with stages. `fitted` is one Inactivity, where the rules name no days."""

    function = staticmethod(assign_stages)

    def __init__(self, rules: StageRules, fitted: beam.PCollection | None = None) -> None:
        super().__init__(rules)
        self._fitted = fitted

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        if self._fitted is None:
            return super().expand(shards)
        step = beam.ParDo(_AssignFitted(self._rules), beam.pvalue.AsSingleton(self._fitted))
        return shards | step.with_output_types(ShardTables)
