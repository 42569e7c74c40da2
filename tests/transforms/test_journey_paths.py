"""Paths of stages, pages and channels: counted, valued, ranked; and no cut into shards or buckets shows."""

from __future__ import annotations

import datetime
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from statistics import median
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.channel_touches import CONVERSIONS, channel_touches
from transforms.journey_paths import (
    KINDS,
    NOTHING,
    OTHER,
    PATH_CELLS,
    JourneyPaths,
    PathRules,
    by_bucket,
    journey_paths,
    merge_journey_paths,
    pages_of,
    top_paths,
)
from transforms.metric_inputs import Calendar
from transforms.time_zones import Periods

Row = dict[str, Any]
AS_OF = "2026-12-31"
RULES = PathRules()


def cells_of(steps: Any, rows: list[Row], rules: PathRules = RULES, shards: int = 1) -> list[pa.Table]:
    calendar = Calendar(Periods("UTC"), datetime.datetime.fromisoformat(AS_OF).replace(tzinfo=datetime.UTC))
    whose = sorted({row.get("who", "ann") for row in rows})
    parts = []
    for number in range(shards):
        dealt = [row for row in rows if whose.index(row.get("who", "ann")) % shards == number]
        if dealt:
            shard = steps.journeys(dealt, AS_OF)
            touches = channel_touches(shard, rules.look_back_days, calendar, steps.connection)
            parts.append(journey_paths(shard, touches, rules, steps.connection))
    return parts


def paths_of(
    steps: Any, rows: list[Row], rules: PathRules = RULES, shards: int = 1, buckets: int = 1
) -> dict[str, list[Row]]:
    by: dict[int, list[pa.Table]] = defaultdict(list)
    for cells in cells_of(steps, rows, rules, shards):
        for bucket, piece in by_bucket(cells, buckets):
            by[bucket].append(piece)
    ranked = [top_paths(pieces, rules.top) for pieces in by.values()]
    found = merge_journey_paths(ranked, rules, steps.tables["journey_paths"]).to_pylist()
    return {kind: [row for row in found if row["path_kind"] == kind] for kind in KINDS}


def visit(at: str, page: str = "/", who: str = "ann", **fields: Any) -> Row:
    return {"type": "site_visit", "at": at, "who": who, "page_url": page, **fields}


def order(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, **fields}


def brief(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(r["path"], r["paths"], r["converted"], r["still_open"]) for r in rows]


# --- what is counted ---------------------------------------------------------------------------------------------------


def test_stage_paths_are_of_journeys(steps: Any) -> None:
    """Ann orders twice, each time in a journey of its own; bob went silent, cy is still looking."""
    rows = [
        visit("2026-01-01"), order("2026-01-03", amount="10"), visit("2026-01-05"), order("2026-01-06", amount="5"),
        visit("2026-02-01", who="bob"), visit("2026-12-20", who="cy"),
    ]  # fmt: skip
    stages = paths_of(steps, rows)["stage"]
    assert brief(stages) == [
        ("consideration", 2, 0, 1),
        ("consideration > purchase", 1, 1, 0),
        ("purchase > loyalty", 1, 1, 0),
    ]
    first, second, third = stages
    assert (first["customers"], first["not_converted"], first["conversion_share"]) == (2, 2, 0.0)
    assert (first["median_touchpoints"], first["median_s"], first["method"], first["revenue"]) == (None, None, None, 0)
    assert (second["median_touchpoints"], second["median_s"], second["method"]) == (2, 2 * 86400, "exact")
    assert (second["conversion_share"], second["revenue"], second["currency"]) == (1.0, 10, "EUR")
    assert (third["rank"], third["revenue_by_currency"]) == (3, [{"currency": "EUR", "amount": Decimal(5)}])


