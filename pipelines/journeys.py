"""The graph: which steps in which order, on one screen. docs/data-model.md draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import apache_beam as beam

from schemas.contracts import Contracts
from schemas.tables import Table
from transforms.assign_stages import AssignStages, StageRules
from transforms.build_entities import BuildEntities, EntityRules
from transforms.build_journeys import BuildJourneys, JourneyRules
from transforms.cut_records import ReadLimits
from transforms.find_duplicates import FindDuplicates
from transforms.find_friction import FindFriction, FrictionRules
from transforms.fit_inactivity import Inactivity, fitted_inactivity
from transforms.fit_stalls import fitted_stalls
from transforms.friction_moments import CostRules
from transforms.friction_summary import FrictionSummary
from transforms.identities import IdentityRules
from transforms.load_by_customer import LoadByCustomer
from transforms.map_identities import MapIdentities
from transforms.map_source import MapSource, SourceMapping
from transforms.measure import Measure, MeasureRules, MeasureShards
from transforms.quarantine_examples import QuarantineExamples
from transforms.read_blocks import InputFile, ReadBlocks
from transforms.resolve_identity import ResolveIdentity
from transforms.stage_blocks import StageBlocks
from transforms.stitch import Stitch, StitchRules
from transforms.summarise_customers import CustomerRules, SummariseCustomers
from transforms.validate import Limits, Validate
from transforms.write_tables import GatherQuarantine, WriteListing, WriteShards, WriteTables


@dataclass(frozen=True)
class Plan:
    """All that the graph needs to know, made by run.py from the settings."""

    files: tuple[InputFile, ...]
    mappings: Mapping[str, SourceMapping]
    contracts: Contracts
    tables: Mapping[str, Table]
    read: ReadLimits
    limits: Limits
    identity: IdentityRules
    stitch: StitchRules
    entities: EntityRules
    stages: StageRules
    journeys: JourneyRules
    friction: FrictionRules
    customers: CustomerRules
    cost: CostRules
    measure: MeasureRules
    shards: int
    run_id: str
    folder: str  # of the run
    blocks: str  # folder of staged blocks
    listings: str  # folder of the listing


def journeys(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Files to the tables of a run, and a listing of all that was written and counted."""
    accepted = _accept(pipeline, plan)
    staged = accepted["events"] | "StageBlocks" >> StageBlocks(plan.blocks, plan.shards)
    duplicates = staged["identifiers"] | "FindDuplicates" >> FindDuplicates(plan.contracts, plan.shards)
    known = (staged["staged"], duplicates) | "WithDuplicates" >> beam.Flatten()
    identity = known | "ResolveIdentity" >> ResolveIdentity(plan.identity, plan.shards)
    loaded = identity["answers"] | "LoadByCustomer" >> LoadByCustomer(plan.identity, plan.shards)
    entities = (
        loaded["shards"]
        | "Stitch" >> Stitch(plan.contracts, plan.stitch)
        | "BuildEntities" >> BuildEntities(plan.entities)
    )  # fmt: skip
    # After how many days a buyer lapses decides stages. Where that is to be fitted, all shards wait for it.
    inactivity = None if plan.stages.inactivity_days else fitted_inactivity(entities, plan.stages.as_of)
    walked = (
        entities
        | "AssignStages" >> AssignStages(plan.stages, inactivity)
        | "BuildJourneys" >> BuildJourneys(plan.journeys)
    )  # fmt: skip
    # So do they where the days after which a customer stalls in a stage are to be fitted.
    stalls = fitted_stalls(walked, plan.friction.as_of) if plan.friction.wants_fit else None
    customers = (
        walked
        | "FindFriction" >> FindFriction(plan.friction, stalls)
        | "SummariseCustomers" >> SummariseCustomers(plan.customers)
    )
    costs = customers | "FrictionSummary" >> FrictionSummary(plan.cost, plan.tables["friction_summary"])
    mapped = customers | "MapIdentities" >> MapIdentities()
    shards = mapped["shards"] | "MeasureShards" >> MeasureShards(plan.measure)
    numbers = shards | "Measure" >> Measure(plan.measure, plan.tables, plan.shards, inactivity, stalls)
    quarantine = accepted["quarantine"] | "GatherQuarantine" >> GatherQuarantine(plan.run_id)
    files = (
        (shards, numbers["customers"]) | "WriteShards" >> WriteShards(plan.tables, plan.folder, ("customers",)),
        (numbers["tables"], costs, quarantine, identity["decisions"])
        | "WholeTables" >> beam.Flatten()
        | "WriteTables" >> WriteTables(plan.tables, plan.folder),
    ) | "Files" >> beam.Flatten()
    counted = (accepted, identity, loaded, mapped)
    told = [step["tallies"] for step in counted]
    if inactivity is not None:
        told.append(inactivity | "InactivityTallies" >> beam.FlatMap(Inactivity.tallies))
    tallies = told | "Tallies" >> beam.Flatten()
    {"files": files, "tallies": tallies, "problems": accepted["problems"]} | "WriteListing" >> WriteListing(
        plan.listings
    )


def check(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Files to what would be quarantined, and why: reads, maps and validates, and writes the listing only."""
    accepted = _accept(pipeline, plan)
    examples = accepted["quarantine"] | "QuarantineExamples" >> QuarantineExamples()
    {"tallies": accepted["tallies"], "problems": accepted["problems"], "examples": examples} | "WriteListing" >> (
        WriteListing(plan.listings)
    )


def _accept(pipeline: beam.Pipeline, plan: Plan) -> dict[str, beam.PCollection]:
    """Files to accepted events by block, quarantine, tallies and problems."""
    read = pipeline | "Inputs" >> beam.Create(plan.files) | "ReadBlocks" >> ReadBlocks(plan.read)
    mapped = read["blocks"] | "MapSource" >> MapSource(plan.mappings, plan.contracts)
    validated = (mapped.candidates, read["unreadable"]) | "Validate" >> Validate(
        plan.contracts, plan.limits, plan.shards
    )
    problems = (read["problems"], mapped.problems) | "AllProblems" >> beam.Flatten()
    return {**validated, "problems": problems}
