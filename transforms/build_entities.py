"""Tickets and subscriptions: what a shard's events say of each, by SQL; and the support team's clock."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.business_time import Schedule
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
    """`business_hours`: when the support team works; None: nobody told."""

    as_of: datetime.datetime
    business_hours: Schedule | None = None


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
    """Adds `tickets`, `subscriptions` and `subscription_periods`, each with customer_no.

    The copies of others' events have then done their work.
    """
    events = {"entity_events": entity_events(shard["touchpoints"], shard["copies"])}
    tickets = _with_business_time(
        duck.select_windows(connection, duck.read_sql("tickets"), events), rules.business_hours
    )
    now = {"as_of": rules.as_of}
    periods = duck.select_windows(connection, duck.read_sql("subscription_periods"), events, now)
    subscriptions = duck.select(connection, duck.read_sql("subscriptions"), {"subscription_periods": periods})
    periods = periods.drop_columns(["renewals_so_far"])
    rest = {name: table for name, table in shard.items() if name != "copies"}
    rest["touchpoints"] = rest["touchpoints"].drop_columns(["owner_key"])
    return ShardTables(rest, tickets=tickets, subscriptions=subscriptions, subscription_periods=periods)


def _with_business_time(tickets: pa.Table, hours: Schedule | None) -> pa.Table:
    """With first_response_business_s and resolution_business_s; null where the clock did not stop, or none is told."""
    columns = {"first_response_business_s": "first_response_at", "resolution_business_s": "first_resolved_at"}
    clocks = {}
    for name, stop in columns.items():
        if hours is None:
            clocks[name] = pa.nulls(tickets.num_rows, pa.int64())
            continue
        stopped = np.asarray(tickets[stop].is_valid())
        begin, end = (tickets[c].cast(pa.int64()).fill_null(0).to_numpy() for c in ("opened_at", stop))
        seconds = np.zeros(tickets.num_rows, np.int64)
        seconds[stopped] = hours.seconds_between(begin[stopped], end[stopped])
        clocks[name] = pa.array(seconds, mask=~stopped)
    return with_columns(tickets, clocks)


class BuildEntities(ShardStep):
    """ShardTables -> with `tickets`, `subscriptions` and `subscription_periods`."""

    function = staticmethod(build_entities)
