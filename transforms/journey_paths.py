"""The most frequent paths of stages, pages and channels, and how many of them convert (docs/paths.md).

Paths grow with the customers, so no worker sees all of them: a shard adds up its own (sql/journey_paths.sql) and sends each
path to the bucket of its hash. All that is known of a path is then in one bucket, which ranks its paths, works out their
medians, and adds up the rest; of the buckets' first ones the first are published, and all others are one row, so that the
sums hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import MONEY_LIST, MONEY_SUM, Table
from transforms import duck
from transforms.adding_up import adding_up, sum_of
from transforms.batches import ShardTables, conform, keyed_tables, split_by_shard
from transforms.channel_touches import ChannelTouches, as_micros, base_rows, is_conversion
from transforms.columns import one_chunk
from transforms.hashing import murmur3_128
from transforms.histograms import add_histograms, each_group, method, quantile_of
from transforms.join_paths import join_paths

#: What a shard knows of its paths; all numbers add up. what: `paths` (count, customers, converted, still_open), the
#: histograms `touchpoints` and `seconds` of those that converted, and `revenue` (currency, amount).
PATH_CELLS = pa.schema(
    [
        ("path_kind", pa.string()), ("path", pa.string()), ("what", pa.string()), ("currency", pa.string()),
        ("value", pa.int64()), ("count", pa.int64()), ("total", pa.int64()), ("customers", pa.int64()),
        ("converted", pa.int64()), ("still_open", pa.int64()), ("amount", MONEY_SUM),
    ]
)  # fmt: skip
#: What a bucket says: its most frequent paths, and the sums of its others (path null).
PATH_ROWS = pa.schema(
    [
        ("path_kind", pa.string()), ("path", pa.string()), ("paths", pa.int64()), ("customers", pa.int64()),
        ("converted", pa.int64()), ("still_open", pa.int64()), ("median_touchpoints", pa.float64()),
        ("median_s", pa.float64()), ("method", pa.string()), ("revenue_by_currency", MONEY_LIST),
    ]
)  # fmt: skip
_ADD_CELLS = adding_up(PATH_CELLS, *PATH_CELLS.names[5:])
#: As many as this suffice to share the work out; what comes out is the same for any number.
MOST_BUCKETS = 64
KINDS = ("channel", "page", "stage")
NOTHING = {"stage": "(no stage)", "channel": "(no touch)", "page": "(no page)"}
OTHER = "(other)"
#: A longer address is cut: sessions of a robot may carry any text.
_PAGE_LETTERS = 200
#: The address without scheme, host, query and fragment, as in the SQL of friction.
_PAGE = r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?(?P<page>[^?#]*)"


@dataclass(frozen=True)
class PathRules:
    """`top`: paths told of each kind. `look_back_days`: of a conversion (channel_touches.py). `longest_page_path`: pages
    told of one path. `repeats`: join_paths.py."""

    top: int = 100
    look_back_days: int = 30
    longest_page_path: int = 20
    repeats: str = "collapse"


# --- a shard -------------------------------------------------------------------------------------------------------


def journey_paths(
    shard: ShardTables, touches: ChannelTouches, rules: PathRules, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """PATH_CELLS of one shard with journeys, money and its `touches`."""
    units: list[pa.Table] = []
    paths: list[pa.Table] = []
    of_journeys = _journey_units(shard)
    for kind, path in (
        ("stage", _stage_paths(shard, rules)),
        ("page", _page_paths(shard, rules)),
        (
            "channel",
            join_paths(touches.window, touches.channel, touches.names, touches.windows.num_rows, rules.repeats),
        ),
    ):
        encoded = path.fill_null(NOTHING[kind]).dictionary_encode()
        number = encoded.indices.to_numpy().astype(np.int64) + sum(named.num_rows for named in paths)
        own = _window_units(touches) if kind == "channel" else of_journeys
        units.append(own.append_column("path_no", pa.array(number)))
        kinds = pa.DictionaryArray.from_arrays(np.zeros(len(encoded.dictionary), np.int8), [kind]).cast(pa.string())
        paths.append(pa.table({"path_kind": kinds, "path": encoded.dictionary}))
    named = pa.concat_tables(paths)
    tables = {
        "units": pa.concat_tables(units),
        "paths": named.append_column("path_no", pa.array(np.arange(named.num_rows))),
        "money": shard["money"].select(["journey_id", "currency", "amount"]),
    }
    cells = duck.select(connection, duck.read_sql("journey_paths"), tables)
    return cells.select(PATH_CELLS.names).cast(PATH_CELLS)


def _journey_units(shard: ShardTables) -> pa.Table:
    """A row a journey; touchpoints and seconds up to its outcome."""
    journeys, touchpoints = shard["journeys"], shard["touchpoints"]
    n = journeys.num_rows
    made_of = touchpoints["journey_id"].to_numpy()[base_rows(touchpoints)]
    seconds = (as_micros(journeys["ended_at"]) - as_micros(journeys["started_at"])) // 1_000_000
    return pa.table(
        {
            "customer_no": journeys["customer_no"],
            "journey_id": pa.array(np.arange(n)),
            "touchpoints": pa.array(np.bincount(made_of, minlength=n)),
            "seconds": pa.array(seconds, mask=seconds < 0),
            "is_converted": pa.array(is_conversion(journeys["outcome"])),
            "is_open": pc.equal(journeys["status"], "open"),
        }
    )


def _window_units(touches: ChannelTouches) -> pa.Table:
    """A row a window; seconds from its first touch."""
    windows, counts = touches.windows, touches.touches
    first = np.cumsum(counts) - counts
    has_touch = counts > 0
    begins = np.zeros(windows.num_rows, np.int64)
    begins[has_touch] = touches.time[first[has_touch]]
    return pa.table(
        {
            "customer_no": windows["customer_no"],
            "journey_id": windows["journey_id"],
            "touchpoints": pa.array(counts),
            "seconds": pa.array((as_micros(windows["ended_at"]) - begins) // 1_000_000, mask=~has_touch),
            "is_converted": windows["is_converted"],
            "is_open": windows["is_open"],
        }
    )


def _stage_paths(shard: ShardTables, rules: PathRules) -> pa.Array:
    rows = base_rows(shard["touchpoints"])
    encoded = one_chunk(shard["touchpoints"]["stage"]).dictionary_encode()
    return _paths_of(shard, rows, encoded.indices.fill_null(-1).to_numpy(), encoded.dictionary, rules)


def _page_paths(shard: ShardTables, rules: PathRules) -> pa.Array:
    touchpoints = shard["touchpoints"]
    addresses = one_chunk(touchpoints["page_url"]).dictionary_encode()
    pages = pages_of(addresses.dictionary).dictionary_encode()
    page_of = np.append(pages.indices.to_numpy().astype(np.int64), -1)  # the last: of no address
    code = page_of[addresses.indices.fill_null(-1).to_numpy()]
    is_visit = pc.equal(one_chunk(touchpoints["event_type"]), "site_visit").to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_visit)  # visits are never later lines of an order
    return _paths_of(shard, rows, code, pages.dictionary, rules, rules.longest_page_path)


def _paths_of(
    shard: ShardTables,
    rows: np.ndarray,
    code: np.ndarray,
    names: pa.Array,
    rules: PathRules,
    longest: int | None = None,
) -> pa.Array:
    """Of the journeys, from some rows. A later line stands behind the journey that it belongs to, but is not among them."""
    journey = shard["touchpoints"]["journey_id"].to_numpy()[rows]
    return join_paths(journey, code[rows].astype(np.int64), names, shard["journeys"].num_rows, rules.repeats, longest)


def pages_of(addresses: pa.Array) -> pa.Array:
    """string[n]: the path of each address.

    >>> pages_of(pa.array(["https://shop.example/tea?x=1#top", "/tea", "https://shop.example?x=1"])).to_pylist()
    ['/tea', '/tea', '/']
    """
    page = pc.struct_field(pc.extract_regex(addresses, _PAGE), "page")
    page = pc.utf8_slice_codeunits(page, 0, _PAGE_LETTERS)
    return pc.if_else(pc.equal(page, ""), "/", page)


def by_bucket(cells: pa.Table, buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """PATH_CELLS by the bucket of their path, which is the same in every shard and run."""
    paths = one_chunk(cells["path"]).dictionary_encode()
    hashes, _ = murmur3_128(paths.dictionary.cast(pa.string()))
    bucket = (hashes % np.uint64(buckets)).astype(np.uint16)
    return split_by_shard(cells, bucket[paths.indices.to_numpy()], buckets)


# --- a bucket ------------------------------------------------------------------------------------------------------


def top_paths(pieces: Iterable[pa.Table], top: int) -> pa.Table:
    """PATH_ROWS of one bucket, from the PATH_CELLS of all shards: `top` of each kind, and the sums of the others."""
    cells = sum_of((conform([piece], PATH_CELLS) for piece in pieces), _ADD_CELLS)
    keys = ["path_kind", "path"]
    counted = (
        cells.filter(pc.field("what") == "paths")
        .group_by(keys, use_threads=False)
        .aggregate([(name, "sum") for name in ("count", "customers", "converted", "still_open")])
        .sort_by([("path_kind", "ascending"), ("count_sum", "descending"), ("path", "ascending")])
    )
    kind = one_chunk(counted["path_kind"]).dictionary_encode().indices.to_numpy()
    rank = np.arange(counted.num_rows) - np.searchsorted(kind, kind)  # the kinds are in order, and so are their codes
    kept, others = counted.filter(pa.array(rank < top)), counted.filter(pa.array(rank >= top))

    is_kept = pc.is_in(_key(cells), value_set=_key(kept))
    own = cells.filter(is_kept)
    medians: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    shape = [*keys, "what"]
    histograms = own.filter(pc.field("value").is_valid()).select([*shape, "value", "count", "total"])
    for (of_kind, path, what), rows in each_group(add_histograms([histograms], shape), shape):
        n = pc.sum(rows["count"]).as_py()
        median = quantile_of(rows, Fraction(1, 2))
        medians[of_kind, path] |= {what: None if median is None else float(median), "method": method(n)}
    revenue = _revenue(own, keys)
    rows = [
        {
            "path_kind": row["path_kind"], "path": row["path"], "paths": row["count_sum"],
            "customers": row["customers_sum"], "converted": row["converted_sum"], "still_open": row["still_open_sum"],
            "median_touchpoints": medians[row["path_kind"], row["path"]].get("touchpoints"),
            "median_s": medians[row["path_kind"], row["path"]].get("seconds"),
            "method": medians[row["path_kind"], row["path"]].get("method"),
            "revenue_by_currency": _listed(revenue.get((row["path_kind"], row["path"]), {})),
        }
        for row in kept.to_pylist()
    ]  # fmt: skip
    rest = _revenue(cells.filter(pc.invert(is_kept)), ["path_kind"])
    summed = others.group_by("path_kind", use_threads=False).aggregate(
        [(f"{name}_sum", "sum") for name in ("count", "converted", "still_open")]
    )
    rows += [
        {
            "path_kind": row["path_kind"], "path": None, "paths": row["count_sum_sum"],
            "converted": row["converted_sum_sum"], "still_open": row["still_open_sum_sum"],
            "revenue_by_currency": _listed(rest.get((row["path_kind"],), {})),
        }
        for row in summed.to_pylist()
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, PATH_ROWS)


def _key(table: pa.Table) -> pa.Array:
    """A kind has no space in it: no two paths have one key."""
    return one_chunk(pc.binary_join_element_wise(table["path_kind"], table["path"], " "))


def _revenue(cells: pa.Table, by: Sequence[str]) -> dict[tuple[str, ...], dict[str, Decimal]]:
    found: dict[tuple[str, ...], dict[str, Decimal]] = defaultdict(dict)
    money = cells.filter(pc.field("what") == "revenue").group_by([*by, "currency"], use_threads=False)
    for row in money.aggregate([("amount", "sum")]).to_pylist():
        found[tuple(row[name] for name in by)][row["currency"]] = row["amount_sum"]
    return found


def _listed(revenue: Mapping[str, Decimal]) -> list[dict[str, Any]]:
    return [{"currency": currency, "amount": revenue[currency]} for currency in sorted(revenue)]


# --- all buckets ---------------------------------------------------------------------------------------------------


def merge_journey_paths(buckets: Sequence[pa.Table], rules: PathRules, table: Table) -> pa.Table:
    """The table journey_paths from what all buckets say: the first `top` of each kind, and one row of all others."""
    found = conform(buckets, PATH_ROWS).to_pylist()
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        own = [row for row in found if row["path_kind"] == kind]
        named = sorted((row for row in own if row["path"] is not None), key=_by_frequency)
        told, others = named[: rules.top], named[rules.top :] + [row for row in own if row["path"] is None]
        if others:
            told.append(_together(kind, others))
        rows += [_published(row, rank) for rank, row in enumerate(told, start=1)]
    return pa.Table.from_pylist(rows, table.schema)


def _by_frequency(row: Mapping[str, Any]) -> tuple[int, bytes]:
    return -row["paths"], row["path"].encode()


def _together(kind: str, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A customer may have several of the other paths, and a median of unlike paths says nothing: null."""
    revenue: dict[str, Decimal] = defaultdict(Decimal)
    for row in others:
        for part in row["revenue_by_currency"]:
            revenue[part["currency"]] += part["amount"]
    sums = {name: sum(row[name] for row in others) for name in ("paths", "converted", "still_open")}
    return {"path_kind": kind, "path": OTHER, **sums, "revenue_by_currency": _listed(revenue)}


