"""The manifest of a run: its tables, every file, the settings and inputs it came from, and its counts.

It tells all that a reader needs: a lake can be read without the contracts, and the version, that wrote it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Protocol, Self

import pyarrow as pa

from schemas.tables import sql_type as sql_type


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second or, where there is a fraction, to the microsecond.

    >>> utc_text(datetime(2026, 11, 21, 23, 59, tzinfo=UTC))
    '2026-11-21T23:59:00Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def version() -> str:
    """The installed version of Parcours."""
    try:
        return metadata.version("parcours")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True)
class File:
    """One Parquet file of a table; the path is relative to the folder of the run that wrote it.

    That is this run where `run_id` is None: a run may list files of an earlier one, whose rows it takes over.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    run_id: str | None = None


@dataclass(frozen=True)
class Input:
    """One file whose records the tables hold, and the run that took it in.

    `checksum` is `sha256:` and hexadecimal digits of a local file, `store:` and what an object store keeps of one there;
    `modified_at` is None there, and both in the manifests of versions before 0.2.
    """

    path: str
    source: str
    bytes: int
    checksum: str | None = None
    modified_at: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class TableEntry:
    """A table as the manifest tells it, so that a lake can be read without the code that wrote it.

    `columns` are {name, type, description}; the type is SQL, as DuckDB and most engines read it.
    """

    name: str
    description: str
    grain: str
    key: tuple[str, ...]
    schema_version: str
    rows: int
    columns: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Manifest:
    """What a run holds: its tables, every file, the settings and inputs it came from, and its counts."""

    run_id: str
    parcours: str
    started_at: str
    as_of: str
    settings: dict[str, Any]
    inputs: tuple[Input, ...]
    tables: tuple[TableEntry, ...]
    files: tuple[File, ...]
    tallies: tuple[dict[str, Any], ...] = field(default=())
    format: int = 1

    @property
    def rows(self) -> dict[str, int]:
        return {table.name: table.rows for table in self.tables}

    def paths(self, table: str) -> list[str]:
        """The table's files in the order in which they are to be read, relative to the run's folder."""
        return [
            file.path if file.run_id is None else f"../{file.run_id}/{file.path}"
            for file in self.files
            if file.table == table
        ]

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        given = json.loads(data)
        return cls(
            **(
                given
                | {
                    "inputs": tuple(Input(**({"source": ""} | entry)) for entry in given["inputs"]),
                    "tables": tuple(
                        TableEntry(**(entry | {"key": tuple(entry["key"]), "columns": tuple(entry["columns"])}))
                        for entry in given["tables"]
                    ),
                    "files": tuple(File(**entry) for entry in given["files"]),
                    "tallies": tuple(given["tallies"]),
                }
            )
        )


class DescribedTable(Protocol):
    """What the lake needs to know of a table: `schemas.tables.Table` is one."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def grain(self) -> str: ...
    @property
    def key(self) -> Sequence[str]: ...
    @property
    def schema(self) -> pa.Schema: ...


def table_entry(table: DescribedTable, schema_version: str, rows: int) -> TableEntry:
    return TableEntry(
        name=table.name,
        description=table.description,
        grain=table.grain,
        key=tuple(table.key),
        schema_version=schema_version,
        rows=rows,
        columns=tuple(
            {
                "name": column.name,
                "type": sql_type(column.type),
                "description": (column.metadata or {}).get(b"description", b"").decode(),
            }
            for column in table.schema
        ),
    )
