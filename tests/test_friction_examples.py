"""Every kind of friction does what its worked example says, through one run of the real pipeline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.dictionary import ExpectedPoint, Friction, load_friction
from tests.friction_examples import differences, found, points_of

KINDS = load_friction()
#: Of the design; each is shipped.
OF_THE_DESIGN = (
    "slow_page", "error_page", "rage_click", "quick_back", "search_loop", "checkout_abandoned", "payment_failed",
    "payment_retry", "task_failed", "task_abandoned", "contact_after_purchase", "slow_first_response", "slow_resolution",
    "ticket_reopened", "repeat_contact", "low_csat", "high_effort", "detractor", "refund", "stage_stall", "stage_backtrack",
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return found(KINDS.values(), tmp_path_factory.mktemp("examples"))


def test_every_kind_of_the_design_is_there() -> None:
    assert set(KINDS) == set(OF_THE_DESIGN)


def test_no_event_of_an_example_is_quarantined(tables: dict[str, pa.Table]) -> None:
    assert "quarantine" not in tables or tables["quarantine"].num_rows == 0
    assert tables["touchpoints"].num_rows == sum(len(kind.example.events) for kind in KINDS.values())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_example_comes_out(kind: Friction, tables: dict[str, pa.Table]) -> None:
    assert differences(kind, tables) == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_difference_is_seen(kind: Friction, tables: dict[str, pa.Table]) -> None:
    """Each value of the example is compared: another in its place is told."""
    first, *others = kind.example.results
    changed = [dataclasses.replace(first, customer="nobody"), dataclasses.replace(first, n_events=99)]
    if first.subject:
        changed.append(dataclasses.replace(first, subject="elsewhere"))
    if first.minutes_lost:
        changed.append(dataclasses.replace(first, minutes_lost="0.0001"))
    if first.known_at:
        changed.append(dataclasses.replace(first, known_at="2020-01-01T00:00:00Z"))
    for results in ([], [*kind.example.results, first], *([point, *others] for point in changed)):
        example = dataclasses.replace(kind.example, results=tuple(results))
        assert differences(dataclasses.replace(kind, example=example), tables), results


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_example_says_something(kind: Friction, tables: dict[str, pa.Table]) -> None:
    """A point is told with its subject, and somebody of the example has none, where the kind has a limit."""
    assert len(kind.example.text) > 60
    assert kind.example.results and kind.example.results[0].n_events
    assert any(point.subject for point in kind.example.results)
    people = {event["customer_id"] for event in kind.example.events}
    struggled = {point["customer"] for point in points_of(kind, tables)}
    assert struggled <= people
    if kind.parameters:
        assert struggled < people, "whom the limit spares"


def test_a_point_reads_as_a_line() -> None:
    point = ExpectedPoint("2026-01-05T10:00:00Z", "ann", "/a", "usage", minutes_lost="0.1000", n_events=2)
    assert str(point) == "2026-01-05T10:00:00Z, ann: /a (usage), 2 events, 0.1000 min lost"
    assert str(ExpectedPoint("2026-01-05T10:00:00Z")) == "2026-01-05T10:00:00Z: one point"


def test_parameters_of_the_settings_reach_the_sql(tmp_path: Path) -> None:
    settings = """
[friction_parameters.rage_click]
ignore_elements = ["add%"]
[friction_parameters.slow_page]
slow_ms = 5500
ignore_pages = ["/x"]
[friction_parameters.stage_stall]
stall_days = 61
"""
    kinds = [KINDS[name] for name in ("rage_click", "slow_page", "stage_stall")]
    run = found(kinds, tmp_path, settings)
    assert [p["customer"] for p in points_of(kinds[0], run)] == ["dan"], "what was ignored no longer is"
    assert [p["n_events"] for p in points_of(kinds[1], run)] == [1]
    assert points_of(kinds[2], run) == []
