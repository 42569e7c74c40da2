"""Paths as texts: the items of a unit (a journey, a customer's touches) in order, joined with ` > `.

What is done with repeats is Snowplow's and Google's path transform of the same effect: `collapse` (their exposure path)
writes a run of one item once, `first` (their first path) each item once, where it first came. A > A > B > A is A > B > A by
the one, A > B by the other.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.runs import changes, starts

SEPARATOR = " > "
#: The last item of a path that was cut.
CUT = "(cut)"
REPEATS = ("collapse", "first")


def join_paths(
    unit: np.ndarray,
    code: np.ndarray,
    names: pa.Array,
    units: int,
    repeats: str = "collapse",
    longest: int | None = None,
) -> pa.Array:
    """string[units]: the path of each unit 0.. of `units`; null where it has no item.

    Args: `unit` int64[n], rising; `code` int64[n], an index of `names` or -1 for no item, in the order of the path.
    Of more than `longest` items the first are told, and CUT.

    >>> join_paths(np.array([0, 0, 0, 1]), np.array([0, 0, 1, -1]), pa.array(["ad", "visit"]), 2).to_pylist()
    ['ad > visit', None]
    """
    there = code >= 0
    unit, code = unit[there], code[there]
    new = changes(unit) | changes(code)
    unit, code = unit[new], code[new]
    if repeats == "first":
        _, first = np.unique(unit * len(names) + code, return_index=True)
        first.sort()
        unit, code = unit[first], code[first]
    if longest is not None:
        place = np.arange(len(unit)) - starts(unit)
        code = np.where(place == longest, len(names), code)
        unit, code = unit[place <= longest], code[place <= longest]
        names = pa.concat_arrays([names, pa.array([CUT], names.type)])
    offsets = np.searchsorted(unit, np.arange(units + 1)).astype(np.int32)
    path = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(code))), SEPARATOR)
    return pc.if_else(pa.array(np.diff(offsets) == 0), pa.scalar(None, pa.string()), path)
