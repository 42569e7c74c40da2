"""What friction costs: the statistics by published and hand-worked numbers, and the whole against a plain reading."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plain_friction import plain_costs
from transforms import friction_comparison, friction_summary
from transforms.batches import ShardTables
from transforms.friction_comparison import REPLICATES, Comparison, compare_moments, poisson_weights
from transforms.friction_moments import CostRules, find_moments, lag_class
from transforms.friction_summary import (
    FrictionSummary,
    Value,
    add_found,
    greenland_robins,
    holm,
    risk_difference,
    without_difference,
)
from transforms.summarise_customers import CustomerRules, summarise_customers

Row = dict[str, Any]
AS_OF = datetime.datetime(2026, 12, 31, tzinfo=datetime.UTC)
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
JANUARY = datetime.datetime(2026, 1, 5, 10, tzinfo=datetime.UTC)

# --- statistics ----------------------------------------------------------------------------------------------------

#: Deaths under tolbutamide and placebo, below and above 55 years: the University Group Diabetes Program as Rothman,
#: Greenland and Lash tell it (Modern Epidemiology, 3rd ed., chapter 15). There the difference is 0.035.
UGDP = tuple(np.array(side) for side in ((106, 98), (8, 22), (120, 85), (5, 16)))


def test_the_risk_difference_of_the_textbook() -> None:
    # (8 * 120 - 5 * 106) / 226 + (22 * 85 - 16 * 98) / 183, over 106 * 120 / 226 + 98 * 85 / 183; ours has the other sign
    assert float(risk_difference(*UGDP)) == pytest.approx(-3.5529281 / 101.8023115, abs=1e-8)


def test_greenland_and_robins_of_the_textbook() -> None:
    # worked by hand: (8*98*120**3 + 5*115*106**3) / (106*120*226**2) = 3.139333
    #                 (22*76*85**3 + 16*69*98**3) / (98*85*183**2)    = 7.405607; weights 56.283186 + 45.519126
    assert greenland_robins(*UGDP) == pytest.approx(math.sqrt(3.139333 + 7.405607) / 101.802312, abs=1e-7)


def test_one_stratum_is_the_difference_of_two_shares() -> None:
    one = tuple(np.array([n]) for n in (40, 10, 60, 30))
    assert float(risk_difference(*one)) == pytest.approx(0.25)
    assert greenland_robins(*one) == pytest.approx(math.sqrt(0.25 * 0.75 / 40 + 0.5 * 0.5 / 60))
    # the variance of a 2 x 2 table with fixed margins: n1 n0 m1 m0 / (N**2 (N - 1))
    assert without_difference(*one) == pytest.approx(math.sqrt(40 * 60 * 40 * 60 / (100**2 * 99)) / 24)


def test_who_never_has_the_outcome_is_not_sure_of_it() -> None:
    """5 % of many controls, none of 30 exposed: no surprise, though Greenland and Robins see almost no variance."""
    none_of_few = tuple(np.array([n]) for n in (30, 0, 3_000, 150))
    difference = float(risk_difference(*none_of_few))
    assert difference / greenland_robins(*none_of_few) > 10
    assert difference / without_difference(*none_of_few) < 1.3


def test_strata_with_one_side_say_nothing() -> None:
    both = tuple(np.array([n]) for n in (40, 10, 60, 30))
    more = tuple(
        np.array([n, *others]) for n, others in zip((40, 10, 60, 30), ((9, 0), (9, 0), (0, 7), (0, 7)), strict=True)
    )
    for statistic in (risk_difference, greenland_robins, without_difference):
        assert float(statistic(*more)) == float(statistic(*both))
    assert math.isnan(risk_difference(np.array([3]), np.array([1]), np.array([0]), np.array([0])))


def test_holm() -> None:
    # four of a family: 0.005 * 4, 0.01 * 3, 0.03 * 2, and the last no less than the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_error_of_money() -> None:
    # ten losses of 20 each, told to 2: 40; where outcomes differ by 5 (variance 25) their sum and their mean do too
    assert Value(20.0, 0.0, 100).error(10.0, 2.0) == 40.0
    assert Value(20.0, 25.0, 100).error(10.0, 2.0) == pytest.approx(math.sqrt(1600 + 250 * 1.1))


def test_the_interval_of_money_is_even_in_its_logarithm() -> None:
    # ten losses of 20 each, told to 2: 200, with a standard error of 40, a fifth of it; exp(1.96 / 5) = 1.4799
    assert Value(20.0, 0.0, 100).at_risk(10.0, 2.0) == pytest.approx((200.0, 135.1414, 295.9862), abs=1e-3)
    assert Value(0.0, 0.0, 100).at_risk(10.0, 2.0) == (0.0, 0.0, 0.0)
    assert Value(-5.0, 0.0, 50).at_risk(10.0, 3.0) == pytest.approx((-50.0, -79.3995, -20.6005), abs=1e-3)
    assert Value(1.0, 1e12, 1).at_risk(10.0, 2.0) == pytest.approx((10.0, 0.001, 100_000.0))


def test_weights_are_poisson_and_the_customers_own() -> None:
    assert sum(friction_comparison._POISSON_AT) == 2**16
    assert sum(k * n for k, n in enumerate(friction_comparison._POISSON_AT)) == 2**16
    for k, n in enumerate(friction_comparison._POISSON_AT):
        assert n / 2**16 == pytest.approx(math.exp(-1) / math.factorial(k), abs=3e-5)
    hashes = np.random.default_rng(5).integers(0, 2**64, 20_000, np.uint64)
    weights = poisson_weights(hashes, 0, REPLICATES)
    assert weights.shape == (20_000, REPLICATES)
    assert abs(weights.mean() - 1) < 0.002 and abs(weights.var() - 1) < 0.005
    together = np.corrcoef(weights[:, :16].T.astype(float))
    assert np.abs(together - np.eye(16)).max() < 0.03  # replicates do not repeat each other
    assert np.array_equal(poisson_weights(hashes[7:9], 40, 80), weights[7:9, 40:80])


def test_lags_are_rounded_up() -> None:
    second = 1_000_000
    given = [-5, 0, 1, second, second + 1, 3600 * second, 3600 * second + 1, 86_400 * second, 366 * 86_400 * second]
    assert lag_class(np.array(given)).tolist() == [0, 0, 1, 1, 10, 3600, 21_600, 86_400, 2 * 365 * 86_400]


# --- worlds --------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare cells of any size: small worlds then say something."""
    monkeypatch.setattr(friction_comparison, "MIN_COMPARED", 1)
    monkeypatch.setattr(friction_summary, "MIN_COMPARED", 1)


