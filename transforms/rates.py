"""Fixed rates of currencies, as the settings give them. Imports no Beam."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

#: Digits of a rate before and behind the point: as many as leave the product with an amount (14 and 4) exact.
RATE_DIGITS = (9, 10)
_RATE = pa.decimal128(sum(RATE_DIGITS), RATE_DIGITS[1])


@dataclass(frozen=True)
class Rates:
    """What one unit of each currency is worth in the base; the base itself is not among them."""

    base: str
    worth: tuple[tuple[str, Decimal], ...]

    def of(self, currency: pa.Array) -> pa.Array:
        """The rate of each currency, null where it has none.

        >>> Rates("EUR", (("USD", Decimal("0.92")),)).of(pa.array(["EUR", "USD"])).to_pylist()
        [None, Decimal('0.9200000000')]
        """
        place = pc.index_in(currency, pa.array([code for code, _ in self.worth], pa.string()))
        return pa.array([rate for _, rate in self.worth], _RATE).take(place)
