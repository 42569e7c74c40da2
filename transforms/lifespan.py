"""How long a customer is expected to stay, for the textbook's lifetime value. Imports no Beam.

It is 1 / (12 x the share that leaves in a month): the churn of subscribers where there are any, else that of buyers. A shop
with both has two ways to leave, and a buyer's lapse is a guess from silence where a subscriber's end is told; so the told
one is taken for all its customers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

#: The metrics whose churn over all is taken, the first that has anybody who could leave.
CHURNS = ("churn_rate", "churn_rate_lapsed")
DAYS_A_YEAR = Fraction(36525, 100)


@dataclass(frozen=True)
class LifetimeRules:
    """How clv_simple takes money and years: revenue times `margin`, over no more than `max_years`."""

    margin: float = 1.0
    max_years: float = 5.0


class Churn(NamedTuple):
    """Customers who left, of those who could have, summed over the months."""

    left: Decimal
    could_leave: Decimal


def churn_taken(of: Callable[[str], Churn | None]) -> tuple[str, Churn] | None:
    """The name and the churn of the first of CHURNS that has anybody who could leave; None if none has.

    >>> churn_taken({"churn_rate": Churn(Decimal(0), Decimal(0)), "churn_rate_lapsed": Churn(Decimal(1), Decimal(5))}.get)
    ('churn_rate_lapsed', Churn(left=Decimal('1'), could_leave=Decimal('5')))
    """
    for name in CHURNS:
        churn = of(name)
        if churn is not None and churn.could_leave:
            return name, churn
    return None


def years_of(churn: Churn, rules: LifetimeRules) -> Fraction:
    """Expected years of a customer, at most `max_years`.

    >>> years_of(Churn(Decimal(1), Decimal(4)), LifetimeRules()), years_of(Churn(Decimal(0), Decimal(4)), LifetimeRules())
    (Fraction(1, 3), Fraction(5, 1))
    """
    longest = Fraction(str(rules.max_years))
    if not churn.left:
        return longest
    return min(longest, Fraction(churn.could_leave) / Fraction(churn.left) / 12)


def lifetime_value(money: Fraction, days: Fraction, years: Fraction, rules: LifetimeRules) -> float:
    """Money in some days, as money a year, times the years, times the margin. `days` is not 0."""
    return float(money / days * DAYS_A_YEAR * years * Fraction(str(rules.margin)))
