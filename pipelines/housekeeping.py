"""What a lake is rid of: what killed processes left behind, and old runs."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import ParcoursError
from pipelines.history import WHOLE
from pipelines.lake import OWN_RUN_ID, Lake
from schemas.tables import HISTORY_TABLES

_LOG = logging.getLogger("parcours")
#: Each run settles those before it, so only the newest records can be behind.
_UNSETTLED = 20
#: What `stores.write_whole` calls the small files of a lake until they are there whole, by their folder.
_HALF = "-[0-9a-f]{8}"
_HALF_IN_LAKE = re.compile(rf"\.current\.json{_HALF}")
_HALF_IN_RUN = re.compile(rf"\.(manifest\.json|catalog\.duckdb){_HALF}")
_HALF_IN_HISTORY = re.compile(rf"\.{OWN_RUN_ID.pattern}\.parquet{_HALF}")


def recover(lake: Lake) -> list[str]:
    """Brings a local lake into order after processes that died in it; returns the runs whose left-overs it removed.

    Under the lock nobody else writes, so a run that is still under way by its record is dead. Of an object store it is
    not known who else writes: nothing is done.
    """
    if not (lake.store.is_local and lake.is_locked):
        return []
    try:
        current = lake.current()
    except ParcoursError as error:  # which of the runs it named nobody knows: none is removed
        _LOG.warning("%s %s", error.message, error.mend)
        return []
    dead = [run_id for run_id in lake.run_ids() if run_id != current and not _is_kept(lake, run_id)]
    gone = [run_id for run_id in dead if lake.drop_run(lake.run(run_id))]  # first: they may be what fills the disk
    for run_id in lake.run_ids():
        if Path(lake.run(run_id).staged).exists() and lake.is_whole(run_id):
            try:
                lake.discard_staged(lake.run(run_id))
            except ParcoursError as error:  # its manifest cannot be read: what belongs to it nobody knows
                _LOG.warning("%s %s", error.message, error.mend)
    lake.store.remove(_half_written(lake))
    _settle_publication(lake, current)
    for row in lake.history.newest(_UNSETTLED):
        if row["run_id"] != current and row["status"] == "running":
            lake.history.record(row["run_id"], status="died", message="Its process ended before the run did.")
    return gone


def _settle_publication(lake: Lake, current: str | None) -> None:
    """Records what current.json tells, where a process died, or had no room, between that one write and the record."""
    row = lake.history.run(current) if current is not None else None
    news = {"status": "published", **lake.publication()}
    if row is not None and any(row[name] != value for name, value in news.items()):
        lake.history.record(row["run_id"], **news)


def keep(lake: Lake, runs: int) -> list[str]:
    """Removes the tables of all but the newest `runs` runs; returns whose. What they were, the history still tells.

    Never removed are those of the published run, those that a process is just reading, and those that a kept run lists
    as its own.
    """
    if runs < 1:
        raise ValueError(f"keep {runs} runs: give 1 or more")
    whole = [run_id for run_id in lake.run_ids() if _is_kept(lake, run_id)]
    kept = set(whole[-runs:]) | {lake.current()}
    kept |= {run_id for run_id in whole if run_id not in kept and lake.is_being_read(run_id)}
    try:
        kept |= {file.run_id for run_id in whole if run_id in kept for file in lake.manifest(run_id).files}
    except ParcoursError as error:
        _LOG.warning("No run is removed, since a kept one may need it: %s", error.message)
        return []
    removed = []
    for run_id in whole:
        if run_id not in kept:
            if lake.history.run(run_id) is not None:
                lake.history.record(run_id, removed_at=datetime.now(UTC).replace(microsecond=0))
            if lake.drop_run(lake.run(run_id)):
                removed.append(run_id)
            elif lake.history.run(run_id) is not None:  # a reader came in between
                lake.history.record(run_id, removed_at=None)
    return removed


def _is_kept(lake: Lake, run_id: str) -> bool:
    """Whole, and by its record neither under way, failed nor removed; of versions without records, whole is enough."""
    if not lake.is_whole(run_id):
        return False
    row = lake.history.run(run_id)
    return row is None or run_id == lake.current() or (row["status"] in WHOLE and row["removed_at"] is None)


def _half_written(lake: Lake) -> list[str]:
    """Small files of ours that a process was just writing when it died."""
    ours = {lake.path: _HALF_IN_LAKE}
    ours |= {lake.run(run_id).folder: _HALF_IN_RUN for run_id in lake.run_ids()}
    ours |= {f"{lake.history.folder}/{name}": _HALF_IN_HISTORY for name in HISTORY_TABLES}
    return [
        path
        for folder, name in ours.items()
        for path in lake.store.glob(folder, ".*-????????")
        if name.fullmatch(Path(path).name)
    ]
