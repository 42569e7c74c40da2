"""CDNOW, the data that the models of lifetime value were published with, through the whole pipeline.

Fader, Hardie and Lee, "Counting Your Customers" the Easy Way, Marketing Science 24 (2005), table 2; Fader and Hardie, The
Gamma-Gamma Model of Monetary Value (2013). 2,357 customers, in weeks, to 30 September 1997.
"""

from __future__ import annotations

import csv
import datetime
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.sources.conftest import Published
from transforms.buy_till_you_die import Fit, expected_purchases, p_alive, significant

END = datetime.date(1997, 9, 30)
AS_OF = "1997-09-30T23:59:59Z"


@pytest.fixture(scope="module")
def purchases(exports: Path) -> list[tuple[str, datetime.date, Decimal]]:
    """(customer, day, dollars) of each line, those after the calibration left out."""
    lines = [line.split() for line in (exports / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()]
    found = [(one[1], datetime.datetime.strptime(one[2], "%Y%m%d").date(), Decimal(one[4])) for one in lines]
    return [line for line in found if line[1] <= END]


@pytest.fixture(scope="module")
def run(
    purchases: list[tuple[str, datetime.date, Decimal]], published: Published, tmp_path_factory: pytest.TempPathFactory
) -> duckdb.DuckDBPyConnection:
    file = tmp_path_factory.mktemp("cdnow") / "cdnow.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["event_id", "event_type", "occurred_at", "customer_id", "order_id", "amount", "currency"])
        for number, (customer, day, dollars) in enumerate(purchases):
            writer.writerow(
                [f"e{number}", "purchase", f"{day}T12:00:00Z", f"c{customer}", f"o{number}", dollars, "USD"]
            )
    return published(str(file), as_of=AS_OF)


def test_the_histories(purchases: list[tuple[str, datetime.date, Decimal]]) -> None:
    """The calibration is the published one, before anything of ours has seen it."""
    days: dict[str, set[datetime.date]] = defaultdict(set)
    for customer, day, _ in purchases:
        days[customer].add(day)
    repeats = [len(own) - 1 for own in days.values()]
    assert (len(repeats), sum(x > 0 for x in repeats), sum(repeats)) == (2357, 946, 2457)


def parameters(run: duckdb.DuckDBPyConnection, model: str) -> dict[str, float]:
    found = run.sql(f"select parameter, value from model_parameters where model = '{model}'").fetchall()
    return dict(found)


def test_bg_nbd(run: duckdb.DuckDBPyConnection) -> None:
    """Table 2 of the paper."""
    found = parameters(run, "bg_nbd")
    assert found == pytest.approx({"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}, abs=6e-5)
    [(likelihood, n)] = run.sql(
        "select distinct log_likelihood, n from model_parameters where model = 'bg_nbd'"
    ).fetchall()
    assert (likelihood, n) == (pytest.approx(-9582.429, abs=0.01), 2357)


def test_gamma_gamma(run: duckdb.DuckDBPyConnection) -> None:
    found = parameters(run, "gamma_gamma")
    assert found == pytest.approx({"p": 6.2496, "q": 3.7442, "v": 15.4435}, abs=6e-5)
    [(likelihood, n, currency)] = run.sql(
        "select distinct log_likelihood, n, currency from model_parameters where model = 'gamma_gamma'"
    ).fetchall()
    assert (likelihood, n, currency) == (pytest.approx(-4055.918, abs=0.01), 946, "USD")


def test_what_the_published_table_forecasts(run: duckdb.DuckDBPyConnection) -> None:
    """E[Y(39) | x=2, t_x=30.43, T=38.86] = 1.226 (the paper), from the parameters as the lake has them."""
    fit = Fit("bg_nbd", parameters(run, "bg_nbd"), {}, None, 2357, True, None)
    [expected] = expected_purchases(fit, 39.0, np.array([2]), np.array([30.43]), np.array([38.86]))
    assert expected == pytest.approx(1.226, abs=1e-3)


def test_each_customer_is_valued(
    run: duckdb.DuckDBPyConnection, purchases: list[tuple[str, datetime.date, Decimal]]
) -> None:
    """p_alive and the purchases of twelve months of every customer, from the histories made anew in plain Python."""
    days: dict[str, set[datetime.date]] = defaultdict(set)
    for customer, day, _ in purchases:
        days[f"c{customer}"].add(day)
    keys = sorted(days)
    x = np.array([len(days[key]) - 1 for key in keys])
    t_x = np.array([(max(days[key]) - min(days[key])).days for key in keys]) / 7
    age = np.array([(END - min(days[key])).days for key in keys]) / 7
    fit = Fit("bg_nbd", parameters(run, "bg_nbd"), {}, None, 2357, True, None)
    rows = run.sql("select p_alive, expected_purchases_12m from customers order by customer_key").fetchall()
    alive, expected = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(alive, significant(p_alive(fit, x, t_x, age)), rtol=1e-8)
    np.testing.assert_allclose(expected, significant(expected_purchases(fit, 365.25 / 7, x, t_x, age)), rtol=1e-8)
    assert (alive[x == 0] == 1).all() and (alive[x > 0] < 1).all()


def test_the_mean_value_is_the_metric(run: duckdb.DuckDBPyConnection) -> None:
    [(total, n, mean)] = run.sql(
        "select sum(clv_predicted), count(clv_predicted), avg(clv_predicted) from customers"
    ).fetchall()
    [(numerator, denominator, value)] = run.sql("""
        select numerator, denominator, value from lifecycle_metrics
        where metric = 'clv_predicted' and period_kind = 'all' and segment = 'all'
    """).fetchall()
    assert (numerator, denominator) == (total, n) and n == 2357
    assert value == pytest.approx(float(mean))
    # Some 1.5 purchases of some 36 dollars a year: a sum of the right size.
    assert 25 < value < 60
