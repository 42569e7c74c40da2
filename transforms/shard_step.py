"""Steps after the shuffle: each takes the tables of one shard and adds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import duckdb

from transforms import duck
from transforms.batches import ShardTables

StepFunction = Callable[..., ShardTables]


class _Apply(beam.DoFn):
    def __init__(self, function: StepFunction, rules: Any) -> None:
        self._function, self._rules = function, rules

    def setup(self) -> None:
        self._connection: duckdb.DuckDBPyConnection = duck.connect()

    def process(self, shard: ShardTables) -> Iterator[ShardTables]:
        yield self._function(shard, self._rules, self._connection)


class ShardStep(beam.PTransform):
    """ShardTables -> ShardTables by a pure function (tables, rules, connection). Subclasses name the function."""

    function: StepFunction

    def __init__(self, rules: Any) -> None:
        super().__init__()
        self._rules = rules

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_Apply(type(self).function, self._rules)).with_output_types(ShardTables)
