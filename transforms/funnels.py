"""Funnels: how many took the steps of a list one after the other, where they stopped, and how long each step took.

One definition for the funnels of the settings and for `parcours funnel`: SQL says which steps each touchpoint matches,
funnel_walk.py how far each customer gets, and what comes of it are counts that add up: over shards, or over pieces of a
published table. docs/funnels.md has the rules. Nothing here imports Beam.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import Table
from transforms import duck
from transforms.adding_up import adding_in_order
from transforms.columns import one_chunk, valid_mask
from transforms.funnel_walk import Attempts, Timeline, Windows, each_entry, furthest_of_group
from transforms.groups import group_rows
from transforms.quantiles import EXACT_VALUES, lower_edges, quantile
from transforms.runs import changes, position_in_time, starts
from transforms.time_zones import SECOND_US

Counted = Literal["customers", "journeys", "entries"]
#: Partial counts; all add up. `what` is the state of the attempts whose last step is step_no, or the seconds of that step:
#: from the step before, or from the entry.
FUNNEL_CELLS = pa.schema(
    [("funnel", pa.string()), ("segment", pa.string()), ("segment_value", pa.string()), ("step_no", pa.int64()),
     ("what", pa.string()), ("value", pa.int64()), ("count", pa.int64())]
)  # fmt: skip
_ADD_CELLS = adding_in_order(FUNNEL_CELLS, "count")
STATES = ("converted", "dropped", "open")
STEP_S, ENTRY_S = "step_s", "entry_s"

#: Everyone, as in lifecycle_metrics; then segment_value is null.
ALL = "all"
NO_VALUE = "(none)"
#: Beyond so many values of a segment, those with the fewest entries are told as one.
MOST_VALUES, OTHERS = 100, "(other)"
#: A touchpoint's steps are the bits of one whole number.
MOST_STEPS = 20

#: Segments that are not on the touchpoint itself: how the customer was won; the plan that the customer is on by then.
FIRST_CHANNEL, PLAN = "first_channel", "plan"

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class FunnelError(ValueError):
    """A funnel cannot be asked; `mend` says what to do about it."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


@dataclass(frozen=True)
class Step:
    """One step, as it was written: a touchpoint that meets the condition `sql`, or that enters `stage`."""

    text: str
    sql: str = "false"
    stage: str | None = None


@dataclass(frozen=True)
class Funnel:
    """What is asked. Windows are whole seconds, `step_windows_s` one for each step after the first; `by` are segments.

    `since` and `until` (microseconds, None: without end) limit when an attempt begins: from since, before until.
    """

    name: str
    steps: tuple[Step, ...]
    window_s: int
    step_windows_s: tuple[int, ...]
    by: tuple[str, ...] = ()
    counted: Counted = "customers"
    since: int | None = None
    until: int | None = None

    @property
    def windows(self) -> Windows:
        in_all = self.window_s * SECOND_US
        return Windows(tuple(min(seconds * SECOND_US, in_all) for seconds in self.step_windows_s), in_all)


def read_step(
    text: str, event_types: Collection[str], columns: Collection[str], stages: Collection[str] | None
) -> Step:
    """A step as people write it: `stage:NAME`, an event type, or a SQL condition on a touchpoint.

    FunnelError for a name that is none of them. `stages` None: any name of a stage will do.

    >>> read_step("site_visit", ["site_visit"], [], None).sql
    "event_type = 'site_visit'"
    """
    text = text.strip()
    if text.startswith("stage:"):
        name = text.removeprefix("stage:").strip()
        if not name or (stages is not None and name not in stages):
            raise FunnelError(f"The step {text} names no stage", _near(name, stages or (), "stage:"))
        return Step(f"stage:{name}", stage=name)
    if _WORD.fullmatch(text) and text not in columns:
        if text not in event_types:
            otherwise = "Name an event type or stage:NAME, or write a condition such as page_kind = 'cart'."
            mend = _near(text, [*event_types, *columns], "", otherwise)
            raise FunnelError(f"The step {text} is no event type, nor a column of touchpoints", mend)
        return Step(text, f"event_type = {_text(text)}")
    if not text:
        raise FunnelError("A step is empty", "Name an event type, stage:NAME, or write a condition.")
    return Step(text, text)


