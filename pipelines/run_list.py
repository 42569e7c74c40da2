"""`parcours runs`: what happened in a lake, run by run, and one run with its audit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.audit import Audit, told
from pipelines.errors import UsageError
from pipelines.history import WHOLE
from pipelines.lake import Lake
from pipelines.query import plain
from pipelines.summary import audited, duration

_SHOWN = 20


def runs(lake: Lake) -> list[dict[str, Any]]:
    """The rows of the table `runs`, the newest first, with `is_current`: readers see that one. UsageError if no lake."""
    current = lake.current()
    rows = [_as_is(row, current) for row in reversed(lake.history.runs())]
    if not rows and current is None:
        raise UsageError(f"There is no run in {lake.path}.", "Make one: parcours run --input ... --output LAKE")
    return rows


def as_json(rows: list[dict[str, Any]]) -> str:
    """All of all rows."""
    return json.dumps([plain(row) for row in rows], ensure_ascii=False, indent=1)


def as_text(rows: list[dict[str, Any]], every: bool = False) -> Iterator[str]:
    """One line a run; the published one is marked."""
    shown = rows if every else rows[:_SHOWN]
    cells: list[tuple[str, ...]] = [("", "run", "as of", "status", "touchpoints", "quarantined", "audit", "took", "")]
    cells += [_line(row) for row in shown]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    right = {4, 5, 7}
    for line in cells:
        parts = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        yield "  ".join(parts).rstrip()
    if len(shown) < len(rows):
        yield f"and {len(rows) - len(shown):,} older ones; --all shows them"
    yield "* is the run that readers see." if any(row["is_current"] for row in rows) else "No run is published."


def _as_is(row: dict[str, Any], current: str | None) -> dict[str, Any]:
    """With `is_current`; what readers see is published, even where its record is a moment behind."""
    is_current = row["run_id"] == current
    return row | {"is_current": is_current, "status": "published" if is_current else row["status"]}


def one_as_json(lake: Lake, run_id: str) -> str:
    """The row of one run, with all its expectations as `audit_results`."""
    row = _known(lake, run_id) | {"is_current": lake.current() == run_id}
    results = lake.history.read("audit_results", [run_id]).to_pylist()
    return json.dumps(plain(row | {"audit_results": results}), ensure_ascii=False, indent=1)


def _known(lake: Lake, run_id: str) -> dict[str, Any]:
    row = lake.history.run(run_id)
    if row is None:
        raise UsageError(
            f"The lake {lake.path} knows no run {run_id}.", f"parcours runs --lake {lake.path} lists them."
        )
    return row


def one(lake: Lake, run_id: str) -> Iterator[str]:
    """All that is recorded of one run, and the expectations that did not hold."""
    row = _known(lake, run_id)
    told_of = {name: value for name, value in row.items() if value is not None and name != "settings"}
    told_of["is current"] = "yes" if lake.current() == run_id else "no"
    width = max(len(name) for name in told_of)
    for name, value in told_of.items():
        lines = (f"{value:,}" if isinstance(value, int) else str(plain(value))).splitlines() or [""]
        lines = [_printable(line) for line in lines]
        yield f"{name.replace('_', ' '):<{width}}  {lines[0]}"
        yield from (f"{'':<{width}}  {line}" for line in lines[1:])
    audit = Audit(tuple(lake.history.read("audit_results", [run_id]).to_pylist()))
    if not audit.results:
        return
    yield ""
    yield audited(audit)
    for result in audit.results:
        if not result["success"]:
            yield from told(result)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    failures, warnings = row["audit_failures"], row["audit_warnings"]
    unaudited = "not audited" if row["status"] in WHOLE else "-"
    audit = unaudited if failures is None else "passed" if failures == 0 else f"{failures:,} failed"
    audit += f", {warnings:,} warned" if warnings else ""
    notes = [f"published by {row['publisher']}"] if row["published_by"] == "person" else []
    notes += [row["reason"]] if row["reason"] else []
    notes += ["tables removed"] if row["removed_at"] else []
    if row["status"] in ("failed", "died") and row["message"]:
        notes.append(str(row["message"]).partition("\n")[0])
    return (
        "*" if row["is_current"] else "",
        row["run_id"],
        _moment(row["as_of"]),
        row["status"],
        _number(row["touchpoints"]),
        _number(row["quarantined"]),
        audit,
        "" if row["seconds"] is None else duration(row["seconds"]),
        _printable("; ".join(notes)),
    )


def _printable(words: str) -> str:
    """What somebody typed, on one line of a terminal.

    >>> _printable("a campaign\\n\\x1b[31m")
    'a campaign\\\\n\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
