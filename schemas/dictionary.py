"""The dictionary of metrics and kinds of friction: one entry (TOML) and one SQL file each, side by side.

A new metric is `metrics/<name>.toml` and `metrics/<name>.sql`; a new kind of friction the same under `friction/`. A
user's own lie in a folder that the settings name. docs/metrics.md says what the SQL sees and must give.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
STATISTICS = ("mean", "p50", "p75", "p90")
SHAPES = ("count", "sum", "ratio", "score", "distribution")


class DictionaryError(ValueError):
    """An entry or its SQL is not usable; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Metric:
    """One entry of the metric dictionary.

    `shape`: count and sum are numerators alone; ratio is numerator / denominator; score is 100 times that; distribution
    gives one metric a statistic, from whole numbers that are divided by `divisor` at the end.
    `accumulates`: the SQL gives what each month adds, and a month's value is over all months up to its end.
    """

    name: str
    description: str
    formula: str
    numerator: str
    denominator: str
    unit: str
    anchor: str
    exclusions: str
    source: str
    example: str
    shape: str
    sql: str
    file: str
    statistics: tuple[str, ...] = ()
    divisor: int = 1
    accumulates: bool = False

    @property
    def published_names(self) -> tuple[str, ...]:
        """The names under which the metric stands in lifecycle_metrics."""
        return tuple(f"{self.name}_{s}" for s in self.statistics) if self.shape == "distribution" else (self.name,)


@dataclass(frozen=True)
class Friction:
    """One kind of friction. `parameters` are passed to the SQL by name; settings can override them."""

    kind: str
    area: str
    description: str
    source: str
    example: str
    sql: str
    file: str
    parameters: Mapping[str, int | float] = field(default_factory=dict)


_METRIC_TEXTS = (
    "description", "formula", "numerator", "denominator", "unit", "anchor", "exclusions", "source", "example", "shape",
)  # fmt: skip
_FRICTION_TEXTS = ("area", "description", "source", "example")


def load_metrics(extra_folder: str | Path | None = None) -> dict[str, Metric]:
    """The shipped metrics and the user's own, by name in alphabetical order."""
    metrics = {}
    for file, entry, sql in _entries("metrics", extra_folder):
        _check(file, entry, _METRIC_TEXTS, {"statistics", "divisor", "accumulates"})
        if entry["shape"] not in SHAPES:
            raise DictionaryError(f"{file}: shape is {entry['shape']!r}; it is one of {', '.join(SHAPES)}")
        divisor, statistics = entry.get("divisor", 1), entry.get("statistics", [])
        if type(divisor) is not int or divisor < 1:
            raise DictionaryError(f"{file}: divisor is {divisor!r}; it is a whole number, at least 1")
        if (
            not isinstance(statistics, list)
            or not all(s in STATISTICS for s in statistics)
            or ((entry["shape"] == "distribution") != bool(statistics))
        ):
            raise DictionaryError(
                f"{file}: a distribution, and only that, lists statistics out of {', '.join(STATISTICS)}"
            )
        texts = {key: entry[key] for key in _METRIC_TEXTS}
        metrics[file.stem] = Metric(
            file.stem, **texts, sql=sql, file=str(file), statistics=tuple(statistics), divisor=divisor,
            accumulates=bool(entry.get("accumulates", False)),
        )  # fmt: skip
    return dict(sorted(metrics.items()))


def load_friction(
    extra_folder: str | Path | None = None, parameters: Mapping[str, Mapping[str, int | float]] | None = None
) -> dict[str, Friction]:
    """The kinds of friction by name, with the settings' parameters in place of the entries' own."""
    kinds = {}
    given = dict(parameters or {})
    # One of the user's own replaces a shipped one before the parameters are looked at: they are then its parameters.
    for file, entry, sql in {entry[0].stem: entry for entry in _entries("friction", extra_folder)}.values():
        _check(file, entry, _FRICTION_TEXTS, {"parameters"})
        own = entry.get("parameters", {})
        if not isinstance(own, dict) or not all(type(value) in (int, float) for value in own.values()):
            raise DictionaryError(f"{file}: parameters are numbers by name")
        for name, value in given.pop(file.stem, {}).items():
            if name not in own:
                raise DictionaryError(
                    f"friction_parameters.{file.stem}.{name}: {file.stem} has no such parameter; it has {', '.join(own)}"
                )
            own = {**own, name: value}
        kinds[file.stem] = Friction(
            file.stem, **{key: entry[key] for key in _FRICTION_TEXTS}, sql=sql, file=str(file), parameters=own
        )
    if given:
        raise DictionaryError(
            f"friction_parameters.{min(given)}: no such kind of friction; there are {', '.join(kinds)}"
        )
    return dict(sorted(kinds.items()))


def _entries(folder: str, extra_folder: str | Path | None) -> list[tuple[Path, dict[str, Any], str]]:
    found = []
    for place in [_HERE / folder, *([Path(extra_folder)] if extra_folder else [])]:
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


def _check(file: Path, entry: Mapping[str, Any], texts: tuple[str, ...], others: set[str]) -> None:
    for key in entry:
        if key not in texts and key not in others:
            raise DictionaryError(f"{file}: unknown key {key!r}")
    for key in texts:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise DictionaryError(f"{file}: the key {key!r} is missing or not a text")
