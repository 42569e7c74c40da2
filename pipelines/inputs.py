"""What the user wrote after --input, as a list of files: which source, which format, which compression."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.errors import InputError, UsageError
from pipelines.stores import on_disk
from schemas.source_descriptions import NATIVE, Lookup, Source
from transforms.map_source import SourceMapping
from transforms.read_blocks import InputFile

_ENDINGS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
_SOURCE = re.compile(r"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*):(?!//)(.+)", re.DOTALL)
_LOG = logging.getLogger("parcours")
_LARGEST_LOOKUP = 64 << 20


def find_inputs(patterns: Sequence[str], sources: Mapping[str, Source]) -> list[InputFile]:
    """The files of all patterns, ordered by path. A folder stands for all files in it that can be read.

    Raises UsageError for an unknown source, InputError for a pattern that no file fits, a file that fits two patterns,
    an empty file, and a name that does not tell the format.
    """
    files: dict[str, InputFile] = {}
    for text in patterns:
        source, pattern = _split(text, sources)
        for path, size in _match(on_disk(pattern)):
            file = _describe(path, size, source, sources)
            place = path if "://" in path else os.path.realpath(path)  # one file may be named in many ways
            if place in files:
                raise InputError(
                    f"{path} is named by two inputs: its records would count twice.",
                    "Name each file once, or narrow one of the patterns.",
                )
            files[place] = file
    return sorted(files.values(), key=lambda file: file.path)


def _split(text: str, sources: Mapping[str, Source]) -> tuple[str, str]:
    match = _SOURCE.fullmatch(text)
    if match is None or os.path.exists(text):
        return NATIVE, text
    name, pattern = match.groups()
    if name not in sources and name != NATIVE:
        raise UsageError(
            f"--input {text}: there is no source description {name!r}.",
            f"There are: {', '.join([NATIVE, *sources])}. Name a folder of your own in the setting `sources`.",
        )
    return name, pattern


def _match(pattern: str) -> list[tuple[str, int]]:
    """(path, bytes) of the files of a pattern or folder; names that begin with . or _ are not data, as in Hadoop."""
    if os.path.isdir(pattern):
        every = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(pattern)
            for name in names
            if not name.startswith((".", "_"))
        ]
        found = [(path, os.path.getsize(path)) for path in every if _format_of(path) is not None]
        if not found:
            raise InputError(
                f"The folder {pattern} holds no file that can be read.",
                "Files end in .jsonl, .ndjson, .json, .csv or .parquet, the text ones also in .gz or .zst.",
            )
        others = sorted(os.path.basename(path) for path in every if _format_of(path) is None)
        if others:
            _LOG.warning("%s: not read, by their names no events: %s", pattern, ", ".join(others[:10]))
        return sorted(found)
    try:
        matched = [(m.path, m.size_in_bytes) for m in FileSystems.match([pattern])[0].metadata_list]
    except (BeamIOError, ValueError, OSError) as error:
        raise InputError(f"{pattern} cannot be listed: {error}", "Check the path and the rights.") from error
    files = [(path, size) for path, size in matched if not os.path.isdir(path)]
    if not files:
        raise InputError(
            f"No file fits {pattern}.", "Check the path; put a pattern in quotes, so that the shell leaves it alone."
        )
    return sorted(files)


def _format_of(path: str) -> tuple[str, str] | None:
    name = os.path.basename(path).lower()
    compression = ""
    for ending in ("gz", "zst"):
        if name.endswith(f".{ending}"):
            name, compression = name[: -len(ending) - 1], ending
    format_ = _ENDINGS.get(os.path.splitext(name)[1])
    return (format_, compression) if format_ and not (compression and format_ == "parquet") else None


def _describe(path: str, size: int, source: str, sources: Mapping[str, Source]) -> InputFile:
    found = _format_of(path)
    if found is None:
        raise InputError(
            f"{path}: the name does not tell the format.",
            "Files end in .jsonl, .ndjson, .json, .csv or .parquet, the text ones also in .gz or .zst.",
        )
    format_, compression = found
    if source in sources and sources[source].format != format_:
        raise InputError(
            f"{path}: is {format_} by its name, but the source {source} reads {sources[source].format}.",
            "Name the right file, or change `format` in a description of your own.",
        )
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes).", "Remove it, or export it again.")
    return InputFile(source, path, size, format_, compression)


def load_mappings(
    files: Sequence[InputFile], sources: Mapping[str, Source], given: Mapping[str, str]
) -> dict[str, SourceMapping]:
    """The source descriptions that the files need, with their lookup tables read."""
    used = {}
    for name in sorted({file.source for file in files}):
        if name == NATIVE:
            used[name] = SourceMapping(None)
            continue
        source = sources[name]
        folder = os.path.dirname(next(file.path for file in files if file.source == name))
        lookups = {lookup.name: _lookup(lookup, source, folder, given) for lookup in source.lookups.values()}
        used[name] = SourceMapping(source, lookups)
    known = {lookup for name in used if name != NATIVE for lookup in sources[name].lookups}
    for name in given:
        if name not in known:
            raise UsageError(
                f"--lookup {name}: none of the sources in use has such a lookup.",
                f"They have: {', '.join(sorted(known)) or 'none'}.",
            )
    return used


def _lookup(lookup: Lookup, source: Source, folder: str, given: Mapping[str, str]) -> pa.Table:
    if lookup.name not in given and lookup.file is None:
        columns = list(zip(*lookup.rows, strict=True)) or [()] * len(lookup.columns)
        try:
            return pa.table({name: list(values) for name, values in zip(lookup.columns, columns, strict=True)})
        except pa.ArrowException as error:
            raise UsageError(
                f"{source.file}: lookups.{lookup.name}: {' '.join(str(error).split())}.",
                "Give a column one type in all rows.",
            ) from error
    path = given.get(lookup.name) or FileSystems.join(folder, str(lookup.file))
    mend = f"Put it beside the input, or name it: --lookup {lookup.name}=FILE."
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            data = stream.read(_LARGEST_LOOKUP + 1)
    except Exception as error:
        raise InputError(f"The lookup {lookup.name} of {source.name}, {path}, cannot be opened.", mend) from error
    if len(data) > _LARGEST_LOOKUP:
        raise InputError(f"The lookup {path} is larger than 64 MiB.", "A lookup is a small table: trim it.")
    try:
        if path.endswith(".parquet"):
            return pq.read_table(pa.BufferReader(data))
        return pa_csv.read_csv(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise InputError(f"The lookup {path} cannot be read: {error}", mend) from error
