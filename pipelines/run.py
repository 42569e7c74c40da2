"""`parcours run` and `parcours check`: from settings to a plan, the pipeline, and the publication."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines import interrupts, journeys, run_states
from pipelines.audit import Audit, Auditor, refusal
from pipelines.beam_quickly import BeamOptions, seldom_looking_for_garbage, spare_beam
from pipelines.catalog import CatalogFile
from pipelines.checksums import Checksums
from pipelines.errors import InputError, ParcoursError, Refused, UsageError
from pipelines.funnel import funnels_of_settings
from pipelines.housekeeping import keep, recover
from pipelines.inputs import find_inputs, load_mappings
from pipelines.lake import Lake, Listing, Run, new_run_id
from pipelines.manifest import Manifest, version
from pipelines.preflight import check_plan
from pipelines.progress import ProgressFactory
from pipelines.settings import Settings
from pipelines.stores import not_writable, writing
from pipelines.summary import SUMS, totals
from schemas.contracts import ContractError, load_contracts
from schemas.dictionary import Metric, load_friction, load_metrics
from schemas.entries import DictionaryError
from schemas.source_descriptions import SourceError, load_sources
from schemas.suites import SuiteError, asks_other_kinds, load_suites
from schemas.tables import HISTORY_TABLES, tables
from transforms.assign_stages import StageRules
from transforms.build_entities import EntityRules
from transforms.build_journeys import JourneyRules
from transforms.cut_records import ReadLimits
from transforms.duck import read_sql
from transforms.find_friction import FrictionRules
from transforms.friction_moments import CostRules
from transforms.identities import IdentityRules
from transforms.journey_paths import PathRules
from transforms.lifespan import LifetimeRules
from transforms.lifetime_value import ForecastRules
from transforms.measure import MeasureRules
from transforms.metric_inputs import Calendar
from transforms.read_blocks import InputFile
from transforms.stitch import StitchRules
from transforms.summarise_customers import CustomerRules
from transforms.time_zones import DAY_US, Periods, micros
from transforms.validate import Limits

#: Bytes of a file that one event takes, roughly: it only decides how many shards there are, and no result.
_BYTES_AN_EVENT = {("jsonl", ""): 300, ("csv", ""): 150, ("jsonl", "gz"): 40, ("jsonl", "zst"): 40, ("csv", "gz"): 25,
                   ("csv", "zst"): 25, ("parquet", ""): 12}  # fmt: skip
_LOG = logging.getLogger("parcours")
#: The columns of the table `runs` that are counts of the run.
_COUNTED = (
    "records_in", "records_mapped", "records_skipped", "records_unreadable", "events_in", "touchpoints", "duplicates",
    "quarantined", "after_as_of", "excluded",
)  # fmt: skip
#: Steps that run SQL of the user's, and the setting that holds or names it.
_OWN_SQL = {
    "Validate": ("exclude",),
    "AssignStages": ("stages",),
    "FindFriction": ("friction",),
    "MeasureShards": ("metrics", "segments", "funnels"),
}


@dataclass(frozen=True)
class RunResult:
    """What came of a run or a check. `tallies` and `examples` are as the listing has them; `tables` rows by name."""

    run_id: str
    lake: str
    as_of: datetime
    started_at: datetime
    identity_policy: str
    unlikely_share: float
    published: bool
    tallies: tuple[dict[str, Any], ...]
    tables: Mapping[str, int]
    customers: int
    seconds: float
    examples: tuple[dict[str, Any], ...] = ()
    audit: Audit = field(default_factory=Audit)
    removed: tuple[str, ...] = ()


def run(
    inputs: Sequence[str],
    lake: str,
    settings: Settings,
    beam_args: Sequence[str] = (),
    lookups: Mapping[str, str] | None = None,
    progress: ProgressFactory | None = None,
    publish: bool = True,
    auditor: Auditor | None = None,
) -> RunResult:
    """Read the inputs, build all tables, audit them, and publish them in the lake, all or nothing.

    `publish` False stages and audits only. An `auditor` that is already at work may be given; else one is started.

    Raises UsageError (settings, lake), InputError (files), Refused (the sums or the audit; with the `result` of a run
    whose tables are kept for a look). Whatever is raised, what was published stays as it was.
    """
    started, clock = datetime.now(UTC).replace(microsecond=0), time.monotonic()
    target = Lake(lake, beam_args)
    run_id = new_run_id(started)
    plan = make_plan(inputs, settings, run_id, target.run(run_id), lookups or {}, started)
    whole = settings.expectations is not None and asks_other_kinds(settings.expectations)
    # Started first: Great Expectations is imported while the pipeline works.
    with nullcontext(auditor) if auditor else Auditor(whole) as audits, target.lock(run_id):
        with writing(target.path):
            recover(target)
        attempt, decided = target.start_run(run_id), False
        try:
            run_states.begin(target, run_id, **_known_at_start(started, plan, settings))
            manifest = _stage(target, attempt, plan, settings, beam_args, started, progress)
            facts = _known_when_staged(manifest, time.monotonic() - clock)
            with CatalogFile(target, manifest) as catalog:
                audit, refused = _audit(audits, target, run_id, beam_args, settings.audit.time_limit_minutes)
                if refused:
                    run_states.refuse(target, run_id, refused, audit, facts)
                    with suppress(ParcoursError, OSError):  # tables that cannot be read, or no room: refused they are
                        catalog.write()
                else:
                    catalog.write()
            interrupts.heed()
            if not refused:
                run_states.accept(target, run_id, audit, facts, waits=not publish)
                if publish:
                    decided = True  # from here on it may be published, whatever is raised
                    run_states.publish(target, run_id)
        except BaseException as error:
            if not (decided and target.names(run_id)):
                run_states.fail(target, attempt, error)
                if isinstance(error, OSError):
                    raise not_writable(target.path, error.strerror or str(error)) from error
                raise
            _LOG.warning("Run %s is published; what was to follow did not: %s", run_id, error or type(error).__name__)
        removed = _tidy(target, attempt, settings.keep if publish and not refused else None)
    result = RunResult(
        run_id=run_id,
        lake=lake,
        as_of=plan.stages.as_of,
        started_at=started,
        identity_policy=settings.identity_policy,
        unlikely_share=settings.unlikely_share,
        published=publish and not refused,
        tallies=manifest.tallies,
        tables=manifest.rows,
        customers=manifest.rows["customers"],
        seconds=time.monotonic() - clock,
        audit=audit,
        removed=tuple(removed),
    )
    if refused:
        if isinstance(refused, Refused):
            refused.result = result
        raise refused
    return result


def _tidy(lake: Lake, attempt: Run, kept: int | None) -> list[str]:
    """Removes the run's scratch, and old runs. The run is what it is by now: what cannot be removed, a later run will."""
    try:
        lake.discard_staged(attempt)
        return keep(lake, kept) if kept else []
    except (OSError, ParcoursError) as error:
        _LOG.warning("%s could not be tidied: %s. The next run tries again.", lake.path, error)
        return []


