"""The table `customers`, worked out by hand."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

Row = dict[str, Any]
AS_OF = "2026-12-31"


def utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[misc]


def customers(steps: Any, rows: list[Row], as_of: str = AS_OF) -> dict[str, Row]:
    table = steps.customers(rows, as_of)["customers"]
    forecasts = {"p_alive", "expected_purchases_12m", "clv_predicted"}  # come once all shards have been looked at
    assert set(steps.tables["customers"].schema.names) - forecasts <= set(table.column_names)
    return {row["customer_key"]: row for row in table.to_pylist()}


def test_everything_of_one_customer(steps: Any) -> None:
    """Of friction: the slow page, the refund, the ticket that nobody resolved, and the stall in service since."""
    rows = [
        {"type": "ad_view", "at": "2026-10-01 10:00"},
        {"type": "site_visit", "at": "2026-10-02 10:00", "channel": "search", "load_ms": 9000.0},
        {"type": "purchase", "at": "2026-10-02 10:10", "channel": "direct", "order_id": "o", "amount": "20"},
        {"type": "purchase", "at": "2026-10-02 10:11", "order_id": "o", "amount": "5"},
        {"type": "purchase", "at": "2026-11-02 10:00", "order_id": "p", "amount": "10"},
        {"type": "refund", "at": "2026-11-03", "order_id": "p", "amount": "4"},
        {"type": "ticket_opened", "at": "2026-11-04", "ticket_id": "t"},
        {"type": "ticket_replied", "at": "2026-11-04 01:00", "ticket_id": "t"},
    ]
    assert customers(steps, rows)["ann"] == {
        "customer_key": "ann", "is_known": True, "first_seen_at": utc(2026, 10, 1, 10),
        "last_seen_at": utc(2026, 11, 4, 1), "first_channel": "search", "plan": None, "current_stage": "service",
        "touchpoints": 8,
        "sessions": 3, "journeys": 3, "friction_points": 4, "tickets": 1, "orders": 2,
        "first_order_at": utc(2026, 10, 2, 10, 10), "last_order_at": utc(2026, 11, 2, 10), "revenue": Decimal("31.0000"),
        "currency": "EUR", "revenue_by_currency": [{"currency": "EUR", "amount": Decimal("31.0000")}],
        "is_subscriber": False, "churned_at": None, "churn_reason": None, "customer_no": 0,
        "stage_entered_at": utc(2026, 11, 3),
    }  # fmt: skip


def test_who_only_looked(steps: Any) -> None:
    found = customers(steps, [{"type": "survey_sent", "at": "2026-12-01", "who": "anon:x"}])["anon:x"]
    assert {k: v for k, v in found.items() if v not in (None, 0, False)} == {
        "customer_key": "anon:x", "first_seen_at": utc(2026, 12, 1), "last_seen_at": utc(2026, 12, 1), "touchpoints": 1,
        "journeys": 1, "revenue_by_currency": [],
    }  # fmt: skip
    assert (found["revenue"], found["sessions"], found["orders"]) == (Decimal(0), 0, 0)


@pytest.mark.parametrize(
    ("events", "churned_at", "reason"),
    [
        ([("2026-02-01", "account_closed", {"reason": "moved"})], utc(2026, 2, 1), "moved"),
        ([("2026-02-01", "cancellation", {"reason": "price", "subscription_id": "s"})], utc(2026, 2, 1), "price"),
        ([("2026-02-01", "renewal", {"outcome": "declined", "subscription_id": "s"})], utc(2026, 2, 1), None),
        ([("2026-02-01", "purchase", {})], utc(2026, 5, 2), "lapsed"),
        ([("2026-02-01", "subscription_started", {"subscription_id": "s", "auto_renews": False})], utc(2026, 3, 1), "term_ended"),
        # Lapsed first, closed later: churned since the lapse, and because of it.
        ([("2026-02-01", "purchase", {}), ("2026-08-01", "account_closed", {"reason": "moved"})], utc(2026, 5, 2), "lapsed"),
        # Closed first: that it would have lapsed changes nothing.
        ([("2026-02-01", "purchase", {}), ("2026-03-01", "account_closed", {"reason": "moved"})], utc(2026, 3, 1), "moved"),
        # Back again.
        ([("2026-02-01", "purchase", {}), ("2026-12-01", "purchase", {})], None, None),
        ([("2026-02-01", "account_closed", {"reason": "moved"}), ("2026-02-02", "review", {})], None, None),
        # Churned for the second time.
        ([("2026-01-01", "account_closed", {"reason": "first"}), ("2026-01-02", "review", {}),
          ("2026-01-03", "account_closed", {"reason": "second"})], utc(2026, 1, 3), "second"),
        ([("2026-02-01", "cancellation", {"kind": "requested", "reason": "price"})], None, None),
    ],
)  # fmt: skip
def test_when_and_why_a_customer_churned(
    steps: Any, events: list[tuple[str, str, Row]], churned_at: datetime.datetime | None, reason: str | None
) -> None:
    rows = [{"type": kind, "at": at, **fields} for at, kind, fields in events]
    found = customers(steps, rows)["ann"]
    assert (found["churned_at"], found["churn_reason"]) == (churned_at, reason)
    assert (found["current_stage"] == "churned") == (churned_at is not None)


@pytest.mark.parametrize(
    ("as_of", "subscribed"), [("2026-01-31 23:59:59", True), ("2026-02-01", False), ("2026-01-01", True)]
)
def test_a_subscriber_at_as_of(steps: Any, as_of: str, subscribed: bool) -> None:
    rows = [{"type": "subscription_started", "at": "2026-01-01", "subscription_id": "s"}]
    if as_of == "2026-02-01":
        rows += [{"type": "cancellation", "at": "2026-02-01", "subscription_id": "s"}]
    assert customers(steps, rows, as_of)["ann"]["is_subscriber"] is subscribed


def test_money_in_two_currencies(steps: Any) -> None:
    rows = [
        {"type": "purchase", "at": "2026-12-01", "currency": c, "amount": "1", "order_id": c} for c in ("EUR", "CHF")
    ]
    rows += [{"type": "purchase", "at": "2026-12-01", "who": "bob", "amount": "2"}]
    found = customers(steps, rows)
    assert (found["ann"]["revenue"], found["ann"]["currency"], len(found["ann"]["revenue_by_currency"])) == (
        None,
        None,
        2,
    )
    assert (found["bob"]["revenue"], found["bob"]["currency"]) == (Decimal(2), "EUR")


def test_the_sums_over_customers_are_those_of_the_other_tables(steps: Any) -> None:
    rows = [
        {"type": kind, "at": f"2026-0{month}-05", "who": who, "ticket_id": "t", "load_ms": 9000.0}
        for month in range(1, 9) for kind in ("site_visit", "purchase", "ticket_opened") for who in ("ann", "bob", "anon:x")
    ]  # fmt: skip
    shard = steps.customers(rows, AS_OF)
    table = shard["customers"]
    for column in ("touchpoints", "sessions", "journeys", "tickets", "friction_points"):
        assert sum(table[column].to_pylist()) == shard[column].num_rows, column
    assert table["customer_no"].to_pylist() == [0, 1, 2]


def test_a_churn_without_a_reason_takes_none_from_a_later_moment(steps: Any) -> None:
    """She cancelled on 10 February and said not why; that no order followed by April is another matter."""
    rows = [
        {"type": "subscription_started", "at": "2026-01-01", "subscription_id": "s"},
        {"type": "purchase", "at": "2026-01-05"},
        {"type": "cancellation", "at": "2026-02-10", "subscription_id": "s", "reason": None},
    ]
    [row] = steps.customers(rows, "2026-06-01")["customers"].to_pylist()
    assert (row["churned_at"].isoformat()[:10], row["churn_reason"]) == ("2026-02-10", None)
