"""`parcours publish`: a person who has looked at a run decides that it is the one to be read."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from pipelines import run_states
from pipelines.catalog import write_catalog
from pipelines.errors import UsageError
from pipelines.housekeeping import recover
from pipelines.lake import Lake
from pipelines.stores import writing


def publish(lake: Lake | str, run_id: str, reason: str | None = None) -> Mapping[str, Any]:
    """Publishes a run that is whole: refused, staged with --no-publish, or an earlier one; returns its row of `runs`.

    Who decided, when and why is recorded. Each file is read again and held against the manifest first. UsageError if
    there is no such run, or if its tables are not as they were written.
    """
    target = Lake(lake) if isinstance(lake, str) else lake
    if not target.store.exists(f"{target.path}/runs" if target.store.is_local else target.run(run_id).manifest):
        raise UsageError(
            f"There is no run {run_id} in {target.path}.", f"parcours runs --lake {target.path} lists them."
        )
    with target.lock(run_id), writing(target.path):
        target.manifest(run_id)  # before anything is changed
        recover(target)
        manifest = target.manifest(run_id)  # it may have been a left-over
        target.verify(manifest)
        write_catalog(target, manifest)  # anew: the lake may have been moved since
        return run_states.publish(target, run_id, "person", _who(), reason)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "unknown"
