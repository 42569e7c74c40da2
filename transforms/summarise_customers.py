"""The table `customers`: who they are, where they stand, what they paid."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb

from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.build_journeys import revenue_columns
from transforms.shard_step import ShardStep

_TOUCHPOINT_COLUMNS = (
    "customer_no", "customer_key", "is_known", "occurred_at", "channel", "seq", "opens_order", "event_type", "stage",
    "reason",
)  # fmt: skip


@dataclass(frozen=True)
class CustomerRules:
    as_of: datetime.datetime


def summarise_customers(shard: ShardTables, rules: CustomerRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `customers`, one row a customer of the shard, in the order of the files."""
    tables = {"touchpoints": shard["touchpoints"].select(_TOUCHPOINT_COLUMNS)}
    for name in ("sessions", "journeys", "tickets", "friction_points"):
        tables[name] = shard[name].select(["customer_no"])
    tables["journey_stages"] = shard["journey_stages"].select(["customer_no", "stage", "entered_at", "is_open"])
    for name in ("subscriptions", "subscription_periods", "lapses"):
        tables[name] = shard[name]
    customers = duck.select_windows(connection, duck.read_sql("customers"), tables, {"as_of": rules.as_of})
    revenue = revenue_columns(shard["money"], "customer_no", customers.num_rows, connection)
    return ShardTables(shard, customers=with_columns(customers, revenue))


class SummariseCustomers(ShardStep):
    """ShardTables -> with `customers`."""

    function = staticmethod(summarise_customers)