def _known_at_start(started: datetime, plan: journeys.Plan, settings: Settings) -> dict[str, Any]:
    """Of the row of `runs`, what is known before anything is read."""
    return {
        "started_at": started,
        "as_of": plan.stages.as_of,
        "version": version(),
        "settings": settings.model_dump_json(),
        "inputs": len(plan.files),
        "input_bytes": sum(file.bytes for file in plan.files),
    }


def _known_when_staged(manifest: Manifest, seconds: float) -> dict[str, Any]:
    """Of the row of `runs`, what is known when the tables are whole."""
    counts = totals(manifest.tallies)
    return {
        "finished_at": datetime.now(UTC).replace(microsecond=0),
        "seconds": round(seconds, 3),
        "customers": manifest.rows["customers"],
        **{name: counts["quarantined_events" if name == "quarantined" else name] for name in _COUNTED},
    }


def _stage(
    lake: Lake,
    attempt: Run,
    plan: journeys.Plan,
    settings: Settings,
    beam_args: Sequence[str],
    started: datetime,
    progress: ProgressFactory | None,
) -> Manifest:
    """Makes all tables of the run, proves its sums, and writes its manifest."""
    total = sum(file.bytes for file in plan.files)
    with (
        Checksums(plan.files, attempt.run_id) as taken,
        progress(total, attempt.folder, plan.shards) if progress else nullcontext(),
    ):
        _execute(journeys.journeys, plan, beam_args, settings)
        listing = lake.read_listings(attempt)
        _refuse_problems(listing.problems)
        _prove_counts(listing)
        inputs = taken.inputs()
    return lake.write_manifest(
        attempt,
        listing.files,
        tables={name: table for name, table in plan.tables.items() if name not in HISTORY_TABLES},
        started_at=started,
        as_of=plan.stages.as_of,
        settings=settings.model_dump(mode="json"),
        inputs=inputs,
        tallies=listing.tallies,
    )


def _audit(
    auditor: Auditor, lake: Lake, run_id: str, beam_args: Sequence[str], minutes: float
) -> tuple[Audit, ParcoursError | None]:
    """The run's audit, kept in the history, and the refusal if it may not be published."""
    try:
        audit = auditor.audit(lake.path, run_id, beam_args, minutes)
    except ParcoursError as error:  # no audit, no publication; but the tables are whole, and kept for a look
        return Audit(), error
    lake.history.write("audit_results", run_id, audit.results)
    lake.history.write("run_measures", run_id, audit.measures)
    return audit, refusal(run_id, lake.path, audit) if audit.failures else None


