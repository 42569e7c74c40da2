"""`parcours run` and `parcours check`: from settings to a plan, the pipeline, and the publication."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import journeys
from pipelines.catalog import write_catalog
from pipelines.errors import InputError, ParcoursError, Refused, UsageError
from pipelines.inputs import find_inputs, load_mappings
from pipelines.lake import Lake, Listing, Run, new_run_id
from pipelines.manifest import File, version
from pipelines.preflight import check_plan
from pipelines.progress import ProgressFactory
from pipelines.settings import Settings
from schemas.contracts import ContractError, load_contracts
from schemas.dictionary import DictionaryError, load_friction, load_metrics
from schemas.source_descriptions import SourceError, load_sources
from schemas.tables import tables
from transforms.assign_stages import StageRules
from transforms.build_entities import EntityRules
from transforms.build_journeys import JourneyRules
from transforms.cut_records import ReadLimits
from transforms.duck import read_sql
from transforms.find_friction import FrictionRules
from transforms.identities import IdentityRules
from transforms.measure import MeasureRules
from transforms.read_blocks import InputFile
from transforms.stitch import StitchRules
from transforms.summarise_customers import CustomerRules
from transforms.time_zones import Months, micros
from transforms.validate import Limits
from transforms.write_tables import write_table

#: Bytes of a file that one event takes, roughly: it only decides how many shards there are, and no result.
_BYTES_AN_EVENT = {("jsonl", ""): 300, ("csv", ""): 150, ("jsonl", "gz"): 40, ("jsonl", "zst"): 40, ("csv", "gz"): 25,
                   ("csv", "zst"): 25, ("parquet", ""): 12}  # fmt: skip
_DAY_US = 86_400_000_000
#: Steps that run SQL of the user's, and the setting that holds or names it.
_OWN_SQL = {"Validate": "exclude", "AssignStages": "stages", "FindFriction": "friction", "Measure": "metrics"}


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


def run(
    inputs: Sequence[str],
    lake: str,
    settings: Settings,
    beam_args: Sequence[str] = (),
    lookups: Mapping[str, str] | None = None,
    progress: ProgressFactory | None = None,
) -> RunResult:
    """Read the inputs, build all tables, and publish them in the lake, all or nothing.

    Raises UsageError (settings, lake), InputError (files), Refused (the sums do not hold). Whatever is raised, the lake
    is as it was before.
    """
    started, clock = datetime.now(UTC).replace(microsecond=0), time.monotonic()
    target = Lake(lake, beam_args)
    run_id = new_run_id(started)
    plan = make_plan(inputs, settings, run_id, target.run(run_id), lookups or {}, started)
    with target.lock(run_id):
        target.drop_dead_runs()
        attempt = target.start_run(run_id)
        try:
            total = sum(file.bytes for file in plan.files)
            with progress(total, attempt.folder, plan.shards) if progress else nullcontext():
                _execute(journeys.journeys, plan, beam_args, settings)
            listing = target.read_listings(attempt)
            _refuse_problems(listing.problems)
            counts = _proven_counts(listing)
            _refuse_nothing(counts["records_in"])
            runs = _runs_table(run_id, started, plan, settings, counts)
            written = write_table(runs, plan.tables["runs"].schema, "runs", attempt.folder)
            manifest = target.write_manifest(
                attempt,
                (*listing.files, File(**written._asdict())),
                tables=plan.tables,
                started_at=started,
                as_of=plan.stages.as_of,
                settings=settings.model_dump(mode="json"),
                inputs=[{"path": f.path, "bytes": f.bytes, "source": f.source} for f in plan.files],
                tallies=listing.tallies,
            )
            write_catalog(target, attempt, manifest)
            target.publish(attempt)
        except BaseException:
            target.drop_run(attempt)
            raise
        target.discard_staged(attempt)
    return RunResult(
        run_id=run_id,
        lake=lake,
        as_of=plan.stages.as_of,
        started_at=started,
        identity_policy=settings.identity_policy,
        unlikely_share=settings.unlikely_share,
        published=True,
        tallies=listing.tallies,
        tables=manifest.rows,
        customers=manifest.rows["customers"],
        seconds=time.monotonic() - clock,
    )


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
        metrics = tuple(load_metrics(settings.metrics).values())
        friction = tuple(load_friction(settings.friction, settings.friction_parameters).values())
    except (ContractError, SourceError, DictionaryError) as error:
        raise UsageError(f"{error}.", "Correct the file that the message names.") from error
    stages = Path(settings.stages).read_text(encoding="utf-8") if settings.stages else read_sql("assign_stages")
    files = tuple(find_inputs(inputs, sources))
    months = Months(settings.timezone)
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
        ),
        identity=IdentityRules(
            settings.identity_policy,
            settings.max_customers_per_device,
            settings.ignored_identifiers,
            contracts.session_types,
        ),
        stitch=StitchRules(settings.session_gap_minutes * 60_000_000, settings.sessions == "source"),
        entities=EntityRules(as_of),
        stages=StageRules(stages, as_of, settings.inactivity_days),
        journeys=JourneyRules(as_of, settings.journey_silence_days * _DAY_US, months),
        friction=FrictionRules(friction, as_of),
        customers=CustomerRules(as_of),
        measure=MeasureRules(metrics, as_of, months),
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
    options = PipelineOptions(list(beam_args) or ["--runner=FnApiRunner"], save_main_session=False)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)  # it logs what it then raises
    pipeline = beam.Pipeline(options=options)
    graph(pipeline, plan)
    try:
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
    setting = _OWN_SQL.get(sql[2], "") if sql else ""
    if sql and getattr(settings, setting, None):
        reason = " ".join(sql[1].split())
        return UsageError(
            f"SQL of the setting `{setting}`, {getattr(settings, setting)}, fails on the data: {reason}.",
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


def _proven_counts(listing: Listing) -> Counter[str]:
    """The run's counts; Refused unless its sums hold: every record is a touchpoint, a duplicate or accounted for."""
    counts: Counter[str] = Counter()
    for tally in listing.tallies:
        counts[tally["name"]] += tally["count"]
    records = counts["records_mapped"] + counts["records_skipped"] + counts["records_unreadable"]
    events = sum(counts[n] for n in ("touchpoints", "duplicates", "quarantined_events", "after_as_of", "excluded"))
    rows: Counter[str] = Counter()
    for file in listing.files:
        rows[file.table] += file.rows
    for what, one, other in (
        ("records in and records accounted for", counts["records_in"], records),
        ("events in and events accounted for", counts["events_in"], events),
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
    return counts


def _runs_table(
    run_id: str, started: datetime, plan: journeys.Plan, settings: Settings, counts: Mapping[str, int]
) -> pa.Table:
    row = {
        "run_id": run_id,
        "started_at": started,
        "finished_at": datetime.now(UTC).replace(microsecond=0),
        "as_of": plan.stages.as_of,
        "status": "published",
        "version": version(),
        "settings": settings.model_dump_json(),
        **{
            name: counts[name]
            for name in (
                "records_in", "records_mapped", "records_skipped", "records_unreadable", "events_in", "touchpoints",
                "duplicates", "after_as_of", "excluded",
            )
        },
        "quarantined": counts["quarantined_events"],
    }  # fmt: skip
    return pa.Table.from_pylist([row], plan.tables["runs"].schema)
