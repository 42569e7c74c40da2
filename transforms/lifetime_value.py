"""Lifetime value as a forecast: the purchases that each buyer is expected to make, and what they are worth.

Each shard says how often each history came up (x repeat purchases, the last t_x days after the first, on the day
first_day), the models are fitted once on all of them, and each shard then values its customers. The models are in
buy_till_you_die.py; here is what goes into them, and what is done with what comes out.

The fit's cost does not grow with the customers: it sees distinct histories with counts, and above MOST_HISTORIES of them
the customers with the lowest hashes of their keys.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from schemas.tables import MONEY, MONEY_SUM, Table
from transforms import duck
from transforms.batches import with_columns
from transforms.buy_till_you_die import (
    Fit,
    discounted_value,
    expected_purchases,
    expected_spend,
    fit_bg_nbd,
    fit_gamma_gamma,
    fit_mbg_nbd,
    p_alive,
)
from transforms.columns import one_chunk
from transforms.hashing import murmur3_128
from transforms.metric_inputs import Calendar

#: More distinct histories than this are not fitted one by one.
MOST_HISTORIES = 200_000
_DAYS_A_WEEK = 7
_WEEKS_A_YEAR = 365.25 / 7

#: One row a distinct history: of how many customers it is.
HISTORIES = pa.schema([("x", pa.int64()), ("t_x", pa.int64()), ("first_day", pa.date32()), ("count", pa.int64())])
#: One row a distinct spending on repeat purchases, in one currency.
SPENDS = pa.schema([("currency", pa.string()), ("x", pa.int64()), ("repeat_amount", MONEY_SUM), ("count", pa.int64())])
#: The customers with the lowest hashes, one row each.
SAMPLE = pa.schema(
    [("key_hash", pa.uint64()), ("x", pa.int64()), ("t_x", pa.int64()), ("first_day", pa.date32()),
     ("currency", pa.string()), ("repeat_amount", MONEY_SUM)]
)  # fmt: skip

PurchaseModel = Literal["bg_nbd", "mbg_nbd"]
_FITS: Mapping[str, Callable[..., Fit]] = {"bg_nbd": fit_bg_nbd, "mbg_nbd": fit_mbg_nbd}


@dataclass(frozen=True)
class ForecastRules:
    """`monthly_discount` of money to come, `margin` of revenue; `most_histories` is for tests."""

    calendar: Calendar
    model: PurchaseModel = "bg_nbd"
    monthly_discount: float = 0.01
    margin: float = 1.0
    most_histories: int = MOST_HISTORIES


@dataclass(frozen=True)
class Fitted:
    """The models of a run: of purchases, and of the value of one in each currency. `last_day` ends what was observed."""

    purchases: Fit
    spends: Mapping[str, Fit]
    last_day: datetime.date | None
    customers: int
    sampled: bool


def purchase_histories(
    touchpoints: pa.Table, customer_key: pa.ChunkedArray, rules: ForecastRules, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """customer_no, first_day, x, t_x (days), currency (null where there are several), repeat_amount, key_hash.

    Args: `customer_key` of each customer_no of the shard.
    """
    wanted = ["customer_no", "is_known", "event_type", "occurred_at", "opens_order", "currency", "amount"]
    found = duck.select_windows(
        connection, duck.read_sql("purchase_histories"), {"touchpoints": touchpoints.select(wanted)},
        {"timezone": rules.calendar.months.timezone},
    )  # fmt: skip
    keys = one_chunk(customer_key).take(one_chunk(found["customer_no"]))
    return with_columns(found, {"key_hash": pa.array(murmur3_128(keys)[0])})


def partial_histories(histories: pa.Table, rules: ForecastRules) -> dict[str, pa.Table]:
    """`histories`, `spends` and `sample` of one shard."""
    repeated = _repeated(histories)
    return {
        "histories": _counted(histories, HISTORIES),
        "spends": _counted(repeated, SPENDS),
        "sample": _lowest(histories.select(SAMPLE.names).cast(SAMPLE), rules.most_histories),
    }


def _repeated(histories: pa.Table) -> pa.Table:
    """Who bought again, for money, in one currency: zero amounts count as purchases, and say nothing of their value."""
    x, amount = histories["x"].to_numpy(), _cents(histories["repeat_amount"])
    return histories.filter(pa.array((x > 0) & (amount > 0) & np.asarray(histories["currency"].is_valid())))


def _cents(amounts: pa.ChunkedArray) -> np.ndarray:
    """float64[n] of decimals, 0 for null."""
    return np.asarray(amounts.cast(pa.float64()).fill_null(0.0).to_numpy())


def _counted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    keys = [name for name in schema.names if name != "count"]
    if "count" in table.column_names:
        grouped = table.group_by(keys, use_threads=False).aggregate([("count", "sum")])
    else:
        grouped = table.select(keys).group_by(keys, use_threads=False).aggregate([([], "count_all")])
    return grouped.rename_columns([*keys, "count"]).select(schema.names).cast(schema)


def _lowest(sample: pa.Table, most: int) -> pa.Table:
    order = np.argsort(sample["key_hash"].to_numpy(), kind="stable")[:most]
    return sample.take(pa.array(np.sort(order)))


class Gathered:
    """What the fit needs of the shards as they come in, never more than a few times `most_histories` rows."""

    def __init__(self, rules: ForecastRules) -> None:
        self._rules = rules
        self._schemas = {"histories": HISTORIES, "spends": SPENDS}
        self._tables: dict[str, pa.Table | None] = {name: s.empty_table() for name, s in self._schemas.items()}
        self._sample = SAMPLE.empty_table()
        self._customers = 0
        self._last_day: datetime.date | None = None

    def add(self, name: str, table: pa.Table) -> None:
        """One partial table of one shard, under the name that partial_histories gives it."""
        most = self._rules.most_histories
        if name == "sample":
            self._sample = pa.concat_tables((self._sample, table))
            if self._sample.num_rows > 2 * most:
                self._sample = _lowest(self._sample, most)
            return
        if name == "histories" and table.num_rows:
            self._customers += int(table["count"].to_numpy().sum())
            last = np.max(table["first_day"].to_numpy() + table["t_x"].to_numpy().astype("timedelta64[D]"))
            self._last_day = max(last.astype(object), self._last_day or datetime.date.min)
        known = self._tables[name]
        if known is None:
            return  # too many already
        both = pa.concat_tables((known, table))
        if both.num_rows > 2 * most:
            both = _counted(both, self._schemas[name])
        self._tables[name] = both if both.num_rows <= 2 * most else None

    def fit(self) -> Fitted:
        """Purchases in weeks, and the value of one in each currency."""
        calendar = self._rules.calendar
        zone = calendar.months.local_day
        # The last whole day, or a later one with an order: as-of may be the midnight that an order is dated with.
        last_day = max(zone(calendar.as_of - datetime.timedelta(microseconds=1)), self._last_day or datetime.date.min)
        sample = _lowest(self._sample, self._rules.most_histories)
        histories, sampled = self._exact("histories"), False
        if histories is None:
            histories, sampled = _counted(sample, HISTORIES), True
        weeks = _weeks(histories, last_day)
        purchases = _FITS[self._rules.model](*weeks, histories["count"].to_numpy())
        spends = self._exact("spends")
        if spends is None:
            spends, sampled = _counted(_repeated(sample), SPENDS), True
        fits = {}
        for currency in sorted(set(spends["currency"].to_pylist())):
            own = spends.filter(pa.array(np.array(spends["currency"].to_pylist()) == currency))
            x = own["x"].to_numpy()
            fits[currency] = fit_gamma_gamma(x, _cents(own["repeat_amount"]) / x, own["count"].to_numpy())
        return Fitted(purchases, fits, last_day, self._customers, sampled)

    def _exact(self, name: str) -> pa.Table | None:
        table = self._tables[name]
        if table is None:
            return None
        counted = _counted(table, self._schemas[name])
        return counted if counted.num_rows <= self._rules.most_histories else None


def _weeks(histories: pa.Table, last_day: datetime.date) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, t_x and T (weeks) of each row."""
    age = (np.datetime64(last_day) - histories["first_day"].to_numpy()).astype(np.int64)
    return histories["x"].to_numpy(), histories["t_x"].to_numpy() / _DAYS_A_WEEK, age / _DAYS_A_WEEK


