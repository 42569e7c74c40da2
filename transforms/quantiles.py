"""Quantiles of whole numbers that stand with how often each came up: exact, or from buckets half a per cent wide."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

#: Up to so many values a quantile is exact; above, it comes from buckets half a per cent wide (docs/metrics.md).
EXACT_VALUES = 100_000


def bucket_edges(top: int) -> list[int]:
    """Lower edges of the buckets 0, 1, 2, ... up to `top`: each half a per cent above the last, in whole numbers."""
    edges = [0]
    while edges[-1] <= top:
        edges.append(max(edges[-1] + 1, edges[-1] * 201 // 200))
    return edges


def lower_edges(values: np.ndarray) -> np.ndarray:
    """int64[n]: the lower edge of each value's bucket; negative values stay as they are."""
    edges = np.array(bucket_edges(int(values.max(initial=0))))
    return np.where(values >= 0, edges[np.searchsorted(edges, values, "right") - 1], values)


def quantile(values: np.ndarray, counts: np.ndarray, share: Fraction) -> Fraction:
    """The quantile of rising values with counts: linear between neighbours (Hyndman and Fan 7; the middle of two).

    >>> quantile(np.array([10, 20]), np.array([1, 1]), Fraction(1, 2))
    Fraction(15, 1)
    """
    seen = np.cumsum(counts)
    place = (int(seen[-1]) - 1) * share
    low = int(place)
    first, second = (
        int(values[np.searchsorted(seen, rank, "right")]) for rank in (low, min(low + 1, int(seen[-1]) - 1))
    )
    return Fraction(first) + (place - low) * (second - first)