def test_page_paths_leave_out_host_and_query_and_repeats(steps: Any) -> None:
    rows = [
        visit("2026-01-01 10:00", "https://shop.example/tea?x=1"), visit("2026-01-01 10:01", "/tea#top"),
        {"type": "product_usage", "at": "2026-01-01 10:02"}, visit("2026-01-01 10:03", "https://shop.example"),
        visit("2026-01-01 10:04", "/tea"), order("2026-01-01 10:05"), order("2026-03-01"),
    ]  # fmt: skip
    assert brief(paths_of(steps, rows)["page"]) == [("(no page)", 1, 1, 0), ("/tea > / > /tea", 1, 1, 0)]
    assert brief(paths_of(steps, rows, replace(RULES, repeats="first"))["page"])[1][0] == "/tea > /"
    assert brief(paths_of(steps, rows, replace(RULES, longest_page_path=2))["page"])[1][0] == "/tea > / > (cut)"


def test_a_page_of_any_length_is_cut(steps: Any) -> None:
    assert pages_of(pa.array(["/" + "é" * 1000, "mailto:x", "", "//host/a", "//host"])).to_pylist() == [
        "/" + "é" * 199, "mailto:x", "/", "//host/a", "//host",
    ]  # fmt: skip


def test_channel_paths_are_of_conversions_and_of_who_never_converted(steps: Any) -> None:
    """The touches of the 30 days before; ann's second order counts the first one's touches again."""
    rows = [
        visit("2026-01-01", channel="ad"), visit("2026-01-02", channel="ad"), visit("2026-01-03", channel="mail"),
        order("2026-01-03 01:00"), order("2026-01-10", amount="3"), order("2026-06-01", amount="4"),
        visit("2026-01-01", who="bob", channel="ad"), visit("2026-12-15", who="cy", channel="ad"),
        visit("2026-01-01", who="eve"),
    ]  # fmt: skip
    rows = [{**row, "anonymous_id": row.get("who", "ann")} for row in rows]
    channels = paths_of(steps, rows)["channel"]
    assert brief(channels) == [("ad", 2, 0, 1), ("ad > mail", 2, 2, 0), ("(no touch)", 1, 1, 0)]
    both = channels[1]
    assert (both["customers"], both["median_touchpoints"], both["revenue"]) == (1, 3, 13)
    assert both["median_s"] == (2 * 86400 + 3600 + 9 * 86400) / 2
    assert (channels[2]["median_touchpoints"], channels[2]["median_s"]) == (0, None)


def test_later_lines_count_for_revenue_and_not_as_touchpoints(steps: Any) -> None:
    rows = [
        visit("2026-01-01"), order("2026-01-02", order_id="o", amount="10"),
        order("2026-01-02 01:00", order_id="o", amount="5", currency="CHF"),
        {"type": "refund", "at": "2026-01-09", "order_id": "o", "amount": "1"},
    ]  # fmt: skip
    [row] = paths_of(steps, rows)["stage"]
    assert (row["path"], row["median_touchpoints"], row["median_s"]) == ("consideration > purchase", 2, 86400)
    assert (row["revenue"], row["currency"]) == (None, None)
    assert row["revenue_by_currency"] == [{"currency": "CHF", "amount": 5}, {"currency": "EUR", "amount": 9}]


def test_other_outcomes_do_not_convert_and_bring_no_revenue_here(steps: Any) -> None:
    own = {"subscription_id": "s", "source": "b"}
    rows = [
        {"type": "subscription_started", "at": "2026-01-02", **own}, {"type": "renewal", "at": "2026-02-02", **own},
        {"type": "cancellation", "at": "2026-02-20", **own},
    ]  # fmt: skip
    stages = paths_of(steps, rows)["stage"]
    assert {(r["path"], r["converted"], r["revenue"]) for r in stages} == {
        ("purchase", 1, 30), ("loyalty", 0, 0), ("churned", 0, 0),
    }  # fmt: skip


# --- ranks, and all others ---------------------------------------------------------------------------------------------


