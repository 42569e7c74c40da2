"""Where files lie: the few things a lake does with files, the same on a disk and on an object store.

Paths are whole. Beam, whose FileSystems read and write gs:// and s3://, is imported only for those.
"""

import errno
import functools
import importlib.util
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote

from pipelines.errors import ParcoursError, UsageError

#: scheme -> the extra of apache-beam that reads it, and the package that shows that it is installed
OBJECT_STORES = {"gs": ("gcp", "google.cloud.storage"), "s3": ("aws", "boto3")}


class Store(Protocol):
    """The few things a lake does with files, the same on a disk and on an object store. Paths are whole."""

    is_local: bool

    def open_write(self, path: str) -> BinaryIO:
        """A new file, its folders made on the way."""
        ...

    def open_read(self, path: str) -> BinaryIO: ...

    def read_bytes(self, path: str) -> bytes:
        """The file's bytes; FileNotFoundError if there is none."""
        ...

    def exists(self, path: str) -> bool: ...

    def glob(self, folder: str, pattern: str) -> dict[str, int]:
        """Path to bytes, of the files in the folder that match, by name; `*` stays within one folder."""
        ...

    def delete(self, folder: str) -> None:
        """The folder and all in it; nothing happens if there is none."""
        ...

    def remove(self, paths: Iterable[str]) -> None:
        """Single files that are there."""
        ...

    def write_whole(self, path: str, data: bytes) -> None:
        """A small file, there whole or not at all, over the one that was there."""
        ...

    def settle(self, paths: Iterable[str]) -> None:
        """After this, the files outlast a loss of power."""
        ...


class _Disk:
    is_local = True

    def open_write(self, path: str) -> BinaryIO:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("wb")

    def open_read(self, path: str) -> BinaryIO:
        return Path(path).open("rb")

    def read_bytes(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def glob(self, folder: str, pattern: str) -> dict[str, int]:
        found = sorted(path for path in Path(folder).glob(pattern) if path.is_file())
        return {str(path): path.stat().st_size for path in found}

    def delete(self, folder: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)

    def write_whole(self, path: str, data: bytes) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _fsync(str(target.parent))

    def settle(self, paths: Iterable[str]) -> None:
        folders = set()
        for path in paths:
            _fsync(path)
            folders.add(str(Path(path).parent))
        for folder in sorted(folders):
            _fsync(folder)


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (network shares) cannot sync a folder: that is no reason to refuse the run.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


class _ObjectStore:
    is_local = False

    def __init__(self, root: str, beam_args: Sequence[str]) -> None:
        extra, package = OBJECT_STORES[root.partition("://")[0]]
        if not _is_installed(package):
            raise UsageError(
                f"{root} needs a part of Apache Beam that is not installed.",
                f"pip install 'apache-beam[{extra}]'",
            )
        if package == "boto3":
            _read_models_once()
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        self._files = cast(Any, FileSystems)
        self._as_is = CompressionTypes.UNCOMPRESSED
        if beam_args or self._files._pipeline_options is None:
            self._files.set_options(PipelineOptions(list(beam_args)))

    def open_write(self, path: str) -> BinaryIO:
        with _reaching(path):
            return cast(BinaryIO, self._files.create(path, compression_type=self._as_is))

    def open_read(self, path: str) -> BinaryIO:
        with _reaching(path):
            return cast(BinaryIO, self._files.open(path, compression_type=self._as_is))

    def read_bytes(self, path: str) -> bytes:
        if not self.exists(path):  # what a missing object raises differs from store to store
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        with _reaching(path), self.open_read(path) as file:
            return file.read()

    def exists(self, path: str) -> bool:
        with _reaching(path):
            return bool(self._files.exists(path))

    def glob(self, folder: str, pattern: str) -> dict[str, int]:
        with _reaching(folder):
            [result] = self._files.match([f"{folder}/{pattern}"])
        found = {item.path: int(item.size_in_bytes) for item in result.metadata_list if not item.path.endswith("/")}
        return dict(sorted(found.items()))

    def delete(self, folder: str) -> None:
        self.remove(self.glob(folder, "**"))

    def remove(self, paths: Iterable[str]) -> None:
        given = list(paths)
        for start in range(0, len(given), 1000):
            with _reaching(given[start]):
                self._files.delete(given[start : start + 1000])

    def write_whole(self, path: str, data: bytes) -> None:
        logging.disable(logging.ERROR)  # Beam logs a traceback of what it then raises, and we tell
        try:
            with _reaching(path), self.open_write(path) as file:  # one put: an object is there whole or not at all
                file.write(data)
        finally:
            logging.disable(logging.NOTSET)

    def settle(self, paths: Iterable[str]) -> None:
        pass  # an object that was written is kept


@contextmanager
def _reaching(path: str) -> Iterator[None]:
    """Each store's client has errors of its own, without a common class: what one says is told with the path."""
    try:
        yield
    except ParcoursError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} cannot be reached: {reason}.", "Check the bucket's name, the credentials and the network."
        ) from error


def _read_models_once() -> None:
    """Beam makes a session of boto3 for each request, and each reads the description of S3 from the disk: 0.1 s a request."""
    with suppress(ImportError, AttributeError):  # then it takes that long
        import botocore.session

        if not hasattr(botocore.session.create_loader, "cache_info"):
            botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is a part of
        return False


def on_disk(path: str) -> str:
    """The path that a file:// URI names; any other text as it is. UsageError for the file of another machine.

    >>> on_disk("file:///data/a%20year/*.jsonl"), on_disk("s3://bucket/a%20b"), on_disk("a/b")
    ('/data/a year/*.jsonl', 's3://bucket/a%20b', 'a/b')
    """
    if not path.startswith("file://"):
        return path
    host, slash, rest = path.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not slash:
        raise UsageError(
            f"{path} names no file of this machine.", "Give the path: file:///folder/name, or /folder/name."
        )
    return "/" + unquote(rest)


def store_for(path: str, beam_args: Sequence[str] = ()) -> tuple[Store, str]:
    """The store of a path, and the path made absolute and without a slash at its end."""
    path = on_disk(path)
    scheme, separator, _ = path.partition("://")
    if not separator:
        if not path.strip():
            raise UsageError(
                "The path of the lake is empty.", "Give a folder, gs://bucket/folder or s3://bucket/folder."
            )
        return _Disk(), os.path.abspath(path)
    if scheme not in OBJECT_STORES:
        raise UsageError(
            f"{path} is on a kind of store that Parcours does not know ({scheme}).",
            "Give a local folder, gs://bucket/folder or s3://bucket/folder.",
        )
    return _ObjectStore(path, beam_args), path.rstrip("/")


@contextmanager
def writing(lake: str) -> Iterator[None]:
    """What the disk refuses while a lake is written, as an error that the user can mend."""
    try:
        yield
    except OSError as error:
        raise not_writable(lake, error.strerror or str(error)) from None


def not_writable(lake: str, reason: str) -> UsageError:
    return UsageError(
        f"The lake {lake} cannot be written: {reason[:1].lower() + reason[1:]}.",
        "Give --output a folder that you may write to, on a disk with room.",
    )
