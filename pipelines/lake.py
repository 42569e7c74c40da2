"""The lake: runs staged side by side, one of them published.

    LAKE/runs/<run_id>/<table>/part-*.parquet   unique names; part of the run only if the manifest lists it
    LAKE/runs/<run_id>/_staged/                 scratch of the pipeline, gone after publication
    LAKE/runs/<run_id>/manifest.json            written once, when all tables are whole
    LAKE/runs/<run_id>/catalog.duckdb           views over the files (catalog.py)
    LAKE/current.json                           the run that is published: one write

Nothing is ever renamed into place but the two small JSON files, so what holds on a disk holds on an object
store. Readers resolve current.json once.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.errors import ParcoursError, Refused, UsageError
from pipelines.history import History
from pipelines.manifest import DescribedTable, File, Input, Manifest, table_entry, utc_text, version
from pipelines.stores import not_writable, store_for, writing

_PIECE = 4 << 20
_RUN_ID = re.compile(r"[\w-]+")
#: As `new_run_id` makes them. A lake may lie in a folder with `runs` of somebody else's, which are never removed.
OWN_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]+")
#: Runs that this process reads: a lock on a file only tells other processes.
_READ_HERE: Counter[str] = Counter()
_COUNTING = threading.Lock()


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and is unique for each attempt.

    >>> new_run_id(datetime(2026, 11, 21, 23, 59, tzinfo=UTC))  # doctest: +ELLIPSIS
    '20261121T235900Z-...'
    """
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class DamagedError(UsageError):
    """A file of the lake was read, and is not what Parcours wrote."""


