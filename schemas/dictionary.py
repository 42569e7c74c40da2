"""The dictionary of metrics and kinds of friction: one entry (TOML) and one SQL file each, side by side.

A new metric is `metrics/<name>.toml` and `metrics/<name>.sql`; a new kind of friction the same under `friction/`. A
user's own lie in a folder that the settings name. docs/metrics.md and docs/friction.md say what the SQL sees and must give.

An entry ends with a worked example: events, and the values or points that come of them by hand. `parcours metrics NAME`
and `parcours friction NAME` print it, and a test sends the events of all shipped examples through one run.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from schemas.entries import DictionaryError, Example, check_keys, read_entries, read_example
from schemas.parameters import Parameter, overridden, read_parameters

_HERE = Path(__file__).parent
SHIPPED_METRICS = _HERE / "metrics"
SHIPPED_FRICTION = _HERE / "friction"
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
class ExpectedPoint:
    """A friction point that an example comes to. `customer` as the example's events name it; what is not said is not
    compared, and there are as many points as results."""

    started_at: str
    customer: str | None = None
    subject: str | None = None
    stage: str | None = None
    ended_at: str | None = None
    known_at: str | None = None
    minutes_lost: str | None = None
    n_events: int | None = None

    def __str__(self) -> str:
        """As a line: `2026-01-05T10:00:00Z, ann: /pricing (consideration), 2 events, 0.1833 min lost`."""
        what = [
            f"{self.subject or ''}{f' ({self.stage})' if self.stage else ''}".strip(),
            "" if self.n_events is None else f"{self.n_events} event{'s' if self.n_events > 1 else ''}",
            f"{self.minutes_lost} min lost" if self.minutes_lost else "",
            f"until {self.ended_at}" if self.ended_at else "",
            f"established {self.known_at}" if self.known_at else "",
        ]
        who = f", {self.customer}" if self.customer else ""
        return f"{self.started_at}{who}: {', '.join(part for part in what if part) or 'one point'}"


@dataclass(frozen=True)
class Metric:
    """One entry of the metric dictionary.

    `shape`: count and sum are numerators alone; ratio is numerator / denominator; score is 100 times that; distribution
    gives one metric a statistic, from whole numbers that are divided by `divisor` at the end; lifetime is a ratio a
    year, times the years that a customer is expected to stay.
    `over_all`: the value over all periods is the `sum` of the months' numerators over that of their denominators; the
    SQL's `own` rows, with a null month, where a customer counts once; or the `last` month's, where it is a stock.
    `compares_ends`: it is told of each month how it ended for those who were there at its beginning; so over all it is
    provisional while the month of as-of is not over.
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
    example: Example[Result]
    shape: str
    sql: str
    file: str
    statistics: tuple[str, ...] = ()
    divisor: int = 1
    over_all: str = "sum"
    accumulates: bool = False
    compares_ends: bool = False
    dimensions: tuple[str, ...] = ()
    by_dimension_only: bool = False
    is_forecast: bool = False

    @property
    def published_names(self) -> tuple[str, ...]:
        """The names under which the metric stands in lifecycle_metrics."""
        return tuple(f"{self.name}_{s}" for s in self.statistics) if self.shape == "distribution" else (self.name,)

    @property
    def as_computed(self) -> Metric:
        """The entry without what only people read: the rest is sent to each step that measures."""
        return replace(
            self, description="", formula="", numerator="", denominator="", anchor="", exclusions="", source="",
            example=Example("", (), (), ()),
        )  # fmt: skip


@dataclass(frozen=True)
class Friction:
    """One kind of friction. `parameters` are passed to the SQL by name; settings can override them.

    `excludes_outcome`: who reached the outcome has no such point, so nothing can be said of what it costs.
    """

    kind: str
    area: str
    description: str
    source: str
    example: Example[ExpectedPoint]
    sql: str
    file: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    excludes_outcome: bool = False

    @property
    def as_computed(self) -> Friction:
        """Likewise."""
        return replace(self, example=Example("", (), (), ()), description="", source="")

    @property
    def name(self) -> str:
        return self.kind


_METRIC_TEXTS = (
    "description", "formula", "numerator", "denominator", "unit", "anchor", "exclusions", "source", "shape",
)  # fmt: skip
_METRIC_OTHERS = {
    "statistics", "divisor", "over_all", "accumulates", "compares_ends", "dimensions", "by_dimension_only",
    "is_forecast", "example",
}  # fmt: skip
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PERIOD = re.compile(r"all|\d{4}-(0[1-9]|1[0-2])")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_FRICTION_TEXTS = ("area", "description", "source")
AREAS = ("web", "product", "billing", "support", "journey")


