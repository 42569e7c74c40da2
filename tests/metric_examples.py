"""The worked examples of the metric dictionary, sent through the real pipeline.

All examples go through one run: their identifiers begin with the metric's name, so that no two meet, and each is read from
the segment `example`. An example that tells a value of a dimension has a run of its own.

    python -m tests.metric_examples aov nps      compares the examples of these metrics, or of all
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.run import run
from pipelines.settings import load_settings
from schemas.dictionary import EXAMPLE_AS_OF, EXAMPLE_SETTINGS, Friction, Metric, Result, load_metrics
from tests.lake_tables import read_tables

Row = dict[str, Any]
_IDENTIFIERS = {
    "event_id", "customer_id", "anonymous_id", "email", "account_id", "order_id", "ticket_id", "subscription_id", "survey_id",
}  # fmt: skip


def events(entry: Metric | Friction, prefix: str) -> Iterable[Row]:
    """The example's events; without an event_id of its own, the n-th is e<n>."""
    for number, given in enumerate(entry.example.events, 1):
        event = {"event_id": f"e{number}", **given}
        yield {
            **{name: f"{prefix}{cell}" if name in _IDENTIFIERS else cell for name, cell in event.items()},
            "example": entry.name,
        }


def measured(metrics: Iterable[Metric], folder: Path) -> dict[str, pa.Table]:
    """The tables of a run over the examples of the metrics."""
    return run_of_examples(metrics, folder)


def run_of_examples(entries: Iterable[Metric | Friction], folder: Path, more_settings: str = "") -> dict[str, pa.Table]:
    """The tables of a run over the examples of entries of the dictionary."""
    rows = [event for entry in entries for event in events(entry, f"{entry.name}.")]
    file, settings = folder / "examples.csv", folder / "settings.toml"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(rows)
    settings.write_text(more_settings + EXAMPLE_SETTINGS)
    run([str(file)], str(folder / "lake"), load_settings(str(settings), as_of=EXAMPLE_AS_OF))
    return read_tables(folder / "lake")


def needs_own_run(metric: Metric) -> bool:
    return any(result.dimension for result in metric.example.results)


def rows_of(metric: Metric, result: Result, tables: Mapping[str, pa.Table]) -> list[Row]:
    """The rows of lifecycle_metrics that a result is about: one, if all is well."""
    name = result.name or metric.published_names[0]
    cut = (result.dimension, result.dimension_value) if result.dimension else ("example", metric.name)
    return [
        row
        for row in tables["lifecycle_metrics"].to_pylist()
        if row["metric"] == name
        and row["period_start"] == result.month
        and (row["segment"], row["segment_value"]) == cut
        and (result.currency is None or row["currency"] == result.currency)
    ]


def differences(metric: Metric, tables: Mapping[str, pa.Table]) -> list[str]:
    """What the run says otherwise than the example; empty if nothing."""
    wrong = []
    for result in metric.example.results:
        rows = rows_of(metric, result, tables)
        what = f"{result.name or metric.name} {result.period} {result.dimension_value or ''}"
        if len(rows) != 1:
            wrong.append(f"{what}: {len(rows)} rows, {[row['currency'] for row in rows]}")
            continue
        (row,) = rows
        if (row["value"] is None) != (result.value is None) or (
            result.value is not None and abs(row["value"] - result.value) > 1e-9 * max(1, abs(result.value))
        ):
            wrong.append(f"{what}: value {row['value']}, by hand {result.value}")
        for name in ("numerator", "denominator"):
            by_hand = getattr(result, name)
            if by_hand is not None and row[name] != Decimal(str(by_hand)):
                wrong.append(f"{what}: {name} {row[name]}, by hand {by_hand}")
        for name in ("n", "status"):
            by_hand = getattr(result, name)
            if by_hand is not None and row[name] != by_hand:
                wrong.append(f"{what}: {name} {row[name]}, by hand {by_hand}")
    return wrong


def main(names: list[str]) -> None:
    known = load_metrics()
    chosen = [known[name] for name in names or known]
    failed = 0
    together = [metric for metric in chosen if not needs_own_run(metric)]
    for batch in ([together] if together else []) + [[metric] for metric in chosen if needs_own_run(metric)]:
        with tempfile.TemporaryDirectory() as folder:
            tables = measured(batch, Path(folder))
            quarantined = tables["quarantine"].to_pylist() if "quarantine" in tables else []
            for row in quarantined:
                print("quarantined:", row["event_id"], row["errors"])
            for metric in batch:
                for line in differences(metric, tables):
                    failed += 1
                    print(f"{metric.name}: {line}")
    print(f"{len(chosen)} examples, {failed} differences")


if __name__ == "__main__":
    main(sys.argv[1:])
