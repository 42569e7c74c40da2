"""The worked examples of the kinds of friction, sent through the real pipeline.

All examples go through one run: their identifiers begin with the kind's name, so that no two meet, and a kind's points are
looked for among the customers of its own example.

    python -m tests.friction_examples rage_click detractor      compares the examples of these kinds, or of all
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.dictionary import ExpectedPoint, Friction, load_friction
from tests.metric_examples import run_of_examples

Row = dict[str, Any]


def found(kinds: Iterable[Friction], folder: Path, settings: str = "") -> dict[str, pa.Table]:
    """The tables of a run over the examples of the kinds."""
    return run_of_examples(kinds, folder, settings)


def points_of(kind: Friction, tables: Mapping[str, pa.Table]) -> list[Row]:
    """The kind's points of the customers of its own example, as an example tells them, in the order of time."""
    if "friction_points" not in tables:
        return []
    own = f"{kind.name}."
    rows = [
        {**row, "customer": row["customer_key"].removeprefix(own)}
        for row in tables["friction_points"].to_pylist()
        if row["kind"] == kind.name and row["customer_key"].startswith(own)
    ]
    return sorted(rows, key=lambda row: (row["started_at"], row["customer"], row["subject"] or ""))


def differences(kind: Friction, tables: Mapping[str, pa.Table]) -> list[str]:
    """What the run says otherwise than the example; empty if nothing."""
    points = points_of(kind, tables)
    wanted = sorted(
        kind.example.results, key=lambda point: (_moment(point.started_at), point.customer or "", point.subject or "")
    )
    if len(points) != len(wanted):
        return [
            f"{len(points)} points, by hand {len(wanted)}: {[(p['customer'], str(p['started_at'])) for p in points]}"
        ]
    return [line for row, point in zip(points, wanted, strict=True) for line in _compared(row, point)]


def _compared(row: Row, point: ExpectedPoint) -> list[str]:
    wrong = []
    for name in ExpectedPoint.__dataclass_fields__:
        by_hand = getattr(point, name)
        if by_hand is None:
            continue
        if name.endswith("_at"):
            by_hand = _moment(by_hand)
        elif name == "minutes_lost":
            by_hand = Decimal(by_hand)
        if row[name] != by_hand:
            wrong.append(f"{point}: {name} {row[name]}, by hand {by_hand}")
    return wrong


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def main(names: list[str]) -> None:
    known = load_friction()
    chosen = [known[name] for name in names or known]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        tables = found(chosen, Path(folder))
        for row in tables["quarantine"].to_pylist() if "quarantine" in tables else []:
            print("quarantined:", row["event_id"], row["errors"])
        for kind in chosen:
            for line in differences(kind, tables):
                failed += 1
                print(f"{kind.name}: {line}")
    print(f"{len(chosen)} examples, {failed} differences")


if __name__ == "__main__":
    main(sys.argv[1:])
