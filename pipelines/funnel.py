"""`parcours funnel`: a funnel counted on a published run; and funnels of the settings, made ready for a run.

The touchpoints are read in pieces of whole customers, only the columns and rows that the steps need, and counted by the
very functions that count a shard (transforms/funnels.py): a lake may be larger than the memory. Nothing here imports Beam.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.catalog import reading
from pipelines.durations import parse_duration
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.manifest import Manifest
from schemas.contracts import load_contracts
from schemas.tables import tables
from transforms.columns import one_chunk
from transforms.duck import read_sql
from transforms.funnels import (
    FUNNEL_CELLS,
    MOST_VALUES,
    Counted,
    Funnel,
    FunnelError,
    Placed,
    add_funnel_cells,
    cells_of,
    check_funnel,
    merge_funnels,
    read_step,
    rows_sql,
    try_funnel,
)
from transforms.time_zones import Periods, micros

#: The name that a funnel asked ad hoc has in the answer.
AD_HOC = "ad_hoc"
DEFAULT_WINDOW = "30d"
#: Rows that are counted at once: some 100 MB with their customers and segments.
_PIECE_ROWS = 500_000
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Asked:
    """A funnel as it is typed. Days are local to the run's time zone; `until` is the first day that is out."""

    steps: tuple[str, ...]
    window: str = DEFAULT_WINDOW
    step_windows: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    counted: Counted = "customers"
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class Answer:
    """`rows` are those of the table `funnels`."""

    run_id: str
    as_of: datetime
    funnel: Funnel
    rows: pa.Table


def stages_of(sql: str) -> list[str]:
    """The stages that a stage file gives: of the shipped one exactly, of another one at least.

    >>> stages_of("select case when true then 'trial' end as stage")
    ['trial']
    """
    shipped = sql == read_sql("assign_stages")
    return list(dict.fromkeys(re.findall(r"then '(\w+)'" if shipped else r"'([^']+)'", sql)))


def make_funnel(
    name: str,
    steps: Sequence[str],
    window: str,
    step_windows: Sequence[str],
    by: Sequence[str],
    counted: Counted,
    event_types: Collection[str],
    columns: Collection[str],
    stages: Collection[str],
) -> Funnel:
    """A funnel from what people write. FunnelError or ValueError says what is wrong with it."""
    check_funnel(steps, step_windows, by)
    in_all = parse_duration(window)
    seconds = [parse_duration(span) for span in step_windows] or [in_all]
    each = seconds * (len(steps) - 1) if len(seconds) == 1 else seconds
    read = tuple(read_step(step, event_types, columns, stages) for step in steps)
    return Funnel(name, read, in_all, tuple(each), tuple(segment.strip() for segment in by), counted)


def ask_funnel(lake: Lake | str, asked: Asked, run_id: str | None = None, most_values: int = MOST_VALUES) -> Answer:
    """Counts a funnel on a run (the published one, if none is named). UsageError names what is wrong, and the mend."""
    lake = Lake(lake) if isinstance(lake, str) else lake
    manifest = lake.published() if run_id is None else lake.manifest(run_id)
    as_of = datetime.fromisoformat(manifest.as_of) if isinstance(manifest.as_of, str) else manifest.as_of
    with reading(lake, manifest.run_id) as con:
        funnel = _understood(con, manifest, asked)
        cells = FUNNEL_CELLS.empty_table()
        try:
            for piece in _pieces(con, funnel):
                found = cells_of(piece, [funnel], micros(as_of), _OfLake(con))
                cells = add_funnel_cells([cells, found])
        except (duckdb.Error, OSError) as error:  # a cast of theirs that fails on the data comes through Arrow
            reason = " ".join(str(error).partition("\n")[0].split()).rstrip(".!")
            raise UsageError(
                f"The funnel fails on the data: {reason}.",
                "Correct the step or segment; where a cast fails, try_cast gives a null.",
            ) from None
        table = tables(load_contracts())["funnels"]
        return Answer(manifest.run_id, as_of, funnel, merge_funnels([cells], [funnel], table, most_values))


def _understood(con: duckdb.DuckDBPyConnection, manifest: Manifest, asked: Asked) -> Funnel:
    columns = con.sql("from touchpoints").columns
    try:
        window = _span("--window", asked.window)
        step_windows = tuple(_span("--step-window", span) for span in asked.step_windows)
        known = (_event_types(con, asked.steps), columns, _stages(con, manifest))
        funnel = make_funnel(AD_HOC, asked.steps, window, step_windows, asked.by, asked.counted, *known)
        try_funnel(funnel, "touchpoints", con)
    except FunnelError as error:
        raise UsageError(f"{error}.", error.mend) from None
    except ValueError as error:
        raise UsageError(f"The funnel {error}.", "See parcours funnel --help.") from None
    months = Periods(str(manifest.settings.get("timezone", "UTC")))
    since, until = (None if day is None else months.begins(day) for day in (asked.since, asked.until))
    if since is not None and until is not None and since >= until:
        raise UsageError(
            f"No day lies between --from {asked.since} and --to {asked.until}.", "--to is the first day that is out."
        )
    return Funnel(
        funnel.name, funnel.steps, funnel.window_s, funnel.step_windows_s, funnel.by, funnel.counted, since, until
    )


