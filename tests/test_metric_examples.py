"""Every metric of the dictionary does what its worked example says, through the real pipeline."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from schemas.dictionary import Metric, load_metrics
from tests.metric_examples import differences, measured, needs_own_run

METRICS = load_metrics()
TOGETHER = [metric for metric in METRICS.values() if not needs_own_run(metric)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return measured(TOGETHER, tmp_path_factory.mktemp("examples"))


def test_no_event_of_an_example_is_quarantined(tables: dict[str, pa.Table]) -> None:
    assert "quarantine" not in tables or tables["quarantine"].num_rows == 0


@pytest.mark.parametrize("metric", TOGETHER, ids=lambda metric: metric.name)
def test_the_example_comes_out(metric: Metric, tables: dict[str, pa.Table]) -> None:
    assert differences(metric, tables) == []


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if needs_own_run(m)], ids=lambda metric: metric.name)
def test_the_example_of_a_dimension_comes_out(metric: Metric, tmp_path: Path) -> None:
    assert differences(metric, measured([metric], tmp_path)) == []


def test_examples_say_something() -> None:
    """A removed or an empty example is noticed: loading asks for one, and this asks that it comes to something."""
    for metric in METRICS.values():
        assert len(metric.example.text) > 30, metric.name
        assert any(result.value is not None for result in metric.example.results) or metric.is_forecast, metric.name
        told = {result.name for result in metric.example.results}
        if metric.shape == "distribution":
            assert told == set(metric.published_names), f"{metric.name}: a value by hand for each statistic"
