"""The dictionary of metrics and kinds of friction: one entry (TOML) and one SQL file each, side by side.

A new metric is `metrics/<name>.toml` and `metrics/<name>.sql`; a new kind of friction the same under `friction/`. A
user's own lie in a folder that the settings name. docs/metrics.md says what the SQL sees and must give.

A metric's entry ends with a worked example: events, and the values that come of them by hand. `parcours metrics NAME`
prints it, and a test sends the events of all shipped examples through one run.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
SHIPPED_METRICS = _HERE / "metrics"
#: km_p50: the median by Kaplan and Meier, which also counts those that still wait, as waiting at least so long.
STATISTICS = ("mean", "p50", "p75", "p90", "km_p50")
SHAPES = ("count", "sum", "ratio", "score", "distribution", "lifetime")
OVER_ALL = ("sum", "own", "last")
#: A metric is told by so many dimensions at most.
MOST_DIMENSIONS = 2
#: Segments that every metric has; no dimension and no attribute of the settings can have their names.
EVERY_SEGMENT = ("all", "first_channel", "plan")

#: The moment at which all worked examples are looked at, and the settings they are worked out with.
EXAMPLE_AS_OF = "2026-06-30T23:59:59Z"
EXAMPLE_SETTINGS = """\
[segments]
example = "extra ->> 'example'"

[business_hours]
timezone = "Europe/Paris"
holidays = ["2026-05-01"]

[business_hours.week]
monday = "09:00-17:00"
tuesday = "09:00-17:00"
wednesday = "09:00-17:00"
thursday = "09:00-17:00"
friday = "09:00-17:00"
"""


class DictionaryError(ValueError):
    """An entry or its SQL is not usable; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Result:
    """A value that an example comes to: of a period (`2026-02`, or `all`), and where it matters of a published name,
    a currency, and a value of one of the metric's dimensions. What is not said is not compared. A dimension `all` reads
    the number of everyone in a run of the example alone."""

    period: str
    value: float | None
    numerator: str | None = None
    denominator: str | None = None
    n: int | None = None
    name: str | None = None
    currency: str | None = None
    dimension: str | None = None
    dimension_value: str | None = None
    status: str | None = None

    def __str__(self) -> str:
        """As a line: `2026-02: 1 / 2 = 0.5`."""
        of = "".join(f", {part}" for part in (self.name, self.currency, self.dimension_value) if part)
        parts = " / ".join(part for part in (self.numerator, self.denominator) if part is not None)
        value = "no value" if self.value is None else f"{self.value:.10g}"
        sum_of = f"{parts} = " if self.denominator is not None else ""
        return f"{self.period}{of}: {sum_of}{value}{f' ({self.status})' if self.status else ''}"

    @property
    def month(self) -> datetime.date | None:
        """The first day of the period; None over all."""
        return None if self.period == "all" else datetime.date.fromisoformat(f"{self.period}-01")


@dataclass(frozen=True)
class Example:
    """A worked example: what happened, the arithmetic in words, and what comes of it.

    `events` are the cells of the example's table by column name, empty ones left out.
    """

    text: str
    columns: tuple[str, ...]
    events: tuple[Mapping[str, str], ...]
    results: tuple[Result, ...]

    def table(self) -> list[list[str]]:
        """The events as rows of cells, the columns' names first."""
        return [list(self.columns), *([event.get(name, "") for name in self.columns] for event in self.events)]


