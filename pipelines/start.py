"""The console script `parcours`: where much data is handled, the process is set up anew before anything is imported."""

import os
import sys
from typing import NoReturn

from pipelines.allocator import restart_with_settings

_HANDLE_MUCH_DATA = ("run", "check", "demo")


def main() -> NoReturn:
    """Runs the command; see pipelines/cli.py."""
    try:
        _open_streams()
        if sys.argv[1:2] and sys.argv[1] in _HANDLE_MUCH_DATA:
            restart_with_settings()
        from pipelines.cli import main as run_command
    except KeyboardInterrupt:
        os.write(2, b"parcours: interrupted\n")
        os._exit(130)
    run_command()


def _open_streams() -> None:
    """Gives a process that was started without one of its three streams an empty one: a file would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # it ends with us
