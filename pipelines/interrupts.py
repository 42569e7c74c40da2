"""An interrupt of a run: SIGINT or SIGTERM, wherever it meets it."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator

_CAUGHT: list[int] = []


def was_interrupted() -> bool:
    """True in `stoppable` once a signal came in, whatever became of it: Beam makes an error of the step in which it is."""
    return bool(_CAUGHT)


def heed() -> None:
    """Raises KeyboardInterrupt if one came in and got lost, in a finalizer or a callback, from which no error comes out."""
    if was_interrupted():
        raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt from here, which leaves the lake as it was.

    SIGTERM would else leave the run's folder behind.
    """

    def stop(number: int, _: object) -> None:
        _CAUGHT.append(number)
        logging.disable(logging.CRITICAL)  # Beam would log where it was stopped, as an error
        raise KeyboardInterrupt

    # What is ignored, as in the background of some shells, stays ignored.
    listened = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in listened}
    try:
        yield
    except BaseException:
        if was_interrupted():
            raise KeyboardInterrupt from None
        raise
    finally:
        _CAUGHT.clear()
        logging.disable(logging.NOTSET)
        for number, handler in before.items():
            signal.signal(number, handler)