@dataclass(frozen=True)
class Metric:
    """One entry of the metric dictionary.

    `shape`: count and sum are numerators alone; ratio is numerator / denominator; score is 100 times that; distribution
    gives one metric a statistic, from whole numbers that are divided by `divisor` at the end; lifetime is a ratio a
    year, times the years that a customer is expected to stay.
    `over_all`: the value over all periods is the `sum` of the months' numerators over that of their denominators; the
    SQL's `own` rows, with a null month, where a customer counts once; or the `last` month's, where it is a stock.
    `accumulates`: the SQL gives what each month adds, and a month's value is over all months up to its end.
    `dimensions`: columns of the SQL by which the metric is told too, each as a segment of that name; `by_dimension_only`:
    a total over them would say nothing.
    `is_forecast`: the SQL sees the customers with what the fitted models expect of them.
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
    example: Example
    shape: str
    sql: str
    file: str
    statistics: tuple[str, ...] = ()
    divisor: int = 1
    over_all: str = "sum"
    accumulates: bool = False
    dimensions: tuple[str, ...] = ()
    by_dimension_only: bool = False
    is_forecast: bool = False

    @property
    def published_names(self) -> tuple[str, ...]:
        """The names under which the metric stands in lifecycle_metrics."""
        return tuple(f"{self.name}_{s}" for s in self.statistics) if self.shape == "distribution" else (self.name,)


@dataclass(frozen=True)
class Friction:
    """One kind of friction. `parameters` are passed to the SQL by name; settings can override them.

    `excludes_outcome`: who reached the outcome has no such point, so nothing can be said of what it costs.
    """

    kind: str
    area: str
    description: str
    source: str
    example: str
    sql: str
    file: str
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    excludes_outcome: bool = False


_METRIC_TEXTS = (
    "description", "formula", "numerator", "denominator", "unit", "anchor", "exclusions", "source", "shape",
)  # fmt: skip
_METRIC_OTHERS = {
    "statistics", "divisor", "over_all", "accumulates", "dimensions", "by_dimension_only", "is_forecast", "example",
}  # fmt: skip
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PERIOD = re.compile(r"all|\d{4}-(0[1-9]|1[0-2])")
_FRICTION_TEXTS = ("area", "description", "source", "example")


def load_metrics(extra_folder: str | Path | None = None) -> dict[str, Metric]:
    """The shipped metrics and the user's own, by name in alphabetical order."""
    metrics = {}
    for file, entry, sql in _entries("metrics", extra_folder):
        _check(file, entry, _METRIC_TEXTS, _METRIC_OTHERS)
        for key, allowed in (("shape", SHAPES), ("over_all", OVER_ALL)):
            if entry.get(key, allowed[0]) not in allowed:
                raise DictionaryError(f"{file}: {key} is {entry[key]!r}; it is one of {', '.join(allowed)}")
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
        dimensions = entry.get("dimensions", [])
        if not isinstance(dimensions, list) or not all(isinstance(d, str) and _NAME.fullmatch(d) for d in dimensions):
            raise DictionaryError(f"{file}: dimensions are names of columns of the SQL: small letters, digits and _")
        if len(dimensions) > MOST_DIMENSIONS or set(dimensions) & set(EVERY_SEGMENT):
            raise DictionaryError(
                f"{file}: dimensions are {MOST_DIMENSIONS} at most, and none is {', '.join(EVERY_SEGMENT)}: each metric has those"
            )
        for key in ("accumulates", "by_dimension_only", "is_forecast"):
            if not isinstance(entry.get(key, False), bool):
                raise DictionaryError(f"{file}: {key} is {entry[key]!r}; it is true or false")
        if entry.get("by_dimension_only") and not dimensions:
            raise DictionaryError(f"{file}: by_dimension_only is true, and there are no dimensions")
        metrics[file.stem] = Metric(
            file.stem,
            **{key: entry[key] for key in _METRIC_TEXTS},
            sql=sql,
            file=str(file),
            example=_example(file, entry.get("example")),
            statistics=tuple(statistics),
            divisor=divisor,
            over_all=entry.get("over_all", OVER_ALL[0]),
            accumulates=entry.get("accumulates", False),
            dimensions=tuple(dimensions),
            by_dimension_only=entry.get("by_dimension_only", False),
            is_forecast=entry.get("is_forecast", False),
        )
    return dict(sorted(metrics.items()))


def _example(file: Path, given: Any) -> Example:
    """The table `example` of an entry: `text`, `events` (a table of columns with bars between) and `results`."""
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
    if not isinstance(given["results"], list) or not given["results"]:
        raise DictionaryError(f"{file}: the example comes to nothing; write [[example.results]] with period and value")
    results = []
    for result in given["results"]:
        known = set(Result.__dataclass_fields__)
        if not isinstance(result, dict) or not set(result) <= known or not _PERIOD.fullmatch(str(result.get("period"))):
            raise DictionaryError(
                f"{file}: a result of the example has period ('2026-02' or 'all') and value, or one of "
                f"{', '.join(sorted(known - {'period', 'value'}))}"
            )
        results.append(Result(**{"value": None, **result}))
    events = tuple({name: cell for name, cell in zip(head, line, strict=True) if cell} for line in lines[1:])
    return Example(str(given["text"]).strip(), tuple(head), events, tuple(results))


def load_friction(
    extra_folder: str | Path | None = None, parameters: Mapping[str, Mapping[str, int | float]] | None = None
) -> dict[str, Friction]:
    """The kinds of friction by name, with the settings' parameters in place of the entries' own."""
    kinds = {}
    given = dict(parameters or {})
    # One of the user's own replaces a shipped one before the parameters are looked at: they are then its parameters.
    for file, entry, sql in {entry[0].stem: entry for entry in _entries("friction", extra_folder)}.values():
        _check(file, entry, _FRICTION_TEXTS, {"parameters", "excludes_outcome"})
        excludes_outcome = entry.get("excludes_outcome", False)
        if not isinstance(excludes_outcome, bool):
            raise DictionaryError(f"{file}: excludes_outcome is {excludes_outcome!r}; it is true or false")
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
            file.stem, **{key: entry[key] for key in _FRICTION_TEXTS}, sql=sql, file=str(file), parameters=own,
            excludes_outcome=excludes_outcome,
        )  # fmt: skip
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
