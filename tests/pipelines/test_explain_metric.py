"""`parcours explain --metric`: the events behind each number add up to it, and a stranger is told what is there."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipelines.catalog import connect
from pipelines.cli import status_of
from pipelines.explain_metric import Asked, explain_metric, explaining
from pipelines.explain_metric_value import worked_out
from pipelines.run import run
from pipelines.settings import load_settings
from schemas.dictionary import EXAMPLE_AS_OF, EXAMPLE_SETTINGS, load_metrics
from tests.metric_examples import events
from transforms.quantiles import lower_edges

COMPANY = Path(__file__).parents[2] / "fixtures" / "company"
METRICS = load_metrics()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fixture company, with an attribute as a segment."""
    folder = tmp_path_factory.mktemp("explained")
    settings = folder / "settings.toml"
    settings.write_text('[segments]\ncountry = "country"\n')
    run([str(COMPANY)], str(folder / "lake"), load_settings(str(settings), as_of="2026-03-31T00:00:00Z"))
    return str(folder / "lake")


@pytest.fixture(scope="module")
def published(lake: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(lake) as con:
        yield con


def test_every_number_of_the_company_is_the_sum_of_its_parts(lake: str, published: duckdb.DuckDBPyConnection) -> None:
    """Each metric, over all and by month, of everyone, by each segment and dimension: what explain adds up is published."""
    told = published.sql("""
        select distinct metric, period_start, segment, segment_value from lifecycle_metrics
        where
            case period_kind
                when 'all' then segment <> 'country' or metric in ('orders', 'churn_rate')
                else segment = 'all' and period_start in ('2025-11-01', '2026-01-01') and n > 0
            end
        order by all
    """).fetchall()
    assert len(told) > 300
    wrong = []
    with explaining(lake) as explain:
        for metric, month, segment, value in told:
            asked = Asked(
                metric, f"{month:%Y-%m}" if month else "all", None, segment if segment != "all" else None, value
            )
            found = explain(asked)
            if found.agree is not True:
                wrong.append((asked, found.published, found.sums))
    assert wrong == []


def test_every_event_behind_a_number_is_a_touchpoint(lake: str, published: duckdb.DuckDBPyConnection) -> None:
    there = {event_id for (event_id,) in published.sql("select event_id from touchpoints").fetchall()}
    named = 0
    with explaining(lake) as explain:
        for metric in METRICS.values():
            if metric.by_dimension_only:
                continue
            for row in explain(Asked(metric.published_names[0])).contributions:
                for event in row["numerator_events"] + row["denominator_events"]:
                    assert event["event_id"] in there, (metric.name, event)
                    assert event["customer_key"], "an event that was found"
                    named += 1
    assert named > 500


def test_the_examples_of_the_dictionary_are_explained(tmp_path: Path) -> None:
    """The events that the example of a metric names are those that explain names."""
    metric = METRICS["aov"]
    file = tmp_path / "events.jsonl"
    numbers = {"amount", "quantity", "score", "scale_min", "scale_max", "period_months"}
    file.write_text(
        "".join(
            json.dumps({k: float(v) if k in numbers else v for k, v in event.items()}) + "\n"
            for event in events(metric, "x.")
        )
    )
    (tmp_path / "settings.toml").write_text(EXAMPLE_SETTINGS)
    run([str(file)], str(tmp_path / "lake"), load_settings(str(tmp_path / "settings.toml"), as_of=EXAMPLE_AS_OF))
    found = explain_metric(str(tmp_path / "lake"), Asked("aov", segment="example", segment_value="aov"))
    assert found.agree
    kinds = {event["event_type"] for row in found.contributions for event in row["numerator_events"]}
    assert kinds == {"purchase"}


def test_of_one_customer(lake: str) -> None:
    found = explain_metric(lake, Asked("churn_rate", "2026-01", "c-ben"))
    assert found.agree is None, "one customer's part is not the whole"
    [numerator] = [row for row in found.contributions if row["numerator"]]
    assert (numerator["customer_key"], numerator["reason"]) == ("c-ben", "too_expensive")
    assert [event["event_id"] for event in numerator["numerator_events"]] == ["ben-12"]
    assert found.sums == ({"currency": None, "numerator": Decimal(1), "denominator": Decimal(1), "n": 1},)


def test_by_identifier_and_in_text(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        status_of(["explain", "--lake", lake, "--metric", "churn_rate", "--period", "2026-01", "--customer", "c-ben"])
        == 0
    )
    text = capsys.readouterr().out
    assert "churn_rate, 2026-01, customer c-ben" in text
    assert "2026-01-31T12:00:00Z  cancellation  ben-12" in text
    assert "reason too_expensive" in text


def test_the_text_says_that_the_parts_add_up(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["explain", "--lake", lake, "--metric", "aov", "--period", "2025-11"]) == 0
    text = capsys.readouterr().out
    assert "the parts below add up to what is published" in text and "DO NOT" not in text
    assert "60 / 2 EUR" in text and "50 / 1 USD" in text


def test_a_quantile_is_worked_out_from_its_values(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One value off by a second, and the text would say so: the value itself is compared, not only how many there are."""
    for metric in ("first_response_minutes_p50", "first_response_minutes_km_p50", "resolution_hours_p90"):
        found = explain_metric(lake, Asked(metric))
        [published], [total] = found.published, found.sums
        assert found.agree and found.values == (published["value"],) != (None,)
        moved = [{**row, "value": row["value"] + 60} for row in found.contributions]
        assert worked_out(found.metric, published, total, moved, None) != published["value"]
        assert status_of(["explain", "--lake", lake, "--metric", metric]) == 0
        text = capsys.readouterr().out
        assert f"Worked out   {published['value']:.10g} {found.metric.unit}  of " in text
        assert "the parts below come to what is published" in text


def test_buckets_are_worked_out_as_the_run_did() -> None:
    """998 and 1,000 lie in one bucket, whose lower edge 997 is told."""
    metric = METRICS["page_load_ms"]
    parts = [{"value": value, "is_open": False} for value in (1000, 998, 1000)]
    row = {"metric": "page_load_ms_p50", "method": "buckets"}
    assert lower_edges(np.array([998, 1000])).tolist() == [997, 997]
    assert worked_out(metric, row, {}, parts, None) == 997
    assert worked_out(metric, {**row, "method": "exact"}, {}, parts, None) == 1000


def test_a_lifetime_value_shows_its_churn_and_years(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand in fixtures/company/_expected_numbers.json: churn 4/16 a month, so a third of a year."""
    found = explain_metric(lake, Asked("clv_simple"))
    assert found.agree and found.lifespan is not None
    assert (found.lifespan["churn_metric"], found.lifespan["left"], found.lifespan["could_leave"]) == (
        "churn_rate",
        4,
        16,
    )
    assert status_of(["explain", "--lake", lake, "--metric", "clv_simple"]) == 0
    text = capsys.readouterr().out
    assert "Churn        churn_rate over all: 4 / 16 = 0.25 a month" in text
    assert "Years        0.333333  = 1 / (12 x churn), at most 5" in text
    assert "Worked out   30.37470686 EUR  = 162 / 649.34 days x 365.25 x years" in text


def test_who_left_is_named_with_the_event_that_says_so(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the net revenue retention of January ben pays nothing any more: his cancellation ben-12 ended it."""
    assert status_of(["explain", "--lake", lake, "--metric", "nrr", "--period", "2026-01"]) == 0
    numerator = capsys.readouterr().out.partition("Numerator:")[2].partition("Denominator:")[0]
    bens = numerator.partition("  c-ben")[2].partition("\n  c-")[0]
    assert "  0 EUR" in bens and "cancellation  ben-12" in bens


def test_the_time_zone_of_months_is_named(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["explain", "--lake", lake, "--metric", "orders"]) == 0
    assert ", months of UTC\n" in capsys.readouterr().out


def test_a_limit_says_what_it_leaves_out(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["explain", "--lake", lake, "--metric", "page_slow_share", "--limit", "3"]) == 0
    assert "more: --limit 0 shows all" in capsys.readouterr().out


def test_json_has_all_of_it(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["explain", "--lake", lake, "--metric", "orders", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agree"] is True and told["metric"] == "orders"
    assert len(told["contributions"]) == int(Decimal(told["published"][0]["numerator"]))
    [event] = told["contributions"][0]["numerator_events"]
    assert datetime.datetime.fromisoformat(event["occurred_at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--metric", "churn_rat"], ("There is no metric churn_rat.", "Did you mean churn_rate")),
        (["--metric", "zzz"], ("There is no metric zzz.", "parcours metrics lists them")),
        (
            ["--metric", "mrr", "--period", "2026-13"],
            ("2026-13 is no period.", "Write a month as 2026-02, or all; a quarter as"),
        ),
        (["--metric", "mrr", "--period", "2031-01"], ("The run has no mrr of 2031-01.", "2025-10 to 2026-03")),
        (
            ["--metric", "orders", "--segment", "first_channel=nope"],
            ("first_channel = nope", "first_channel=paid_search"),
        ),
        (["--metric", "orders", "--segment", "plan"], ("--segment plan is not NAME=VALUE",)),
        (["--metric", "conversion_rate"], ("is told by stage only", "--segment stage=awareness")),
        (["--metric", "orders", "--customer", "nobody"], ("nobody",)),
        (["--period", "2026-01"], ("--period and --segment go with --metric",)),
        ([], ("Name a customer, or a metric with --metric",)),
    ],
)
def test_what_is_not_there_is_told(
    args: list[str], said: tuple[str, ...], lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["explain", "--lake", lake, *args]) == 2
    error = capsys.readouterr().err
    for part in said:
        assert part in error
    assert "Traceback" not in error