def value_customers(customers: pa.Table, histories: pa.Table, fitted: Fitted, rules: ForecastRules) -> pa.Table:
    """The customers with p_alive, expected_purchases_12m and clv_predicted; null where the models say nothing.

    Args: the table `customers` of a shard, in the order of customer_no, and what purchase_histories gives.
    """
    n = customers.num_rows
    alive, expected, value = (np.full(n, np.nan) for _ in range(3))
    if fitted.purchases.converged and fitted.last_day is not None and histories.num_rows:
        rows = histories["customer_no"].to_numpy()
        x, t_x, age = _weeks(histories, fitted.last_day)
        alive[rows] = p_alive(fitted.purchases, x, t_x, age)
        expected[rows] = expected_purchases(fitted.purchases, _WEEKS_A_YEAR, x, t_x, age)
        value[rows] = _worth(histories, x, t_x, age, fitted, rules)
    worth = pa.array([None if np.isnan(v) else f"{v:.4f}" for v in value], pa.string()).cast(MONEY)
    return with_columns(
        customers,
        {
            "p_alive": pa.array(alive, from_pandas=True),
            "expected_purchases_12m": pa.array(expected, from_pandas=True),
            "clv_predicted": worth,
        },
    )


def _worth(
    histories: pa.Table, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, fitted: Fitted, rules: ForecastRules
) -> np.ndarray:
    worth = np.full(len(x), np.nan)
    currencies = np.array(histories["currency"].to_pylist(), object)
    amount = _cents(histories["repeat_amount"])
    for currency, fit in fitted.spends.items():
        own = np.flatnonzero(currencies == currency)
        if fit.converged and len(own):
            # Repeat purchases that cost nothing say nothing of what one costs: as if nothing had been bought again.
            bought = np.where(amount[own] > 0, x[own], 0)
            mean = amount[own] / np.maximum(bought, 1)
            spend = expected_spend(fit, bought, mean) * rules.margin
            worth[own] = discounted_value(
                fitted.purchases, x[own], t_x[own], age[own], spend, months=12, monthly_discount=rules.monthly_discount
            )
    return worth


def parameter_rows(fitted: Fitted) -> list[dict[str, Any]]:
    """The rows of the table model_parameters: each model's parameters, or the reason why it has none."""
    rows: list[dict[str, Any]] = []
    for currency, fit in ((None, fitted.purchases), *sorted(fitted.spends.items())):
        common = {
            "model": fit.model,
            "currency": currency,
            "n": fit.n,
            "log_likelihood": fit.log_likelihood if fit.converged else None,
            "converged": fit.converged,
            "reason": fit.reason,
        }
        for name, value in sorted(fit.parameters.items()):
            rows.append({**common, "parameter": name, "value": value, "standard_error": fit.standard_errors.get(name)})
        if not fit.parameters:
            rows.append({**common, "parameter": None, "value": None, "standard_error": None})
    return rows


def parameter_table(rows: Sequence[Mapping[str, Any]], table: Table) -> pa.Table:
    """model_parameters, in the order of its key."""
    ordered = sorted(rows, key=lambda r: (r["model"], r["currency"] or "", r["parameter"] or ""))
    return pa.Table.from_pylist(list(ordered), table.schema)
