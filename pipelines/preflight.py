"""Before the pipeline starts: run the user's own SQL on tables without rows, so that a slip costs a second."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.errors import InputError, UsageError
from pipelines.settings import Settings
from schemas.dictionary import SHIPPED_FRICTION, SHIPPED_METRICS, Friction, Metric
from schemas.parameters import EVENT_TYPES
from transforms import duck
from transforms.assign_stages import StageFileError, assign_stages, stages_of_events
from transforms.batches import ShardTables
from transforms.build_entities import build_entities
from transforms.build_journeys import build_journeys
from transforms.find_friction import find_friction
from transforms.funnels import FunnelError, try_funnel
from transforms.load_by_customer import FOUND
from transforms.map_source import SourceMapping, run_select
from transforms.measure import measure
from transforms.metric_inputs import opened
from transforms.parse_csv import HeaderError, column_names
from transforms.read_blocks import InputFile, UnreadableFile, read_csv_header
from transforms.stitch import event_schema, stitch
from transforms.summarise_customers import summarise_customers

if TYPE_CHECKING:
    from pipelines.journeys import Plan

_MEND_ENTRY = "Correct its SQL; docs/metrics.md says what it sees and must give."
_MEND_KIND = "Correct its SQL; docs/friction.md says what it sees and must give."


def check_plan(plan: Plan, settings: Settings) -> None:
    """Raises UsageError or InputError, naming the file and the mend."""
    connection = duck.connect()
    _check_exclude(plan, settings, connection)
    _check_event_types(plan)
    _check_stages_and_dictionary(plan, settings, connection)
    for name, mapping in plan.mappings.items():
        if mapping.source is not None:
            _check_source(mapping, next(f for f in plan.files if f.source == name), plan, connection)


def _check_event_types(plan: Plan) -> None:
    """What a parameter of friction names must be a type of event: of any other there never is one."""
    known = plan.contracts.event_types
    for kind in plan.friction.kinds:
        for name in EVENT_TYPES:
            given = kind.parameters.get(name, known)
            assert isinstance(given, tuple)  # the entry's own form
            where = f"The setting friction_parameters.{kind.kind}.{name}"
            if not given:
                raise UsageError(f"{where} names no type of event.", f"Name one or more of {', '.join(known)}.")
            for word in [word for word in given if word not in known]:
                near = difflib.get_close_matches(str(word), known, n=3)
                raise UsageError(
                    f"{where} names {word}, which is no type of event.",
                    f"Did you mean {' or '.join(near)}?" if near else f"Name one or more of {', '.join(known)}.",
                )


def _check_exclude(plan: Plan, settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    if settings.exclude is None:
        return
    events = event_schema(plan.contracts).empty_table().drop_columns(["contract", *(name for name, _ in FOUND)])
    # In a WHERE, because that takes no aggregate and no window: a condition looks at one event.
    _try(lambda: duck.select(connection, f"select true from events where ({settings.exclude}\n)::boolean", {"events": events}),
         "the setting `exclude`", "Correct the condition; it may use the fields of events, and extra.")  # fmt: skip


def _check_stages_and_dictionary(plan: Plan, settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """One event is enough: every step runs on it, the user's own SQL among them. Without any there is nothing to try."""
    entries: tuple[Friction | Metric, ...] = (*plan.friction.kinds, *plan.measure.metrics)
    has_own_entry = not all(_is_shipped(entry) for entry in entries)
    if not (settings.stages or plan.measure.funnels or plan.measure.segments or has_own_entry):
        return
    event: dict[str, Any] = {
        "customer_key": "preflight", "is_known": True, "contract": 0, "event_id": "preflight",
        "event_type": plan.contracts.contracts[0].event_type, "occurred_at": settings.earliest,
    }  # fmt: skip
    one = pa.Table.from_pylist([event], event_schema(plan.contracts))
    shard = build_entities(stitch([one], plan.contracts, plan.stitch), plan.entities, connection)
    where = f"the stage file {settings.stages or 'assign_stages.sql'}"
    _try(lambda: stages_of_events(shard["touchpoints"], plan.stages.sql, connection), where,
         "Correct its SQL; transforms/sql/assign_stages.sql is the model.")  # fmt: skip
    shard = build_journeys(assign_stages(shard, plan.stages, connection), plan.journeys, connection)
    for kind in (kind for kind in plan.friction.kinds if not _is_shipped(kind)):
        find_one = partial(find_friction, shard, replace(plan.friction, kinds=(kind,)), connection)
        _try(find_one, f"{kind.file[:-5]}.sql", _MEND_KIND)
    shard = find_friction(shard, replace(plan.friction, kinds=()), connection)
    shard = summarise_customers(shard, plan.customers, connection)
    _check_funnels(plan, connection)
    _check_metrics(shard, plan, connection)