def crowd() -> list[Row]:
    """Page paths /1 of one journey, /2 of two, ... /5 of five, each of a customer of their own; and /x as often as /3."""
    pages = [page for page in range(1, 6) for _ in range(page)] + ["x"] * 3  # type: ignore[list-item]
    rows = []
    for number, page in enumerate(pages):
        rows += [visit("2026-01-01", f"/{page}", f"c{number}"), order("2026-01-02", f"c{number}", amount="2")]
    return rows


@pytest.mark.parametrize("buckets", [1, 3, 64])
@pytest.mark.parametrize("shards", [1, 2])
def test_the_rest_is_one_row_so_that_the_sums_hold(steps: Any, buckets: int, shards: int) -> None:
    pages = paths_of(steps, crowd(), replace(RULES, top=3), shards, buckets)["page"]
    assert [(r["rank"], r["path"], r["paths"], r["customers"]) for r in pages] == [
        (1, "/5", 5, 5), (2, "/4", 4, 4), (3, "/3", 3, 3), (4, OTHER, 6, None),
    ], "of equal ones the first by its bytes"  # fmt: skip
    other = pages[-1]
    assert (other["converted"], other["not_converted"], other["still_open"], other["conversion_share"]) == (
        6,
        0,
        0,
        1.0,
    )
    assert (other["revenue"], other["currency"], other["median_s"], other["method"]) == (12, "EUR", None, None)


def test_no_row_of_others_without_any(steps: Any) -> None:
    pages = paths_of(steps, crowd(), replace(RULES, top=6), 1, 7)["page"]
    assert [r["path"] for r in pages] == ["/5", "/4", "/3", "/x", "/2", "/1"]


def test_through_beam_with_shards_that_know_nothing(steps: Any) -> None:
    rules = replace(RULES, top=2)
    table = steps.tables["journey_paths"]
    expected = [row for kind in KINDS for row in paths_of(steps, crowd(), rules)[kind]]

    def as_expected(found: list[tuple[str, pa.Table]]) -> None:
        [(name, merged)] = found
        assert name == "journey_paths"
        assert merged.to_pylist() == expected

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        cells = pipeline | beam.Create([*cells_of(steps, crowd(), rules, shards=3), PATH_CELLS.empty_table()])
        cells.element_type = pa.Table
        assert_that(cells | JourneyPaths(rules, table, 5), as_expected)


# --- as one would count by hand ----------------------------------------------------------------------------------------


hours = st.integers(0, 24 * 200).map(lambda hour: str(datetime.datetime(2026, 1, 5) + datetime.timedelta(hours=hour)))
who = st.sampled_from(["ann", "bob", "cy"])
timeline = st.lists(
    st.one_of(
        st.builds(
            lambda at, page, who, channel: visit(at, page, who, channel=channel, anonymous_id=who),
            hours, st.sampled_from(["/a", "/b?x", "h://s/c"]), who, st.sampled_from(["ad", "mail", None]),
        ),
        st.builds(order, hours, who, amount=st.sampled_from(["10", "0.01"]), currency=st.sampled_from(["EUR", "CHF"])),
        st.builds(lambda at, who: {"type": "review", "at": at, "who": who, "rating": 5.0, "scale_min": 1.0, "scale_max": 5.0}, hours, who),
    ),
    min_size=1,
    max_size=16,
)  # fmt: skip


def numbered(rows: list[Row]) -> list[Row]:
    return [{**row, "event_id": f"n{number:02}"} for number, row in enumerate(rows)]


def written_once(items: list[str | None]) -> str:
    told: list[str] = []
    for item in items:
        if item is not None and told[-1:] != [item]:
            told.append(item)
    return " > ".join(told)


