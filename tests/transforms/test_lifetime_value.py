"""What goes into the forecast models, and what is done with what comes out; the models are in test_buy_till_you_die.py."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from transforms.lifetime_value import (
    ForecastRules,
    Gathered,
    parameter_rows,
    partial_histories,
    purchase_histories,
    value_customers,
)
from transforms.metric_inputs import Calendar
from transforms.time_zones import Periods

AS_OF = datetime.datetime(2026, 6, 30, 23, 59, 59, tzinfo=datetime.UTC)
Row = dict[str, Any]


def rules(timezone: str = "UTC", most: int = 200_000, **given: Any) -> ForecastRules:
    return ForecastRules(Calendar(Periods(timezone), AS_OF), most_histories=most, **given)


def histories(steps: Any, rows: Sequence[Row], timezone: str = "UTC") -> list[Row]:
    shard = steps.customers(rows, "2026-06-30 23:59:59")
    given = rules(timezone)
    return purchase_histories(
        shard["touchpoints"], shard["customers"]["customer_key"], given, steps.connection
    ).to_pylist()


def buys(at: str, who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, **fields}


def test_a_history_by_hand(steps: Any) -> None:
    """Days with an order, not orders: two on one day are one, and a later line of an order is none."""
    rows = [
        buys("2026-01-05 09:00", order_id="a", amount="100"), buys("2026-01-05 18:00", order_id="b", amount="5"),
        buys("2026-01-15 09:00", order_id="c", amount="20"), buys("2026-01-20 09:00", order_id="c", amount="1"),
        buys("2026-02-05 09:00", order_id="d", amount="0"),
        {"type": "refund", "at": "2026-02-06", "order_id": "c", "amount": "20"},
        {"type": "site_visit", "at": "2026-03-01"},
        buys("2026-01-05", who="anon:x"),
    ]  # fmt: skip
    [found] = histories(steps, rows)
    assert (found["x"], found["t_x"], found["first_day"]) == (2, 31, datetime.date(2026, 1, 5))
    assert (found["currency"], found["repeat_amount"]) == ("EUR", Decimal(21)), "gross, of the days after the first"


def test_days_are_those_of_the_time_zone(steps: Any) -> None:
    rows = [buys("2026-01-05 23:30"), buys("2026-01-06 00:30")]
    assert [h["x"] for h in histories(steps, rows)] == [1]
    assert [h["x"] for h in histories(steps, rows, "Europe/Paris")] == [0]


def test_money_in_two_currencies_is_of_neither(steps: Any) -> None:
    [found] = histories(steps, [buys("2026-01-05"), buys("2026-01-06", currency="USD")])
    assert (found["x"], found["currency"]) == (1, None)


def made(count: int, seed: int = 1, may_leave_at_once: bool = False) -> pa.Table:
    """Histories of `count` customers from BG/NBD itself (or MBG/NBD), as purchase_histories gives them."""
    random = np.random.default_rng(seed)
    age = random.integers(200, 700, count)
    rate = random.gamma(0.8, 1 / 60, count) + 1e-4
    # A chance of its own for each: one for all would leave a and b without bounds.
    stops = random.beta(1, 3, count)
    rows = []
    for number in range(count):
        at, days = 0.0, []
        leaves = may_leave_at_once and random.random() < stops[number]
        while not leaves:
            at += random.exponential(1 / rate[number])
            if at > age[number]:
                break
            days.append(max(int(at), 1))
            if random.random() < stops[number]:
                break
        days = sorted(set(days))
        spent = random.gamma(6, 1) * 10 * len(days)
        rows.append({
            "customer_no": number, "first_day": datetime.date(2026, 6, 30) - datetime.timedelta(days=int(age[number])),
            "x": len(days), "t_x": days[-1] if days else 0, "currency": "EUR",
            "repeat_amount": Decimal(f"{spent:.4f}") if days else None,
            "key_hash": int(random.integers(0, 2**63)),
        })  # fmt: skip
    schema = pa.schema([
        ("customer_no", pa.int64()), ("first_day", pa.date32()), ("x", pa.int64()), ("t_x", pa.int64()),
        ("currency", pa.string()), ("repeat_amount", pa.decimal128(38, 4)), ("key_hash", pa.uint64()),
    ])  # fmt: skip
    return pa.Table.from_pylist(rows, schema)


def fitted(table: pa.Table, given: ForecastRules, shards: int = 1, order: Sequence[int] | None = None) -> Any:
    gathered = Gathered(given)
    pieces = [table.filter(pa.array(np.arange(len(table)) % shards == n)) for n in range(shards)]
    for n in order or range(shards):
        for name, partial in partial_histories(pieces[n], given).items():
            gathered.add(name, partial)
    return gathered.fit()


def test_no_cut_and_no_order_shows_in_the_fit() -> None:
    table, given = made(400), rules()
    whole = fitted(table, given)
    assert whole.purchases.converged and whole.spends["EUR"].converged and not whole.sampled
    assert whole.purchases.n == 400
    assert fitted(table, given, 3, (2, 0, 1)) == whole


def test_above_the_limit_the_customers_with_the_lowest_hashes_are_fitted() -> None:
    """The same sample on any cut; and the fit of the sample is what it says it is."""
    table, given = made(900), rules(most=300)
    found = fitted(table, given)
    assert found.sampled and found.purchases.n == 300 and found.customers == 900
    assert fitted(table, given, 4, (3, 1, 0, 2)) == found
    lowest = np.argsort(table["key_hash"].to_numpy())[:300]
    assert fitted(table.take(pa.array(lowest)), rules()).purchases == found.purchases


def test_few_histories_of_many_customers_are_all_fitted() -> None:
    """It goes by distinct histories: a thousand customers with ten of them are no sample."""
    once = made(40)
    table = pa.concat_tables([once] * 20).set_column(0, "customer_no", pa.array(range(800)))
    found = fitted(table, rules(most=100))
    assert not found.sampled and found.purchases.n == 800


def test_the_window_ends_with_the_last_whole_day_or_the_last_order() -> None:
    """At midnight the day that begins is not over; but an order that is dated with that very midnight was seen."""
    table = made(50)
    midnight = datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)
    given = ForecastRules(Calendar(Periods("UTC"), midnight))
    assert fitted(table, given).last_day == datetime.date(2026, 6, 30)
    late = table.set_column(1, "first_day", pa.array([datetime.date(2026, 7, 1)] * 50)).set_column(
        3, "t_x", pa.array([0] * 50)
    )
    assert fitted(late.set_column(2, "x", pa.array([0] * 50)), given).last_day == datetime.date(2026, 7, 1)


def customers(count: int) -> pa.Table:
    return pa.table({"customer_no": pa.array(range(count)), "customer_key": pa.array([f"c{n}" for n in range(count)])})


def test_who_never_bought_is_not_valued_and_who_bought_is() -> None:
    table, given = made(400), rules()
    found = value_customers(customers(402), table, fitted(table, given), given).to_pylist()
    for row in found[400:]:
        assert (row["p_alive"], row["expected_purchases_12m"], row["clv_predicted"]) == (None, None, None)
    assert all(0 < row["p_alive"] <= 1 and row["clv_predicted"] >= 0 for row in found[:400])


def test_margin_and_discount_lower_the_value_in_proportion() -> None:
    table = made(400)
    plain = rules(monthly_discount=0.0)
    fit = fitted(table, plain)
    full = value_customers(customers(400), table, fit, plain)
    half = value_customers(customers(400), table, fit, rules(monthly_discount=0.0, margin=0.5))
    less = value_customers(customers(400), table, fit, rules(monthly_discount=0.05))
    amounts = [[float(v) for v in t["clv_predicted"].to_pylist()] for t in (full, half, less)]
    assert amounts[1] == pytest.approx([v / 2 for v in amounts[0]], abs=1e-4)
    assert all(c < a for a, c in zip(amounts[0], amounts[2], strict=True) if a > 0.01)


def test_without_a_fit_there_is_a_reason_and_no_guess() -> None:
    table, given = made(20), rules()
    fit = fitted(table, given)
    assert set(value_customers(customers(20), table, fit, given)["p_alive"].to_pylist()) == {None}
    rows = parameter_rows(fit)
    [row] = [row for row in rows if row["model"] == "bg_nbd"]
    assert (row["converged"], row["parameter"], row["value"], row["log_likelihood"]) == (False, None, None, None)
    assert row["reason"].startswith("Fewer than 30 customers") or "30" in row["reason"]


def test_mbg_nbd_can_be_chosen() -> None:
    table, given = made(1500, may_leave_at_once=True), rules(model="mbg_nbd")
    fit = fitted(table, given)
    assert fit.purchases.model == "mbg_nbd" and fit.purchases.converged, fit.purchases.reason
    valued = value_customers(customers(1500), table, fit, given)["p_alive"].to_pylist()
    once = [alive for alive, x in zip(valued, table["x"].to_pylist(), strict=True) if x == 0]
    assert once and all(alive < 1 for alive in once), "who bought once may have left"
