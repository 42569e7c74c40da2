"""Survival by Kaplan and Meier (1958), from whole-number durations that stand with how often each came up.

Those whose end has not come count as lasting at least so long (censored), and not as gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A share that is exactly one half is met in spite of the last digit of a product of fractions.
_SLACK = 1e-12


@dataclass(frozen=True)
class Survival:
    """`share[i]` is the part that lasts longer than `at[i]`; `at` are the durations at which an end came, rising."""

    at: np.ndarray
    share: np.ndarray

    def quantile(self, gone: float) -> int | None:
        """The shortest duration by which the share `gone` had ended (0.5: the median); None while fewer have."""
        reached = np.flatnonzero(self.share <= 1 - gone + _SLACK)
        return int(self.at[reached[0]]) if len(reached) else None

    def beyond(self, duration: int) -> float:
        """The part that lasts longer than `duration`."""
        place = int(np.searchsorted(self.at, duration, "right"))
        return float(self.share[place - 1]) if place else 1.0


def kaplan_meier(duration: np.ndarray, ended: np.ndarray, count: np.ndarray) -> Survival:
    """Args: int64[n], bool[n], and int64[n] or float64[n] weights, in any order.

    At each duration at which an end came, the share that remains is multiplied by 1 - ends / those still there; who is
    censored at a duration was still there at it. Kaplan and Meier, Nonparametric Estimation from Incomplete
    Observations, JASA 53 (1958).
    """
    at, place = np.unique(duration, return_inverse=True)
    ends = np.bincount(place, weights=np.where(ended, count, 0), minlength=len(at))
    leaving = np.bincount(place, weights=count, minlength=len(at))
    there = np.cumsum(leaving[::-1])[::-1]
    came = ends > 0
    return Survival(at[came], np.cumprod(1 - ends[came] / there[came]))