def rules_of(as_of: datetime.datetime = AS_OF, **others: Any) -> CostRules:
    return CostRules(as_of, **others)


def summarise(steps: Any, shards: Sequence[ShardTables], rules: CostRules) -> pa.Table:
    """The table, by the pure functions, of any number of shards."""
    looked = [find_moments(shard, rules, steps.connection) for shard in shards]
    found = add_found((partial for _, partials in looked for partial in partials.items()), rules)
    compared = [part for moments, _ in looked for part in compare_moments(moments, found.plan, rules).items()]
    comparison = Comparison.of(found.plan, compared)
    return friction_summary.friction_summary(found, comparison, rules, steps.tables["friction_summary"])


def shard_of(steps: Any, rows: list[Row], as_of: datetime.datetime = AS_OF) -> ShardTables:
    """One shard whose only friction is slow pages and late answers: a row of the summary is then what the test is about."""
    found = steps.friction(rows, as_of, ("slow_page", "slow_first_response"))
    return summarise_customers(found, CustomerRules(as_of), steps.connection)


def costs(steps: Any, rows: list[Row], as_of: datetime.datetime = AS_OF, **others: Any) -> list[Row]:
    return summarise(steps, [shard_of(steps, rows, as_of)], rules_of(as_of, **others)).to_pylist()


def visit(who: str, at: Any, load_ms: float = 300, url: str = "/p", page_kind: str = "product") -> Row:
    return {"type": "site_visit", "who": who, "at": at, "page_url": url, "page_kind": page_kind, "load_ms": load_ms}


def order(who: str, at: Any, amount: str = "20", **fields: Any) -> Row:
    return {"type": "purchase", "who": who, "at": at, "amount": amount, **fields}