def check(
    inputs: Sequence[str],
    settings: Settings,
    beam_args: Sequence[str] = (),
    lookups: Mapping[str, str] | None = None,
    progress: ProgressFactory | None = None,
) -> RunResult:
    """Read, map and validate only: what would be quarantined, and why. Writes nothing that stays."""
    started, clock = datetime.now(UTC).replace(microsecond=0), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parcours-check-") as folder:
        scratch = Lake(folder)
        attempt = scratch.start_run("check")
        plan = make_plan(inputs, settings, "check", attempt, lookups or {}, started)
        with progress(None, attempt.folder) if progress else nullcontext():
            _execute(journeys.check, plan, beam_args, settings)
        given = json.loads(next(iter(sorted(Path(attempt.staged).glob("listing-*.json")))).read_text())
    _refuse_problems(given["problems"])
    _refuse_nothing(sum(tally["count"] for tally in given["tallies"] if tally["name"] == "records_in"))
    return RunResult(
        run_id="check",
        lake="",
        as_of=plan.stages.as_of,
        started_at=started,
        identity_policy=settings.identity_policy,
        unlikely_share=settings.unlikely_share,
        published=False,
        tallies=tuple(given["tallies"]),
        tables={},
        customers=0,
        seconds=time.monotonic() - clock,
        examples=tuple(given["examples"]),
    )


def make_plan(
    inputs: Sequence[str], settings: Settings, run_id: str, attempt: Run, lookups: Mapping[str, str], now: datetime
) -> journeys.Plan:
    """Everything the graph needs, checked as far as can be without reading the data."""
    as_of = settings.as_of or now
    try:
        contracts = load_contracts(settings.contracts)
        sources = load_sources(settings.sources)
        metrics = tuple(metric.as_computed for metric in load_metrics(settings.metrics).values())
        kinds = load_friction(settings.friction, settings.friction_parameters).values()
        friction = tuple(kind.as_computed for kind in kinds)
        # A suite that cannot be used is better known now than after the pipeline.
        load_suites(contracts, tables(contracts), settings.expectations)
    except (ContractError, SourceError, DictionaryError, SuiteError) as error:
        in_settings = str(error).startswith("friction_parameters.")
        raise UsageError(
            f"{error}.", "Correct the settings." if in_settings else "Correct the file that the message names."
        ) from error
    stages = Path(settings.stages).read_text(encoding="utf-8") if settings.stages else read_sql("assign_stages")
    files = tuple(find_inputs(inputs, sources))
    months = Periods(settings.timezone)
    plan = journeys.Plan(
        files=files,
        mappings=load_mappings(files, sources, lookups),
        contracts=contracts,
        tables=tables(contracts),
        read=ReadLimits(settings.block_bytes, settings.max_record_bytes, settings.quarantine_raw_cap),
        limits=Limits(
            micros(as_of),
            micros(settings.earliest),
            settings.quarantine_raw_cap,
            settings.exclude,
            settings.ignored_identifiers,
            settings.currency.fixed() if settings.currency else None,
        ),
        identity=IdentityRules(
            settings.identity_policy,
            settings.max_customers_per_device,
            settings.ignored_identifiers,
            contracts.session_types,
        ),
        stitch=StitchRules(settings.session_gap_minutes * 60_000_000, settings.sessions == "source"),
        entities=EntityRules(as_of, settings.schedule()),
        stages=StageRules(stages, as_of, None if settings.inactivity_days == "fit" else settings.inactivity_days),
        journeys=JourneyRules(as_of, settings.journey_silence_days * DAY_US, months),
        friction=FrictionRules(friction, as_of),
        customers=CustomerRules(as_of),
        cost=CostRules(
            as_of, settings.outcome_days * DAY_US, frozenset(kind.kind for kind in friction if kind.excludes_outcome)
        ),
        measure=replace(
            measure_rules(metrics, settings, Calendar(months, as_of)),
            funnels=funnels_of_settings(
                settings.funnels, contracts.event_types, tables(contracts)["touchpoints"].schema.names, stages
            ),
        ),
        shards=settings.shards or _shards(files, settings.events_per_shard),
        run_id=run_id,
        folder=attempt.folder,
        blocks=attempt.blocks,
        listings=attempt.staged,
    )
    check_plan(plan, settings)
    return plan


