"""The real command, `pipelines.start.main`, in a process of its own: its status, its two outputs, and its memory."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-c", "from pipelines.start import main; main()")

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "apache_beam.runners.portability.fn_api_runner.fn_runner",
        "pipelines.cli",
        "pipelines.run",
        "pipelines.progress",
        "pipelines.summary",
        __name__,
    ]
)


@dataclass(frozen=True)
class Done:
    """How a command ended; `megabytes` is the most memory that it held. Status None: it was killed."""

    status: int | None
    out: str
    err: str
    megabytes: float


def environment() -> dict[str, str]:
    """Of a process that is to import what this one can."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run_command(args: Sequence[str], folder: Path, seconds: float = 120) -> Done:
    """`parcours ARGS`, started as a shell would start it, its outputs kept in the folder. Killed after `seconds`."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen([*COMMAND, *args], stdout=out, stderr=err, env=environment())
        watch = threading.Timer(seconds, process.kill)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        watch.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return _done(process.returncode if process.returncode >= 0 else None, folder, usage.ru_maxrss)


def fork_command(args: Sequence[str], folder: Path, seconds: float = 120, file_bytes: int | None = None) -> Done:
    """The same, forked from a process that has imported all that the command needs: a second less on each of many.

    `file_bytes` is the size at which the operating system refuses to let a file grow, as a full disk would.
    """
    process = _FORKS.Process(target=_become_command, args=(list(args), str(folder), file_bytes))
    process.start()
    process.join(seconds)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    used = folder / "used.json"
    return _done(status, folder, json.loads(used.read_text()) if used.exists() else 0)


def _done(status: int | None, folder: Path, kilobytes: int) -> Done:
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
    return Done(status, out, err, kilobytes / 1024)


def _become_command(args: list[str], folder: str, file_bytes: int | None) -> None:
    for name, descriptor in (("out", 1), ("err", 2)):
        with open(os.path.join(folder, name), "wb") as file:
            os.dup2(file.fileno(), descriptor)
    # The process that forked this one has streams of its own; the command gets what a shell would give it.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # they end with the process
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ["MALLOC_TRIM_THRESHOLD_"] = "0"  # pipelines.allocator takes it that it has started us again already
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    from pipelines.cli import main

    sys.argv = ["parcours", *args]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        with open(os.path.join(folder, "used.json"), "w") as file:
            json.dump(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file)
