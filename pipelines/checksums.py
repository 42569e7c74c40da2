"""The files that a run takes in, with what tells later whether they are still the same: size, time and checksum."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import InputError
from pipelines.manifest import Input, utc_text
from transforms.read_blocks import InputFile

_PIECE = 4 << 20


@dataclass(frozen=True)
class _Seen:
    """A local file as the operating system tells of it; None of what lies elsewhere."""

    bytes: int
    changed_ns: int


class Checksums:
    """`with Checksums(files, run_id) as taken: ...; taken.inputs()`: worked out beside the pipeline, in a thread.

    A local file's checksum is SHA-256. Of an object store it is what the store itself keeps, so that nothing is read
    twice over a network.
    """

    def __init__(self, files: Sequence[InputFile], run_id: str) -> None:
        self._files, self._run_id = files, run_id
        self._seen = [_look(file.path) for file in files]
        self._sums: list[str] = []
        self._failure: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="checksums", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def inputs(self) -> tuple[Input, ...]:
        """All files, once their checksums are there; InputError if one has changed since the run began."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        for file, seen in zip(self._files, self._seen, strict=True):
            if _look(file.path) != seen:
                raise InputError(
                    f"{file.path} changed while it was read.",
                    "Run the command again when the export is whole.",
                )
        return tuple(
            Input(
                path=file.path,
                source=file.source,
                bytes=file.bytes,
                checksum=checksum,
                modified_at=utc_text(datetime.fromtimestamp(seen.changed_ns // 10**9, UTC)) if seen else None,
                run_id=self._run_id,
            )
            for file, seen, checksum in zip(self._files, self._seen, self._sums, strict=True)
        )

    def _work(self) -> None:
        try:
            for file, seen in zip(self._files, self._seen, strict=True):
                if self._stopped.is_set():
                    return
                self._sums.append(self._sha256(file.path) if seen else f"store:{FileSystems.checksum(file.path)}")
        except OSError as error:
            reason = error.strerror or str(error)
            self._failure = InputError(f"{error.filename} cannot be read: {reason}.", "Check the file and its rights.")
        except Exception as error:  # each store's client has errors of its own
            reason = " ".join(str(error).split())
            self._failure = InputError(f"The checksum of an input cannot be had: {reason}", "Check the store.")

    def _sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while not self._stopped.is_set() and (piece := file.read(_PIECE)):
                digest.update(piece)
        return f"sha256:{digest.hexdigest()}"


def _look(path: str) -> _Seen | None:
    if "://" in path:
        return None
    try:
        told = os.stat(path)
    except OSError:
        return None  # the pipeline says what is wrong with it
    return _Seen(told.st_size, told.st_mtime_ns)
