"""Put a shard's events on their customers' timelines: one sort, then differences of neighbours.

The order is total: (customer bucket, customer_key, occurred_at, event_id by its bytes). Everything that depends on order
(sequence, sessions, what came before) is worked out here on sorted arrays; SQL gives meaning afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Contracts
from schemas.tables import tables
from transforms.batches import ShardTables, conform, with_columns
from transforms.columns import one_chunk, valid_true
from transforms.groups import group_rows
from transforms.identities import was_ignored
from transforms.load_by_customer import FOUND, IS_COPY, customer_bucket
from transforms.runs import changes, starts
from transforms.sessionize import Sessions, sessionize
from transforms.total_order import in_order

#: What later steps need of a touchpoint beside its published columns. Never written to the lake.
WORKING = (
    ("customer_no", pa.int64()),  # 0.. in the shard, in the order of the files
    ("session_no", pa.int64()),  # 0.. in the shard; -1 for none
    ("visits_before", pa.int64()),
    ("orders_before", pa.int64()),  # orders and subscriptions begun before this event
    ("order_no", pa.int64()),  # which order or subscription of the customer the event belongs to, 1..; null for none
    ("opens_order", pa.bool_()),  # the first line of an order, or a subscription_started
    ("order_row", pa.int64()),  # the shard's row of the first line, for later lines and refunds; null for none
    ("first_order_at", pa.timestamp("us", "UTC")),  # of the first order or subscription so far
)


@dataclass(frozen=True)
class StitchRules:
    """What the settings say of sessions."""

    gap_us: int
    by_source: bool


def event_schema(contracts: Contracts) -> pa.Schema:
    """The columns that arrive from the shuffle."""
    return pa.schema(
        [
            *FOUND,
            ("contract", pa.int16()),
            *((f.name, f.arrow) for f in contracts.fields.values()),
            ("extra", pa.string()),
            ("ignored_identifiers", pa.string()),
            *((name, contracts.fields[of].arrow) for name, of in contracts.originals.items()),
        ]
    )


def stitch(pieces: Iterable[pa.Table], contracts: Contracts, rules: StitchRules) -> ShardTables:
    """One shard's events, whole and in order: `touchpoints` (with the columns WORKING) and `sessions`.

    `copies` are events of other customers that belong to a ticket or subscription of the shard, with customer_no and
    customer_key of the owner.

    Args: tables of `event_schema`, columns without a value left out; all events of the shard's customers, once each.
    """
    own: list[pa.Table] = []
    copies: list[pa.Table] = []
    for piece in pieces:
        (copies if IS_COPY in piece.column_names else own).append(piece)
    events = conform(own, event_schema(contracts))
    customer = _customer_numbers(events["customer_key"])
    time = events["occurred_at"].cast(pa.int64()).to_numpy()
    order = in_order(customer, time, lambda rows: one_chunk(events["event_id"]).take(pa.array(rows)))
    events, customer, time = _take(events, order), customer[order], time[order]

    start = starts(customer)
    event_type = _Types(events["event_type"])
    session_events = event_type.is_one_of(contracts.session_types)
    sessions = sessionize(
        customer,
        _codes(events["anonymous_id"]),
        time,
        _codes(events["source_session_id"]),
        session_events,
        valid_true(events["starts_session"]),
        rules.gap_us,
        rules.by_source,
    )
    versions = pa.array([contract.version for contract in contracts.contracts])
    columns = {
        "schema_version": versions.take(one_chunk(events["contract"])),
        "seq": np.arange(len(customer)) - start + 1,
        "customer_no": customer,
        "session_no": sessions.session,
        "session_id": _session_ids(events["event_id"], sessions),
        "visits_before": _count_before(event_type.is_one_of(("site_visit",)), start),
        **_orders(events, event_type, customer, start, time),
    }
    touchpoints = with_columns(
        events.drop_columns(["starts_session"]),
        {k: v if isinstance(v, pa.Array) else pa.array(v) for k, v in columns.items()},
    )
    return ShardTables(
        touchpoints=touchpoints,
        sessions=_session_table(touchpoints, sessions, event_type, contracts),
        copies=_of_owners(conform(copies, event_schema(contracts)), touchpoints),
    )


def _of_owners(copies: pa.Table, touchpoints: pa.Table) -> pa.Table:
    """Copies with the owner's customer_key and customer_no in place of the customer's whose events they are."""
    first = pa.array(np.flatnonzero(changes(touchpoints["customer_no"].to_numpy())))
    place = pc.index_in(one_chunk(copies["owner_key"]), one_chunk(touchpoints["customer_key"]).take(first))
    return with_columns(
        copies,
        {"customer_key": copies["owner_key"], "customer_no": touchpoints["customer_no"].take(first).take(place)},
    )


class _Types:
    """The event types of all rows, as codes: which rows are of some types is then one look-up."""

    def __init__(self, event_type: pa.ChunkedArray) -> None:
        encoded = one_chunk(event_type).dictionary_encode()
        self._names = encoded.dictionary.to_pylist()
        self._codes = encoded.indices.to_numpy()

    def is_one_of(self, names: Iterable[str]) -> np.ndarray:
        wanted = set(names)
        table = np.array([name in wanted for name in self._names], bool)
        return table[self._codes] if len(table) else np.zeros(0, bool)


def _customer_numbers(keys: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: the customer of each row, numbered in the order (bucket, key)."""
    encoded = one_chunk(keys).dictionary_encode()
    unique = encoded.dictionary
    by_key = pc.sort_indices(unique).to_numpy()
    by_bucket = by_key[np.argsort(customer_bucket(unique)[by_key], kind="stable")]
    number = np.empty(len(unique), np.int64)
    number[by_bucket] = np.arange(len(unique))
    return number[encoded.indices.to_numpy()]