@dataclass(frozen=True)
class Run:
    """One attempt's folder. Only paths: it may travel to a worker."""

    run_id: str
    folder: str

    @property
    def staged(self) -> str:
        return f"{self.folder}/_staged"

    @property
    def blocks(self) -> str:
        return f"{self.staged}/blocks"

    @property
    def manifest(self) -> str:
        return f"{self.folder}/manifest.json"

    @property
    def catalog(self) -> str:
        return f"{self.folder}/catalog.duckdb"

    def table(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def new_listing(self) -> str:
        """A path that no other attempt uses, for a listing of what the pipeline wrote."""
        return f"{self.staged}/listing-{secrets.token_hex(8)}.json"


@dataclass(frozen=True)
class Listing:
    """What one whole execution of the pipeline says that it wrote and counted."""

    files: tuple[File, ...]
    tallies: tuple[dict[str, Any], ...]
    problems: tuple[dict[str, Any], ...]


class Lake:
    """A folder of runs, of which current.json names the published one.

    `beam_args` are Beam's own options, needed where an object store wants some (an endpoint, a project).
    """

    def __init__(self, path: str, beam_args: Sequence[str] = ()) -> None:
        self.store, self.path = store_for(path, beam_args)
        self.history = History(self.store, self.path)
        self.is_locked = False

    # -- reading

    def current(self) -> str | None:
        """The id of the published run, or None: resolve it once, then read that run only."""
        try:
            return str(json.loads(self.store.read_bytes(f"{self.path}/current.json"))["run_id"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            raise DamagedError(
                f"{self.path}/current.json does not name a run.",
                "If this is a lake, the next run, or parcours publish, writes it anew.",
            ) from None

    def names(self, run_id: str) -> bool:
        """True if current.json names this run, or if it may: nothing is removed because a file could not be read."""
        try:
            return self.current() == run_id
        except DamagedError:
            return False
        except (ParcoursError, OSError):
            return True

    def publication(self) -> dict[str, Any]:
        """Of the published run: published_at, published_by, publisher and reason, as current.json tells them."""
        try:
            return _publication(json.loads(self.store.read_bytes(f"{self.path}/current.json")))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def run(self, run_id: str) -> Run:
        """The folder of a run; UsageError for what cannot be the id of one."""
        if not _RUN_ID.fullmatch(run_id):
            raise UsageError(f"{run_id!r} is not the id of a run.", f"parcours runs --lake {self.path} lists them.")
        return Run(run_id, f"{self.path}/runs/{run_id}")

    def run_ids(self) -> list[str]:
        """The runs that have a folder, the oldest first: whole ones, those under way, and left-overs. No other folder."""
        if self.store.is_local:
            names = {folder.name for folder in Path(self.path, "runs").glob("*") if folder.is_dir()}
        else:
            names = {path.split("/")[-2] for path in self.store.glob(f"{self.path}/runs", "*/manifest.json")}
        return sorted(name for name in names if OWN_RUN_ID.fullmatch(name))

    def is_whole(self, run_id: str) -> bool:
        """True if all tables of the run were written: its manifest says so."""
        return self.store.exists(self.run(run_id).manifest)

    def files(self, manifest: Manifest, table: str) -> list[str]:
        """The whole paths of a table's files, in the order in which they are to be read."""
        return [self.path_of(manifest, file) for file in manifest.files if file.table == table]

    def path_of(self, manifest: Manifest, file: File) -> str:
        """The whole path of a file that a manifest lists, its own or an earlier run's."""
        return f"{self.run(file.run_id or manifest.run_id).folder}/{file.path}"

    def manifest(self, run_id: str) -> Manifest:
        path = self.run(run_id).manifest
        try:
            data = self.store.read_bytes(path)
        except (FileNotFoundError, NotADirectoryError):
            if (known := self.history.run(run_id)) and known["removed_at"]:
                raise UsageError(
                    f"The tables of run {run_id} were removed from the lake {self.path}.",
                    f"parcours runs --lake {self.path} says which are there; --keep, or the setting keep, how many stay.",
                ) from None
            raise UsageError(
                f"The lake {self.path} has no whole run {run_id}.", f"parcours runs --lake {self.path} lists its runs."
            ) from None
        try:
            return Manifest.from_bytes(data)
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{path} is not a manifest that this version of Parcours can read.",
                "Read it with the version that wrote it, or run parcours run again.",
            ) from None

    def published(self) -> Manifest:
        """The manifest of the published run; UsageError if nothing is published."""
        run_id = self.current()
        if run_id is None:
            mend = f"Make one: parcours run --input 'events/*.jsonl' --output {self.path}"
            if self.history.paths("runs"):
                mend = f"parcours runs --lake {self.path} says why."
            raise UsageError(f"There is no published run in {self.path}.", mend)
        return self.manifest(run_id)

    def verify(self, manifest: Manifest) -> None:
        """UsageError unless every file that the manifest lists has the bytes that it had when it was written."""
        for file in manifest.files:
            path = self.path_of(manifest, file)
            digest = hashlib.sha256()
            try:
                with self.store.open_read(path) as stream:
                    while piece := stream.read(_PIECE):
                        digest.update(piece)
            except OSError as error:
                raise UsageError(
                    f"{path}, a file of run {manifest.run_id}, cannot be read: {error.strerror or error}.",
                    "Publish another run, or run parcours run again.",
                ) from None
            if digest.hexdigest() != file.sha256:
                raise UsageError(
                    f"{path} is not as run {manifest.run_id} wrote it: its checksum differs from the manifest's.",
                    "Somebody changed it: publish another run, or run parcours run again.",
                )

    @contextmanager
    def reading(self, run_id: str) -> Iterator[None]:
        """Tells other processes that the run is being read, on a local lake; see `is_being_read`.

        The lock on its catalog is the one that DuckDB takes when it opens that file. Where none can be had, there is none:
        no catalog (what is wrong with the run, who reads it will say), or a file system without locks.
        """
        folder = self.run(run_id).folder
        with _COUNTING:
            _READ_HERE[folder] += 1
        try:
            with ExitStack() as held:
                if self.store.is_local:
                    import fcntl

                    with suppress(OSError):
                        file = held.enter_context(Path(self.run(run_id).catalog).open("rb"))
                        for wait_s in (
                            0.05,
                            0.2,
                            0.5,
                            0,
                        ):  # for a writer that is just looking, not for a client that stays
                            try:
                                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                                break
                            except OSError:
                                time.sleep(wait_s)
                yield
        finally:
            with _COUNTING:
                _READ_HERE[folder] -= 1

    def is_being_read(self, run_id: str) -> bool:
        """True if a query of this process has the run open, or any DuckDB client of another that attached its catalog."""
        with self._alone(run_id) as alone:
            return not alone

    @contextmanager
    def _alone(self, run_id: str) -> Iterator[bool]:
        """Whether nobody reads the run; until the end nobody can begin to."""
        if not self.store.is_local:
            yield True
            return
        import fcntl

        with ExitStack() as held:
            alone = not _READ_HERE[self.run(run_id).folder]
            if alone:  # a lock of this process's own would be let go of when the file is closed
                with suppress(OSError):  # no catalog, or none that may be written: nobody is told of
                    file = held.enter_context(Path(self.run(run_id).catalog).open("r+b"))
                    try:
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError as error:
                        alone = error.errno not in (errno.EACCES, errno.EAGAIN)
            yield alone

    # -- writing

    @contextmanager
    def lock(self, run_id: str) -> Iterator[None]:
        """Keeps other writers out of a local lake while a run is made; the kernel lets go of it if we die.

        On an object store there is no lock: runs have their own folders, and the last to publish is the
        current.
        """
        self._prepare()
        if not self.store.is_local:
            yield
            return
        import fcntl  # not on every system; and only a writer needs it

        path = Path(self.path, ".lock")
        with writing(self.path):
            path.touch()
            opened = path.open("r+", encoding="utf-8")
        with opened as file:
            with writing(self.path):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise _taken(self.path, file.read()) from None
                holder = {
                    "run_id": run_id,
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": utc_text(_now()),
                }
                file.truncate(0)
                file.write(json.dumps(holder))
                file.flush()
            self.is_locked = True
            try:
                yield
            finally:
                self.is_locked = False
                with suppress(OSError):  # who held it is only told while it is held
                    file.truncate(0)

    def start_run(self, run_id: str) -> Run:
        """An empty folder for a run that begins; UsageError if the lake cannot be written."""
        self._prepare()
        run = self.run(run_id)
        if self.store.is_local:
            with writing(self.path):
                Path(run.blocks).mkdir(parents=True)
        else:  # it has no folders; but that it can be written is better known now than at the first block
            self.store.write_whole(f"{run.staged}/started", run_id.encode())
        return run

    def read_listings(self, run: Run) -> Listing:
        """What the pipeline wrote. A listing is whole in itself; of several, the first by name counts."""
        for path in self.store.glob(run.staged, "listing-*.json"):
            try:
                given = json.loads(self.store.read_bytes(path))
            except ValueError:
                continue  # cut off: its writer died, and another attempt wrote its own
            return Listing(
                files=tuple(sorted((File(**entry) for entry in given["files"]), key=lambda f: (f.table, f.path))),
                tallies=tuple(given["tallies"]),
                problems=tuple(given["problems"]),
            )
        raise Refused(
            f"Run {run.run_id} ended without a listing of what it wrote, so nothing is published.",
            "Look for the runner's own error above, and run the command again.",
        )

    def write_manifest(
        self,
        run: Run,
        files: Iterable[File],
        *,
        tables: Mapping[str, DescribedTable],
        schema_versions: Mapping[str, str] | None = None,
        started_at: datetime,
        as_of: datetime,
        settings: Mapping[str, Any],
        inputs: Iterable[Input],
        tallies: Iterable[Mapping[str, Any]] = (),
    ) -> Manifest:
        """Writes the run's manifest, once, after all its tables are whole.

        `tables` are all tables of the run, also those without rows; `settings` is
        JSON (`Settings.model_dump(mode="json")`). Refused if a listed file is not there with the listed size.
        """
        listed = tuple(sorted(files, key=lambda file: (file.table, file.path)))
        self._check_files(run, listed, tables)
        versions = schema_versions or {}
        rows = dict.fromkeys(tables, 0)
        for file in listed:
            rows[file.table] += file.rows
        manifest = Manifest(
            run_id=run.run_id,
            parcours=version(),
            started_at=utc_text(started_at),
            as_of=utc_text(as_of),
            settings=dict(settings),
            inputs=tuple(inputs),
            tables=tuple(table_entry(t, versions.get(name, "1-0-0"), rows[name]) for name, t in tables.items()),
            files=listed,
            tallies=tuple(dict(entry) for entry in tallies),
        )
        if self.store.exists(run.manifest):
            raise Refused(f"Run {run.run_id} already has a manifest.", "A run is written once: start a new one.")
        with writing(self.path):
            # The data first, then the list of it: no power cut can leave a published run with half a file.
            self.store.settle(f"{run.folder}/{file.path}" for file in listed)
            self.store.write_whole(run.manifest, manifest.to_bytes())
        return manifest

    def publish(
        self, run: Run, by: str = "run", publisher: str | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Makes `run` the one that readers see, in one write; returns what it tells, as `publication` does.

        It must have its manifest.
        """
        current: dict[str, Any] = {
            "run_id": run.run_id,
            "published_at": utc_text(_now()),
            "as_of": self.manifest(run.run_id).as_of,
            "published_by": by,
            "publisher": publisher,
            "reason": reason,
        }
        guard: AbstractContextManager[None] = nullcontext() if self.is_locked else self.lock(run.run_id)
        with guard, writing(self.path):
            if self.store.is_local and self.store.exists(run.catalog):
                self.store.settle([run.catalog])
            self.store.write_whole(f"{self.path}/current.json", (json.dumps(current, indent=1) + "\n").encode())
        return _publication(current)

    def discard_staged(self, run: Run) -> None:
        """Removes what no reader sees: files of repeated attempts, and last the pipeline's scratch."""
        listed = {f"{run.folder}/{file.path}" for file in self.manifest(run.run_id).files if file.run_id is None}
        self.store.remove(
            path for path in self.store.glob(run.folder, "*/*") if path not in listed and "/_staged/" not in path
        )
        self.store.delete(run.staged)

    def drop_run(self, run: Run) -> bool:
        """Removes a run's folder, first what makes it a whole run. Never the published one, or one that is being read."""
        with self._alone(run.run_id) as alone:
            if not alone or self.names(run.run_id):
                return False
            self.store.remove([run.manifest])
            self.store.delete(run.folder)
            return True

    def _prepare(self) -> None:
        if self.store.is_local:
            if Path(self.path).is_file():
                raise UsageError(
                    f"{self.path} is a file, not a folder.", "Give --output a folder; it is made if need be."
                )
            with writing(self.path):
                Path(self.path, "runs").mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise not_writable(self.path, "permission denied")

    def _check_files(self, run: Run, files: Sequence[File], tables: Mapping[str, DescribedTable]) -> None:
        sizes = self.store.glob(run.folder, "*/*")
        for file in files:
            if file.table not in tables:
                raise Refused(f"Run {run.run_id} lists {file.path} for an unknown table, {file.table}.")
            size = sizes.get(f"{run.folder}/{file.path}")
            if size != file.bytes:
                found = "is not there" if size is None else f"has {size:,} bytes"
                raise Refused(
                    f"Run {run.run_id} lists {file.path} with {file.bytes:,} bytes, but the file {found}.",
                    "Nothing is published. Check the disk, and run the command again.",
                )


def _publication(current: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "published_at": datetime.fromisoformat(current["published_at"]),
        "published_by": current.get("published_by", "run"),
        "publisher": current.get("publisher"),
        "reason": current.get("reason"),
    }


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _taken(path: str, holder: str) -> UsageError:
    try:
        told = json.loads(holder)
        who = f": run {told['run_id']}, process {told['pid']} on {told['host']}, since {told['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock but has not yet written who it is
        who = ""
    return UsageError(
        f"Another run is writing the lake {path}{who}.",
        "Wait for it to end, stop it, or give another --output. Queries go on as usual.",
    )
