"""The states of a run in the table `runs`, and each step from one to the next. docs/audit.md draws them.

    running -> published | accepted | refused | failed; died is what the next writer calls one that stayed running
    accepted, refused, published -> published, by a person

The one write of current.json decides what is published. The record follows it, and cannot take it back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipelines.audit import Audit
from pipelines.errors import ParcoursError
from pipelines.interrupts import was_interrupted
from pipelines.lake import Lake, Run

_LOG = logging.getLogger("parcours")


def begin(lake: Lake, run_id: str, **facts: Any) -> None:
    """The run is under way."""
    lake.history.record(run_id, status="running", **facts)


def refuse(lake: Lake, run_id: str, refusal: ParcoursError, audit: Audit, facts: Mapping[str, Any]) -> None:
    """The run's tables are whole, and must not be published."""
    lake.history.record(run_id, **facts, **_found(audit), status="refused", message=refusal.message)


def accept(lake: Lake, run_id: str, audit: Audit, facts: Mapping[str, Any], waits: bool) -> None:
    """The audit has passed; `waits`: for a person, who publishes the run."""
    lake.history.record(run_id, **facts, **_found(audit), **({"status": "accepted"} if waits else {}))


def publish(
    lake: Lake, run_id: str, by: str = "run", publisher: str | None = None, reason: str | None = None
) -> dict[str, Any]:
    """Readers see the run from here on. Returns its row, as it is or as it will be once it can be written."""
    news = {"status": "published", "removed_at": None, **lake.publish(lake.run(run_id), by, publisher, reason)}
    try:
        return lake.history.record(run_id, **news)
    except Exception as error:  # a full disk now must not make a failure of what is published
        _LOG.warning(
            "Run %s is published, but its record could not be written: %s. The next run here does it.", run_id, error
        )
        return {"run_id": run_id, "audit_failures": None, **news}


def fail(lake: Lake, run: Run, error: BaseException) -> None:
    """The run has come to nothing: its tables go first, since they may be what fills the disk."""
    try:
        lake.drop_run(run)
    except (OSError, ParcoursError) as problem:
        _LOG.warning("What run %s wrote could not be removed: %s", run.run_id, problem)
    message = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, ParcoursError):
        message = error.message
    elif isinstance(error, KeyboardInterrupt) or was_interrupted():
        message = "It was interrupted."
    with suppress(Exception):  # the user is told in any case
        lake.history.record(run.run_id, status="failed", message=message)


def _found(audit: Audit) -> dict[str, int | None]:
    """Null where no audit came to its end: nothing was found because nothing was looked at."""
    if not audit.results:
        return {"audit_failures": None, "audit_warnings": None}
    return {"audit_failures": len(audit.failures), "audit_warnings": len(audit.warnings)}
