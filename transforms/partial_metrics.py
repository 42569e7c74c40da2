"""The metrics of one shard: what each metric's SQL says of its customers, added up by month, currency and segment.

A shard gives for each metric numerators and denominators in decimals, or whole values with how often each came up; both
merge by adding (merge_metrics.py), so any cut into shards gives the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionary import MOST_DIMENSIONS, Metric
from schemas.tables import MONEY_SUM
from transforms import duck
from transforms.adding_up import add_up
from transforms.batches import with_columns
from transforms.quantiles import EXACT_VALUES, lower_edges

#: Partial sums. `month` is null for a metric's own rows over all time, `segment_value` for those that count in every value
#: of a dimension. pending: outcomes that may still arrive.
SUMS = pa.schema(
    [
        ("metric", pa.string()), ("segment", pa.string()), ("segment_value", pa.string()), ("month", pa.date32()),
        ("currency", pa.string()), ("numerator", MONEY_SUM), ("denominator", MONEY_SUM), ("n", pa.int64()),
        ("pending", pa.int64()),
    ]
)  # fmt: skip
#: Partial distributions: how often each value (or bucket) came up, and its sum, which stays exact. `is_open`: the value is
#: a wait that had not ended, or ended without what was waited for.
VALUES = pa.schema(
    [
        ("metric", pa.string()), ("segment", pa.string()), ("segment_value", pa.string()), ("month", pa.date32()),
        ("value", pa.int64()), ("is_open", pa.bool_()), ("count", pa.int64()), ("total", pa.int64()),
        ("pending", pa.int64()), ("is_bucket", pa.bool_()),
    ]
)  # fmt: skip
_VALUES_ADDED = ("count", "total", "pending")
NO_VALUE = "(none)"

#: What the SQL of a metric may leave out, and what stands for it.
_OPTIONAL = {
    "currency": "null::varchar",
    "numerator": "0",
    "denominator": "null",
    "n": "1",
    "pending": "0",
    "is_open": "false",
}


def partial_metrics(
    metrics: Sequence[Metric],
    segments: Sequence[str],
    connections: Sequence[duckdb.DuckDBPyConnection],
    parameters: Mapping[str, Any],
) -> dict[str, pa.Table]:
    """`sums` and `values` of the metrics, which the connections share: they work side by side.

    Each connection has their inputs, and customer_segments (customer_no, a column a segment). `parameters` are what every
    metric's SQL may name: as_of, and as_of_month.
    """
    shares = (
        partial(_share, metrics[number :: len(connections)], segments, connection, parameters)
        for number, connection in enumerate(connections)
    )
    found = duck.side_by_side(*shares)
    return {name: pa.concat_tables([one[name] for one in found]) for name in found[0]}


def _share(
    metrics: Sequence[Metric],
    segments: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
    parameters: Mapping[str, Any],
) -> dict[str, pa.Table]:
    """`sums` and `values` of one connection's metrics."""
    try:
        for kind in (_SUMS, _VALUES):
            connection.execute(f"create or replace temp table {kind.cells} ({kind.columns(segments)})")
        for metric in metrics:
            given = duck.used(metric.sql, parameters)
            columns = _columns_of(metric.sql, connection, given)
            many = _are_many(metric, columns, connection, given) if metric.shape == "distribution" else set()
            if many:
                with _buckets(metric, columns, many, connection, given):
                    connection.execute(cells_sql(metric, columns, segments, in_buckets=True), given)
            else:
                connection.execute(cells_sql(metric, columns, segments), given)
        sums, values = (
            connection.sql(_rolled_up(kind, metrics, segments)).to_arrow_table() for kind in (_SUMS, _VALUES)
        )
        return {"sums": sums.select(SUMS.names).cast(SUMS), "values": values.select(VALUES.names).cast(VALUES)}
    finally:
        for kind in (_SUMS, _VALUES):
            connection.execute(f"drop table if exists {kind.cells}")


