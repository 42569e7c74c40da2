"""Foreign exports, described and not programmed: one TOML file says how the records of an export become events.

docs/sources.md explains the form with an example. Shipped descriptions lie under `sources/<system>/<table>.toml` and are
named `<system>.<table>`; the setting `sources` names a folder of a user's own.
"""

from __future__ import annotations

import tomllib
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "sources"
FORMATS = ("jsonl", "csv", "parquet")
#: The name of Parcours' own event format, which needs no description.
NATIVE = "events"
#: Tables that a lookup beside them would hide.
_TAKEN = ("records", "block", "selected", "mapped")
#: Columns that `records` has besides those of the file.
_OF_RECORDS = frozenset(("record_no", "record_key"))
_EXAMPLES = {"null_words": '"NULL", "n/a"', "optional_columns": '"coupon", "tax"'}


class SourceError(ValueError):
    """A source description is not usable; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Lookup:
    """A small table that the SELECT may join: a file beside the input, or rows in the description itself."""

    name: str
    file: str | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True)
class Source:
    """How the records of one export become events.

    `select` is one DuckDB SELECT over `records` (the export's columns, `record_no`, `record_key`, and for JSON lines one
    column `record`) and the lookups. It yields `record_no`, `event_type` and fields of that type; rows it leaves out are
    skipped records. `record_key` is a SQL expression that is unique for a record: an event's id is
    `<record_key>:<event_type>` unless the SELECT gives `event_id`. A text that is one of `null_words` is an absent value,
    and a column of `optional_columns` that a file lacks is there for the SELECT all the same, empty.
    """

    name: str
    description: str
    format: str
    timezone: str
    record_key: str
    select: str
    file: str = ""
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    null_words: tuple[str, ...] = ()
    optional_columns: tuple[str, ...] = ()


def load_sources(extra_folder: str | Path | None = None) -> dict[str, Source]:
    """The shipped descriptions and, if named, those of a user's folder, by name. A user's own replaces a shipped one."""
    sources = {}
    for folder in [SHIPPED, *([Path(extra_folder)] if extra_folder else [])]:
        if not folder.is_dir():
            raise SourceError(f"{folder}: the folder of source descriptions does not exist")
        files = sorted(folder.rglob("*.toml"))
        if not files:
            raise SourceError(f"{folder}: no source description in it; one is a file <system>/<table>.toml")
        for file in files:
            source = _read(file, ".".join(file.relative_to(folder).with_suffix("").parts))
            sources[source.name] = source
    return dict(sorted(sources.items()))


def _read(file: Path, name: str) -> Source:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: not readable as TOML: {error}") from error
    known = {"description", "format", "timezone", "record_key", "null_words", "optional_columns", "select", "lookups"}
    for key in document:
        if key not in known:
            raise SourceError(f"{file}: unknown key {key!r}; a description has {', '.join(sorted(known))}")
    for key in ("description", "format", "record_key", "select"):
        if not isinstance(document.get(key), str) or not document[key].strip():
            raise SourceError(f"{file}: the key {key!r} is missing or not a text")
    if document["format"] not in FORMATS:
        raise SourceError(f"{file}: format is {document['format']!r}; it is one of {', '.join(FORMATS)}")
    timezone = document.get("timezone", "UTC")
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:  # OSError: a folder, as America
        raise SourceError(f"{file}: timezone {timezone!r} is not an IANA time zone such as Europe/Berlin") from error
    given = document.get("lookups", {})
    if not isinstance(given, dict) or not all(isinstance(spec, dict) for spec in given.values()):
        raise SourceError(f"{file}: lookups are tables: [lookups.NAME] with `file`, or with `columns` and `rows`")
    lookups = {key: _lookup(file, key, value) for key, value in given.items()}
    if name == NATIVE:
        raise SourceError(f"{file}: the name {NATIVE!r} stands for Parcours' own format; name the file otherwise")
    return Source(
        name, document["description"], document["format"], timezone, document["record_key"], document["select"],
        str(file), lookups, _words(file, document, "null_words"), _words(file, document, "optional_columns"),
    )  # fmt: skip


def _words(file: Path, document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts. JSON lines have no columns to which it could apply."""
    words = document.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise SourceError(f"{file}: {key} is a list of texts, such as [{_EXAMPLES[key]}]")
    if words and document["format"] == "jsonl":
        raise SourceError(f"{file}: {key} goes with the columns of csv and parquet; say it in the SELECT of a jsonl")
    if key == "optional_columns" and (own := _OF_RECORDS.intersection(word.lower() for word in words)):
        raise SourceError(f"{file}: {key}: {', '.join(sorted(own))} is a name of Parcours' own")
    return tuple(words)


def _lookup(file: Path, name: str, spec: Mapping[str, Any]) -> Lookup:
    if name.lower() in _TAKEN:
        raise SourceError(f"{file}: lookups.{name}: {name} is a name of Parcours' own; give the lookup another name")
    if set(spec) == {"file"} and isinstance(spec["file"], str):
        return Lookup(name, file=spec["file"])
    lists = isinstance(spec.get("columns"), list) and isinstance(spec.get("rows"), list)
    lists = lists and all(isinstance(row, list) and len(row) == len(spec["columns"]) for row in spec["rows"])
    if set(spec) == {"columns", "rows"} and lists:
        return Lookup(name, columns=tuple(spec["columns"]), rows=tuple(tuple(row) for row in spec["rows"]))
    raise SourceError(
        f"{file}: lookups.{name}: give either `file`, or `columns` and `rows` with one value a column in each row"
    )
