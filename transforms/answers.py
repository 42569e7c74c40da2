"""What a staged block is told about its events, and the way back to the block.

Duplicates and identity are decided on narrow rows, far from the blocks that they come from. Each narrow row carries the
name of its block; what was decided goes back as ANSWERS, keyed by that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from transforms.columns import one_chunk

#: The name of a block, as narrow rows carry it.
BLOCK = pa.dictionary(pa.int32(), pa.string())
#: One row a fact. `identifier` or `row` says what of the block it is about.
ANSWERS = pa.schema(
    [
        ("kind", pa.int8()),
        ("identifier", pa.string()),
        ("row", pa.int32()),
        ("customer_key", pa.string()),
        ("flag", pa.bool_()),
    ]
)

#: The row is a copy that is not kept.
DUPLICATE = 0
#: The e-mail is linked to the one customer `customer_key`, or to several where that is null.
EMAIL = 1
#: The entity is that of `customer_key`.
ENTITY = 2
#: The device's unidentified events are those of `customer_key`, if any. `flag`: its rows have to be asked one by one.
DEVICE = 3
#: A row of such a device: its customer by rule 5, null for no change. `flag`: a new session starts with it.
ROW = 4
#: The ticket or subscription has events of several customers; it belongs to `customer_key`.
OWNER = 5


def in_block(path: str, rows: int) -> pa.Array:
    """The column `block` of n narrow rows of one block."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([path], pa.string()))


def answers(kind: int, asked: pa.Table, **columns: pa.Array) -> pa.Table:
    """Answers of one kind to narrow rows: `block`, and the columns of ANSWERS; those not given are null."""
    n = asked.num_rows
    made = {"kind": pa.array(np.full(n, kind, np.int8)), **columns}
    values = [made[field.name] if field.name in made else pa.nulls(n, field.type) for field in ANSWERS]
    return pa.table([asked["block"], *values], schema=ANSWERS.insert(0, pa.field("block", BLOCK)))


def by_block(table: pa.Table, schema: pa.Schema = ANSWERS) -> Iterator[tuple[str, pa.Table]]:
    """Cut narrow rows by the block they lie in."""
    if not table.num_rows:
        return
    block = one_chunk(table.select(["block"]).unify_dictionaries()["block"])
    codes = block.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    table = table.select(schema.names).take(pa.array(order)).combine_chunks()
    bounds = np.flatnonzero(np.concatenate(([True], codes[order][1:] != codes[order][:-1], [True])))
    for start, stop in pairwise(bounds):
        yield block.dictionary[int(codes[order[start]])].as_py(), table.slice(start, stop - start)