@dataclass(frozen=True)
class _Kind:
    """What the cells of a metric hold: by what else they are told apart, and what is added up."""

    cells: str
    by: Mapping[str, str]
    added: Mapping[str, str]

    def columns(self, segments: Sequence[str]) -> str:
        told = {"metric": "varchar", "month": "date"} | {f"dimension_{n}": "varchar" for n in range(MOST_DIMENSIONS)}
        told |= {quoted(name): "varchar" for name in segments}
        return ", ".join(f"{name} {kind}" for name, kind in (told | {**self.by, **self.added}).items())


_SUMS = _Kind(
    "cells_of_sums",
    {"currency": "varchar"},
    {"numerator": "decimal(38, 4)", "denominator": "decimal(38, 4)", "n": "bigint", "pending": "bigint"},
)
_VALUES = _Kind(
    "cells_of_values",
    {"value": "bigint", "is_open": "boolean", "is_bucket": "boolean"},
    {"count": "bigint", "total": "bigint", "pending": "bigint"},
)

#: The columns of each metric's SQL, which are the same for every shard: to ask DuckDB takes as long as a small answer.
_columns: dict[str, tuple[str, ...]] = {}


def _columns_of(
    sql: str, connection: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any] | None
) -> tuple[str, ...]:
    if sql not in _columns:
        _columns[sql] = tuple(connection.sql(duck.nested(sql), params=parameters).columns)
    return _columns[sql]


def _are_many(
    metric: Metric, given: Sequence[str], connection: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any] | None
) -> set[bool]:
    """The values of is_open of which this shard alone has more than are told exactly: all shards together have, too."""
    counts = connection.execute(
        f"""select {_is_open(given)} as is_open, count(*)
        from (\n{metric.sql}\n) where value is not null group by is_open order by is_open""",
        parameters,
    ).fetchall()
    return {is_open for is_open, count in counts if count > EXACT_VALUES}


def _is_open(given: Sequence[str]) -> str:
    return "is_open::boolean" if "is_open" in given else _OPTIONAL["is_open"]


@contextmanager
def _buckets(
    metric: Metric,
    given: Sequence[str],
    many: set[bool],
    connection: duckdb.DuckDBPyConnection,
    parameters: Mapping[str, Any] | None,
) -> Iterator[None]:
    """The table `buckets`: of each value the lower edge of its bucket where there are too many, else the value itself."""
    values = connection.sql(
        f"""select distinct value::bigint as value, {_is_open(given)} as is_open
        from (\n{metric.sql}\n) where value is not null""",
        params=parameters,
    ).to_arrow_table()
    connection.register("buckets", _with_edges(values, many, "lower_edge"))
    try:
        yield
    finally:
        connection.unregister("buckets")


def _with_edges(values: pa.Table, many: set[bool], name: str) -> pa.Table:
    """The column `name`, and is_bucket: the bucket of each value whose is_open is among `many`, else the value."""
    known = values["value"].to_numpy()
    is_bucket = np.isin(values["is_open"].to_numpy(), list(many))
    edges = np.where(is_bucket, lower_edges(known), known)
    return with_columns(values, {name: pa.array(edges, pa.int64()), "is_bucket": pa.array(is_bucket, pa.bool_())})


def cells_sql(metric: Metric, given: Sequence[str], segments: Sequence[str], in_buckets: bool = False) -> str:
    """The metric's rows added up to the finest cells that are told apart.

    `given` are the columns of its own SQL. One that has a segment's name stands for the customer's: the plan at the
    time, and not the last. `in_buckets`: values go by the table `buckets`.
    """
    columns = {name: f"r.{name}" if name in given else other for name, other in _OPTIONAL.items()}
    told = [text(metric.name), "r.month"]
    told += [f"r.{quoted(name)}::varchar" for name in metric.dimensions]
    told += ["null"] * (MOST_DIMENSIONS - len(metric.dimensions))
    if metric.by_dimension_only:
        told += ["null"] * len(segments)
    else:
        own = [f"r.{quoted(name)}" if name in given else f"s.{quoted(name)}" for name in segments]
        told += [f"coalesce({column}::varchar, {text(NO_VALUE)})" for column in own]
    if metric.shape == "distribution":
        pending = columns["pending"] if "pending" in given else columns["is_open"]
        into = _VALUES.cells
        value, is_bucket = ("b.lower_edge", "b.is_bucket") if in_buckets else ("r.value::bigint", "false")
        added = f"""{value} as value, {columns["is_open"]}::boolean as is_open, {is_bucket} as is_bucket, count(*) as count,
    sum(r.value)::bigint as total, sum({pending}::int)::bigint as pending"""
    else:
        into = _SUMS.cells
        added = f"""{columns["currency"]}::varchar as currency, sum({columns["numerator"]})::decimal(38, 4),
    sum({columns["denominator"]})::decimal(38, 4), sum({columns["n"]})::bigint, sum({columns["pending"]}::int)::bigint"""
    whose = "left join customer_segments as s on r.customer_no = s.customer_no" if "(s." in ", ".join(told) else ""
    if in_buckets:
        whose += f" join buckets as b on r.value::bigint = b.value and {columns['is_open']}::boolean = b.is_open"
    whose += " where r.value is not null" if metric.shape == "distribution" else ""
    return f"insert into {into}\nselect {', '.join(told)}, {added}\nfrom (\n{metric.sql}\n) as r {whose}\ngroup by all"