def random_world(seed: int, customers: int = 70) -> list[Row]:
    """Customers who do anything, at any pace, in any order; their friction is of every kind."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(customers):
        who, at = f"c{number:02}", JANUARY + chance.random() * 200 * DAY
        orders = subscriptions = 0
        for _ in range(chance.randint(1, 14)):
            at += chance.choice((HOUR / 4, HOUR, 5 * HOUR, DAY, 4 * DAY, 20 * DAY, 89 * DAY, 91 * DAY)) * chance.choice(
                (1, 1, 0.5)
            )
            kind = chance.choice(
                ("visit",) * 6
                + ("order", "line", "usage", "ticket", "subscribe", "renew", "decline", "refund", "failed", "ad")
            )
            channel = {"channel": chance.choice(("ads", "mail", None))}
            if kind == "visit":
                rows.append(
                    {
                        **visit(
                            who,
                            at,
                            chance.choice((300, 300, 5000)),
                            chance.choice(("/a", "/b")),
                            chance.choice(("product", "checkout")),
                        ),
                        **channel,
                    }
                )
            elif kind == "order":
                orders += 1
                rows.append(
                    order(
                        who,
                        at,
                        chance.choice(("5", "20", "250")),
                        order_id=f"{who}-{orders}",
                        currency=chance.choice(("EUR", "EUR", "USD")),
                    )
                )
            elif kind == "line" and orders:
                rows.append(order(who, at, "7", order_id=f"{who}-{orders}"))
            elif kind == "refund" and orders:
                rows.append({"type": "refund", "who": who, "at": at, "amount": "3", "order_id": f"{who}-{orders}"})
            elif kind == "usage":
                rows.append({"type": "product_usage", "who": who, "at": at})
            elif kind == "ad":
                rows.append({"type": "ad_view", "who": who, "at": at, "campaign_id": "x", **channel})
            elif kind == "failed":
                rows.append({"type": "payment_failed", "who": who, "at": at})
            elif kind == "ticket":
                ticket = {"who": who, "ticket_id": f"{who}-{len(rows)}"}
                rows.append({**ticket, "type": "ticket_opened", "at": at, "team": "t"})
                if chance.random() < 0.8:
                    rows.append({**ticket, "type": "ticket_replied", "at": at + chance.choice((1, 30, 50)) * HOUR})
            elif kind == "subscribe":
                subscriptions += 1
                rows.append(
                    {"type": "subscription_started", "who": who, "at": at, "subscription_id": f"{who}-{subscriptions}"}
                )
            elif kind in ("renew", "decline") and subscriptions:
                rows.append(
                    {
                        "type": "renewal",
                        "who": who,
                        "at": at,
                        "subscription_id": f"{who}-{subscriptions}",
                        "outcome": "renewed" if kind == "renew" else "declined",
                    }
                )
    return [row for row in rows if row["at"] < AS_OF]


@pytest.mark.parametrize("seed", range(12))
def test_a_plain_reading_finds_the_same(steps: Any, of_any_size: None, seed: int) -> None:
    shard = steps.customers(random_world(seed), AS_OF)
    found = {(r["kind"], r["subject"], r["stage"]): r for r in summarise(steps, [shard], rules_of()).to_pylist()}
    plain = plain_costs(shard, AS_OF)
    assert set(found) == set(plain)
    compared = 0
    for cell, expected in plain.items():
        row = found[cell]
        for name in ("n_points", "n_entered", "n_exposed", "n_pending"):
            assert row[name] == expected[name], (cell, name)
        if row["n_matched"] is not None:
            assert (row["n_matched"], row["n_controls"]) == (expected["n_matched"], expected["n_controls"]), cell
        if row["risk_difference"] is not None:
            compared += 1
            assert row["risk_difference"] == pytest.approx(expected["difference"], abs=1e-8), cell
        if row["mean_value"] is not None:
            assert float(row["mean_value"]) == pytest.approx(expected["mean_value"], abs=1e-3), cell
    assert compared >= 2


def test_values_are_those_of_the_controls_outcomes(steps: Any, of_any_size: None) -> None:
    """Thirty at 10 and thirty at 30 EUR buy where nothing is slow; none of the thirty who wait does."""
    rows = []
    for number in range(60):
        rows += [visit(f"c{number}", JANUARY), order(f"c{number}", JANUARY + HOUR, "10" if number % 2 else "30")]
    rows += [visit(f"s{number}", JANUARY, 5000) for number in range(30)]
    (row,) = costs(steps, rows)
    assert (row["n_matched"], row["n_controls"], row["risk_difference"]) == (30, 60, 1.0)
    assert (row["excess_losses"], row["mean_value"], row["revenue_at_risk"]) == (30.0, 20, 600)
    assert (row["currency"], row["claim"], row["reason"]) == ("EUR", "fewer conversions", None)
    assert row["revenue_at_risk_low"] < 600 < row["revenue_at_risk_high"]


def test_two_currencies_are_told_apart(steps: Any, of_any_size: None) -> None:
    rows = []
    for number in range(60):
        currency = "EUR" if number % 3 else "USD"
        rows += [visit(f"c{number}", JANUARY), order(f"c{number}", JANUARY + HOUR, "9", currency=currency)]
    rows += [visit(f"s{number}", JANUARY, 5000) for number in range(30)]
    (row,) = costs(steps, rows)
    assert row["claim"] and (row["revenue_at_risk"], row["mean_value"], row["currency"]) == (None, None, None)
    # 30 losses, worth 9 each, two thirds of them in EUR
    assert row["revenue_at_risk_by_currency"] == [
        {"currency": "EUR", "amount": Decimal(180)},
        {"currency": "USD", "amount": Decimal(90)},
    ]


# --- the rules, one by one -----------------------------------------------------------------------------------------


def many(who: str, n: int, *rows: tuple[Any, ...]) -> list[Row]:
    """The same rows for n customers."""
    return [maker(f"{who}{number}", *given) for number in range(n) for maker, *given in rows]


def test_the_window_is_closed_at_its_end(steps: Any) -> None:
    window = 30 * DAY
    us = datetime.timedelta(microseconds=1)
    in_time = many("c", 40, (visit, JANUARY), (order, JANUARY + window))
    (row,) = costs(steps, in_time + many("s", 40, (visit, JANUARY, 5000), (order, JANUARY + window + us)))
    assert (row["outcome_controls"], row["outcome_exposed"]) == (1.0, 0.0)


def test_only_windows_that_are_over_are_compared(steps: Any) -> None:
    rows = many("s", 3, (visit, JANUARY, 5000))
    us = datetime.timedelta(microseconds=1)
    (over,) = costs(steps, rows, JANUARY + 30 * DAY)
    (open_,) = costs(steps, rows, JANUARY + 30 * DAY - us)
    assert (over["n_exposed"], over["n_pending"]) == (3, 0)
    assert (open_["n_exposed"], open_["n_pending"]) == (0, 3)


def test_a_spell_enters_once_and_is_no_control_of_itself(steps: Any, of_any_size: None) -> None:
    """Fast, slow, fast, slow: two points, one entry, and only the first visit is a control, of others' first."""
    rows = [visit("ann", JANUARY + n * HOUR, ms) for n, ms in enumerate((300, 5000, 300, 5000))]
    rows += [visit("bob", JANUARY + n * HOUR) for n in range(4)]
    (row,) = costs(steps, rows)
    assert (row["n_points"], row["n_entered"], row["n_exposed"]) == (2, 1, 1)
    assert row["n_controls"] is None or row["n_controls"] == 1  # bob's second visit