def _take(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Rows in a new order; columns without a value are not moved."""
    indices = pa.array(order)
    return pa.table(
        [pa.nulls(len(order), c.type) if c.null_count == len(c) else one_chunk(c).take(indices) for c in table.columns],
        schema=table.schema,
    )


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: equal values have equal codes; -1 for null."""
    encoded = one_chunk(values).dictionary_encode()
    return pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)


def _count_before(mask: np.ndarray, start: np.ndarray) -> np.ndarray:
    """int64[n]: how many marked rows of the customer stand before each row."""
    before = np.cumsum(mask) - mask
    return before - before[start]


def _orders(
    events: pa.Table, event_type: _Types, customer: np.ndarray, start: np.ndarray, time: np.ndarray
) -> dict[str, np.ndarray | pa.Array]:
    """Which order each purchase line and refund belongs to, and how many orders came before each event.

    An order is (source, order_id) of one customer; a subscription_started counts as an order of its own, for the stage.
    """
    n = len(customer)
    lines = event_type.is_one_of(("purchase",))
    refunds = event_type.is_one_of(("refund",))
    rows = np.flatnonzero(lines | refunds)
    identity = np.zeros(len(rows), np.int64)
    if len(rows):
        taken = events.select(["source", "order_id", "ignored_identifiers"]).take(pa.array(rows))
        # An order_id that means nobody names no order: each such line is one of its own.
        alone = np.where(was_ignored(taken["ignored_identifiers"], "order_id"), rows, -1)
        identity = group_rows(customer[rows], _codes(taken["source"]), _codes(taken["order_id"]), alone).number
    order_row = np.full(n, -1, np.int64)
    first_line = np.full(int(identity.max()) + 1 if len(rows) else 0, n, np.int64)
    line_rows = lines[rows]
    np.minimum.at(first_line, identity[line_rows], rows[line_rows])
    opens = event_type.is_one_of(("subscription_started",))
    if len(rows):
        opened_by = first_line[identity]
        belongs = opened_by <= rows  # a refund may come without its order, or before it
        order_row[rows[belongs]] = opened_by[belongs]
        opens = opens.copy()
        opens[rows[belongs & (opened_by == rows)]] = True
    before = _count_before(opens, start)
    number = np.where(order_row >= 0, before[np.maximum(order_row, 0)] + 1, np.where(opens, before + 1, 0))
    first_open = (
        np.maximum.accumulate(np.where(opens & (before == 0), np.arange(n), -1)) if n else np.zeros(0, np.int64)
    )
    has_opened = first_open >= start
    return {
        "orders_before": before,
        "order_no": pa.array(number, mask=number == 0),
        "opens_order": opens,
        "order_row": pa.array(order_row, mask=order_row < 0),
        "first_order_at": pa.array(time[np.maximum(first_open, 0)] if n else time, mask=~has_opened).cast(
            pa.timestamp("us", "UTC")
        ),
    }


def _session_ids(event_id: pa.ChunkedArray, sessions: Sessions) -> pa.Array:
    first = one_chunk(event_id).take(pa.array(sessions.first_row))
    ids = pc.binary_join_element_wise("s:", first, "")
    return ids.take(pa.array(sessions.session, mask=sessions.session < 0))


def _session_table(touchpoints: pa.Table, sessions: Sessions, event_type: _Types, contracts: Contracts) -> pa.Table:
    """One row a session, with the columns of that table and customer_no."""
    count = len(sessions.first_row)
    rows = np.flatnonzero(sessions.session >= 0)
    of_row = sessions.session[rows]
    first = touchpoints.select(["session_id", "customer_key", "customer_no", "anonymous_id", "occurred_at"]).take(
        pa.array(sessions.first_row)
    )
    purchases = np.zeros(count, bool)
    purchases[of_row[event_type.is_one_of(("purchase",))[rows]]] = True
    table = with_columns(
        first.rename_columns(["session_id", "customer_key", "customer_no", "anonymous_id", "started_at"]),
        {
            "ended_at": touchpoints["occurred_at"].take(pa.array(sessions.last_row)),
            "touchpoints": pa.array(sessions.events),
            "entry_channel": _first_value(touchpoints["channel"], rows, of_row, count),
            "source_session_id": _first_value(touchpoints["source_session_id"], rows, of_row, count),
            "has_purchase": pa.array(purchases),
            "is_truncated": pa.array(sessions.is_truncated),
        },
    )
    schema = tables(contracts)["sessions"].schema
    return table.select([*schema.names, "customer_no"])


def _first_value(values: pa.ChunkedArray, rows: np.ndarray, group: np.ndarray, count: int) -> pa.Array:
    """The first value that is there in each group; rows are in order."""
    there = one_chunk(values).is_valid().to_numpy(zero_copy_only=False)[rows]
    place = np.full(count, -1, np.int64)
    place[group[there][::-1]] = rows[there][::-1]  # the last assignment wins: the first row
    return one_chunk(values).take(pa.array(place, mask=place < 0))


class _Stitch(beam.DoFn):
    def __init__(self, contracts: Contracts, rules: StitchRules) -> None:
        self._contracts, self._rules = contracts, rules

    def process(self, shard: tuple[int, Iterable[pa.Table]]) -> Iterator[ShardTables]:
        yield stitch(shard[1], self._contracts, self._rules)


class Stitch(beam.PTransform):
    """KV[shard, tables] -> ShardTables with `touchpoints` and `sessions`."""

    def __init__(self, contracts: Contracts, rules: StitchRules) -> None:
        super().__init__()
        self._contracts, self._rules = contracts, rules

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_Stitch(self._contracts, self._rules)).with_output_types(ShardTables)
