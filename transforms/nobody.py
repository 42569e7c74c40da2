"""Values of identifiers that mean nobody: `null`, `unknown`, `0000`. Taken for a person, one would be a crowd.

Rule: docs/data-model.md, "Values that mean nobody".
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import first_bytes

#: Trimmed and in lower case. Values of zeros and hyphens alone are meant too.
WORDS = ("-1", "null", "none", "n/a", "nan", "undefined", "unknown", "anonymous", "guest", "test")
_ZEROS = "^[0-]*$"


def means_nobody(values: pa.Array, more: Iterable[str] = ()) -> np.ndarray:
    """bool[n]: which texts are one of `WORDS`, of `more`, or nothing but 0 and -, trimmed and in any case.

    >>> means_nobody(pa.array(["c-1", " NULL ", "00-0", None])).tolist()
    [False, True, True, False]
    """
    words = _lower(pa.array([*WORDS, *more]))  # by what lowers the values: Python has other ideas of a final sigma
    found = np.zeros(len(values), bool)
    # Hardly any value is one: only those that begin like one are looked at as text.
    rows = np.flatnonzero(_may_begin(words.to_pylist())[first_bytes(values)])
    if len(rows):
        text = _lower(values.take(pa.array(rows)))
        nobody = pc.or_(pc.is_in(text, words), pc.match_substring_regex(text, _ZEROS))
        found[rows] = nobody.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _lower(values: pa.Array) -> pa.Array:
    return pc.utf8_lower(pc.utf8_trim_whitespace(values))


def _may_begin(words: Iterable[str]) -> np.ndarray:
    """bool[256]: the first bytes of such values. White space may stand before; what is not ASCII may have other cases."""
    may = np.zeros(256, bool)
    may[0x80:] = True
    for letter in ("0", "-", " ", "\t", "\n", "\v", "\f", "\r", *(chr(n) for n in range(0x1C, 0x20))):
        may[ord(letter)] = True
    for word in words:
        for first in (word[:1].lower(), word[:1].upper()):
            may[list(first.encode())[:1]] = True
    return may
