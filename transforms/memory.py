"""Keep freed memory for the next block instead of giving it back to the system.

Columns of a block are arrays of megabytes. The C library takes such arrays from the system one by one and returns them
one by one, and every page is cleared anew: at 5 million events that cost 12 of 78 s of CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

# mallopt parameters of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Called in the `setup` of DoFns that handle whole blocks. Does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BYTES - 1):
        pa.set_memory_pool(pa.system_memory_pool())
