"""A step after the shuffle is a pure function under the name of a PTransform."""

from __future__ import annotations

import re
from dataclasses import dataclass

import apache_beam as beam
import duckdb
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.assign_stages import AssignStages
from transforms.batches import ShardTables
from transforms.build_entities import BuildEntities
from transforms.build_journeys import BuildJourneys
from transforms.find_friction import FindFriction
from transforms.shard_step import ShardStep
from transforms.summarise_customers import SummariseCustomers


@dataclass(frozen=True)
class Rules:
    more: int


def add(shard: ShardTables, rules: Rules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    (one,) = connection.execute("select 1").fetchone() or ()
    return ShardTables(shard, b=pa.table({"n": [shard["a"]["n"][0].as_py() + rules.more + one]}))


class Add(ShardStep):
    function = staticmethod(add)


def test_a_step_adds_tables() -> None:
    with Pipeline() as pipeline:
        shards = pipeline | beam.Create([ShardTables(a=pa.table({"n": [n]})) for n in (1, 2)])
        found = (
            shards | Add(Rules(10)) | beam.Map(lambda shard: (shard["a"]["n"][0].as_py(), shard["b"]["n"][0].as_py()))
        )
        assert_that(found, equal_to([(1, 12), (2, 13)]))


def test_steps_and_functions_share_their_names() -> None:
    for step in (AssignStages, BuildEntities, BuildJourneys, FindFriction, SummariseCustomers):
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", step.__name__).lower()
        assert step.function.__name__ == name
        assert step.__module__ == f"transforms.{name}"
