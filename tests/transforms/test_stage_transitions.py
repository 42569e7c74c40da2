"""Steps from stage to stage: what counts as converting, times of all who took the step, shares of all who left."""

from __future__ import annotations

import datetime
from collections import defaultdict
from statistics import median
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import histograms
from transforms.stage_transitions import (
    TRANSITION_TIMES,
    TRANSITIONS,
    journeys_entered,
    merge_stage_transitions,
    stage_transitions,
)

Row = dict[str, Any]
AS_OF = "2026-12-31"


def found(steps: Any, rows: list[Row], as_of: str = AS_OF, shards: int = 1) -> dict[tuple[str, str], Row]:
    whose = sorted({row.get("who", "ann") for row in rows})
    parts = []
    for shard in range(shards):
        dealt = [row for row in rows if whose.index(row.get("who", "ann")) % shards == shard]
        if dealt:
            parts.append(stage_transitions(steps.journeys(dealt, as_of), steps.connection))
    merged = merge_stage_transitions(
        [p["transitions"] for p in parts], [p["transition_times"] for p in parts], steps.tables["stage_transitions"]
    )
    return {(row["from_stage"], row["to_stage"]): row for row in merged.to_pylist()}


def visit(at: str, who: str = "ann") -> Row:
    return {"type": "site_visit", "at": at, "who": who}


def order(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, **fields}


def judged(steps: Any, rows: list[Row], as_of: str = AS_OF) -> dict[tuple[str, str], tuple[int, int, float | None]]:
    return {
        pair: (r["converted"], r["not_converted"], r["conversion_share"])
        for pair, r in found(steps, rows, as_of).items()
    }


def test_times_and_shares_by_hand(steps: Any) -> None:
    """Ann, bob and cy come by an ad and visit after 10, 20 and 60 s; dan asks for help instead, eve is still at the ad."""
    rows: list[Row] = []
    for who, seconds in (("ann", 10), ("bob", 20), ("cy", 60)):
        rows += [
            {"type": "ad_view", "at": "2026-01-01 10:00", "who": who},
            visit(f"2026-01-01 10:{seconds // 60:02}:{seconds % 60:02}", who),
        ]
    rows += [{"type": "ad_view", "at": "2026-01-01 10:00", "who": "dan"}]
    rows += [{"type": "ticket_opened", "at": "2026-01-01 11:00", "who": "dan", "ticket_id": "t"}]
    rows += [{"type": "ad_view", "at": "2026-01-01 10:00", "who": "eve"}]
    told = found(steps, rows)
    step = told["awareness", "consideration"]
    assert (step["transitions"], step["customers"], step["total_duration_s"]) == (3, 3, 90)
    assert (step["mean_duration_s"], step["median_duration_s"], step["p90_duration_s"]) == (30, 20, 52)
    assert step["share_of_leaving"] == 3 / 4, "eve has not left"
    assert told["awareness", "service"]["share_of_leaving"] == 1 / 4
    assert told["(start)", "awareness"]["share_of_leaving"] == 1
    still = told["awareness", "(open)"]
    assert (still["transitions"], still["share_of_leaving"], still["median_duration_s"], still["method"]) == (
        1,
        None,
        None,
        None,
    )
    assert {row["method"] for pair, row in told.items() if pair[1] != "(open)" and pair[0] != "(start)"} == {"exact"}


def test_a_step_converts_if_its_journey_then_closes_with_an_order(steps: Any) -> None:
    rows = [visit("2026-01-01"), order("2026-01-02"), visit("2026-01-01", "bob"), visit("2026-12-20", "cy")]
    told = judged(steps, rows)
    assert told["(start)", "consideration"] == (1, 1, 0.5), "cy's journey is open: neither way"
    assert told["consideration", "purchase"] == (1, 0, 1.0), "the order's own step counts: it closes at it"


def test_a_subscription_converts_and_a_cancellation_does_not(steps: Any) -> None:
    subscription = {"subscription_id": "s", "source": "b"}
    rows = [
        visit("2026-01-01"), {"type": "subscription_started", "at": "2026-01-02", **subscription},
        {"type": "product_usage", "at": "2026-01-03"}, {"type": "cancellation", "at": "2026-01-20", **subscription},
    ]  # fmt: skip
    told = judged(steps, rows)
    assert told["consideration", "purchase"] == (1, 0, 1.0)
    assert told["purchase", "onboarding"] == (0, 1, 0.0)
    assert told["onboarding", "churned"] == (0, 1, 0.0)


def test_what_comes_after_the_outcome_of_its_journey_counts_neither_way(steps: Any) -> None:
    """A refund stays in the journey that its order closed; a lapse long after it is in none."""
    rows = [order("2026-01-02", order_id="o"), {"type": "refund", "at": "2026-01-05", "order_id": "o"}]
    told = judged(steps, rows)
    assert told["(start)", "purchase"] == (1, 0, 1.0)
    assert told["purchase", "service"] == (0, 0, None)
    assert told["service", "churned"] == (0, 0, None)


def test_a_lapse_within_a_journey_is_of_that_journey(steps: Any) -> None:
    """90 days after the order bob lapses, while he visits now and then; he orders again."""
    rows = [order("2026-01-02"), visit("2026-03-01"), order("2026-04-20")]
    told = judged(steps, rows)
    assert told["purchase", "churned"] == (1, 0, 1.0)
    assert told["churned", "loyalty"] == (1, 0, 1.0)


