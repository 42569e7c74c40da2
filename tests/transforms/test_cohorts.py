"""Cohorts worked by hand: who was there in exactly that month, what is still open, and who has left for good."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from transforms.cohorts import COHORT_CELLS, merge_cohorts

Row = dict[str, Any]
JANUARY, FEBRUARY, MARCH, APRIL = (datetime.date(2026, n, 1) for n in range(1, 5))


def visits(who: str, *days: str) -> list[Row]:
    return [{"type": "site_visit", "at": f"2026-{day}", "who": who} for day in days]


def orders(who: str, *days: str) -> list[Row]:
    return [{"type": "purchase", "at": f"2026-{day}", "who": who} for day in days]


def cohorts(steps: Any, rows: list[Row], as_of: str, kind: str, **options: Any) -> list[Row]:
    return [row for row in steps.merged(rows, as_of, **options)["cohorts"].to_pylist() if row["kind"] == kind]


def cells(rows: list[Row], *columns: str) -> dict[datetime.date | None, list[tuple[Any, ...]]]:
    """By cohort month the cells in the order of months since, from 0 without a gap."""
    found: dict[datetime.date | None, list[tuple[Any, ...]]] = {}
    for row in rows:
        own = found.setdefault(row["cohort_month"], [])
        assert row["months_since"] == len(own)
        own.append(tuple(row[column] for column in columns))
    return found


# Ann and Bob come in January, Cid in February; on 15 April, April is not over.
#
#         Jan  Feb  Mar  Apr                  months since  0    1    2    3
#   ann    x         x                 January, 2           2    1    1   (0)
#   bob    x    x                      February, 1          1    0   (0)
#   cid         x                      together             3/3  1/3  1/2
THREE = [*visits("ann", "01-05", "03-05"), *visits("bob", "01-06", "02-06"), *visits("cid", "02-07")]


@pytest.fixture(scope="module")
def three(steps: Any) -> list[Row]:
    return cohorts(steps, THREE, "2026-04-15", "activity")


def test_active_is_who_was_there_in_exactly_that_month(three: list[Row]) -> None:
    found = cells(three, "month", "cohort_size", "active", "retention", "status")
    assert found[JANUARY] == [
        (JANUARY, 2, 2, 1.0, "final"), (FEBRUARY, 2, 1, 0.5, "final"), (MARCH, 2, 1, 0.5, "final"),
        (APRIL, 2, 0, 0.0, "provisional"),
    ]  # fmt: skip
    assert found[FEBRUARY] == [
        (FEBRUARY, 1, 1, 1.0, "final"), (MARCH, 1, 0, 0.0, "final"), (APRIL, 1, 0, 0.0, "provisional"),
    ]  # fmt: skip
    assert set(found) == {None, JANUARY, FEBRUARY}, "no cohort without a customer"


def test_all_cohorts_together_are_told_of_closed_months_only(three: list[Row]) -> None:
    """Two months later: 1 of 2, and not 1 of 3, since Cid's second month has not ended. Three months later: nothing."""
    found = cells(three, "month", "cohort_size", "active", "retention", "status")
    assert found[None] == [(None, 3, 3, 1.0, "final"), (None, 3, 1, 1 / 3, "final"), (None, 2, 1, 0.5, "final")]


@pytest.mark.parametrize(
    ("as_of", "timezone", "status"),
    [
        ("2026-01-31 23:59:59.999999", "UTC", ["provisional"]), ("2026-02-01", "UTC", ["final", "provisional"]),
        ("2026-02-01 04:59", "America/New_York", ["provisional"]), ("2026-01-31 23:00", "Europe/Berlin", ["final", "provisional"]),
    ],
)  # fmt: skip
def test_a_cell_is_open_until_its_month_is_over(steps: Any, as_of: str, timezone: str, status: list[str]) -> None:
    found = cells(cohorts(steps, visits("ann", "01-05"), as_of, "activity", timezone=timezone), "status")
    assert found[JANUARY] == [(each,) for each in status]
    assert found.get(None, []) == [("final",)] * status.count("final")


def test_months_are_those_of_the_time_zone(steps: Any) -> None:
    """In New York 1 February 03:00 UTC is January, 1 March 04:00 UTC is February."""
    rows = visits("ann", "02-01 03:00", "03-01 04:00")
    for timezone, first in (("America/New_York", JANUARY), ("UTC", FEBRUARY)):
        found = cells(cohorts(steps, rows, "2026-03-15", "activity", timezone=timezone), "active")
        assert found[first][:2] == [(1,), (1,)]
        assert set(found) == {None, first}


