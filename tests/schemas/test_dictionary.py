"""The dictionary of metrics and friction: whole entries, and a user's own beside the shipped ones.

That each example comes out as it says is held by tests/test_metric_examples.py and tests/test_friction_examples.py; what a
parameter may be, by test_parameters.py.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import dictionary
from schemas.dictionary import (
    AREAS,
    OVER_ALL,
    SHAPES,
    SHIPPED_FRICTION,
    SHIPPED_METRICS,
    STATISTICS,
    ExpectedPoint,
    Result,
    load_friction,
    load_metrics,
)
from schemas.entries import DictionaryError

FRICTION = '''
area = "web"
description = "Pages."
source = "Ours."

[parameters]
slow_ms = 1000
share = 0.5

[example]
text = "Ann's page takes 1001 ms."
events = """
event_type | occurred_at          | customer_id | load_ms
site_visit | 2026-01-05T10:00:00Z | ann         | 1001
"""

[[example.results]]
started_at = "2026-01-05T10:00:00Z"
customer = "ann"
n_events = 1
'''
EXAMPLE = """
[example]
text = "Two orders, one of them late: 1/2."
events = '''
event_type | occurred_at          | customer_id | amount
purchase   | 2026-01-05T10:00:00Z | ann         | 10.00
site_visit | 2026-02-05T10:00:00Z |             |
'''

[[example.results]]
period = "2026-02"
value = 0.5
numerator = "1"
n = 2

[[example.results]]
period = "all"
"""
METRIC = (
    """
