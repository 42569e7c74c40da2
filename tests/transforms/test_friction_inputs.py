"""What the SQL of a kind of friction sees beside the tables of a shard: stays on pages, the beginning of stages, functions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from transforms import duck
from transforms.friction_inputs import inputs_of_friction, page_stays, stages_entered

AS_OF = "2026-12-31"


def visit(at: str, url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "site_visit", "at": f"2026-01-05 {at}", "page_url": url, **fields}


def stays(steps: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return page_stays(steps.journeys(rows, AS_OF)["touchpoints"]).to_pylist()


def test_visits_of_one_path_in_a_row_are_one_stay(steps: Any) -> None:
    rows = [
        visit("10:00", "https://s.example/a?x=1"), visit("10:01", "http://t.example/a#top"), visit("10:02", "/b", element="buy"),
        {"type": "purchase", "at": "2026-01-05 10:03"}, visit("10:04", "/b"), visit("10:05", "https://s.example"),
    ]  # fmt: skip
    found = stays(steps, rows)
    assert [(s["path"], s["event_id"], s["seq"], s["path_before"], s["path_after"], s["next_event_id"]) for s in found] == [
        ("/a", "e0000", 1, None, "/b", "e0002"), ("/b", "e0002", 3, "/a", "/", "e0005"), ("/", "e0005", 6, "/b", None, None),
    ]  # fmt: skip
    assert [(s["entered_at"].minute, s["left_at"] and s["left_at"].minute) for s in found] == [
        (0, 2),
        (2, 5),
        (5, None),
    ]


def test_devices_that_take_turns_have_their_own_stays(steps: Any) -> None:
    rows = [visit(f"10:0{n}", f"/{'ab'[n % 2]}{n // 4}", anonymous_id=f"d{n % 2}") for n in range(8)]
    found = stays(steps, rows)
    assert [(s["path"], s["path_before"], s["path_after"]) for s in found] == [
        ("/a0", None, "/a1"), ("/a1", "/a0", None), ("/b0", None, "/b1"), ("/b1", "/b0", None),
    ]  # fmt: skip
    assert [s["seq"] for s in found] == [1, 5, 2, 6], "as the customer counts, not the session"


def test_a_stay_ends_with_its_session_and_its_customer(steps: Any) -> None:
    rows = [visit("10:00", "/a"), visit("12:00", "/a"), visit("12:01", "/b", who="bob")]
    assert [(s["path"], s["path_before"], s["path_after"], s["left_at"]) for s in stays(steps, rows)] == [
        ("/a", None, None, None), ("/a", None, None, None), ("/b", None, None, None),
    ]  # fmt: skip


def test_without_visits_there_are_no_stays(steps: Any) -> None:
    assert stays(steps, []) == []
    assert stays(steps, [{"type": "purchase", "at": "2026-01-05"}]) == []


def test_a_run_of_a_stage_is_told_the_event_that_began_it(steps: Any) -> None:
    rows = [
        visit("10:00", "/a", who="bob"), visit("10:01", "/b"), {"type": "purchase", "at": "2026-01-06"}, visit("11:00", "/", who="anon:x"),
        {"type": "review", "at": "2026-05-06", "rating": 5, "scale_min": 1, "scale_max": 5},
    ]  # fmt: skip
    shard = steps.journeys(rows, AS_OF)
    found = stages_entered(shard["journey_stages"], shard["touchpoints"]).to_pylist()
    told = {(r["customer_key"], r["stage"]): (r["seq"], r["event_id"], r["journey_no"], r["is_known"]) for r in found}
    assert told == {
        ("bob", "consideration"): (1, "e0000", 1, True), ("anon:x", "consideration"): (1, "e0003", 1, False),
        ("ann", "consideration"): (1, "e0001", 1, True), ("ann", "purchase"): (2, "e0002", 1, True),
        ("ann", "churned"): (None, None, None, None), ("ann", "advocacy"): (3, "e0004", 2, True),
    }  # fmt: skip


def test_a_run_that_a_tie_begins_is_told_the_right_event(steps: Any) -> None:
    """Three events of one moment: the stage of the first and the third is the same, and so is their time."""
    at = "2026-01-06"
    review = {"type": "review", "at": at, "rating": 5, "scale_min": 1, "scale_max": 5}
    shard = steps.journeys([visit("10:00", "/") | {"at": at}, review, visit("10:00", "/") | {"at": at}], AS_OF)
    assert stages_entered(shard["journey_stages"], shard["touchpoints"])["event_id"].to_pylist() == [
        "e0000",
        "e0001",
        "e0002",
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("page_path('https://a.example/b/c?d#e')", "/b/c"), ("page_path('https://a.example?x')", "/"), ("page_path('b/c')", "b/c"),
        ("page_path(null)", None), ("matches_any('Next page', ['next%'])", True), ("matches_any('context', ['next%'])", False),
        ("matches_any('x', ['y', 'X'])", True), ("matches_any('x', [])", False), ("matches_any(null, ['%'])", False),
        ("minutes_of(90000000)", Decimal("1.5000")), ("minutes_of(5999)", Decimal("0.0000")), ("minutes_of(6000)", Decimal("0.0001")),
        ("minutes_of(1000000000000000000)", Decimal("16666666666.6666")), ("minutes_of(null)", None),
        ("epoch_us(timestamptz '1970-01-01 00:00:00+00' + span_of_seconds(0.000001))", 1),
        ("epoch_us(timestamptz '1970-01-01 00:00:00+00' + span_of_hours(1.5))", 5_400_000_000),
        ("epoch_us(timestamptz '1970-01-01 00:00:00+00' + span_of_days(2))", 172_800_000_000),
    ],
)  # fmt: skip
def test_functions(steps: Any, expression: str, value: Any) -> None:
    shard = steps.journeys([], AS_OF)
    with inputs_of_friction(shard, (), AS_OF, steps.connection):
        assert steps.connection.execute(f"select {expression}").fetchall() == [(value,)]


def test_the_path_of_a_stay_is_that_of_the_function(steps: Any) -> None:
    urls = [
        "https://a.example/b/c?d#e",
        "https://a.example",
        "b/c",
        "/x//y",
        "?q",
        "mailto:x",
        "https://é.example/ü?",
        "/a\nb?c",
    ]
    rows = [visit(f"10:{n:02}", url) for n, url in enumerate(urls)]
    shard = steps.journeys(rows, AS_OF)
    with inputs_of_friction(shard, ["pages"], AS_OF, steps.connection):
        by_sql = steps.connection.execute("select page_path(page_url) from touchpoints order by seq").fetchall()
        stays_there = steps.connection.execute("select path from pages order by seq").fetchall()
    assert stays_there == by_sql


def test_what_no_kind_names_is_not_made_and_nothing_stays_behind(steps: Any) -> None:
    shard = steps.journeys([visit("10:00", "/")], AS_OF)

    def tables() -> set[str]:
        return {
            row[0]
            for row in steps.connection.execute(
                "select distinct table_name from duckdb_columns() where not internal"
            ).fetchall()
        }

    before = tables()
    with inputs_of_friction(shard, ["select 1 from touchpoints"], AS_OF, steps.connection):
        assert tables() - before == {
            "touchpoints",
            "sessions",
            "journeys",
            "journey_stages",
            "tickets",
            "subscriptions",
        }
    with inputs_of_friction(shard, ["from answers_about", "from pages"], AS_OF, steps.connection):
        assert {"answers", "answers_about", "pages"} <= tables()
    assert tables() == before
    with pytest.raises(ZeroDivisionError), inputs_of_friction(shard, ["from answers"], AS_OF, steps.connection):
        raise ZeroDivisionError
    assert tables() == before
    assert isinstance(duck.select(steps.connection, "select 1 as one"), pa.Table)
