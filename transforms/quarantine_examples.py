"""For `parcours check`: the first quarantined record of each source and code, to show what is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa


def quarantine_examples(quarantine: pa.Table) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """((source, code), example) for each code in a table of quarantined rows: the first by file and position."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    codes = pa.compute.list_flatten(quarantine["errors"])
    rows = pa.compute.list_parent_indices(quarantine["errors"]).combine_chunks().to_numpy()
    code_of = pa.compute.struct_field(codes, "code").to_numpy(zero_copy_only=False)
    for code in sorted(set(code_of)):
        row = quarantine.slice(int(rows[code_of == code][0]), 1).to_pylist()[0]
        error = next(e for e in row["errors"] if e["code"] == code)
        found[row["source"], code] = {
            "source": row["source"],
            "code": code,
            "file": row["file"],
            "offset": row["position"],
            "raw": (row["raw"] or "")[:300],
            "path": error["path"],
            "expected": error["expected"],
            "observed": error["observed"],
        }
    yield from found.items()


def _first(examples: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return min(examples, key=lambda e: (e["file"], e["offset"]))


class QuarantineExamples(beam.PTransform):
    """KV[shard, quarantined rows] -> one example a source and code."""

    def expand(self, quarantine: beam.PCollection) -> beam.PCollection:
        return (
            quarantine
            | "ExamplesOfBlocks" >> beam.FlatMap(lambda kv: quarantine_examples(kv[1]))
            | "FirstOfEach" >> beam.CombinePerKey(_first)
            | "Examples" >> beam.Values()
        )