def _rolled_up(kind: _Kind, metrics: Sequence[Metric], segments: Sequence[str]) -> str:
    """The cells of all metrics added up for everyone, by each segment, and by each dimension."""
    whole = [metric.name for metric in metrics if not metric.by_dimension_only]
    cuts = [("'all'", "null::varchar", whole)]
    cuts += [(text(name), quoted(name), whole) for name in segments]
    for n in range(MOST_DIMENSIONS):
        told = {metric.name: metric.dimensions[n] for metric in metrics if len(metric.dimensions) > n}
        named = "".join(f" when {text(name)} then {text(dimension)}" for name, dimension in told.items())
        if told:
            cuts.append((f"case metric{named} end", f"dimension_{n}", list(told)))
    by = ", ".join(kind.by)
    added = ", ".join(f"sum({name})::{as_type} as {name}" for name, as_type in kind.added.items())
    return "\nunion all\n".join(
        f"""select metric, {segment} as segment, {value} as segment_value, month, {by}, {added}
        from {kind.cells} where metric in ({", ".join(map(text, names)) or "null"}) group by all"""
        for segment, value, names in cuts
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def add_values(partials: Sequence[pa.Table]) -> pa.Table:
    """VALUES of all partials; those of a metric go into buckets where there are too many, and waits for themselves.

    It goes by the number of values, which only grows: what goes into buckets in one shard does so in the sum.
    """
    values = pa.concat_tables([VALUES.empty_table(), *partials])
    counted = values.group_by(["metric", "segment", "is_open"], use_threads=False).aggregate([
        ("count", "sum"), ("is_bucket", "max"),
    ])  # fmt: skip
    # Everyone stands in `all`, or in each dimension where there is no `all`.
    many: dict[str, set[bool]] = defaultdict(set)
    for row in counted.to_pylist():
        if row["count_sum"] > EXACT_VALUES or row["is_bucket_max"]:
            many[row["metric"]].add(row["is_open"])
    untouched = values.filter(~pc.field("metric").isin(pa.array(sorted(many), pa.string())))
    pieces = [to_buckets(values.filter(pc.field("metric") == name), many[name]) for name in sorted(many)]
    return add_up(pa.concat_tables([untouched, *pieces]), VALUES, _VALUES_ADDED)


def to_buckets(values: pa.Table, many: set[bool]) -> pa.Table:
    """VALUES whose is_open is among `many` to the lower edges of their buckets, counts added."""
    return add_up(_with_edges(values, many, "value"), VALUES, _VALUES_ADDED)


def segments_sql(segments: Mapping[str, str]) -> str:
    """customer_segments: the customer's first channel, last plan, and the last value of each attribute of the settings.

    Args: SQL expressions on a touchpoint by the segment's name.
    """
    if not segments:
        return "select customer_no, first_channel, plan from customers"
    # arg_max passes by nulls: the last value that there is
    own = ", ".join(f"arg_max(({expression})::varchar, seq) as {quoted(name)}" for name, expression in segments.items())
    return f"""select c.customer_no, c.first_channel, c.plan, o.* exclude (customer_no)
from (select customer_no, first_channel, plan from customers) as c
join (select customer_no, {own} from touchpoints group by customer_no) as o on c.customer_no = o.customer_no"""
