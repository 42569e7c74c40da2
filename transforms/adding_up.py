"""Partial tables add up: rows that agree in all else become one, with the sums of what is counted.

What is global is never gathered on one worker: each shard sends such tables, and the one who adds them up holds their
sum and a bounded rest that is not in it yet, however many shards there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

#: Tables to their sum, which may be added to again: the same in any order and any grouping.
Add = Callable[[Sequence[pa.Table]], pa.Table]

#: So many rows may wait to be added up: less than 100 MB of any partial table.
_WAITING_ROWS = 500_000


def add_up(table: pa.Table, schema: pa.Schema, sums: Sequence[str]) -> pa.Table:
    """One row for each group of the columns that are not `sums`, in no certain order."""
    keys = [name for name in schema.names if name not in sums]
    grouped = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return grouped.rename_columns([*keys, *sums]).select(schema.names).cast(schema)


def adding_up(schema: pa.Schema, *sums: str) -> Add:
    """`add_up` as an Add."""
    return lambda tables: add_up(pa.concat_tables([schema.empty_table(), *tables]), schema, sums)


def adding_in_order(schema: pa.Schema, *sums: str) -> Add:
    """The same, the rows by their keys, in the order of the columns: nothing of the cut shows in what is made of them."""
    add = adding_up(schema, *sums)
    order = [(name, "ascending") for name in schema.names if name not in sums]
    return lambda tables: add(tables).sort_by(order)


class Sum:
    """The sum of tables that come one by one."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._total: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def include(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows > _WAITING_ROWS:
            self._settle()

    def total(self) -> pa.Table:
        self._settle()
        return self._total[0]

    def _settle(self) -> None:
        self._total, self._waiting, self._rows = [self._add([*self._total, *self._waiting])], [], 0


def sum_of(tables: Iterable[pa.Table], add: Add) -> pa.Table:
    """The sum of a stream of tables."""
    total = Sum(add)
    for table in tables:
        total.include(table)
    return total.total()
