"""Keep freed memory for the next block instead of giving it back to the system.

Columns of a block are arrays of megabytes. The C library takes such arrays from the system one by one and returns them
one by one, and every page is cleared anew: a fifth of a run's CPU (docs/performance.md). glibc reads its settings only
when a process starts, so the command starts itself once more with them in the environment; workers inherit it. So does
NumPy's linear algebra, whose threads spin for 0.1 s in every process that imports it, and have nothing to do.
"""

from __future__ import annotations

import os
import sys

_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_THREADS = {"OPENBLAS_NUM_THREADS": "1"}


def restart_with_settings() -> None:
    """Replace this process by itself with the settings, under Linux, unless one of them is set already."""
    if sys.platform.startswith("linux") and not any(name in os.environ for name in _ENVIRONMENT):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**_THREADS, **os.environ, **_ENVIRONMENT})
