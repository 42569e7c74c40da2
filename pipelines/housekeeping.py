"""What a lake is rid of: what killed processes left behind, and old runs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from pipelines.history import WHOLE
from pipelines.lake import Lake
from pipelines.settings import parse_time

_LOG = logging.getLogger("parcours")


def recover(lake: Lake) -> list[str]:
    """Brings a local lake into order after processes that died in it; returns the runs whose left-overs it removed.

    Under the lock nobody else writes, so a run that is still under way by its record is dead. Of an object store it is
    not known who else writes: nothing is done.
    """
    if not (lake.store.is_local and lake.is_locked):
        return []
    current = lake.current()
    states = {row["run_id"]: row for row in lake.history.runs()}
    for run_id, row in states.items():
        if run_id == current and row["status"] != "published":
            # It died between its publication and the record of it.
            states[run_id] = lake.history.record(run_id, status="published", **_publication(lake))
        elif row["status"] == "running":
            states[run_id] = lake.history.record(
                run_id, status="died", message="Its process ended before the run did; its tables were removed."
            )
    dead = [run_id for run_id in lake.run_ids() if run_id != current and not _is_kept(lake, run_id, states)]
    for run_id in dead:
        lake.drop_run(lake.run(run_id))
    for run_id in lake.run_ids():
        if Path(lake.run(run_id).staged).exists() and lake.is_whole(run_id):
            lake.discard_staged(lake.run(run_id))
    lake.store.remove(_half_written(lake))
    return dead


def keep(lake: Lake, runs: int) -> list[str]:
    """Removes the tables of all but the newest `runs` runs; returns whose. What they were, the history still tells.

    Never removed are those of the published run, those that a process is just reading, and those that a kept run lists
    as its own.
    """
    if runs < 1:
        raise ValueError(f"keep {runs} runs: give 1 or more")
    whole = [run_id for run_id in lake.run_ids() if lake.is_whole(run_id)]
    current = lake.current()
    kept = set(whole[-runs:]) | {current}
    kept |= {run_id for run_id in whole if run_id not in kept and lake.is_being_read(run_id)}
    kept |= {file.run_id for run_id in whole if run_id in kept for file in lake.manifest(run_id).files}
    removed = [run_id for run_id in whole if run_id not in kept]
    for run_id in removed:
        if lake.history.run(run_id) is not None:
            lake.history.record(run_id, removed_at=datetime.now(UTC).replace(microsecond=0))
        lake.drop_run(lake.run(run_id))
    return removed


def _is_kept(lake: Lake, run_id: str, states: dict[str, dict[str, object]]) -> bool:
    """Whole, and by its record neither failed nor removed; of versions without records, whole is enough."""
    row = states.get(run_id)
    return lake.is_whole(run_id) and (row is None or (row["status"] in WHOLE and row["removed_at"] is None))


def _publication(lake: Lake) -> dict[str, object]:
    published_at = lake.published_at()
    return {"published_at": parse_time(published_at)} if published_at else {}


def _half_written(lake: Lake) -> list[str]:
    """Small files that a process was just writing when it died: see `stores.publish`."""
    folders = [lake.path, *(lake.run(run_id).folder for run_id in lake.run_ids())]
    folders += [str(folder) for folder in Path(lake.history.folder).glob("*")]
    return [path for folder in folders for path in lake.store.glob(folder, ".*-????????") if Path(path).name != ".lock"]