def load_metrics(extra_folder: str | Path | None = None) -> dict[str, Metric]:
    """The shipped metrics and the user's own, by name in alphabetical order."""
    metrics = {}
    for file, entry, sql in _entries("metrics", extra_folder):
        check_keys(file, entry, _METRIC_TEXTS, _METRIC_OTHERS)
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
        for key in ("accumulates", "compares_ends", "by_dimension_only", "is_forecast"):
            if not isinstance(entry.get(key, False), bool):
                raise DictionaryError(f"{file}: {key} is {entry[key]!r}; it is true or false")
        if entry.get("by_dimension_only") and not dimensions:
            raise DictionaryError(f"{file}: by_dimension_only is true, and there are no dimensions")
        metrics[file.stem] = Metric(
            file.stem,
            **{key: entry[key] for key in _METRIC_TEXTS},
            sql=sql,
            file=str(file),
            example=read_example(file, entry.get("example"), _value, "period and value"),
            statistics=tuple(statistics),
            divisor=divisor,
            over_all=entry.get("over_all", OVER_ALL[0]),
            accumulates=entry.get("accumulates", False),
            compares_ends=entry.get("compares_ends", False),
            dimensions=tuple(dimensions),
            by_dimension_only=entry.get("by_dimension_only", False),
            is_forecast=entry.get("is_forecast", False),
        )
    return dict(sorted(metrics.items()))


def _value(given: Any) -> Result:
    known = set(Result.__dataclass_fields__)
    if not isinstance(given, dict) or not set(given) <= known or not _PERIOD.fullmatch(str(given.get("period"))):
        raise ValueError(
            f"a result of the example has period ('2026-02' or 'all') and value, or one of "
            f"{', '.join(sorted(known - {'period', 'value'}))}"
        )
    return Result(**{"value": None, **given})


def load_friction(
    extra_folder: str | Path | None = None, parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Friction]:
    """The kinds of friction by name, with the settings' parameters in place of the entries' own."""
    kinds = {}
    given = dict(parameters or {})
    # One of the user's own replaces a shipped one before the parameters are looked at: they are then its parameters.
    for file, entry, sql in {entry[0].stem: entry for entry in _entries("friction", extra_folder)}.values():
        check_keys(file, entry, _FRICTION_TEXTS, {"parameters", "example", "excludes_outcome"})
        if entry["area"] not in AREAS:
            raise DictionaryError(f"{file}: area is {entry['area']!r}; it is one of {', '.join(AREAS)}")
        excludes_outcome = entry.get("excludes_outcome", False)
        if not isinstance(excludes_outcome, bool):
            raise DictionaryError(f"{file}: excludes_outcome is {excludes_outcome!r}; it is true or false")
        own = read_parameters(file, entry.get("parameters", {}))
        kinds[file.stem] = Friction(
            file.stem,
            **{key: entry[key] for key in _FRICTION_TEXTS},
            sql=sql,
            file=str(file),
            example=read_example(file, entry.get("example"), _point, "started_at", may_be_none=True),
            parameters=overridden(file, own, given.pop(file.stem, {})),
            excludes_outcome=excludes_outcome,
        )
    if given:
        raise DictionaryError(
            f"friction_parameters.{min(given)}: no such kind of friction; there are {', '.join(kinds)}"
        )
    return dict(sorted(kinds.items()))


def _point(given: Any) -> ExpectedPoint:
    known = set(ExpectedPoint.__dataclass_fields__)
    if (
        not isinstance(given, dict)
        or not set(given) <= known
        or not all(isinstance(value, int if name == "n_events" else str) for name, value in given.items())
        or not all(_MOMENT.fullmatch(given.get(name, "")) for name in {"started_at", *given} if name.endswith("_at"))
    ):
        raise ValueError(
            f"a result of the example is a point: started_at ('2026-01-05T10:00:00Z'), and any of "
            f"{', '.join(sorted(known - {'started_at'}))}: texts, but n_events a whole number"
        )
    return ExpectedPoint(**given)


def _entries(folder: str, extra_folder: str | Path | None) -> list[tuple[Path, dict[str, Any], str]]:
    return read_entries([_HERE / folder, *([Path(extra_folder)] if extra_folder else [])])
