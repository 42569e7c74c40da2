"""The form of an entry of the dictionary: <name>.toml with <name>.sql beside it, and a worked example at its end."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class DictionaryError(ValueError):
    """An entry or its SQL is not usable; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Example(Generic[R]):
    """A worked example: what happened, the arithmetic in words, and what comes of it.

    `events` are the cells of the example's table by column name, empty ones left out.
    """

    text: str
    columns: tuple[str, ...]
    events: tuple[Mapping[str, str], ...]
    results: tuple[R, ...]

    def table(self) -> list[list[str]]:
        """The events as rows of cells, the columns' names first."""
        return [list(self.columns), *([event.get(name, "") for name in self.columns] for event in self.events)]


def read_entries(places: Iterable[Path]) -> list[tuple[Path, dict[str, Any], str]]:
    """(file, entry, SQL) of each entry in the folders, in the order of folders and names."""
    found = []
    for place in places:
        entries = sorted(place.glob("*.toml"))
        if not entries:
            raise DictionaryError(f"{place}: no entry in it; an entry is <name>.toml with <name>.sql beside it")
        for sql in sorted(place.glob("*.sql")):
            if sql.with_suffix(".toml") not in entries:
                raise DictionaryError(f"{sql}: its entry is missing; write {sql.stem}.toml beside it")
        for file in entries:
            sql = file.with_suffix(".sql")
            try:
                found.append((file, tomllib.loads(file.read_text(encoding="utf-8")), sql.read_text(encoding="utf-8")))
            except FileNotFoundError as error:
                raise DictionaryError(f"{file}: its SQL is missing; write {sql.name} beside it") from error
            except ValueError as error:
                raise DictionaryError(f"{file}: not readable as TOML: {error}") from error
    return found


def check_keys(file: Path, entry: Mapping[str, Any], texts: tuple[str, ...], others: set[str]) -> None:
    """Raises DictionaryError unless the entry has all texts, and beside them nothing but the others."""
    for key in entry:
        if key not in texts and key not in others:
            raise DictionaryError(f"{file}: unknown key {key!r}")
    for key in texts:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise DictionaryError(f"{file}: the key {key!r} is missing or not a text")


def read_example(
    file: Path, given: Any, read_result: Callable[[Any], R], must_have: str, may_be_none: bool = False
) -> Example[R]:
    """The table `example` of an entry: `text`, `events` (a table of columns with bars between) and `results`.

    `read_result` makes a result of its table, or raises a ValueError that says what one is; `must_have` names its least
    keys. `may_be_none`: an example may show that nothing comes of it, with results = [].
    """
    if not isinstance(given, dict) or set(given) != {"text", "events", "results"}:
        raise DictionaryError(f"{file}: the table [example] has a text, events, and [[example.results]]")
    lines = [[cell.strip() for cell in line.split("|")] for line in str(given["events"]).strip().splitlines()]
    head = lines[0] if lines else []
    if not {"event_type", "occurred_at"} <= set(head) or not lines[1:]:
        raise DictionaryError(
            f"{file}: the example's events are lines of cells with | between, under their field names"
        )
    for line in lines[1:]:
        if len(line) != len(head):
            raise DictionaryError(
                f"{file}: in the example's events, the line {' | '.join(line)!r} has {len(line)} cells under {len(head)}"
            )
    if not isinstance(given["results"], list) or not (given["results"] or may_be_none):
        raise DictionaryError(f"{file}: the example comes to nothing; write [[example.results]] with {must_have}")
    try:
        results = tuple(read_result(result) for result in given["results"])
    except ValueError as error:
        raise DictionaryError(f"{file}: {error}") from None
    events = tuple({name: cell for name, cell in zip(head, line, strict=True) if cell} for line in lines[1:])
    return Example(str(given["text"]).strip(), tuple(head), events, results)