@settings(max_examples=20)
@given(timeline)
def test_as_a_plain_loop_counts(steps: Any, rows: list[Row]) -> None:
    rows = numbered(rows)
    shard = steps.journeys(rows, AS_OF)
    events, journeys = shard["touchpoints"].to_pylist(), shard["journeys"].to_pylist()
    units: dict[str, list[tuple[str, int, bool, int | None, int, Row | None]]] = {kind: [] for kind in KINDS}
    for journey in journeys:
        own = [
            e for e in events if (e["customer_no"], e["journey_no"]) == (journey["customer_no"], journey["journey_no"])
        ]
        converted = journey["outcome"] in CONVERSIONS
        seconds = int((journey["ended_at"] - journey["started_at"]).total_seconds()) if converted else None
        assert written_once([e["stage"] for e in own]) == (journey["stage_path"] or "")
        pages = [e["page_url"].replace("h://s", "").split("?")[0] if e["page_url"] else None for e in own]
        for kind, path in (("stage", journey["stage_path"] or ""), ("page", written_once(pages))):
            units[kind].append((path or NOTHING[kind], journey["customer_no"], converted, seconds, len(own), journey))
    first: dict[int, Row] = {}
    for event in events:
        if event["session_no"] >= 0 and event["channel"]:
            first.setdefault(event["session_no"], event)
    touches = sorted(first.values(), key=lambda e: (e["customer_no"], e["seq"]))
    for customer in {e["customer_no"] for e in events}:
        own = [e for e in touches if e["customer_no"] == customer]
        ends = [(j["ended_at"], j) for j in journeys if j["customer_no"] == customer and j["outcome"] in CONVERSIONS]
        for end, journey in ends or [(own[-1]["occurred_at"], None)] if own or ends else []:
            since = end.date() - datetime.timedelta(days=30)
            path = [e for e in own if e["occurred_at"] <= end and e["occurred_at"].date() >= since]
            seconds = int((end - path[0]["occurred_at"]).total_seconds()) if path else None
            told = written_once([e["channel"] for e in path]) or NOTHING["channel"]
            units["channel"].append((told, customer, journey is not None, seconds, len(path), journey))
    found = paths_of(steps, rows, shards=2, buckets=3)
    for kind in KINDS:
        assert sum(r["paths"] for r in found[kind]) == len(units[kind])
        assert [(-r["paths"], r["path"]) for r in found[kind]] == sorted((-r["paths"], r["path"]) for r in found[kind])
        assert {r["path"] for r in found[kind]} == {unit[0] for unit in units[kind]}
        for row in found[kind]:
            own_units = [unit for unit in units[kind] if unit[0] == row["path"]]
            converted_units = [unit for unit in own_units if unit[2]]
            assert row["paths"] == len(own_units), row
            assert row["customers"] == len({unit[1] for unit in own_units}), row
            assert row["converted"] == len(converted_units), row
            assert row["median_touchpoints"] == (
                median(unit[4] for unit in converted_units) if converted_units else None
            )
            known = [unit[3] for unit in converted_units if unit[3] is not None]
            assert row["median_s"] == (median(known) if known else None)
            paid: dict[str, Decimal] = defaultdict(Decimal)
            for unit in converted_units:
                for part in unit[5]["revenue_by_currency"] if unit[5] else ():
                    paid[part["currency"]] += part["amount"]
            assert {part["currency"]: part["amount"] for part in row["revenue_by_currency"]} == paid


@settings(max_examples=10)
@given(timeline, st.integers(1, 3), st.integers(1, 8))
def test_no_cut_no_order_and_no_number_of_buckets_shows(steps: Any, rows: list[Row], top: int, buckets: int) -> None:
    rules = replace(RULES, top=top)
    rows = numbered(rows)
    assert paths_of(steps, rows[::-1], rules, 3, buckets) == paths_of(steps, rows, rules)


def test_nothing_at_all(steps: Any) -> None:
    table = steps.tables["journey_paths"]
    assert merge_journey_paths([top_paths([], 100)], RULES, table).equals(table.schema.empty_table())
    assert list(by_bucket(PATH_CELLS.empty_table(), 4)) == []