def _span(option: str, text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option} {text} {error}.", "7d is a week, 1h30m an hour and a half.") from None
    return text


def _event_types(con: duckdb.DuckDBPyConnection, steps: Sequence[str]) -> set[str]:
    """The shipped types; where a step is none of them also those of the run, which may have contracts of its own."""
    known = set(load_contracts().event_types)
    if all(step.strip() in known for step in steps):
        return known
    return known | {kind for (kind,) in con.execute("select distinct event_type from touchpoints").fetchall()}


def _stages(con: duckdb.DuckDBPyConnection, manifest: Manifest) -> set[str]:
    own = set() if manifest.settings.get("stages") else set(stages_of(read_sql("assign_stages")))
    found = con.execute("select distinct stage from journey_stages where stage is not null").fetchall()
    return own | {stage for (stage,) in found}


def _pieces(con: duckdb.DuckDBPyConnection, funnel: Funnel) -> Iterator[pa.Table]:
    """The rows that matter, in pieces of whole customers.

    The files hold customers one after the other, and DuckDB hands the rows on in the order of the files.
    """
    reader = con.sql(rows_sql([funnel], "customer_key")).to_arrow_reader(_BATCH_ROWS)
    waiting: list[pa.RecordBatch] = []
    for batch in reader:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) < _PIECE_ROWS:
            continue
        rows = pa.Table.from_batches(waiting, reader.schema)
        customer = one_chunk(rows["customer"].combine_chunks())
        begins = pc.index(pc.equal(customer, customer[-1]), True).as_py()  # the last one may not be whole yet
        if begins:
            yield rows.slice(0, begins)
        waiting = rows.slice(begins).combine_chunks().to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting, reader.schema)


@dataclass(frozen=True)
class _OfLake:
    """The background of a piece's customers, from the published tables."""

    con: duckdb.DuckDBPyConnection

    def first_channels(self, whose: pa.Array) -> pa.Array:
        found = self._asked("customers", "first_channel", "true", whose)
        return one_chunk(found["first_channel"]).take(pc.index_in(whose, one_chunk(found["customer_key"])))

    def ongoing_journeys(self, whose: pa.Array) -> Placed:
        return self._placed("journeys", "journey_no", "status = 'open' or outcome = 'order'", whose)

    def entries(self, whose: pa.Array, stage: str) -> Placed:
        wanted = "'" + stage.replace("'", "''") + "'"
        return self._placed("journey_stages", "epoch_us(entered_at)", f"stage = {wanted}", whose)

    def lapses(self, whose: pa.Array) -> Placed:
        return self._placed("journey_stages", "epoch_us(entered_at)", "touchpoints = 0", whose)

    def _placed(self, table: str, value: str, condition: str, whose: pa.Array) -> Placed:
        found = self._asked(table, f"{value} as value", condition, whose)
        placed = Placed.of(found, "customer_key", whose, found["value"])
        order = np.lexsort((placed.value, placed.place))
        return Placed(placed.place[order], placed.value[order])

    def _asked(self, table: str, column: str, condition: str, whose: pa.Array) -> pa.Table:
        with self.con.cursor() as other:  # the first one is being read from
            other.register("whose", pa.table({"customer_key": whose}))
            sql = f"select customer_key, {column} from {table} where ({condition}) and customer_key in (from whose)"
            found = other.sql(sql).to_arrow_table()
            other.unregister("whose")
        return found


def funnels_of_settings(
    given: Mapping[str, Any], event_types: Collection[str], columns: Collection[str], stage_sql: str
) -> tuple[Funnel, ...]:
    """The funnels of the settings (`Settings.funnels`). UsageError names the funnel and the mend."""
    funnels = []
    for name, asked in given.items():
        try:
            funnels.append(
                make_funnel(
                    name, asked.steps, asked.window, asked.step_windows, asked.by, asked.count, event_types, columns,
                    stages_of(stage_sql),
                )
            )  # fmt: skip
        except FunnelError as error:
            raise UsageError(f"The setting `funnels.{name}`: {error}.", error.mend) from None
    return tuple(funnels)