def _near(name: str, known: Collection[str], prefix: str, otherwise: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"Did you mean {' or '.join(prefix + one for one in near)}?"
    return otherwise or f"There are: {', '.join(prefix + one for one in sorted(known)) or 'none'}."


def check_funnel(steps: Sequence[str], step_windows: Sequence[object], by: Sequence[str]) -> None:
    """ValueError where the parts of a funnel do not fit together."""
    if not 2 <= len(steps) <= MOST_STEPS:
        raise ValueError(f"needs 2 to {MOST_STEPS} steps, and has {len(steps)}")
    if len(step_windows) not in (0, 1, len(steps) - 1):
        raise ValueError(
            f"has {len(step_windows)} step_windows for {len(steps)} steps; give one for all, or one for each step after "
            f"the first: {len(steps) - 1}"
        )
    if len(set(by)) < len(by) or ALL in by:
        raise ValueError(f"has a segment twice, or one named {ALL}, which is always there; name each once")


def try_funnel(funnel: Funnel, touchpoints: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Plans every condition and segment on the table or view `touchpoints`; FunnelError names the one that fails.

    In a WHERE, because that takes no aggregate and no window: a step looks at one touchpoint.
    """
    asked = [(f"The step {step.text}", "", f"({step.sql}\n)::boolean") for step in funnel.steps]
    asked += [(f"The segment {by}", by, f"({by}\n)::varchar is not null") for by in funnel.by if by != FIRST_CHANNEL]
    for what, segment, condition in asked:
        try:
            connection.execute(f"select 1 from {touchpoints} where {condition} limit 0").fetchall()
        except duckdb.Error as error:
            if _WORD.fullmatch(segment):
                known = [*connection.table(touchpoints).columns, FIRST_CHANNEL]
                otherwise = "Name a column of touchpoints (parcours tables touchpoints), plan or first_channel."
                raise FunnelError(f"{what} is no column of touchpoints", _near(segment, known, "", otherwise)) from None
            reason = " ".join(str(error).partition("\n")[0].split()).rstrip(".!")
            raise FunnelError(
                f"{what} fails: {reason}",
                "Correct it; it may use the columns of touchpoints (parcours tables touchpoints).",
            ) from None


# --- touchpoints that matter -----------------------------------------------------------------------------------------


def rows_sql(funnels: Sequence[Funnel], customer: str) -> str:
    """A query of `touchpoints`: which steps of each funnel every touchpoint matches, without those that matter to none.

    `customer` is the column that tells customers apart. Where a step is a stage all touchpoints come: whether one enters
    it is seen from the one before.
    """
    columns = [f"{customer} as customer", "seq", "journey_no", "epoch_us(occurred_at) as time"]
    matter = [f"({step.sql}\n)::boolean" for funnel in funnels for step in funnel.steps if step.stage is None]
    enters = any(step.stage for funnel in funnels for step in funnel.steps)
    if enters:
        columns.append("stage")
    if any(PLAN in funnel.by for funnel in funnels):
        columns.append("plan")
        matter.append("plan is not null")
    for number, funnel in enumerate(funnels):
        bits = [
            f"case when ({step.sql}\n)::boolean then {1 << place}::bigint else 0 end"
            for place, step in enumerate(funnel.steps)
            if step.stage is None
        ]
        columns.append(f"{' + '.join(bits) or '0::bigint'} as steps_{number}")
        first = funnel.steps[0]
        may_enter = f"({first.sql}\n)::boolean" if first.stage is None else f"stage = {_text(first.stage)}"
        columns += [
            f"case when {may_enter} then ({by}\n)::varchar end as segment_{number}_{place}"
            for place, by in enumerate(funnel.by)
            if by not in (FIRST_CHANNEL, PLAN)
        ]
    where = "" if enters else f"\nwhere {' or '.join(dict.fromkeys(matter))}"
    return f"select {', '.join(columns)}\nfrom touchpoints{where}"


class Placed(NamedTuple):
    """int64[m] each: whose a value is, as a place in `whose`, and the value."""

    place: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, key: str, whose: pa.Array, value: pa.Array | pa.ChunkedArray) -> Placed:
        """The values of the rows of `whose`; `key` is the column that says whose a row is."""
        place = pc.index_in(one_chunk(table[key]), whose)
        there = place.is_valid()
        return cls(
            place.filter(there).to_numpy().astype(np.int64), one_chunk(value).filter(there).cast(pa.int64()).to_numpy()
        )


class Background(Protocol):
    """What else is asked about some customers: `whose`, by what `rows_sql` gives as `customer`, each once."""

    def first_channels(self, whose: pa.Array) -> pa.Array:
        """string[n]: null for none."""

    def ongoing_journeys(self, whose: pa.Array) -> Placed:
        """The journey_no of what may still get touchpoints: open, or an order's, of which later lines and refunds come."""

    def entries(self, whose: pa.Array, stage: str) -> Placed:
        """The microseconds at which they entered the stage."""

    def lapses(self, whose: pa.Array) -> Placed:
        """The microseconds at which they entered a stage that no touchpoint of theirs is of, rising for each of them."""


@dataclass(frozen=True)
class _OfShard:
    """The background of a shard's customers, from its tables."""

    shard: Mapping[str, pa.Table]

    def first_channels(self, whose: pa.Array) -> pa.Array:
        customers = self.shard["customers"]
        return one_chunk(customers["first_channel"]).take(pc.index_in(whose, one_chunk(customers["customer_no"])))

    def ongoing_journeys(self, whose: pa.Array) -> Placed:
        return self._of(
            "journeys", (pc.field("status") == "open") | (pc.field("outcome") == "order"), whose, "journey_no"
        )

    def entries(self, whose: pa.Array, stage: str) -> Placed:
        return self._of("journey_stages", pc.field("stage") == stage, whose, "entered_at")

    def lapses(self, whose: pa.Array) -> Placed:
        return self._of("journey_stages", pc.field("touchpoints") == 0, whose, "entered_at")

    def _of(self, table: str, condition: pc.Expression, whose: pa.Array, value: str) -> Placed:
        rows = self.shard[table].filter(condition)
        return Placed.of(rows, "customer_no", whose, rows[value])


def funnel_cells(
    shard: Mapping[str, pa.Table], funnels: Sequence[Funnel], as_of: int, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """FUNNEL_CELLS of one shard of whole customers, its touchpoints in order. `as_of` is microseconds.

    The tables touchpoints, customers, journeys and journey_stages have customer_no beside their published columns.
    """
    if not funnels:
        return FUNNEL_CELLS.empty_table()
    rows = duck.select(connection, rows_sql(funnels, "customer_no"), {"touchpoints": shard["touchpoints"]})
    return cells_of(rows, funnels, as_of, _OfShard(shard))


def cells_of(rows: pa.Table, funnels: Sequence[Funnel], as_of: int, background: Background) -> pa.Table:
    """FUNNEL_CELLS of the answer to `rows_sql`: whole customers, each in one piece, by seq."""
    rows = rows.combine_chunks()
    customer = _numbered_runs(rows["customer"])
    if ((np.diff(rows["seq"].to_numpy()) <= 0) & (np.diff(customer) == 0)).any():
        raise ValueError("the touchpoints of a customer are not in the order of seq")
    whose = one_chunk(rows["customer"]).take(pa.array(np.flatnonzero(changes(customer))))
    cells = []
    for number, funnel in enumerate(funnels):
        attempts = _attempts(rows, number, funnel, customer, whose, as_of, background)
        entry = pa.array(attempts.rows[0])
        segments: dict[str, pa.Array] = {}
        for place, by in enumerate(funnel.by):
            if by == FIRST_CHANNEL:
                segments[by] = background.first_channels(whose).take(pa.array(customer[attempts.rows[0]]))
            elif by == PLAN:
                segments[by] = one_chunk(rows["plan"]).take(_last_known(rows["plan"], customer).take(entry))
            else:
                segments[by] = one_chunk(rows[f"segment_{number}_{place}"]).take(entry)
        cells += list(_tallied(funnel, attempts, rows["time"].to_numpy(), segments))
    return add_funnel_cells(cells)


def _attempts(
    rows: pa.Table, number: int, funnel: Funnel, customer: np.ndarray, whose: pa.Array, as_of: int,
    background: Background,
) -> Attempts:  # fmt: skip
    """The attempts of one funnel; their rows are those of the table. `customer` int64[n] are places in `whose`."""
    time = rows["time"].to_numpy()
    bits = rows[f"steps_{number}"].to_numpy()
    matches = [np.flatnonzero(bits & (1 << place)) for place in range(len(funnel.steps))]
    for place, step in enumerate(funnel.steps):
        if step.stage is not None:
            entries = background.entries(whose, step.stage)
            matches[place] = _entering(rows, step.stage, customer, entries, background.lapses(whose))
    begin = time[matches[0]]
    within = np.ones(len(begin), bool) if funnel.since is None else begin >= funnel.since
    if funnel.until is not None:
        within &= begin < funnel.until
    matches[0] = matches[0][within]
    if funnel.counted != "journeys":
        walk = each_entry if funnel.counted == "entries" else furthest_of_group
        return walk(Timeline(customer, time, tuple(matches)), funnel.windows, as_of)
    # A journey need not be in one piece: later lines of an order stay in the journey that its first line closed.
    journey = rows["journey_no"].to_numpy()
    order = np.lexsort((journey, customer))
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    group = np.cumsum(changes(customer[order]) | changes(journey[order])) - 1
    timeline = Timeline(group, time[order], tuple(np.sort(place_of[match]) for match in matches))
    found = furthest_of_group(timeline, funnel.windows, as_of)
    back = np.where(found.rows >= 0, order[found.rows], -1)
    # Nothing more can come in a journey that is over, whatever is left of the window.
    goes_on = _among(Placed(customer[back[0]], journey[back[0]]), background.ongoing_journeys(whose))
    return Attempts(found.reached, found.is_open & goes_on, back)


def _numbered_runs(values: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: 0.., one more where the value is not that of the row before."""
    column = one_chunk(values)
    if not len(column):
        return np.zeros(0, np.int64)
    new = pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.cumsum(new)))


def _entering(rows: pa.Table, stage: str, customer: np.ndarray, entries: Placed, lapses: Placed) -> np.ndarray:
    """The rows with which a customer enters a stage, at the moments of `entries`.

    The touchpoint before was in another one, or a lapse lies in between, which enters a stage and is no touchpoint. The visit
    that comes after a lapse finds the customer in the stage of the lapse: it enters nothing at its own moment.
    """
    time = rows["time"].to_numpy()
    is_in = pc.fill_null(pc.equal(one_chunk(rows["stage"]), stage), False).to_numpy(zero_copy_only=False)
    is_first = changes(customer)
    was_in = np.concatenate(([False], is_in[:-1])) & ~is_first
    again = np.flatnonzero(is_in & was_in)
    if len(again) and len(lapses.place):
        low, high = (np.searchsorted(lapses.place, customer[again], side) for side in ("left", "right"))
        until, since = (position_in_time(lapses.value, low, high, time[again - back]) for back in (0, 1))
        was_in[again] = until == since
    rows_in = np.flatnonzero(is_in & ~was_in)
    return rows_in[_among(Placed(customer[rows_in], time[rows_in]), entries)]


def _among(wanted: Placed, known: Placed) -> np.ndarray:
    """bool[n]: whether the same place and value is known."""
    number = group_rows(np.append(wanted.value, known.value), np.append(wanted.place, known.place)).number
    return np.isin(number[: len(wanted.place)], number[len(wanted.place) :])


def _last_known(values: pa.ChunkedArray, customer: np.ndarray) -> pa.Array:
    """int64[n]: the row of the customer's last value up to each row; null before there is one."""
    if not len(customer):
        return pa.array([], pa.int64())
    known = np.maximum.accumulate(np.where(valid_mask(values), np.arange(len(customer)), -1))
    return pa.array(known, mask=known < starts(customer))


def _tallied(
    funnel: Funnel, attempts: Attempts, time: np.ndarray, segments: Mapping[str, pa.Array]
) -> Iterator[pa.Table]:
    """Pieces of FUNNEL_CELLS, of everyone and of each segment."""
    steps = len(funnel.steps)
    state = np.where(attempts.reached == steps, 0, np.where(attempts.is_open, 2, 1))
    spans = []
    for step in range(1, steps):
        there = np.flatnonzero(attempts.reached > step)
        at = time[attempts.rows[:, there]]
        spans.append((there, (at[step] - at[step - 1]) // SECOND_US, (at[step] - at[0]) // SECOND_US))
    everyone = pa.nulls(len(state), pa.string())
    for segment, values in {ALL: everyone, **segments}.items():
        named = values.fill_null(NO_VALUE).dictionary_encode()
        code = named.indices.to_numpy().astype(np.int64)
        names = pa.nulls(1, pa.string()) if segment == ALL else named.dictionary
        cells = partial(_cells, funnel.name, segment, names)
        codes, both, count = _counted(code, attempts.reached * len(STATES) + state)
        states = pa.array(STATES, pa.string()).take(pa.array(both % len(STATES)))
        yield cells(codes, both // len(STATES), states, pa.nulls(len(codes), pa.int64()), count)
        for step, (there, *seconds) in enumerate(spans, start=2):
            for what, each in zip((STEP_S, ENTRY_S), seconds, strict=True):
                codes, value, count = _counted(code[there], each)
                yield cells(codes, np.full(len(codes), step), _repeated(what, len(codes)), pa.array(value), count)


def _cells(
    funnel: str, segment: str, names: pa.Array, code: np.ndarray, step_no: np.ndarray, what: pa.Array, value: pa.Array,
    count: np.ndarray,
) -> pa.Table:  # fmt: skip
    """A piece of FUNNEL_CELLS; `code` says which of `names` is the segment's value."""
    n, whose = len(code), names.take(pa.array(code))
    columns = [_repeated(funnel, n), _repeated(segment, n), whose, pa.array(step_no), what, value, pa.array(count)]
    return pa.table(columns, schema=FUNNEL_CELLS)


def _repeated(text: str, times: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), times)


def _counted(code: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair of a code and a value (both 0 or more) once, and how often it came up."""
    width = int(value.max(initial=0)) + 1
    pairs, count = np.unique(code * width + value, return_counts=True)
    return pairs // width, pairs % width, count


# --- adding up -------------------------------------------------------------------------------------------------------


def add_funnel_cells(partials: Sequence[pa.Table]) -> pa.Table:
    """The sum of partial counts, sorted; the times of a step in buckets, for its segments too, where there are too many.

    Whoever has a time counts once in every segment, so the limit goes by the times of everyone: more than that in one
    part means more in the sum, on any cut, and a bucket's lower edge stays where it is when it is put into buckets again.
    """
    cells = _ADD_CELLS(partials)
    times = cells.filter(pc.and_(cells["value"].is_valid(), pc.equal(cells["segment"], ALL)))
    totals = times.group_by(["funnel", "step_no", "what"], use_threads=False).aggregate([("count", "sum")]).to_pylist()
    many = [total for total in totals if total["count_sum"] > EXACT_VALUES]
    if not many:
        return cells
    value = cells["value"].fill_null(0).to_numpy()
    into = np.zeros(len(value), bool)
    for total in many:
        same = [pc.equal(cells[name], total[name]) for name in ("funnel", "step_no", "what")]
        into |= pc.and_(pc.and_(same[0], same[1]), same[2]).to_numpy()
    value = np.where(into, lower_edges(value), value)
    place = cells.schema.get_field_index("value")
    bucketed = pa.array(value, pa.int64(), mask=~valid_mask(cells["value"]))
    return _ADD_CELLS([cells.set_column(place, FUNNEL_CELLS.field("value"), bucketed)])


# --- the table -------------------------------------------------------------------------------------------------------


def merge_funnels(
    partials: Sequence[pa.Table], funnels: Sequence[Funnel], table: Table, most_values: int = MOST_VALUES
) -> pa.Table:
    """The table `funnels` from the counts of all shards, in any order: the funnels as they are listed, everyone before
    the segments, and of a segment's values those with the most entries first.

    More than `most_values` values of a segment: the rest is told as one, which comes last.
    """
    cells = add_funnel_cells([_folded(add_funnel_cells(partials), most_values)])
    by_cut: dict[tuple[str, str, str | None], _Cut] = {}
    for key, states, times in _cuts(cells):
        by_cut[key] = _Cut(states, times)
    rows: list[dict[str, Any]] = []
    for funnel in funnels:
        everyone = by_cut.get((funnel.name, ALL, None), _Cut({}, {}))
        buckets = {what for what, (_, counts) in everyone.times.items() if int(counts.sum()) > EXACT_VALUES}
        rows += _rows(funnel, ALL, None, everyone, buckets)
        for segment in funnel.by:
            own = [(value, cut) for (name, by, value), cut in by_cut.items() if (name, by) == (funnel.name, segment)]
            own.sort(key=lambda pair: (pair[0] == OTHERS, -pair[1].entered, pair[0] or ""))
            for value, cut in own:
                rows += _rows(funnel, segment, value, cut, buckets)
    return pa.Table.from_pylist(rows, table.schema)


@dataclass(frozen=True)
class _Cut:
    """A funnel's attempts, all or those of a segment's value: counts by (state, last step), and times by (what, step)."""

    states: Mapping[tuple[str, int], int]
    times: Mapping[tuple[str, int], tuple[np.ndarray, np.ndarray]]

    @property
    def entered(self) -> int:
        return sum(self.states.values())

    def quantile(self, what: str, step: int, share: Fraction) -> float | None:
        """Seconds, or None where nobody took the step."""
        return float(quantile(*self.times[what, step], share)) if (what, step) in self.times else None


def _cuts(cells: pa.Table) -> Iterator[tuple[tuple[str, str, str | None], dict[Any, Any], dict[Any, Any]]]:
    """Of each funnel, segment and value its states and times, from sorted cells."""
    keys = ("funnel", "segment", "segment_value", "step_no", "what")
    new = np.zeros(cells.num_rows, bool)
    for name in keys:
        encoded = one_chunk(cells[name]).dictionary_encode(null_encoding="encode")
        new |= changes(encoded.indices.to_numpy())
    first = np.flatnonzero(new)
    ends = np.append(first, cells.num_rows)[1:]
    value, count = cells["value"].fill_null(-1).to_numpy(), cells["count"].to_numpy()
    found: dict[tuple[str, str, str | None], tuple[dict[Any, Any], dict[Any, Any]]] = {}
    heads = cells.select(keys).take(pa.array(first)).to_pylist()
    for head, low, high in zip(heads, first, ends, strict=True):
        states, times = found.setdefault((head["funnel"], head["segment"], head["segment_value"]), ({}, {}))
        if head["what"] in STATES:
            states[head["what"], head["step_no"]] = int(count[low:high].sum())
        else:
            times[head["what"], head["step_no"]] = (value[low:high], count[low:high])
    for key, (states, times) in found.items():
        yield key, states, times


def _folded(cells: pa.Table, most: int) -> pa.Table:
    """The values of each segment with the fewest entries under one name; ties by the value's letters."""
    names = ("funnel", "segment", "segment_value")
    codes = [one_chunk(cells[name]).dictionary_encode(null_encoding="encode").indices.to_numpy() for name in names]
    groups = group_rows(*codes)
    if not len(groups.first):
        return cells
    told = cells.select(names).take(pa.array(groups.first)).to_pylist()
    entered = np.zeros(len(told), np.int64)
    is_state = pc.is_in(cells["what"], value_set=pa.array(STATES)).to_numpy()
    np.add.at(entered, groups.number[is_state], cells["count"].to_numpy()[is_state])
    by_segment: dict[tuple[str, str], list[int]] = {}
    for group, head in enumerate(told):
        if head["segment"] != ALL:
            by_segment.setdefault((head["funnel"], head["segment"]), []).append(group)
    for own in by_segment.values():
        own.sort(key=lambda group: (-entered[group], told[group]["segment_value"]))
        for group in own[most:]:
            told[group]["segment_value"] = OTHERS
    values = pa.array([head["segment_value"] for head in told], pa.string()).take(pa.array(groups.number))
    return cells.set_column(cells.schema.get_field_index("segment_value"), FUNNEL_CELLS.field("segment_value"), values)


def _rows(
    funnel: Funnel, segment: str, value: str | None, cut: _Cut, buckets: Collection[tuple[str, int]]
) -> Iterator[dict[str, Any]]:
    """The rows of a funnel's steps, first to last."""
    steps, entered = len(funnel.steps), cut.entered
    converted = cut.states.get(("converted", steps), 0)
    reached, undecided = entered, 0
    before: int | None = None
    for number, step in enumerate(funnel.steps, start=1):
        dropped, is_open = (cut.states.get((state, number), 0) for state in ("dropped", "open"))
        is_last = number == steps
        yield {
            "funnel": funnel.name,
            "counted": funnel.counted,
            "segment": segment,
            "segment_value": value,
            "step_no": number,
            "steps": steps,
            "step": step.text,
            "window_s": funnel.window_s,
            "step_window_s": min(funnel.step_windows_s[number - 2], funnel.window_s) if number > 1 else None,
            "entered": entered,
            "reached": reached,
            "went_on": None if is_last else reached - dropped - is_open,
            "dropped": dropped,
            "open": is_open,
            "converted": converted,
            "conversion": reached / entered if entered else None,
            "step_conversion": reached / before if before else None,
            "step_median_s": cut.quantile(STEP_S, number, Fraction(1, 2)),
            "step_p90_s": cut.quantile(STEP_S, number, Fraction(9, 10)),
            "entry_median_s": cut.quantile(ENTRY_S, number, Fraction(1, 2)),
            "entry_p90_s": cut.quantile(ENTRY_S, number, Fraction(9, 10)),
            "method": None if number == 1 or not reached else "buckets" if (STEP_S, number) in buckets else "exact",
            "status": "provisional" if undecided else "final",
        }
        before, reached, undecided = reached, reached - dropped - is_open, undecided + is_open


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