def test_controls_do_the_same_at_the_same_touch(steps: Any, of_any_size: None) -> None:
    rows = [visit("ann", JANUARY, 5000), visit("bob", JANUARY, 300, "/x", "product")]
    assert costs(steps, rows)[0]["reason"] == "all outcomes equal"  # one control, which has no outcome either
    for other in (
        visit("bob", JANUARY, 300, "/x", "help"),
        {"type": "ad_view", "who": "bob", "at": JANUARY, "campaign_id": "a"},
    ):
        (row,) = costs(steps, [rows[0], other])
        assert (row["n_matched"], row["n_controls"]) == (0, 0)


def test_a_payment_that_failed_stands_beside_those_that_worked(steps: Any, of_any_size: None) -> None:
    """The order makes the stage `purchase`; it is tried in the one before, and it is its own outcome."""
    rows = many("c", 3, (visit, JANUARY), (order, JANUARY + HOUR))
    rows += [visit("f", JANUARY), {"type": "payment_failed", "who": "f", "at": JANUARY + HOUR, "provider": "pay"}]
    shard = with_points(steps.customers(rows, AS_OF), "payment_failed")
    (row,) = summarise(steps, [shard], rules_of()).to_pylist()
    assert (row["n_matched"], row["n_controls"], row["risk_difference"]) == (1, 3, 1.0)


