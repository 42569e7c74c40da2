"""Every operation on the files of a lake, in order, with a fault at one of them.

What Python does to files is counted where it asks the operating system: folders made and removed, files opened for
writing, written, flushed, synced, closed, renamed and removed. That is all that a run does to a lake: Arrow and DuckDB
write into memory or a temporary folder, and Python copies from there (test_crash_points.py checks that no file appears
uncounted).
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Fault = Literal["none", "crash", "torn", "full"]
#: What a full disk still lets happen.
_FREE = frozenset(("unlink", "rmdir", "truncate", "close"))


class FileOperations:
    """From `watch` on, `fault` happens at operation number `at` (1, 2, ...) on files below `folder`.

    crash: the process is gone before the operation. torn: it is gone after half of a write reached the file. full: from
    that operation on, whatever needs room fails. There is one of it in a process, to the end of the process.
    """

    def __init__(self, folder: str, fault: Fault, at: int) -> None:
        self._folder, self._fault, self._at = os.path.realpath(folder) + os.sep, fault, at
        self.seen: list[str] = []

    def watch(self) -> None:
        """Puts itself between Python and the operating system."""
        for name, places in (("mkdir", (0,)), ("rmdir", (0,)), ("unlink", (0,)), ("remove", (0,)), ("replace", (0, 1))):
            setattr(os, name, self._counting(name, getattr(os, name), places))
        os.rename = self._counting("replace", os.rename, (0, 1))
        sync = os.fsync

        def sync_counted(descriptor: int) -> None:
            self.reach("fsync", f"/proc/self/fd/{descriptor}")
            sync(descriptor)

        os.fsync = sync_counted
        plain_open = os.open

        def open_descriptor(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self.reach("open", path)
            return plain_open(path, flags, *rest, **named)

        os.open = open_descriptor
        usual = io.open

        def open_file(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if isinstance(file, int) or set(mode) <= set("rbt") or not self._is_inside(file):
                return usual(file, mode, *rest, **named)
            self.reach("open", file)
            return _File(self, str(file), usual(file, mode, *rest, **named))

        builtins.open = open_file
        io.open = open_file  # pathlib asks this one

    def reach(self, name: str, path: Any, half: Callable[[], None] | None = None) -> None:
        """Counts an operation on a path of the lake; here the fault happens."""
        if not self._is_inside(path):
            return
        name = "unlink" if name == "remove" else name
        self.seen.append(f"{name} {self._told(path)}")
        number = len(self.seen)
        if self._fault == "full" and number >= self._at and name not in _FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if number == self._at and self._fault in ("crash", "torn"):
            if half is not None and self._fault == "torn":
                half()
            os._exit(137)

    def _counting(self, name: str, real: Callable[..., Any], places: tuple[int, ...]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            path = args[places[-1]]
            if named.get("dir_fd") is not None:  # as shutil.rmtree removes
                path = os.path.join(os.readlink(f"/proc/self/fd/{named['dir_fd']}"), os.fspath(path))
            self.reach(name, path)
            return real(*args, **named)

        return counted

    def _is_inside(self, path: Any) -> bool:
        return (_resolved(path) + os.sep).startswith(self._folder)

    def _told(self, path: Any) -> str:
        """The path without what differs from run to run."""
        parts = os.path.relpath(_resolved(path), self._folder).split(os.sep)
        return "/".join("RUN" if part[:1].isdigit() and "T" in part and "." not in part else part for part in parts)


class _File:
    """A file of the lake that is being written: each write, flush and close is an operation."""

    def __init__(self, operations: FileOperations, path: str, file: Any) -> None:
        self._operations, self._path, self._file = operations, path, file

    def write(self, data: Any) -> int:
        self._operations.reach("write", self._path, lambda: self._write_half(data))
        return self._file.write(data)

    def flush(self) -> None:
        self._operations.reach("flush", self._path)
        self._file.flush()

    def truncate(self, size: int | None = None) -> int:
        self._operations.reach("truncate", self._path)
        return self._file.truncate(size)

    def close(self) -> None:
        if not self._file.closed:
            self._operations.reach("close", self._path)
        self._file.close()

    def _write_half(self, data: Any) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _resolved(path: Any) -> str:
    text = os.fsdecode(path) if not isinstance(path, Path) else str(path)
    if text.startswith("/proc/self/fd/"):
        return os.readlink(text)
    return os.path.abspath(text)


assert sys.platform == "linux", "the watch reads /proc"