def _check_funnels(plan: Plan, connection: duckdb.DuckDBPyConnection) -> None:
    """On the published columns only: the same funnel can then be asked of the published table."""
    if not plan.measure.funnels:
        return
    with opened(connection, {"touchpoints": plan.tables["touchpoints"].schema.empty_table()}):
        for funnel in plan.measure.funnels:
            try:
                try_funnel(funnel, "touchpoints", connection)
            except FunnelError as error:
                raise UsageError(f"The setting `funnels.{funnel.name}`: {error}.", error.mend) from None


def _check_metrics(shard: ShardTables, plan: Plan, connection: duckdb.DuckDBPyConnection) -> None:
    nothing = replace(plan.measure, metrics=(), segments={})
    for name, expression in plan.measure.segments.items():
        rules = replace(nothing, segments={name: expression})
        _try(partial(measure, shard, rules, connection), f"the setting `segments.{name}`",
             "Correct the expression; it may use the columns of touchpoints.")  # fmt: skip
    for metric in (metric for metric in plan.measure.metrics if not _is_shipped(metric)):
        _try(
            partial(measure, shard, replace(nothing, metrics=(metric,)), connection),
            f"{metric.file[:-5]}.sql",
            _MEND_ENTRY,
        )


def _is_shipped(entry: Metric | Friction) -> bool:
    """Those are tried by our own tests: to try eighty of them on one event would take a second of every run."""
    return Path(entry.file).parent in (SHIPPED_METRICS, SHIPPED_FRICTION)


def _try(action: Callable[[], object], where: str, mend: str) -> None:
    try:
        action()
    except (duckdb.Error, pa.ArrowException, StageFileError, KeyError, ValueError) as error:
        raise UsageError(f"{where[0].upper()}{where[1:]} fails: {' '.join(str(error).split())}.", mend) from error


def _check_source(mapping: SourceMapping, file: InputFile, plan: Plan, connection: duckdb.DuckDBPyConnection) -> None:
    """Run the SELECT on no record of the first file. An unreadable file is left to the pipeline, which names them all."""
    source = mapping.source
    assert source is not None
    try:
        empty = _without_rows(file)
    except (UnreadableFile, HeaderError):
        return
    try:
        run_select(file.path, empty, mapping, plan.contracts, connection)
    except UnreadableFile as error:
        if _names_missing_column(error):
            raise InputError(f"{error.problem.file} {error.problem.what}.", _sentence(error.problem.mend)) from error
        raise UsageError(f"{source.file}: {error.problem.what}.", "Correct the SQL of the description.") from error


def _names_missing_column(error: UnreadableFile) -> bool:
    """A column that the file does not have: the file may be the wrong one, so it is named first."""
    cause = error.__cause__
    return isinstance(cause, duckdb.BinderException) and "not found" in str(cause)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _without_rows(file: InputFile) -> pa.Table:
    if file.format == "jsonl":
        return pa.table({"record": pa.array([], pa.string())})
    if file.format == "csv":
        return pa.table({name: pa.array([], pa.string()) for name in column_names(read_csv_header(file))})
    try:
        with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            return pq.read_schema(stream).empty_table()
    except (OSError, pa.ArrowException) as error:
        raise UnreadableFile(file.path, str(error), "") from error
