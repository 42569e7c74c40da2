"""Time in stage: who is still there counts as staying, and not as gone; where the days go; who waits longest."""

from __future__ import annotations

import datetime
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import histograms
from transforms.stage_durations import STAGE_TIMES, merge_stage_durations, stage_durations

Row = dict[str, Any]
AS_OF = "2026-03-01 12:00"
MOMENT = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
DAY = 86_400


def found(steps: Any, rows: list[Row], shards: int = 1) -> dict[tuple[str, str | None], Row]:
    """By stage and first channel; None: of everyone."""
    whose = sorted({row.get("who", "ann") for row in rows})
    parts = []
    for number in range(shards):
        dealt = [row for row in rows if whose.index(row.get("who", "ann")) % shards == number]
        if dealt:
            parts.append(stage_durations(steps.customers(dealt, AS_OF, kinds=()), MOMENT, steps.connection))
    merged = merge_stage_durations(parts, steps.tables["stage_durations"]).to_pylist()
    return {(row["stage"], row["segment_value"]): row for row in merged}


def usage(at: str, who: str, channel: str | None = None) -> Row:
    return {"type": "site_visit", "at": at, "who": who, "channel": channel}


def asks(at: str, who: str) -> Row:
    return {"type": "ticket_opened", "at": at, "who": who, "ticket_id": f"t-{who}"}


def test_the_waiting_are_not_left_out(steps: Any) -> None:
    """Of five who consider, two left after 1 and 3 days; three are still there, for 2, 10 and 20 days.

    Kaplan-Meier: 4/5 stay beyond 1 day; beyond 3 days 4/5 x 2/3 = 0.533, for who has waited 2 days is out of the count by
    then. The median of the two finished would be 2 days; there is none yet.
    """
    rows = [
        usage("2026-02-01 12:00", "ann"), asks("2026-02-02 12:00", "ann"), usage("2026-02-01 12:00", "bob"), asks("2026-02-04 12:00", "bob"),
        usage("2026-02-27 12:00", "cy"), usage("2026-02-19 12:00", "dan"), usage("2026-02-09 12:00", "eve"),
    ]  # fmt: skip
    row = found(steps, rows)["consideration", None]
    assert (row["entries"], row["exits"], row["open_now"]) == (5, 2, 3)
    assert (row["median_s"], row["p90_s"], row["open_beyond_p90"]) == (None, None, None)
    assert (row["mean_left_s"], row["customer_days"], row["method"]) == (2 * DAY, 1 + 3 + 2 + 10 + 20, "exact")


def test_who_waits_longer_than_nine_of_ten_stand_out(steps: Any) -> None:
    """19 left after a day, one after two; two wait, for one and for ten days.

    At one day 19 of the 22 who are there leave: 0.136 stay. At two days one of the two left: 0.068, less than a tenth.
    """
    rows = []
    for number in range(20):
        left = "2026-02-03 12:00" if number == 19 else "2026-02-02 12:00"
        rows += [usage("2026-02-01 12:00", f"c{number}"), asks(left, f"c{number}")]
    rows += [usage("2026-02-28 12:00", "ann"), usage("2026-02-19 12:00", "bob")]
    row = found(steps, rows)["consideration", None]
    assert (row["median_s"], row["p90_s"]) == (DAY, 2 * DAY)
    assert row["open_beyond_p90"] == 1


def test_seconds_are_cut_and_a_run_may_be_open_for_none(steps: Any) -> None:
    rows = [usage("2026-03-01 11:59:58.000001", "ann"), usage(AS_OF, "bob")]
    row = found(steps, rows)["consideration", None]
    assert (row["open_now"], row["customer_days"]) == (2, 1 / DAY)


def test_the_share_of_time_is_of_all_stages_but_churned(steps: Any) -> None:
    """Ann was away for months: that is no waiting. Two days of consideration, six of service."""
    rows = [
        usage("2025-01-01", "ann"), asks("2025-01-03", "ann"),
        {"type": "account_closed", "at": "2025-01-09", "who": "ann"},
    ]  # fmt: skip
    told = found(steps, rows)
    assert {stage: row["share_of_time"] for (stage, _), row in told.items()} == {
        "consideration": 0.25, "service": 0.75, "churned": None,
    }  # fmt: skip
    assert told["churned", None]["customer_days"] > 400


def test_by_first_channel_where_there_is_any(steps: Any) -> None:
    rows = [usage("2026-02-01 12:00", "ann", "ad"), asks("2026-02-02 12:00", "ann"), usage("2026-02-27 12:00", "bob")]
    told = found(steps, rows)
    assert [(key, row["segment"], row["entries"], row["open_now"]) for key, row in told.items()] == [
        (("consideration", None), "all", 2, 1), (("consideration", "(none)"), "first_channel", 1, 1),
        (("consideration", "ad"), "first_channel", 1, 0), (("service", None), "all", 1, 1),
        (("service", "ad"), "first_channel", 1, 1),
    ]  # fmt: skip
    assert told["consideration", "ad"]["share_of_time"] == 1 / 28
    assert all(segment is None for _, segment in found(steps, [usage("2026-02-01", "ann")]))