def with_points(shard: ShardTables, event_type: str, lag: datetime.timedelta = datetime.timedelta()) -> ShardTables:
    """A friction point on each event of a type, established some time later."""
    rows = [r for r in shard["touchpoints"].to_pylist() if r["event_type"] == event_type]
    points = [
        {"friction_id": r["event_id"], "customer_key": r["customer_key"], "customer_no": r["customer_no"], "area": "billing",
         "kind": "test", "subject": "x", "stage": r["stage"], "journey_no": r["journey_no"], "seq": r["seq"], "n_events": 1,
         "journey_id": r["journey_id"], "event_ids": [r["event_id"]], "started_at": r["occurred_at"],
         "ended_at": r["occurred_at"], "known_at": r["occurred_at"] + lag}
        for r in rows
    ]  # fmt: skip
    schema = shard["friction_points"].schema
    return ShardTables(shard, friction_points=pa.Table.from_pylist(points, schema))


def test_an_outcome_before_the_point_is_established_is_on_neither_side(steps: Any, of_any_size: None) -> None:
    """A wait of a day: who buys within it has not met it, and no control may be better off for having bought by then."""
    help_ = {"type": "ticket_opened", "team": "t"}
    rows: list[Row] = []
    for number, (waits, buys_after) in enumerate(
        ((True, None), (True, 2 * DAY), (True, 3 * HOUR), (False, 3 * HOUR), (False, 2 * DAY), (False, DAY))
    ):
        who = f"c{number}"
        rows += [{**help_, "who": who, "at": JANUARY, "ticket_id": who}]
        if not waits:
            rows += [{"type": "ticket_replied", "who": who, "at": JANUARY + HOUR, "ticket_id": who}]
        if buys_after:
            rows += [order(who, JANUARY + buys_after)]
    (row,) = [r for r in costs(steps, rows) if r["kind"] == "slow_first_response"]
    assert (row["n_entered"], row["n_exposed"], row["n_pending"]) == (3, 2, 0)
    # of the controls only the one who buys after two days: a day to the second is within the lag
    assert (row["n_matched"], row["n_controls"]) == (2, 1)
    assert (row["outcome_exposed"], row["outcome_controls"]) == (0.5, 1.0)


def test_a_touch_that_is_an_outcome_is_not_its_own_after_a_lag(steps: Any, of_any_size: None) -> None:
    rows = [*many("c", 4, (visit, JANUARY), (order, JANUARY + HOUR), (order, JANUARY + 3 * DAY))]
    at_once, later = (
        summarise(steps, [with_points(steps.customers(rows, AS_OF), "purchase", lag)], rules_of()).to_pylist()
        for lag in (datetime.timedelta(), DAY)
    )
    assert {r["stage"]: r["n_exposed"] for r in at_once} == {"purchase": 4, "loyalty": 4}
    assert {r["stage"]: r["n_exposed"] for r in later} == {"purchase": 4, "loyalty": 4}
    assert all(r["n_matched"] == 0 for r in (*at_once, *later))  # all payments are exposed


def test_a_kind_that_contains_the_outcome_claims_nothing(steps: Any) -> None:
    slow = many("s", 40, (visit, JANUARY, 5000))
    rows = slow + many("c", 60, (visit, JANUARY), (order, JANUARY + HOUR))
    assert costs(steps, rows)[0]["claim"] == "fewer conversions"
    (row,) = costs(steps, rows, unpriced=frozenset(["slow_page"]))
    assert (row["claim"], row["n_points"], row["n_exposed"]) == (None, 40, 40)
    assert row["reason"] == "the kind is defined by the outcome that did not come"
    assert row["risk_difference"] is None


@pytest.mark.parametrize(("exposed", "controls", "reason"), [
    (29, 60, "fewer than 30 exposed spells"),
    (30, 29, "fewer than 30 controls"),
    (30, 30, None),
])  # fmt: skip
def test_nothing_is_claimed_of_fewer_than_thirty(steps: Any, exposed: int, controls: int, reason: str | None) -> None:
    rows = many("s", exposed, (visit, JANUARY, 5000)) + many("c", controls, (visit, JANUARY), (order, JANUARY + HOUR))
    (row,) = costs(steps, rows)
    assert row["reason"] == reason
    assert (row["claim"] is None) == (reason is not None)
    assert (row["excess_losses"] is None) == (reason is not None)


