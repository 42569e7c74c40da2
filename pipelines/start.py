"""The console script `parcours`: where much data is handled, the process is set up anew before anything is imported."""

import sys
from typing import NoReturn

from pipelines.allocator import restart_with_settings

_HANDLE_MUCH_DATA = ("run", "check", "demo")


def main() -> NoReturn:
    """Runs the command; see pipelines/cli.py."""
    if sys.argv[1:2] and sys.argv[1] in _HANDLE_MUCH_DATA:
        restart_with_settings()
    from pipelines.cli import main as run_command

    run_command()
