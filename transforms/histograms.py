"""How often each whole number came up, in many groups at once: partial tables that add up, and their quantiles.

A table has the columns of its groups, `value`, `count`, and `total` (the exact sum of the values that count stands for).
A group of up to EXACT_VALUES values keeps them; a larger one goes into buckets half a per cent wide (quantiles.py), whose
lower edge then is the value. An edge is its own bucket's, and counts only grow: in whatever order tables are added up, the
same comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.adding_up import Add, add_up
from transforms.batches import with_columns
from transforms.columns import one_chunk
from transforms.groups import group_rows
from transforms.quantiles import EXACT_VALUES, lower_edges, quantile

ADDED = ("count", "total")


def add_histograms(tables: Sequence[pa.Table], group: Sequence[str]) -> pa.Table:
    """One row for each group of all columns but `count` and `total`; `group` names the columns of one distribution.

    Values are 0 or more, or null where a row stands for none.
    """
    together = pa.concat_tables(tables)
    added = add_up(together, together.schema, ADDED)
    if not added.num_rows:
        return added
    numbers = group_rows(*(_codes(added[name]) for name in group)).number
    counts = np.zeros(int(numbers.max()) + 1, np.int64)
    np.add.at(counts, numbers, added["count"].to_numpy())
    many = counts[numbers] > EXACT_VALUES
    if not many.any():
        return added
    value = added["value"].fill_null(-1).to_numpy()
    edges = np.where(many, lower_edges(value), value)
    return add_up(with_columns(added, {"value": pa.array(edges, pa.int64(), mask=edges < 0)}), added.schema, ADDED)


def adding_histograms(schema: pa.Schema, *group: str) -> Add:
    """`add_histograms` as an Add."""
    return lambda tables: add_histograms([schema.empty_table(), *tables], group)


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    codes: np.ndarray = one_chunk(values).dictionary_encode().indices.fill_null(-1).to_numpy()
    return codes.astype(np.int64)


def each_group(table: pa.Table, group: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
    """The groups, each with its own rows by rising value; nulls of `group` stand last."""
    by = [(name, "ascending") for name in (*group, "value")]
    ordered = table.sort_by(by).combine_chunks()
    if not ordered.num_rows:
        return
    number = group_rows(*(_codes(ordered[name]) for name in group)).number
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    ends = np.append(begins[1:], ordered.num_rows)
    keys = ordered.select(list(group)).take(pa.array(begins)).to_pylist()
    for key, begin, end in zip(keys, begins, ends, strict=True):
        yield tuple(key[name] for name in group), ordered.slice(begin, end - begin)


def method(n: int) -> str:
    """How the quantiles of so many values come about."""
    return "buckets" if n > EXACT_VALUES else "exact"


def quantile_of(rows: pa.Table, share: Fraction) -> Fraction | None:
    """The quantile of one group's rows, by rising value; None of none."""
    if not pc.sum(rows["count"]).as_py():
        return None
    return quantile(rows["value"].to_numpy(), rows["count"].to_numpy(), share)
