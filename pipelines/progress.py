"""How far a run is: a bar on a terminal, a plain line every ten seconds in a log, nothing if it is quiet.

A thread looks at what the pipeline has staged in the run's folder, whichever runner writes there: a block's
file is named `<input bytes>-<unique>.arrow`, a finished shard leaves a `touchpoints/part-*` file. So no
counter has to travel back from a worker. On object stores, where each look costs a request, it only says
that the run goes on.
"""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

_LOOK_S = 0.5
_LINE_S = 10.0
_BYTES_OF_BLOCK = re.compile(r"(\d+)-")


class ProgressFactory(Protocol):
    """What a run is given: `with progress(total_bytes, run.folder, shards): ...`; see `Progress`."""

    def __call__(
        self, total_bytes: int | None, run_folder: str, shards: int | None = None
    ) -> contextlib.AbstractContextManager[object]: ...


@dataclass(frozen=True)
class State:
    """One look at the run's folder. `share` is None where nothing tells how much is left."""

    text: str
    share: float | None


class Progress:
    """Shows how far the run in `run_folder` is, from entry to exit.

    `total_bytes` is the size of the input as staged blocks count it, `shards` the number of parts that
    touchpoints will have; None where unknown. Nothing is shown if `quiet`. Lines and bar go to `stream`, or
    standard error.
    """

    def __init__(
        self,
        total_bytes: int | None,
        run_folder: str,
        shards: int | None = None,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        line_every_s: float = _LINE_S,
    ) -> None:
        self._total = total_bytes
        self._folder = run_folder
        self._shards = shards
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._line_every_s = line_every_s
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not self._quiet:
            show = self._show_bar if self._stream.isatty() else self._show_lines
            self._thread = threading.Thread(target=show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def look(self) -> State:
        """What the run's folder shows now."""
        from rich import filesize  # here and below: a tenth of a second that a quick or quiet run is spared

        if "://" in self._folder:
            return State("running", None)
        read = sum(_block_bytes(Path(self._folder, "_staged", "blocks")))
        if self._total is not None:
            read = min(read, self._total)  # a retried block is staged twice
        if self._total is None or read < self._total:
            whole = "" if self._total is None else f" of {filesize.decimal(self._total)}"
            return State(f"read {filesize.decimal(read)}{whole}", read / self._total if self._total else None)
        parts = sum(1 for name in _names(Path(self._folder, "touchpoints")) if name.startswith("part-"))
        if parts == 0:
            return State(f"read {filesize.decimal(read)}, matching customers", None)
        if self._shards is None:
            return State(f"wrote {parts:,} shards", None)
        parts = min(parts, self._shards)
        return State(f"wrote {parts:,} of {self._shards:,} shards", parts / self._shards)

    def _show_lines(self) -> None:
        started = time.monotonic()
        while not self._done.wait(self._line_every_s):
            state = self.look()
            share = "" if state.share is None else f" ({state.share:.0%})"
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            print(f"parcours: {minutes:02d}:{seconds:02d} {state.text}{share}", file=self._stream, flush=True)

    def _show_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Console(file=self._stream), transient=True) as bar:
            task = bar.add_task("starting", total=None)
            while not self._done.wait(_LOOK_S):
                state = self.look()
                total = None if state.share is None else 1.0  # None: the bar moves, and claims no share
                bar.update(task, description=state.text, total=total, completed=state.share or 0.0)


def _names(folder: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):  # not yet made, or already discarded
        yield from (path.name for path in folder.iterdir())


def _block_bytes(folder: Path) -> Iterator[int]:
    for name in _names(folder):
        match = _BYTES_OF_BLOCK.match(name)
        if match is not None and name.endswith(".arrow"):
            yield int(match[1])