shape = "ratio"
unit = "ratio"
description = "A share."
formula = "a / b"
numerator = "a."
denominator = "b."
anchor = "The event."
exclusions = "None."
source = "Ours."
"""
    + EXAMPLE
)
DISTRIBUTION = METRIC.replace('"ratio"\nunit', '"distribution"\nstatistics = ["p50", "km_p50"]\ndivisor = 60\nunit')
SHIPPED = sorted(SHIPPED_METRICS.glob("*.toml"))


def write(folder: Path, text: str, name: str = "own", sql: str | None = "select 1") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text)
    if sql is not None:
        file.with_suffix(".sql").write_text(sql)
    return file


def test_the_shipped_metrics() -> None:
    metrics = load_metrics()
    assert list(metrics) == sorted(metrics)
    assert {
        "active_customers", "new_customers", "revenue", "orders", "aov", "arpu", "repurchase_rate", "nps", "csat",
        "first_response_minutes", "resolution_hours",
    } <= set(metrics)  # fmt: skip
    for name, metric in metrics.items():
        assert metric.name == name
        assert metric.shape in SHAPES and metric.over_all in OVER_ALL
        assert set(metric.statistics) <= set(STATISTICS)
        assert metric.sql.startswith("-- "), "what it is, and what it reads"
        for text in (
            metric.description, metric.numerator, metric.denominator, metric.anchor, metric.source, metric.example.text,
        ):  # fmt: skip
            assert text.endswith((".", "?")), (name, text)


def test_the_unit_of_a_distribution_is_in_its_names() -> None:
    for metric in load_metrics().values():
        if metric.shape == "distribution":
            assert metric.name.endswith(f"_{metric.unit}")
            assert metric.published_names == tuple(f"{metric.name}_{s}" for s in metric.statistics)
        else:
            assert metric.published_names == (metric.name,)


def test_no_two_metrics_are_published_under_one_name() -> None:
    names = [name for metric in load_metrics().values() for name in metric.published_names]
    assert len(names) == len(set(names))


def test_the_shipped_kinds_of_friction() -> None:
    kinds = load_friction()
    assert {"checkout_abandoned", "slow_page", "slow_first_response"} <= set(kinds)
    for name, kind in kinds.items():
        assert kind.kind == name
        assert kind.area in AREAS
        assert kind.sql.startswith("-- ") and kind.description.endswith(".") and kind.source.endswith((".", ")"))
        assert kind.example.text.endswith((".", ")"))
        named = set(re.findall(r"\$([a-z_]+)", kind.sql)) - {"as_of"}
        assert named == set(kind.parameters), f"{name}: the parameters are those of its SQL"


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    file = write(tmp_path, DISTRIBUTION, "own_minutes", "select 2")
    metrics = load_metrics(tmp_path)
    own = metrics["own_minutes"]
    assert (own.sql, own.file, own.divisor, own.statistics) == ("select 2", str(file), 60, ("p50", "km_p50"))
    assert own.published_names == ("own_minutes_p50", "own_minutes_km_p50")
    assert set(metrics) == {*load_metrics(), "own_minutes"}


def test_the_keys_that_an_entry_may_leave_out(tmp_path: Path) -> None:
    write(tmp_path, METRIC)
    own = load_metrics(tmp_path)["own"]
    assert (own.over_all, own.accumulates, own.dimensions, own.by_dimension_only) == ("sum", False, (), False)
    assert (own.is_forecast, own.divisor, own.statistics) == (False, 1, ())
    given = 'over_all = "last"\naccumulates = true\ndimensions = ["stage", "b_2"]\nby_dimension_only = true\nis_forecast = true\n'
    write(tmp_path, given + METRIC)
    own = load_metrics(tmp_path)["own"]
    assert (own.over_all, own.accumulates, own.dimensions, own.by_dimension_only) == (
        "last",
        True,
        ("stage", "b_2"),
        True,
    )
    assert own.is_forecast


def test_a_worked_example(tmp_path: Path) -> None:
    """Cells are texts without the blanks around them; where there is none, the event does not have the field."""
    write(tmp_path, METRIC)
    example = load_metrics(tmp_path)["own"].example
    assert example.text == "Two orders, one of them late: 1/2."
    assert example.columns == ("event_type", "occurred_at", "customer_id", "amount")
    assert example.events == (
        {"event_type": "purchase", "occurred_at": "2026-01-05T10:00:00Z", "customer_id": "ann", "amount": "10.00"},
        {"event_type": "site_visit", "occurred_at": "2026-02-05T10:00:00Z"},
    )
    assert example.results == (Result("2026-02", 0.5, numerator="1", n=2), Result("all", None))
    assert [result.month for result in example.results] == [datetime.date(2026, 2, 1), None]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_metric_without_its_example_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    text, found, _ = file.read_text().partition("\n[example]\n")
    assert found
    (tmp_path / "metrics").mkdir()
    monkeypatch.setattr(dictionary, "_HERE", tmp_path)
    write(tmp_path / "metrics", text, file.stem, file.with_suffix(".sql").read_text())
    with pytest.raises(DictionaryError, match=rf"{file.name}: the table \[example\] has a text, events, and"):
        load_metrics()
    write(tmp_path / "metrics", text + EXAMPLE, file.stem)
    assert list(load_metrics()) == [file.stem]


@pytest.mark.parametrize("file", sorted(SHIPPED_FRICTION.glob("*.toml")), ids=lambda file: file.stem)
def test_a_shipped_kind_of_friction_without_its_example_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    text, found, _ = file.read_text().partition("\n[example]\n")
    assert found
    (tmp_path / "friction").mkdir()
    monkeypatch.setattr(dictionary, "_HERE", tmp_path)
    write(tmp_path / "friction", text, file.stem, file.with_suffix(".sql").read_text())
    with pytest.raises(DictionaryError, match=rf"{file.name}: the table \[example\] has a text, events, and"):
        load_friction()
    write(tmp_path / "friction", text + FRICTION[FRICTION.index("\n[example]") :], file.stem)
    assert list(load_friction()) == [file.stem]


def test_the_points_of_an_example(tmp_path: Path) -> None:
    write(tmp_path, FRICTION)
    example = load_friction(tmp_path)["own"].example
    assert example.results == (ExpectedPoint("2026-01-05T10:00:00Z", customer="ann", n_events=1),)
    assert example.columns == ("event_type", "occurred_at", "customer_id", "load_ms")
    write(tmp_path, FRICTION[: FRICTION.index("\n[[")] + "results = []\n")
    assert load_friction(tmp_path)["own"].example.results == (), "an example may show that there is none"


def test_a_metric_of_ones_own_replaces_a_shipped_one(tmp_path: Path) -> None:
    write(tmp_path, METRIC, "aov")
    assert load_metrics(tmp_path)["aov"].unit == "ratio"


def test_a_kind_of_ones_own_replaces_a_shipped_one_and_takes_the_settings(tmp_path: Path) -> None:
    write(tmp_path, FRICTION, "slow_page")
    kinds = load_friction(tmp_path, {"slow_page": {"share": 0.25}})
    assert kinds["slow_page"].parameters == {"slow_ms": 1000, "share": 0.25}
    assert set(kinds) == set(load_friction())


def test_settings_replace_a_parameter_and_change_nothing_else() -> None:
    changed = load_friction(None, {"slow_page": {"slow_ms": 2500}})
    assert changed["slow_page"].parameters == {"slow_ms": 2500, "ignore_pages": ()}
    assert load_friction()["slow_page"].parameters == {"slow_ms": 4000, "ignore_pages": ()}
    assert {**changed, "slow_page": None} == {**load_friction(), "slow_page": None}


def test_a_parameter_that_there_is_not_is_named() -> None:
    with pytest.raises(DictionaryError, match="slow_page has no such parameter; it has slow_ms, ignore_pages"):
        load_friction(None, {"slow_page": {"share": 0.25}})
    with pytest.raises(DictionaryError, match="no such kind of friction; there are checkout_abandoned"):
        load_friction(None, {"slow_pages": {"slow_ms": 1}})


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (METRIC, 'shape = "ratio"', 'shape = "rate"',
         "shape is 'rate'; it is one of count, sum, ratio, score, distribution, lifetime"),
        (METRIC, 'anchor = "The event."', "", "the key 'anchor' is missing or not a text"),
        (METRIC, '"The event."', "5", "the key 'anchor' is missing or not a text"),
        (METRIC, '"The event."', '" "', "the key 'anchor' is missing or not a text"),
        (METRIC, "anchor", "ancor", "unknown key 'ancor'"),
        (METRIC, '"ratio"\nunit', '"distribution"\nunit', "a distribution, and only that, lists statistics"),
        (METRIC, '"ratio"\nunit', '"ratio"\nstatistics = ["p50"]\nunit', "a distribution, and only that, lists statistics"),
        (DISTRIBUTION, '"p50"', '"p51"', "lists statistics out of mean, p50, p75, p90, km_p50"),
        (DISTRIBUTION, '["p50", "km_p50"]', '"p50"', "statistics out of"),
        (DISTRIBUTION, '"p50"', "50", "statistics out of"),
        (DISTRIBUTION, "60", "0", "divisor is 0; it is a whole number, at least 1"),
        (DISTRIBUTION, "60", '"60"', "divisor is '60'"),
        (DISTRIBUTION, "60", "0.5", "divisor is 0.5"),
        (DISTRIBUTION, "60", "true", "divisor is True"),
        (METRIC, '"ratio"\nunit', '"ratio"\nunit "', "not readable as TOML"),
        (METRIC, "unit", 'over_all = "first"\nunit', "over_all is 'first'; it is one of sum, own, last"),
        (METRIC, "unit", 'over_all = ["sum"]\nunit', "over_all is ['sum']; it is one of"),
        (METRIC, "unit", 'dimensions = "stage"\nunit', "dimensions are names of columns of the SQL: small letters, digits and _"),
        (METRIC, "unit", "dimensions = [1]\nunit", "dimensions are names of columns"),
        (METRIC, "unit", 'dimensions = ["Stage"]\nunit', "dimensions are names of columns"),
        (METRIC, "unit", 'dimensions = ["stage\\n"]\nunit', "dimensions are names of columns"),
        (METRIC, "unit", 'dimensions = [""]\nunit', "dimensions are names of columns"),
        (METRIC, "unit", "accumulates = 1\nunit", "accumulates is 1; it is true or false"),
        (METRIC, "unit", 'by_dimension_only = "yes"\nunit', "by_dimension_only is 'yes'; it is true or false"),
        (METRIC, "unit", "is_forecast = 0\nunit", "is_forecast is 0; it is true or false"),
        (METRIC, "unit", "by_dimension_only = true\nunit", "by_dimension_only is true, and there are no dimensions"),
    ],
)  # fmt: skip
def test_a_slip_in_a_metric_is_named(tmp_path: Path, text: str, old: str, new: str, message: str) -> None:
    assert old in text
    file = write(tmp_path, text.replace(old, new, 1))
    with pytest.raises(DictionaryError) as error:
        load_metrics(tmp_path)
    assert str(error.value).startswith(f"{file}: ") and message in str(error.value)


_PARTS = "the table [example] has a text, events, and [[example.results]]"
_LINES = "the example's events are lines of cells with | between, under their field names"
_RESULT = (
    "a result of the example has period ('2026-02' or 'all') and value, or one of "
    "currency, denominator, dimension, dimension_value, n, name, numerator, status"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (EXAMPLE, "", _PARTS),
        (EXAMPLE, 'example = "1/2 = 0.5."', _PARTS),
        ('text = "Two orders, one of them late: 1/2."', "", _PARTS),
        ("text = ", "words = ", _PARTS),
        ("events = ", "more = 1\nevents = ", _PARTS),
        (EXAMPLE[EXAMPLE.index("events") : EXAMPLE.index("\n[[")], "", _PARTS),
        ("event_type", "type", _LINES),
        ("occurred_at", "at", _LINES),
        (EXAMPLE[EXAMPLE.index("purchase") : EXAMPLE.index("\'\'\'\n\n")], "", _LINES),
        (EXAMPLE[EXAMPLE.index("\'\'\'") : EXAMPLE.index("\n[[")], '""', _LINES),
        ("| ann         | 10.00", "| ann         ", "the line 'purchase | 2026-01-05T10:00:00Z | ann' has 3 cells under 4"),
        ("| 10.00", "| 10.00 | EUR", "| ann | 10.00 | EUR' has 5 cells under 4"),
        (EXAMPLE[EXAMPLE.index("\n[["):], "", _PARTS),
        (EXAMPLE[EXAMPLE.index("\n[["):], "results = []", "the example comes to nothing; write [[example.results]] with period and value"),
        (EXAMPLE[EXAMPLE.index("\n[["):], "results = 0.5", "the example comes to nothing"),
        (EXAMPLE[EXAMPLE.index("\n[["):], "results = [0.5]", _RESULT),
        ('period = "2026-02"\n', "", _RESULT),
        ('"2026-02"', '"2026-13"', _RESULT),
        ('"2026-02"', '"2026-02-01"', _RESULT),
        ('"2026-02"', '"everything"', _RESULT),
        ('"2026-02"', '"all\\n"', _RESULT),
        ("n = 2", "count = 2", _RESULT),
    ],
)  # fmt: skip
def test_a_slip_in_an_example_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in METRIC
    file = write(tmp_path, METRIC.replace(old, new, 1))
    with pytest.raises(DictionaryError) as error:
        load_metrics(tmp_path)
    assert str(error.value).startswith(f"{file}: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('area = "web"', "", "the key 'area' is missing"),
        ('area = "web"', 'area = "shop"', "area is 'shop'; it is one of web, product, billing, support, journey"),
        ("0.5", "true", "parameters.share is True; it is a number, a text, a list of texts, or a table of numbers"),
        ("[parameters]", "[parameter]", "unknown key 'parameter'"),
        ("[parameters]\nslow_ms = 1000\nshare = 0.5\n", "parameters = [1]\n", "parameters is a table [parameters] of names"),
        ('started_at = "2026-01-05T10:00:00Z"\n', "", "a result of the example is a point: started_at"),
        ('started_at = "2026-01-05T10:00:00Z"', 'started_at = "2026-01-05"', "a result of the example is a point"),
        ('started_at = "2026-01-05T10:00:00Z"', "started_at = 2026-01-05T10:00:00Z", "a result of the example is a point"),
        ("n_events = 1", 'n_events = "1"', "n_events a whole number"),
        ("n_events = 1", 'known_at = "soon"', "a result of the example is a point"),
        ("n_events = 1", "minutes_lost = 0.5", "a result of the example is a point"),
        ("n_events = 1", "events = 1", "a result of the example is a point"),
        ("[[example.results]]", "[[example.result]]", "the table [example] has a text, events, and [[example.results]]"),
        ('text = "Ann', 'words = "Ann', "the table [example] has a text"),
        ("| 1001", "", "has 3 cells under 4"),
    ],
)  # fmt: skip
def test_a_slip_in_a_kind_of_friction_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FRICTION
    file = write(tmp_path, FRICTION.replace(old, new))
    with pytest.raises(DictionaryError) as error:
        load_friction(tmp_path)
    assert str(error.value).startswith(f"{file}: ") and message in str(error.value)


@pytest.mark.parametrize(("load", "text"), [(load_metrics, METRIC), (load_friction, FRICTION)])
def test_an_entry_and_its_sql_come_together(tmp_path: Path, load: Callable[..., Any], text: str) -> None:
    with pytest.raises(DictionaryError, match=r"no entry in it; an entry is <name>.toml with <name>.sql beside it"):
        load(tmp_path)
    write(tmp_path, text, sql=None)
    with pytest.raises(DictionaryError, match=r"its SQL is missing; write own.sql beside it"):
        load(tmp_path)
    (tmp_path / "own.sql").write_text("select 1")
    (tmp_path / "other.sql").write_text("select 1")
    with pytest.raises(DictionaryError, match=r"its entry is missing; write other.toml beside it"):
        load(tmp_path)