def test_a_cohort_of_orders_is_of_the_first_order(steps: Any) -> None:
    """Ann visits in January and orders in February and March; two orders in a month, or of two lines, are one customer."""
    rows = [
        *visits("ann", "01-05"), *orders("ann", "02-05", "02-06", "03-05"),
        {"type": "purchase", "at": "2026-02-05", "order_id": "o", "who": "bob"},
        {"type": "purchase", "at": "2026-03-05", "order_id": "o", "who": "bob"},  # a second line of the same order
    ]  # fmt: skip
    found = steps.merged(rows, "2026-03-31 12:00")["cohorts"].to_pylist()
    by_order, by_activity = (
        cells([row for row in found if row["kind"] == kind], "cohort_size", "active") for kind in ("order", "activity")
    )
    assert by_order[FEBRUARY] == [(2, 2), (2, 1)] and JANUARY not in by_order
    assert by_activity[JANUARY] == [(1, 1), (1, 1), (1, 1)] and by_activity[FEBRUARY] == [(1, 1), (1, 1)]


def test_who_is_not_known_is_in_no_cohort(steps: Any, three: list[Row]) -> None:
    rows = [*THREE, *visits("anon:c", "01-05", "02-05"), *orders("anon:c", "01-06")]
    assert steps.merged(rows, "2026-04-15")["cohorts"].to_pylist() == three, "and none of orders"


# An order lapses after 90 days. On 1 July: Ann left in April (3 months on), Cid in May (2 months on). Bob lapsed too, but
# came back, and Dan has not lapsed yet: they are still there, after 6 and 3 months.
BUYERS = [
    *orders("ann", "01-10"), *orders("bob", "01-20", "06-01"), *orders("cid", "03-01"), *orders("dan", "04-15"),
]  # fmt: skip


def test_survival_counts_who_is_still_there_as_staying(steps: Any) -> None:
    """Together: at 2 months 1 of 4 leaves: 3/4. At 3 months 1 of 2: 3/4 x 1/2 = 3/8; Dan's third month is not over."""
    found = cells(cohorts(steps, BUYERS, "2026-07-01", "order"), "survival")
    assert [share for (share,) in found[JANUARY]] == [1, 1, 1, 0.5, 0.5, 0.5, 0.5], "of Ann and Bob"
    assert [share for (share,) in found[MARCH]] == [1, 1, 0, 0, 0], "of Cid"
    assert [share for (share,) in found[APRIL]] == [1, 1, 1, 1], "of Dan"
    assert [share for (share,) in found[None]] == [1, 1, 0.75, 0.375, 0.375, 0.375]


def test_survival_is_of_the_months_since_the_cohort_began(steps: Any) -> None:
    """Ann was first seen a month before she ordered: the same departure is 4 months after that."""
    found = cells(
        cohorts(steps, [*visits("ann", "01-31"), *orders("ann", "02-10")], "2026-06-15", "activity"), "survival"
    )
    assert [share for (share,) in found[JANUARY]] == [1, 1, 1, 1, 0, 0], "lapsed on 11 May"


def test_no_cut_into_shards_shows(steps: Any) -> None:
    """The shards begin in different months."""
    rows = [*BUYERS, *visits("eve", "05-05", "06-05"), *visits("fay", "06-30")]
    whole = steps.merged(rows, "2026-07-15")["cohorts"]
    assert whole.schema.equals(steps.tables["cohorts"].schema)
    assert steps.merged(rows, "2026-07-15", shards=3)["cohorts"].equals(whole)


def test_the_order_of_the_shards_does_not_matter(steps: Any) -> None:
    def part(*rows: tuple[Any, ...]) -> pa.Table:
        return pa.Table.from_pylist(
            [dict(zip(COHORT_CELLS.names, ("activity", *row), strict=True)) for row in rows], COHORT_CELLS
        )

    parts = [
        part(
            (JANUARY, 0, "size", 2), (JANUARY, 0, "active", 2), (JANUARY, 1, "active", 1), (JANUARY, 1, "censored", 2)
        ),
        part((FEBRUARY, 0, "size", 1), (FEBRUARY, 0, "active", 1), (FEBRUARY, 0, "departed", 1)),
        part((JANUARY, 0, "size", 1), (JANUARY, 0, "active", 1), (JANUARY, 0, "departed", 1)),
    ]
    calendar, table = steps.rules("2026-02-28").calendar, steps.tables["cohorts"]
    found = merge_cohorts(parts, calendar, table)
    assert merge_cohorts(parts[::-1], calendar, table).equals(found)
    assert cells(found.to_pylist(), "cohort_size", "active", "survival") == {
        None: [(3, 3, 0.666666667)], JANUARY: [(3, 3, 0.666666667), (3, 1, 0.666666667)], FEBRUARY: [(1, 1, 0.0)],
    }  # fmt: skip


def test_without_a_customer_there_is_no_cohort(steps: Any) -> None:
    calendar, table = steps.rules("2026-02-28").calendar, steps.tables["cohorts"]
    for parts in ([], [COHORT_CELLS.empty_table()]):
        assert merge_cohorts(parts, calendar, table).equals(table.schema.empty_table())