def _shards(files: Sequence[InputFile], events_per_shard: int) -> int:
    events = sum(file.bytes / _BYTES_AN_EVENT[file.format, file.compression] for file in files)
    return max(1, min(65_536, round(events / events_per_shard + 0.5)))


def _execute(graph: Any, plan: journeys.Plan, beam_args: Sequence[str], settings: Settings) -> None:
    """Run a graph to its end. Files that the user can mend leave the pipeline as data; of exceptions, see below."""
    spare_beam()
    options = BeamOptions(list(beam_args) or ["--runner=FnApiRunner"], save_main_session=False)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)  # it logs what it then raises
    pipeline = beam.Pipeline(options=options)
    graph(pipeline, plan)
    try:
        with seldom_looking_for_garbage():
            pipeline.run().wait_until_finish()
    except ParcoursError:
        raise
    except Exception as error:
        mendable = _mendable(str(error), settings)
        if mendable is None:
            raise
        raise mendable from error


def _mendable(text: str, settings: Settings) -> UsageError | None:
    """What the user can mend of an exception in a step: a full disk, or SQL of theirs that fails on the data.

    Told from the text of the exception, which is all that every runner hands on; None for a fault of our own.
    """
    if disk := re.search(r"\[Errno \d+\] ([^\n]*?)\s*(\[while running|$)", text):
        return UsageError(f"The run broke off: {disk[1]}.", "Check the disk and the rights of --output.")
    sql = re.search(r"((?:[A-Z]\w* )+Error: .*?|gives \d+ rows .*?)\s*\[while running '(\w+)", text, re.DOTALL)
    given = [name for name in _OWN_SQL.get(sql[2], ()) if getattr(settings, name)] if sql else []
    if sql and given:
        reason = " ".join(sql[1].split())
        named = " or ".join(f"`{name}`, {getattr(settings, name)}," for name in given)
        return UsageError(
            f"SQL of the setting {named} fails on the data: {reason}.",
            "Correct it; where a cast fails, try_cast gives a null.",
        )
    return None


def _refuse_problems(problems: Sequence[Mapping[str, Any]]) -> None:
    """Files that could not be read: name each, with its mend."""
    if not problems:
        return
    distinct = list(dict.fromkeys((p["file"], p["what"], p["mend"]) for p in problems))
    first_file, first_what, first_mend = distinct[0]
    more = "".join(f"\n  {file} {what}; {mend}" for file, what, mend in distinct[1:10])
    if len(distinct) > 10:
        more += f"\n  and {len(distinct) - 10} more"
    raise InputError(f"{first_file} {first_what}.{more}", f"{first_mend[0].upper()}{first_mend[1:]}.")


def _refuse_nothing(records: int) -> None:
    if not records:
        raise InputError("The inputs hold no record.", "Check the export: headers alone are no events.")


def measure_rules(metrics: tuple[Metric, ...], settings: Settings, calendar: Calendar) -> MeasureRules:
    for metric in metrics:
        if both := set(metric.dimensions) & set(settings.segments):
            raise UsageError(
                f"{metric.file}: its dimension {min(both)} has the name of a segment of the settings.",
                f"Give one of the two another name: rows of the segment {min(both)} would be of both.",
            )
    value = settings.lifetime_value
    return MeasureRules(
        metrics,
        calendar,
        ForecastRules(calendar, value.model, value.monthly_discount, value.margin),
        settings.segments,
        LifetimeRules(value.margin, value.max_lifespan_years),
        conversion_days=settings.conversion_days,
        also_by=tuple(kind for kind in ("quarter", "week", "day") if kind in settings.periods),
        paths=PathRules(**settings.paths.model_dump()),
    )


def _prove_counts(listing: Listing) -> None:
    """Refused unless the run's sums hold: every record is a touchpoint, a duplicate or accounted for.

    InputError where there was no record at all. The audit asks again; but a run whose sums do not hold is not kept.
    """
    counts = totals(listing.tallies)
    _refuse_nothing(counts["records_in"])
    parts = {total: sum(counts[part] for part in of) for total, of in SUMS.items()}
    rows: Counter[str] = Counter()
    for file in listing.files:
        rows[file.table] += file.rows
    for what, one, other in (
        ("records in and records accounted for", counts["records_in"], parts["records_in"]),
        ("events in and events accounted for", counts["events_in"], parts["events_in"]),
        ("touchpoints counted and rows written", counts["touchpoints"], rows["touchpoints"]),
        (
            "records quarantined and rows written",
            counts["quarantined_events"] + counts["records_unreadable"],
            rows["quarantine"],
        ),
    ):
        if one != other:
            raise Refused(
                f"The sums do not hold: {what} are {one:,} and {other:,}. Nothing is published.",
                "This is a fault of Parcours: please report it with this message.",
            )