def test_friction_that_goes_with_more_conversions_has_no_price(steps: Any) -> None:
    rows = many("s", 60, (visit, JANUARY, 5000), (order, JANUARY + HOUR)) + many("c", 60, (visit, JANUARY))
    (row,) = costs(steps, rows)
    assert row["p_holm"] < 0.001 and row["risk_difference"] == -1.0
    assert (row["claim"], row["excess_losses"], row["revenue_at_risk"]) == (None, None, None)
    assert row["reason"] == "more conversions than the controls: no loss to price"


def test_only_as_many_cells_are_compared_as_there_is_room_for(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many("c", 60, (visit, JANUARY), (order, JANUARY + HOUR))
    rows += many("s", 40, (visit, JANUARY, 5000, "/more")) + many("t", 35, (visit, JANUARY, 5000, "/less"))
    assert [r["claim"] for r in costs(steps, rows)] == ["fewer conversions"] * 2
    monkeypatch.setattr(friction_comparison, "MOST_PAIRS", 1)
    more, less = costs(steps, rows)
    assert (more["subject"], more["claim"]) == ("/more", "fewer conversions")
    assert less["reason"] == "not among the largest cells, which alone are compared"
    assert (less["n_points"], less["n_exposed"]) == (35, 35)


def test_ranks_go_by_money_then_by_points(steps: Any) -> None:
    rows = many("c", 60, (visit, JANUARY), (order, JANUARY + HOUR))
    rows += many("s", 40, (visit, JANUARY, 5000, "/dear")) + many("few", 5, (visit, JANUARY, 5000, "/b"))
    rows += many("fewer", 4, (visit, JANUARY, 5000, "/a")) + many("same", 4, (visit, JANUARY, 5000, "/c"))
    assert [(r["rank"], r["subject"]) for r in costs(steps, rows)] == [(1, "/dear"), (2, "/b"), (3, "/a"), (4, "/c")]


def test_no_friction_no_rows(steps: Any) -> None:
    assert costs(steps, [visit("ann", JANUARY)]) == []


# --- one result on any cut -----------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), shards=st.integers(1, 5), order_of_rows=st.randoms(use_true_random=False))
def test_any_cut_and_order_give_the_same_table(
    steps: Any, seed: int, shards: int, order_of_rows: random.Random
) -> None:
    rows = [{**row, "event_id": f"e{n:05}"} for n, row in enumerate(random_world(seed, 25))]
    least = friction_comparison.MIN_COMPARED, friction_summary.MIN_COMPARED
    friction_comparison.MIN_COMPARED = friction_summary.MIN_COMPARED = 1
    try:
        whole = summarise(steps, [steps.customers(rows, AS_OF)], rules_of())
        order_of_rows.shuffle(rows)
        whose = sorted({row["who"] for row in rows})
        dealt = [[r for r in rows if whose.index(r["who"]) % shards == shard] for shard in range(shards)]
        cut = summarise(steps, [steps.customers(d, AS_OF) for d in reversed(dealt) if d], rules_of())
    finally:
        friction_comparison.MIN_COMPARED, friction_summary.MIN_COMPARED = least
    assert cut.equals(whole)


def test_the_transform_gives_what_the_functions_give(steps: Any) -> None:
    rows = many("s", 40, (visit, JANUARY, 5000)) + many("c", 60, (visit, JANUARY), (order, JANUARY + HOUR))
    shards = [steps.customers([r for r in rows if hash(r["who"][1:]) % 2 == half], AS_OF) for half in (0, 1)]
    expected = summarise(steps, shards, rules_of())

    def same(found: list[tuple[str, pa.Table]]) -> None:
        ((name, table),) = found
        assert name == "friction_summary" and table.equals(expected)

    with BeamPipeline(runner="FnApiRunner") as pipeline:
        given_shards = pipeline | beam.Create(shards).with_output_types(ShardTables)
        summary = given_shards | FrictionSummary(rules_of(), steps.tables["friction_summary"])
        assert_that(summary, same)


def test_floats_count_exactly_in_either_width(steps: Any, monkeypatch: pytest.MonkeyPatch, of_any_size: None) -> None:
    """Single precision is only used where it counts exactly: with double the same table."""
    shard = steps.customers(random_world(3), AS_OF)
    single = summarise(steps, [shard], rules_of())
    monkeypatch.setattr(friction_comparison, "_EXACT_IN_SINGLE", 0)
    assert summarise(steps, [shard], rules_of()).equals(single)
