"""`parcours check` shows the first bad record of each source and code."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.batches import keyed_tables
from transforms.candidates import Block
from transforms.quarantine import quarantine_unreadable
from transforms.quarantine_examples import QuarantineExamples, quarantine_examples


def bad(file: str, code: str, *positions: int, source: str = "events", raw: str = "raw") -> pa.Table:
    block = Block(source, file, "jsonl", pa.table({}), np.zeros(0, np.int64))
    n = len(positions)
    return quarantine_unreadable(block, code, "expected", [raw] * n, [3] * n, list(positions)).quarantine


def test_the_first_of_each_code() -> None:
    table = pa.concat_tables([bad("f", "json.malformed", 5, 9), bad("f", "record.too_long", 7)])
    found = dict(quarantine_examples(table))
    assert {key: example["offset"] for key, example in found.items()} == {
        ("events", "json.malformed"): 5, ("events", "record.too_long"): 7,
    }  # fmt: skip
    assert found["events", "json.malformed"] == {
        "source": "events", "code": "json.malformed", "file": "f", "offset": 5, "raw": "raw", "path": "",
        "expected": "expected", "observed": "3 bytes",
    }  # fmt: skip


def test_its_own_rule_of_a_record_that_broke_several() -> None:
    errors = [{"code": c, "path": c.upper(), "expected": "", "observed": ""} for c in ("a", "b")]
    table = bad("f", "x", 0)
    place = table.schema.get_field_index("errors")
    table = table.set_column(place, "errors", pa.array([errors], table.schema.field("errors").type))
    assert {code: example["path"] for (_, code), example in quarantine_examples(table)} == {"a": "A", "b": "B"}


def test_a_long_record_is_shown_in_part() -> None:
    ((_, example),) = quarantine_examples(bad("f", "x", 0, raw="r" * 4096))
    assert example["raw"] == "r" * 300


def test_the_first_by_file_and_position_over_all_blocks() -> None:
    tables = [bad("b", "x", 1), bad("a", "x", 50, 60), bad("a", "x", 9), bad("a", "x", 0, source="other")]

    def places(example: dict[str, Any]) -> tuple[str, str, int]:
        return example["source"], example["file"], example["offset"]

    with Pipeline() as pipeline:
        keyed = keyed_tables(pipeline | beam.Create(tables) | beam.Map(lambda t: (t["position"][0].as_py(), t)), int)
        found = keyed | QuarantineExamples() | "Places" >> beam.Map(places)
        assert_that(found, equal_to([("events", "a", 9), ("other", "a", 0)]))