def test_the_customers_who_are_in_it_now_are_named(steps: Any) -> None:
    """customers says since when: one query lists who waits longer than nine of ten."""
    rows = [usage("2026-02-01 12:00", "ann"), usage("2026-02-05 12:00", "ann"), asks("2026-02-27 12:00", "bob")]
    customers = steps.customers(rows, AS_OF)["customers"].to_pylist()
    assert {row["customer_key"]: (row["current_stage"], row["stage_entered_at"].day) for row in customers} == {
        "ann": ("consideration", 1), "bob": ("service", 27),
    }  # fmt: skip
    nobody = steps.customers([{"type": "survey_sent", "at": "2026-01-01", "survey_type": "nps"}], AS_OF)["customers"]
    assert nobody["stage_entered_at"].to_pylist() == nobody["current_stage"].to_pylist() == [None]


hours = st.integers(0, 24 * 50).map(lambda hour: str(datetime.datetime(2026, 1, 5) + datetime.timedelta(hours=hour)))
timeline = st.lists(
    st.builds(
        lambda kind, at, who, channel: {"type": kind, "at": at, "who": who, "channel": channel},
        st.sampled_from(["ad_view", "site_visit", "purchase", "account_closed"]),
        hours, st.sampled_from(["ann", "bob", "anon:c"]), st.sampled_from(["ad", "mail", None]),
    ),
    min_size=1,
    max_size=14,
)  # fmt: skip


def numbered(rows: list[Row]) -> list[Row]:
    return [{**row, "event_id": f"n{number:02}"} for number, row in enumerate(rows)]


def kaplan_meier_quantile(stays: list[tuple[int, bool]], gone: float) -> int | None:
    """Written out: at each time at which somebody left, the share that stays is multiplied by those who did not."""
    staying = 1.0
    for time in sorted({seconds for seconds, left in stays if left}):
        there = sum(seconds >= time for seconds, _ in stays)
        staying *= 1 - sum(seconds == time and left for seconds, left in stays) / there
        if staying <= 1 - gone + 1e-12:
            return time
    return None


@settings(max_examples=20)
@given(timeline)
def test_as_a_plain_loop_counts(steps: Any, rows: list[Row]) -> None:
    rows = numbered(rows)
    shard = steps.customers(rows, AS_OF, kinds=())
    channel_of = {row["customer_no"]: row["first_channel"] or "(none)" for row in shard["customers"].to_pylist()}
    stays: dict[tuple[str, str | None], list[tuple[int, bool]]] = defaultdict(list)
    for run in shard["journey_stages"].to_pylist():
        until = run["left_at"] or MOMENT
        stay = (int((until - run["entered_at"]) / datetime.timedelta(seconds=1)), run["left_at"] is not None)
        stays[run["stage"], None].append(stay)
        if set(channel_of.values()) != {"(none)"}:
            stays[run["stage"], channel_of[run["customer_no"]]].append(stay)
    told = found(steps, rows, shards=2)
    assert set(told) == set(stays)
    for key, own in stays.items():
        row = told[key]
        assert (row["entries"], row["exits"]) == (len(own), sum(left for _, left in own))
        assert row["entries"] == row["exits"] + row["open_now"]
        assert row["median_s"] == kaplan_meier_quantile(own, 0.5)
        assert row["p90_s"] == kaplan_meier_quantile(own, 0.9)
        assert row["customer_days"] == pytest.approx(sum(seconds for seconds, _ in own) / DAY)
        if row["p90_s"] is not None:
            assert row["open_beyond_p90"] == sum(seconds > row["p90_s"] and not left for seconds, left in own)
    assert sum(row["open_now"] for (_, value), row in told.items() if value is None) == sum(
        row["current_stage"] is not None for row in shard["customers"].to_pylist()
    )


@settings(max_examples=10)
@given(timeline)
def test_no_cut_into_shards_and_no_order_shows(steps: Any, rows: list[Row]) -> None:
    """In buckets, too."""
    rows = numbered(rows)
    assert found(steps, rows[::-1], shards=3) == found(steps, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "EXACT_VALUES", 2)
        assert found(steps, rows[::-1], shards=3) == found(steps, rows)


def test_open_runs_of_too_many_go_into_buckets_too(steps: Any) -> None:
    def times(value: int, is_open: bool, count: int, channel: str = "ad") -> pa.Table:
        row = {
            "stage": "usage",
            "first_channel": channel,
            "is_open": is_open,
            "value": value,
            "count": count,
            "total": value * count,
        }
        return pa.Table.from_pylist([row], STAGE_TIMES)

    parts = [times(1_000_000, False, 60_000), times(1_000_003, True, 40_000), times(2_000_000, True, 1, "mail")]
    rows = merge_stage_durations(parts, steps.tables["stage_durations"]).to_pylist()
    assert [(row["segment_value"], row["method"]) for row in rows] == [
        (None, "buckets"),
        ("ad", "buckets"),
        ("mail", "buckets"),
    ]
    assert 995_000 < rows[0]["median_s"] <= 1_000_000
    assert rows[0]["mean_left_s"] == 1_000_000, "a mean is exact however many"
    assert rows[0]["customer_days"] == (60_000 * 1_000_000 + 40_000 * 1_000_003 + 2_000_000) / DAY


def test_nobody_at_all(steps: Any) -> None:
    table = steps.tables["stage_durations"]
    assert merge_stage_durations([], table).equals(table.schema.empty_table())
