"""Tickets and subscriptions: what a shard's events say of each, by SQL."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb

from transforms import duck
from transforms.batches import ShardTables
from transforms.shard_step import ShardStep

_TICKET_COLUMNS = (
    "customer_no", "customer_key", "source", "ticket_id", "seq", "occurred_at", "event_id", "event_type", "author", "public",
    "topic", "priority", "team", "self_service",
)  # fmt: skip
_SUBSCRIPTION_COLUMNS = (
    "customer_no", "customer_key", "source", "subscription_id", "seq", "occurred_at", "event_type", "amount",
    "currency", "period_months", "plan", "auto_renews", "reason", "voluntary", "outcome", "kind",
)  # fmt: skip


@dataclass(frozen=True)
class EntityRules:
    as_of: datetime.datetime


def build_entities(shard: ShardTables, rules: EntityRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `tickets` and `subscriptions`, each with customer_no."""
    touchpoints = shard["touchpoints"]
    tickets = duck.select(connection, duck.read_sql("tickets"), {"touchpoints": touchpoints.select(_TICKET_COLUMNS)})
    subscriptions = duck.select_windows(
        connection,
        duck.read_sql("subscriptions"),
        {"touchpoints": touchpoints.select(_SUBSCRIPTION_COLUMNS)},
        {"as_of": rules.as_of},
    )
    return ShardTables(shard, tickets=tickets, subscriptions=subscriptions)


class BuildEntities(ShardStep):
    """ShardTables -> with `tickets` and `subscriptions`."""

    function = staticmethod(build_entities)
