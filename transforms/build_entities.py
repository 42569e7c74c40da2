"""Tickets and subscriptions: what a shard's events say of each, by SQL."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.find_owners import LIFE
from transforms.identities import was_ignored
from transforms.shard_step import ShardStep

_COLUMNS = (
    "customer_no", "customer_key", "source", "seq", "occurred_at", "event_id", "event_type",
    "ticket_id", "author", "public", "topic", "priority", "team", "self_service",
    "subscription_id", "amount", "currency", "period_months", "plan", "auto_renews", "reason", "voluntary", "outcome", "kind",
)  # fmt: skip


@dataclass(frozen=True)
class EntityRules:
    as_of: datetime.datetime


def entity_events(touchpoints: pa.Table, copies: pa.Table) -> pa.Table:
    """The events of the shard's tickets and subscriptions, in the order `event_no`; and closed accounts.

    Without those of entities that belong to other customers, with `copies` of those that other customers have. An entity
    whose id means nobody is none: nobody can tell it from another.
    """
    types = pa.array([*(name for life in LIFE.values() for name in life), "account_closed"])
    own = pc.and_(pc.is_in(touchpoints["event_type"], types), pc.is_null(touchpoints["owner_key"]))
    for kind in LIFE:
        own = pc.and_not(own, pa.array(was_ignored(touchpoints["ignored_identifiers"], kind)))
    events = touchpoints.select(_COLUMNS).filter(own)
    if copies.num_rows:
        events = pa.concat_tables(
            (events, with_columns(copies, {"seq": pa.nulls(len(copies), pa.int64())}).select(_COLUMNS))
        )
        by = [(name, "ascending") for name in ("customer_no", "occurred_at", "event_id")]
        events = events.sort_by(by)
    return with_columns(events, {"event_no": pa.array(np.arange(len(events)) + 1)})


def build_entities(shard: ShardTables, rules: EntityRules, connection: duckdb.DuckDBPyConnection) -> ShardTables:
    """Adds `tickets` and `subscriptions`, each with customer_no; the copies of others' events have done their work."""
    events = {"entity_events": entity_events(shard["touchpoints"], shard["copies"])}
    tickets = duck.select(connection, duck.read_sql("tickets"), events)
    subscriptions = duck.select_windows(connection, duck.read_sql("subscriptions"), events, {"as_of": rules.as_of})
    rest = {name: table for name, table in shard.items() if name != "copies"}
    rest["touchpoints"] = rest["touchpoints"].drop_columns(["owner_key"])
    return ShardTables(rest, tickets=tickets, subscriptions=subscriptions)


class BuildEntities(ShardStep):
    """ShardTables -> with `tickets` and `subscriptions`."""

    function = staticmethod(build_entities)
