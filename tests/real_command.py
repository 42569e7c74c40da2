"""The real command, `pipelines.cli.main`, in a process of its own: as a user's shell would start it, but for its imports.

Processes are forked from one that has imported all that the command needs: a second saved on each of many commands.
"""

import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pipelines.cli", "pipelines.run", "pipelines.progress", "pipelines.summary", __name__])


@dataclass(frozen=True)
class Done:
    """How a command ended; `megabytes` is the most memory that it held."""

    status: int | None
    out: str
    err: str
    megabytes: float


def run_command(args: Sequence[str], folder: Path, seconds: float = 120, file_bytes: int | None = None) -> Done:
    """`parcours ARGS`, its output kept in the folder. Killed after `seconds`: its status is then None.

    `file_bytes` is the size at which the operating system refuses to let a file grow, as a full disk would.
    """
    process = _FORKS.Process(target=_become_command, args=(list(args), str(folder), file_bytes))
    process.start()
    process.join(seconds)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
    used = folder / "used.json"
    return Done(status, out, err, json.loads(used.read_text()) / 1024 if used.exists() else 0.0)


def _become_command(args: list[str], folder: str, file_bytes: int | None) -> None:
    for name, descriptor in (("out", 1), ("err", 2)):
        with open(os.path.join(folder, name), "wb") as file:
            os.dup2(file.fileno(), descriptor)
    # The process that forked this one left streams of its own; the command is to have what a shell would give it.
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    multiprocessing.set_start_method("fork", force=True)  # what a process that a shell starts has on Linux
    from pipelines.cli import main

    sys.argv = ["parcours", *args]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        with open(os.path.join(folder, "used.json"), "w") as file:
            json.dump(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file)