def test_two_journeys_that_meet_at_one_moment(steps: Any) -> None:
    """The order is of the journey that it closes, and not of the one that begins at the same microsecond."""
    rows = [visit("2026-01-01"), order("2026-01-02"), {"type": "ticket_opened", "at": "2026-01-02", "ticket_id": "t"}]
    told = judged(steps, rows)
    assert told["consideration", "purchase"] == (1, 0, 1.0)
    assert told["purchase", "service"] == (0, 1, 0.0)


def test_nobody_at_all(steps: Any) -> None:
    table = steps.tables["stage_transitions"]
    assert merge_stage_transitions([], [], table).equals(table.schema.empty_table())
    shard = steps.journeys([{"type": "survey_sent", "at": "2026-01-01", "survey_type": "nps"}], AS_OF)
    assert shard["journey_stages"].num_rows == 0
    assert journeys_entered(shard).tolist() == []
    empty = stage_transitions(shard, steps.connection)
    assert empty["transitions"].equals(TRANSITIONS.empty_table())
    assert empty["transition_times"].equals(TRANSITION_TIMES.empty_table())


# --- as one would count by hand ----------------------------------------------------------------------------------------


days = st.integers(0, 330).map(lambda day: str(datetime.date(2026, 1, 5) + datetime.timedelta(days=day)))
timeline = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["ad_view", "site_visit", "purchase", "product_usage", "review", "cancellation"]),
            "at": days,
            "who": st.sampled_from(["ann", "bob", "anon:c"]),
        }
    ),
    min_size=1,
    max_size=14,
)


def told_types(rows: list[Row]) -> list[Row]:
    own = {"review": {"rating": 5.0, "scale_min": 1.0, "scale_max": 5.0}, "cancellation": {"subscription_id": "s"}}
    return [{**row, **own.get(row["type"], {})} for row in rows]


@settings(max_examples=20)
@given(timeline)
def test_as_a_plain_loop_counts(steps: Any, rows: list[Row]) -> None:
    """From the tables as published: times of each pair, and the journey of each step by its touchpoint."""
    rows = told_types(rows)
    shard = steps.journeys(rows, AS_OF)
    journeys = {(r["customer_no"], r["journey_no"]): r for r in shard["journeys"].to_pylist()}
    events = shard["touchpoints"].to_pylist()
    seconds: dict[tuple[str, str], list[int]] = defaultdict(list)
    verdicts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    before: Row | None = None
    for run in shard["journey_stages"].to_pylist():
        pair = (before["stage"], run["stage"]) if before and run["stage_no"] > 1 else ("(start)", run["stage"])
        if before and run["stage_no"] > 1:
            seconds[pair].append(before["duration_s"])
        own = [e for e in events if e["customer_no"] == run["customer_no"]]
        entered = [e for e in own if e["occurred_at"] == run["entered_at"] and e["stage"] == run["stage"]]
        at = entered[0] if entered else [e for e in own if e["occurred_at"] <= run["entered_at"]][-1]
        journey = journeys[at["customer_no"], at["journey_no"]]
        if journey["ended_at"] is not None and journey["ended_at"] >= run["entered_at"]:
            verdicts[pair].append(journey["outcome"] in ("order", "subscription_started"))
        before = run
    told = {pair: row for pair, row in found(steps, rows).items() if pair[1] != "(open)"}
    for pair, row in told.items():
        assert (row["converted"], row["not_converted"]) == (
            sum(verdicts[pair]),
            len(verdicts[pair]) - sum(verdicts[pair]),
        ), pair
        assert row["median_duration_s"] == (median(seconds[pair]) if seconds[pair] else None), pair
        assert row["total_duration_s"] == (sum(seconds[pair]) if seconds[pair] else None), pair
    assert set(seconds) | set(verdicts) <= set(told)


@settings(max_examples=10)
@given(timeline)
def test_no_cut_into_shards_and_no_order_shows(steps: Any, rows: list[Row]) -> None:
    rows = [{**row, "event_id": f"n{number}"} for number, row in enumerate(told_types(rows))]
    whole = found(steps, rows)
    assert found(steps, rows[::-1], shards=3) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "EXACT_VALUES", 1)
        assert found(steps, rows, shards=3) == found(steps, rows)


def test_times_of_too_many_are_told_from_buckets(steps: Any) -> None:
    def times(value: int, count: int) -> pa.Table:
        row = {"from_stage": "usage", "to_stage": "service", "value": value, "count": count, "total": value * count}
        return pa.Table.from_pylist([row], TRANSITION_TIMES)

    counts = pa.Table.from_pylist(
        [
            {
                "from_stage": "usage",
                "to_stage": "service",
                "transitions": 100_001,
                "customers": 9,
                "converted": 0,
                "not_converted": 0,
            }
        ],
        TRANSITIONS,
    )
    [row] = merge_stage_transitions(
        [counts], [times(1_000_000, 100_000), times(2_000_000, 1)], steps.tables["stage_transitions"]
    ).to_pylist()
    assert row["method"] == "buckets"
    assert 995_000 < row["median_duration_s"] <= 1_000_000
    assert row["total_duration_s"] == 100_002_000_000, "a sum is exact however many"
