"""How a command ends: its exit status, and what standard error says of it. Nothing here fails where nothing can be said.

0 done; 1 refused by the audit, nothing published; 2 usage, settings or SQL; 3 input could not be read; 70 a fault of our
own; 130 interrupted; 141 the reader of our output left.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click

from pipelines.errors import ParcoursError, UsageError

_FAULT, _INTERRUPTED, _READER_LEFT = 70, 130, 128 + signal.SIGPIPE


class Commands(click.Group):
    """A group of commands that tells a broken pipe as such: click itself would end with 1, which is ours for refused."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except BrokenPipeError as error:
            raise _ReaderLeftError from error


class _ReaderLeftError(Exception):
    """A broken pipe."""


def status_of(command: Callable[[], Any]) -> int:
    """Runs a command and returns its exit status; what went wrong, and the mend, go to standard error."""
    try:
        status = command()
        return status if isinstance(status, int) else 0
    except ParcoursError as error:
        _say(f"parcours: error: {error.message}", *([f"mend: {error.mend}"] if error.mend else []))
        return error.exit_status
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("parcours: interrupted")
        return _INTERRUPTED
    except _ReaderLeftError:
        # As quietly as other commands end; and Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_LEFT
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of the lake's disk it is told elsewhere
            _say(
                "parcours: error: There is no space left where standard output or a temporary file goes.",
                "mend: Make room there. A run that was published is published: see parcours runs.",
            )
            return UsageError.exit_status
        _say(
            traceback.format_exc().rstrip(),
            "parcours: this is a fault of Parcours: please report it with the lines above.",
        )
        return _FAULT


def end(status: int) -> NoReturn:
    """Ends the process without taking it apart: to free piece by piece what ends with it takes half a second of a run."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the reader has left, or there is no room
            stream.flush()
    os._exit(status)


def _say(*lines: str) -> None:
    with contextlib.suppress(OSError):
        click.echo("\n".join(lines), err=True)
