"""The days after which a stage is one that customers are stuck in, from the times that they stayed in it."""

from __future__ import annotations

import datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from transforms.batches import ShardTables
from transforms.fit_stalls import DWELLS, FitStalls, StallDays, fit_stalls, stage_dwells

AS_OF = datetime.datetime(2026, 12, 31, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def dwells(*rows: tuple[str, int, bool, int]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(DWELLS.names, row, strict=True)) for row in rows], DWELLS)


def test_the_90th_percentile_of_stays_that_all_ended() -> None:
    """100 stays of 1, 2, ..., 100 days: after 90 days 90 of them have ended."""
    fitted = fit_stalls([dwells(*(("usage", n, False, 1) for n in range(1, 101)))])
    assert fitted == StallDays({"usage": 90}, {}, {"usage": 100})


def test_stays_that_are_on_count_as_staying() -> None:
    """50 leave after 10 days, when all 100 are there: 1/2 stay. 40 are on, seen for 20 days. Of the 10 left 8 leave after 30
    days: 1/2 x 2/10 = 0.1 stay, so 90 % had left by then. Without the 40, it would have been 30 of 60 earlier."""
    rows = [("usage", 10, False, 50), ("usage", 20, True, 40), ("usage", 30, False, 8), ("usage", 99, False, 2)]
    assert fit_stalls([dwells(*rows)]).days == {"usage": 30}
    assert fit_stalls([dwells(*rows[:2])]).reasons == {"usage": "fewer than 90% of the stays have ended"}


def test_too_few_stays_tell_nothing() -> None:
    few, enough = dwells(("usage", 5, False, 29)), dwells(("usage", 5, False, 30))
    assert fit_stalls([few]) == StallDays(
        {}, {"usage": "fewer than 30 stays in the 12 months before as-of"}, {"usage": 29}
    )
    assert fit_stalls([enough]).days == {"usage": 5}
    assert fit_stalls([]) == StallDays()


def test_a_stage_left_at_once_takes_a_day() -> None:
    assert fit_stalls([dwells(("awareness", 0, False, 40))]).days == {"awareness": 1}


def test_partials_add_up_in_any_cut() -> None:
    rows = [("usage", n % 17, n % 5 == 0, 1 + n % 3) for n in range(60)] + [
        ("service", n % 7, False, 2) for n in range(40)
    ]
    whole = fit_stalls([dwells(*rows)])
    assert fit_stalls([dwells(*rows[n::4]) for n in (2, 0, 3, 1)]) == whole
    assert set(whole.stays) == {"usage", "service"}


def test_the_rows_of_the_table() -> None:
    told, untold = StallDays({"a": 3}, {"b": "why"}, {"b": 4, "a": 50}).parameter_rows()
    assert (told["model"], told["parameter"], told["value"], told["n"], told["converged"], told["reason"]) == (
        "stage_stall", "a", 3.0, 50, True, None,
    )  # fmt: skip
    assert (untold["parameter"], untold["value"], untold["n"], untold["converged"], untold["reason"]) == (
        "b",
        None,
        4,
        False,
        "why",
    )


def look(at: Any, who: str = "ann") -> dict[str, Any]:
    return {"type": "site_visit", "at": at, "who": who}


def test_dwells_of_a_shard(steps: Any) -> None:
    """Whole days: ended ones rounded up, those that are on rounded down; a year back to the microsecond; only known customers."""
    year_ago = datetime.datetime(2025, 12, 31, tzinfo=datetime.UTC)
    tick = datetime.timedelta(microseconds=1)
    rows = [
        look(AS_OF - 10.5 * DAY, "ann"), look(AS_OF - 20 * DAY, "bob"), {"type": "ticket_opened", "at": AS_OF - 17.5 * DAY, "ticket_id": "t", "who": "bob"},
        look(AS_OF - 20 * DAY, "cid"), {"type": "ticket_opened", "at": AS_OF - 18 * DAY, "ticket_id": "u", "who": "cid"},
        look(year_ago, "dan"), look(year_ago - tick, "eve"), look(AS_OF - DAY, "anon:x"),
        {"type": "account_closed", "at": AS_OF - DAY, "who": "fay"},
    ]  # fmt: skip
    found = stage_dwells(steps.journeys(rows, AS_OF), AS_OF, steps.connection)
    assert found.schema == DWELLS
    assert sorted(tuple(row.values()) for row in found.to_pylist()) == [
        ("consideration", 2, False, 1), ("consideration", 3, False, 1), ("consideration", 10, True, 1),
        ("consideration", 365, True, 1), ("service", 17, True, 1), ("service", 18, True, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("shards", [1, 3])
def test_the_step_gives_one_fit_of_all_shards(steps: Any, shards: int) -> None:
    rows = [
        row
        for n in range(40)
        for row in (
            look(AS_OF - 40 * DAY, f"c{n}"),
            {"type": "purchase", "at": AS_OF - (39 - n % 10) * DAY, "who": f"c{n}"},
        )
    ]
    parts = [
        ShardTables(steps.journeys([row for row in rows if int(row["who"][1:]) % shards == part], AS_OF))
        for part in range(shards)
    ]
    # 4 stays each of 1, 2, ..., 10 days: 36 of 40 within 9. Nobody has left purchase.
    wanted = StallDays(
        {"consideration": 9},
        {"purchase": "fewer than 90% of the stays have ended"},
        {"consideration": 40, "purchase": 40},
    )
    with beam.Pipeline("FnApiRunner") as pipeline:
        fitted = pipeline | beam.Create(parts) | FitStalls(AS_OF)
        assert_that(fitted, equal_to([wanted]))
