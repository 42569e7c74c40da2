"""Credit for conversions by channel: first touch, last touch, linear, and position (40/20/40); docs/paths.md.

A touch gets `weight` / `parts` of a conversion, whole numbers both, and sums are kept by `parts`: the thirds and sevenths
of millions of conversions add up without a rounding, on any cut. Rounded once, at the end, and so that the channels' sums
still are the totals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from schemas.tables import MONEY_SUM, Table
from transforms import duck
from transforms.adding_up import adding_up
from transforms.batches import ShardTables
from transforms.channel_touches import ChannelTouches
from transforms.runs import starts

#: Sums of weights; credit is the sum over `parts` of weight / parts. All but the keys add up.
CREDIT_CELLS = pa.schema(
    [
        ("model", pa.string()), ("channel", pa.string()), ("currency", pa.string()), ("parts", pa.int64()),
        ("weight", pa.int64()), ("weighted_amount", MONEY_SUM),
    ]
)  # fmt: skip
ADD_CREDIT = adding_up(CREDIT_CELLS, "weight", "weighted_amount")
MODELS = ("first_touch", "last_touch", "linear", "position")
NO_TOUCH = "(no touch)"
#: Decimals of conversions and of money.
CONVERSION_DIGITS, MONEY_DIGITS = 6, 4


def channel_credit(shard: ShardTables, touches: ChannelTouches, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """CREDIT_CELLS of one shard with money, and its `touches`."""
    windows = touches.windows
    numbers = np.arange(len(touches.window))
    tables = {
        "conversions": windows.select(["journey_id", "currency"]).append_column(
            "window_no", pa.array(np.arange(windows.num_rows))
        ),
        "touches": pa.table(
            {
                "window_no": pa.array(touches.window),
                "place": pa.array(numbers - starts(touches.window) + 1),
                "touches": pa.array(touches.touches[touches.window]),
                "channel_no": pa.array(touches.channel),
            }
        ),
        "channels": pa.table({"channel_no": pa.array(np.arange(len(touches.names))), "channel": touches.names}),
        "money": shard["money"].select(["journey_id", "currency", "amount"]),
    }
    cells = duck.select(connection, duck.read_sql("channel_credit"), tables, {"no_touch": NO_TOUCH})
    return cells.select(CREDIT_CELLS.names).cast(CREDIT_CELLS)


def merge_channel_credit(partials: Sequence[pa.Table], table: Table) -> pa.Table:
    """The table channel_credit: every model, channel and currency that has any credit, in every model."""
    conversions: dict[tuple[str, str], dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    revenue: dict[tuple[str, str], dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    channels: dict[str, set[str]] = defaultdict(set)
    for row in ADD_CREDIT(partials).to_pylist():
        of, parts = (row["model"], row["currency"]), row["parts"]
        conversions[of][row["channel"]] += Fraction(row["weight"], parts)
        revenue[of][row["channel"]] += Fraction(row["weighted_amount"]) / parts
        channels[row["currency"]].add(row["channel"])
    rows: list[dict[str, Any]] = []
    for model in MODELS:
        for currency, known in channels.items():
            exact = [
                {name: found[model, currency].get(name, Fraction()) for name in known}
                for found in (conversions, revenue)
            ]
            counted, paid = (
                rounded(sums, digits) for sums, digits in zip(exact, (CONVERSION_DIGITS, MONEY_DIGITS), strict=True)
            )
            rows += [
                {
                    "model": model,
                    "channel": name,
                    "currency": currency,
                    "conversions": counted[name],
                    "revenue": paid[name],
                }
                for name in known
            ]
    rows.sort(key=lambda row: (row["model"], row["channel"].encode(), row["currency"]))
    return pa.Table.from_pylist(rows, table.schema)


def rounded(shares: Mapping[str, Fraction], digits: int) -> dict[str, Decimal]:
    """The shares in so many decimals, and their sum still that of the shares, which has no more decimals than that.

    Cut down first; the units that are then missing go to the largest remainders, of equal ones to the first name.

    >>> rounded({"ad": Fraction(1, 3), "mail": Fraction(1, 3), "web": Fraction(1, 3)}, 2)
    {'ad': Decimal('0.34'), 'mail': Decimal('0.33'), 'web': Decimal('0.33')}
    """
    units = {name: share * 10**digits for name, share in shares.items()}
    cut = {name: unit.numerator // unit.denominator for name, unit in units.items()}
    missing = sum(units.values(), Fraction()) - sum(cut.values())
    assert missing.denominator == 1, "the total has more decimals than are told"
    by_remainder = sorted(shares, key=lambda name: (cut[name] - units[name], name.encode()))
    for name in by_remainder[: int(missing)]:
        cut[name] += 1
    return {name: Decimal(whole).scaleb(-digits) for name, whole in cut.items()}
