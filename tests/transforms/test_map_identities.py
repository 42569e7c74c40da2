"""The table identity_map: which identifiers each customer was seen with, and when."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.decisions import MANY_EVENTS, busiest
from transforms.map_identities import map_identities
from transforms.sessionize import GAP_US
from transforms.stitch import StitchRules, stitch

Row = dict[str, Any]
KINDS = ("customer_id", "email", "anonymous_id", "ticket_id", "subscription_id", "order_id")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def at(minute: int) -> datetime.datetime:
    return START + datetime.timedelta(minutes=minute)


def mapped(steps: Any, rows: list[Row]) -> list[Row]:
    shard = map_identities(steps.stitch(rows))
    assert set(shard) == {*steps.stitch(rows), "identity_map"}
    table = shard["identity_map"]
    assert table.schema.names == [*steps.tables["identity_map"].schema.names, "customer_no"]
    for field in steps.tables["identity_map"].schema:
        assert table.schema.field(field.name).type == field.type
    return table.drop_columns(["customer_no"]).to_pylist()


def visit(minute: int, **fields: Any) -> Row:
    return {"type": "site_visit", "at": at(minute), **fields}


def test_first_and_last_time_and_number_of_events(steps: Any) -> None:
    rows = [
        visit(3, customer_id="ann", anonymous_id="d"), visit(1, anonymous_id="d"), visit(2, anonymous_id="e"),
        visit(9, customer_id="ann"),
    ]  # fmt: skip
    found = [tuple(row.values()) for row in mapped(steps, rows)]
    assert found == [
        ("anonymous_id", "d", "ann", at(1), at(3), 2), ("anonymous_id", "e", "ann", at(2), at(2), 1),
        ("customer_id", "ann", "ann", at(3), at(9), 2),
    ]  # fmt: skip


def test_one_device_of_two_customers_has_a_row_for_each(steps: Any) -> None:
    rows = [visit(n, who=who, anonymous_id="d") for n, who in enumerate(("ann", "bob", "ann"))]
    found = {
        (row["customer_key"], row["identifier"], row["valid_from"], row["n_events"]) for row in mapped(steps, rows)
    }
    assert found == {("ann", "d", at(0), 2), ("bob", "d", at(1), 1)}


def test_tickets_subscriptions_and_orders_carry_their_source(steps: Any) -> None:
    rows: list[Row] = [
        {"type": "ticket_opened", "at": at(0), "ticket_id": "1", "source": "desk"},
        {"type": "ticket_opened", "at": at(1), "ticket_id": "1"},
        {"type": "renewal", "at": at(2), "subscription_id": "1", "source": "bill:ing"},
        {"type": "purchase", "at": at(3), "order_id": "1", "source": "desk"},
        {"type": "refund", "at": at(4), "order_id": "1", "source": "desk"},
    ]
    found = [(row["identifier_kind"], row["identifier"], row["n_events"]) for row in mapped(steps, rows)]
    assert found == [
        ("order_id", "desk:1", 2), ("subscription_id", "bill:ing:1", 1), ("ticket_id", ":1", 1), ("ticket_id", "desk:1", 1),
    ]  # fmt: skip


def test_a_value_that_means_nobody_is_no_identifier(steps: Any) -> None:
    """An entity's stays in its column; the event says that it was ignored."""
    ignored = {"ticket_id": "0", "ignored_identifiers": '{"anonymous_id":"null","ticket_id":"0"}'}
    rows = [
        {"type": "ticket_opened", "at": at(0), "customer_id": "ann", **ignored},
        {"type": "ticket_opened", "at": at(1), "customer_id": "ann", "ticket_id": "t",
         "ignored_identifiers": '{"email":"ticket_id"}'},
    ]  # fmt: skip
    found = [(row["identifier_kind"], row["identifier"]) for row in mapped(steps, rows)]
    assert found == [("customer_id", "ann"), ("ticket_id", ":t")]


def test_customers_are_in_the_order_of_the_shard(steps: Any) -> None:
    rows = [visit(0, who=f"c{n}", customer_id=f"c{n}", email=f"{n}@x") for n in range(30)]
    touchpoints = steps.stitch(rows)["touchpoints"]
    keys = [row["customer_key"] for row in mapped(steps, rows)]
    assert keys == [key for key in touchpoints["customer_key"].to_pylist() for _ in range(2)]


rows_of_all = st.lists(
    st.fixed_dictionaries({
        "who": st.sampled_from(["ann", "bob"]), "minute": st.integers(0, 5),
        "source": st.sampled_from([None, "web"]),
        **{kind: st.sampled_from([None, "x", "y"]) for kind in KINDS},
    }),
    max_size=12,
)  # fmt: skip


@settings(max_examples=100)
@given(rows_of_all)
def test_reads_like_a_dict(steps: Any, drawn: list[Row]) -> None:
    rows = [visit(row["minute"], **{k: v for k, v in row.items() if k != "minute"}) for row in drawn]
    seen: dict[tuple[str, str, str], list[datetime.datetime]] = {}
    for row in rows:
        for kind in KINDS:
            if row[kind] is not None:
                name = f"{row['source'] or ''}:{row[kind]}" if kind in KINDS[3:] else row[kind]
                seen.setdefault((row["who"], kind, name), []).append(row["at"])
    found = [tuple(row.values()) for row in mapped(steps, rows)]
    expected = [(kind, name, who, min(t), max(t), len(t)) for (who, kind, name), t in seen.items()]
    assert sorted(found) == sorted(expected)


def test_a_shard_without_events(steps: Any) -> None:
    shard = stitch([pa.table({})], steps.contracts, StitchRules(GAP_US, False))
    assert map_identities(shard)["identity_map"].num_rows == 0


def test_the_busiest_customers_are_told() -> None:
    def told(table: pa.Table) -> list[tuple[str, str, str, int]]:
        return busiest("customer", table["customer_key"], table["touchpoints"].to_numpy())

    events = [5, MANY_EVENTS, MANY_EVENTS - 1, 7000, MANY_EVENTS, 6000]
    customers = pa.table({"customer_key": [f"c{n}" for n in range(6)], "touchpoints": events})
    assert list(told(customers)) == [
        ("busiest_customer", "", "c3", 7000), ("busiest_customer", "", "c5", 6000), ("busiest_customer", "", "c1", 1000),
    ]  # fmt: skip
    assert list(told(customers.slice(2, 1))) == []