def _published(row: Mapping[str, Any], rank: int) -> dict[str, Any]:
    revenue = row["revenue_by_currency"]
    over = row["paths"] - row["still_open"]
    return {
        **row,
        "rank": rank,
        "not_converted": row["paths"] - row["converted"],
        "conversion_share": row["converted"] / over if over else None,
        "revenue": revenue[0]["amount"] if len(revenue) == 1 else None if revenue else Decimal(0),
        "currency": revenue[0]["currency"] if len(revenue) == 1 else None,
    }


# --- Beam ----------------------------------------------------------------------------------------------------------


class _ToBuckets(beam.DoFn):
    def __init__(self, buckets: int) -> None:
        self._buckets = buckets

    def process(self, cells: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        yield from by_bucket(cells, self._buckets)


class _TopPaths(beam.DoFn):
    def __init__(self, top: int) -> None:
        self._top = top

    def process(self, bucket: tuple[int, Iterable[pa.Table]]) -> Iterator[tuple[None, pa.Table]]:
        yield None, top_paths(bucket[1], self._top)


class _Merge(beam.DoFn):
    def __init__(self, rules: PathRules, table: Table) -> None:
        self._rules, self._table = rules, table

    def process(self, buckets: tuple[None, Iterable[pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        yield self._table.name, merge_journey_paths(list(buckets[1]), self._rules, self._table)


class JourneyPaths(beam.PTransform):
    """PATH_CELLS of each shard -> KV["journey_paths", table]. `shards` says how many there are about, and shows nowhere."""

    def __init__(self, rules: PathRules, table: Table, shards: int) -> None:
        super().__init__()
        self._rules, self._table, self._buckets = rules, table, min(shards, MOST_BUCKETS)

    def expand(self, cells: beam.PCollection) -> beam.PCollection:
        keyed = keyed_tables(cells | "ToBuckets" >> beam.ParDo(_ToBuckets(self._buckets)), int)
        ranked = keyed | "ByPath" >> beam.GroupByKey() | "TopPaths" >> beam.ParDo(_TopPaths(self._rules.top))
        together = keyed_tables(ranked, None) | "AllBuckets" >> beam.GroupByKey()
        return keyed_tables(together | "MergePaths" >> beam.ParDo(_Merge(self._rules, self._table)), str)
