"""From the shards' sums to the rows of lifecycle_metrics: worked by hand on small partial tables.

`sums` and `values` write partial tables; a row says only what the test is about. `Merged` merges them for some metrics.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dictionary import Example, Metric
from transforms.lifespan import LifetimeRules
from transforms.merge_metrics import EVERYONE, OfPeriods, all_months, expected_years, merge_metrics
from transforms.metric_inputs import Calendar
from transforms.partial_metrics import SUMS, VALUES, add_values, partial_metrics, to_buckets
from transforms.quantiles import EXACT_VALUES
from transforms.time_zones import Periods

Row = dict[str, Any]
Month = datetime.date | None
Merge = Callable[..., list[Row]]
JANUARY, FEBRUARY, MARCH = (datetime.date(2026, n, 1) for n in range(1, 4))
#: January and February are over, March is not.
CALENDAR = Calendar(Periods("UTC"), datetime.datetime(2026, 3, 15, tzinfo=datetime.UTC))


def metric(shape: str = "sum", name: str = "own", **fields: Any) -> Metric:
    """One of the dictionary, of which the tests mind the name, the shape and what is given."""
    told = {"description", "formula", "numerator", "denominator", "anchor", "exclusions", "source", "sql", "file"}
    texts: dict[str, Any] = {**dict.fromkeys(told, ""), "unit": "things", "example": Example("", (), (), ())}
    return Metric(name=name, shape=shape, **{**texts, **fields})


def sums(*rows: Row) -> pa.Table:
    """Partial sums: of the metric `own` in January and of everyone, where a row says nothing else."""
    least = {
        "metric": "own",
        "segment": "all",
        "month": JANUARY,
        "numerator": 0,
        "denominator": 0,
        "n": 0,
        "pending": 0,
    }
    whole = [{**least, **row} for row in rows]
    return pa.Table.from_pylist(
        [{**row, **{side: Decimal(row[side]) for side in ("numerator", "denominator")}} for row in whole], SUMS
    )


def values(*rows: Row) -> pa.Table:
    """Partial distributions: each value once, in January and of everyone, where a row says nothing else."""
    least = {
        "metric": "own",
        "segment": "all",
        "month": JANUARY,
        "is_open": False,
        "count": 1,
        "pending": 0,
        "is_bucket": False,
    }
    whole = [{**least, **row} for row in rows]
    return pa.Table.from_pylist([{"total": row["value"] * row["count"], **row} for row in whole], VALUES)


@pytest.fixture(scope="module")
def merged(steps: Any) -> Merge:
    def merge(
        *metrics: Metric, sums: list[pa.Table] | None = None, values: list[pa.Table] | None = None,
        lifetime: LifetimeRules = LifetimeRules(), calendar: Calendar = CALENDAR,
    ) -> list[Row]:  # fmt: skip
        table = steps.tables["lifecycle_metrics"]
        found = merge_metrics([OfPeriods(sums or [], values or [], JANUARY, calendar)], metrics, lifetime, table)
        assert found.schema.equals(table.schema)
        return found.to_pylist()

    return merge


def told(
    rows: list[Row], column: str = "value", segment: str = "all", value: str | None = None, **others: Any
) -> list[Any]:
    """Of one cut the column in January, February, March, and over all."""
    others = {"segment": segment, "segment_value": value, **others}
    own = {r["period_start"]: r[column] for r in rows if all(r[name] == other for name, other in others.items())}
    assert list(own) == [None, JANUARY, FEBRUARY, MARCH]
    return [*list(own.values())[1:], own[None]]


# --- shapes and periods ----------------------------------------------------------------------------------------------


def test_a_value_by_shape(merged: Merge) -> None:
    parts = [sums({"numerator": 1, "denominator": 3, "n": 4})]
    for shape, value, denominator in (
        ("count", 1.0, None), ("sum", 1.0, None), ("ratio", 1 / 3, 3), ("score", 100 / 3, 3),
    ):  # fmt: skip
        (row,) = [r for r in merged(metric(shape), sums=parts) if r["period_start"] == JANUARY]
        assert (row["numerator"], row["denominator"], row["value"], row["n"]) == (1, denominator, value, 4), shape
        assert (row["unit"], row["method"], row["period_end"]) == ("things", "exact", FEBRUARY)


def test_where_the_denominator_is_0_there_is_no_value(merged: Merge) -> None:
    for shape in ("ratio", "score"):
        assert told(merged(metric(shape), sums=[sums({"numerator": 5})])) == [None] * 4


def test_a_ratio_is_divided_once_from_exact_sums(merged: Merge) -> None:
    cents = Decimal("99999999999999.9999")
    parts = [sums({"numerator": cents, "denominator": 3}), sums({"numerator": Decimal("0.0001"), "denominator": 4})]
    (value, *_) = told(merged(metric("ratio"), sums=parts))
    assert value == float(Fraction(10**14, 7))


def test_every_month_has_its_rows(merged: Merge) -> None:
    parts = [sums({"month": FEBRUARY, "numerator": 2})]
    assert told(merged(metric("count"), sums=parts)) == [0, 2, 0, 2]
    assert told(merged(metric("count"))) == [0, 0, 0, 0], "of a metric without any row"
    assert told(merged(metric("ratio"))) == [None] * 4


def test_over_all_is_the_sum_of_the_months_or_what_the_sql_says_or_the_last(merged: Merge) -> None:
    """A customer in two months is one customer; who is there at the end is not the sum of all ends."""
    parts = [
        sums(
            {"month": JANUARY, "numerator": 1, "denominator": 2, "n": 2}, {"month": MARCH, "numerator": 2, "denominator": 8, "n": 8},
            {"month": None, "numerator": 2, "denominator": 9, "n": 9},
        )
    ]  # fmt: skip
    for over_all, value, n in (("sum", 3 / 10, 10), ("own", 2 / 9, 9), ("last", 2 / 8, 8)):
        found = merged(metric("ratio", over_all=over_all), sums=parts)
        assert told(found) == [0.5, None, 0.25, value], over_all
        assert told(found, "n") == [2, 0, 8, n], over_all


def test_the_last_month_may_be_empty(merged: Merge) -> None:
    assert told(merged(metric("count", over_all="last"), sums=[sums({"numerator": 5})])) == [5, 0, 0, 0]


def test_what_accumulates_is_of_all_months_up_to_one_s_end(merged: Merge) -> None:
    parts = [
        sums({"month": JANUARY, "denominator": 1, "n": 1}, {"month": MARCH, "numerator": 1, "denominator": 3, "n": 3, "pending": 1})
    ]  # fmt: skip
    found = merged(metric("ratio", accumulates=True), sums=parts)
    assert told(found) == [0, 0, 0.25, 0.25]
    assert told(found, "n") == [1, 1, 4, 4]
    assert told(found, "status") == ["final", "final", "provisional", "provisional"]


def test_a_period_is_provisional_while_it_lasts_and_while_outcomes_may_come(merged: Merge) -> None:
    parts = [sums({"numerator": 1, "pending": 1}, {"month": None, "numerator": 1})]
    for over_all, status in (("sum", "provisional"), ("own", "final"), ("last", "final")):
        found = told(merged(metric("count", over_all=over_all), sums=parts), "status")
        assert found == ["provisional", "final", "provisional", status], over_all


def test_without_a_month_there_are_the_rows_over_all(steps: Any) -> None:
    table = steps.tables["lifecycle_metrics"]
    (row,) = merge_metrics([OfPeriods([], [], None, CALENDAR)], [metric("count")], LifetimeRules(), table).to_pylist()
    assert (row["period_kind"], row["period_start"], row["period_end"], row["value"]) == ("all", None, None, 0)
    assert all_months(None, CALENDAR) == []


# --- currencies ------------------------------------------------------------------------------------------------------


def test_a_row_without_a_currency_counts_in_each(merged: Merge) -> None:
    parts = [sums({"currency": "EUR", "numerator": 6}, {"currency": "CHF", "numerator": 9}, {"denominator": 3, "n": 3})]
    found = merged(metric("ratio"), sums=parts)
    assert {row["currency"] for row in found} == {"CHF", "EUR"}
    assert (told(found, currency="EUR")[0], told(found, currency="CHF")[0]) == (2, 3)
    assert told(found, "n", currency="EUR")[0] == 3


def test_a_segment_without_money_is_told_in_the_currencies_of_the_metric(merged: Merge) -> None:
    """Else its customers would be missing from a currency in which those of everyone count."""
    rows = [{"currency": "EUR", "numerator": 6}, {"denominator": 3}]
    plans = [{"segment": "plan", "segment_value": "a", **row} for row in rows]
    plans += [{"segment": "plan", "segment_value": "b", "denominator": 4}]
    found = merged(metric("ratio"), sums=[sums({"currency": "EUR", "numerator": 6}, {"denominator": 7}, *plans)])
    assert {row["currency"] for row in found} == {"EUR"}
    assert told(found, "denominator", segment="plan", value="b") == [4, 0, 0, 4]
    assert told(found, segment="plan", value="b") == [0, None, None, 0]


def test_without_any_money_there_is_no_currency(merged: Merge) -> None:
    assert {row["currency"] for row in merged(metric("ratio"), sums=[sums({"denominator": 3})])} == {None}


# --- segments and dimensions -----------------------------------------------------------------------------------------


def test_a_row_without_a_value_of_a_dimension_counts_in_each_of_its_values(merged: Merge) -> None:
    """Ten customers are active in January and four in February; in January three adopt feature a, one adopts b."""
    of = {"segment": "feature"}
    parts = [
        sums({**of, "segment_value": "a", "numerator": 3}, {**of, "segment_value": "b", "numerator": 1}),
        sums({**of, "denominator": 10, "n": 10}, {**of, "month": FEBRUARY, "denominator": 4, "n": 4}),
    ]
    found = merged(metric("ratio", dimensions=("feature",), by_dimension_only=True), sums=parts)
    assert {(row["segment"], row["segment_value"]) for row in found} == {("feature", "a"), ("feature", "b")}
    assert told(found, segment="feature", value="a") == [0.3, 0, None, 3 / 14]
    assert told(found, segment="feature", value="b") == [0.1, 0, None, 1 / 14]
    assert told(found, "n", segment="feature", value="b") == [10, 4, 0, 14]


def test_a_dimension_is_shared_out_by_itself(merged: Merge) -> None:
    """And what is shared in one of two dimensions is told in the other."""
    parts = [
        sums(
            {"numerator": 2, "denominator": 8},
            {"segment": "reason", "segment_value": "price", "numerator": 2}, {"segment": "reason", "denominator": 8},
            {"segment": "voluntary", "segment_value": "true", "numerator": 2, "denominator": 8},
        )
    ]  # fmt: skip
    found = merged(metric("ratio", dimensions=("reason", "voluntary")), sums=parts)
    assert {(row["segment"], row["segment_value"]) for row in found} == {
        EVERYONE, ("reason", "price"), ("voluntary", "true"),
    }  # fmt: skip
    for segment, value in (EVERYONE, ("reason", "price"), ("voluntary", "true")):
        assert told(found, segment=segment, value=value)[0] == 0.25


def test_shared_rows_alone_are_no_value_of_a_dimension(merged: Merge) -> None:
    parts = [sums({"segment": "feature", "denominator": 10})]
    assert merged(metric("ratio", dimensions=("feature",), by_dimension_only=True), sums=parts) == []


def test_a_segment_of_which_nobody_has_a_value_is_left_out(merged: Merge) -> None:
    nobody = {"segment": "plan", "segment_value": "(none)", "numerator": 1}
    two = [metric("count", "one"), metric("count", "other")]

    def segments(*rows: Row) -> set[tuple[str, str | None]]:
        found = merged(
            *two, sums=[sums(*({"metric": name, **row} for name in ("one", "other") for row in ({}, nobody)), *rows)]
        )
        return {(row["metric"], row["segment_value"]) for row in found if row["segment"] == "plan"}

    assert segments() == set(), "a shop has no plans"
    # one plan anywhere, and those without are told in every metric
    assert segments({"metric": "other", "segment": "plan", "segment_value": "basic"}) == {
        ("one", "(none)"), ("other", "(none)"), ("other", "basic"),
    }  # fmt: skip


cells = st.lists(
    st.fixed_dictionaries(
        {
            "month": st.sampled_from([JANUARY, FEBRUARY, MARCH, None]), "currency": st.sampled_from([None, "EUR", "CHF"]),
            "numerator": st.integers(-9, 9), "denominator": st.integers(0, 9), "n": st.integers(0, 9),
            "segment_value": st.sampled_from(["a", "b", "(none)"]),
        }
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(cells, st.sampled_from(["sum", "own", "last"]), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_and_the_number_of_shards_do_not_matter(
    merged: Merge, rows: list[Row], over_all: str, accumulates: bool, random: Any
) -> None:
    by_segment = [{**row, "segment": "plan"} for row in rows]
    everyone = [{**row, "segment_value": None} for row in rows]
    of = metric("ratio", over_all=over_all, accumulates=accumulates)
    whole = merged(of, sums=[sums(*everyone, *by_segment)])
    shuffled = [sums(row) for row in (*everyone, *by_segment)]
    random.shuffle(shuffled)
    assert merged(of, sums=shuffled) == whole
    names = ("period_kind", "period_start", "segment", "segment_value", "currency")
    keys = [tuple(str(row[name] or "") for name in names) for row in whole]
    assert keys == sorted(set(keys)), "in the order of the key, and no key twice"


@given(cells)
def test_the_values_of_a_segment_add_up_to_everyone(merged: Merge, rows: list[Row]) -> None:
    """Where the money is of one currency. A segment has no rows in the currencies of others, and not 0 of all of them."""
    some = [{**row, "currency": "EUR" if row["currency"] else None} for row in rows]
    parts = sums(*({**row, "segment_value": None} for row in some), *({**row, "segment": "plan"} for row in some))
    found = merged(metric("ratio", over_all="own"), sums=[parts])
    assert len({row["currency"] for row in found}) == 1
    for name in ("numerator", "denominator", "n"):
        added: dict[tuple[str, Month], Any] = defaultdict(int)
        for row in found:
            added[row["segment"], row["period_start"]] += row[name]
        if {row["segment"] for row in found} == {"all", "plan"}:
            assert all(added["plan", month] == added["all", month] for month in (JANUARY, FEBRUARY, MARCH, None)), name


# --- lifetime value --------------------------------------------------------------------------------------------------


def churned(name: str, *months: tuple[datetime.date, int, int], **cut: str) -> list[Row]:
    return [
        {"metric": name, "month": month, "numerator": left, "denominator": there, **cut}
        for month, left, there in months
    ]


#: 300.00 in two years of 365.25 days: 150.00 a year.
VALUE = [{"metric": "clv", "month": None, "currency": "EUR", "numerator": 300}, {"metric": "clv", "month": None, "denominator": Decimal("730.5")}]  # fmt: skip
LIFETIME = (
    metric("lifetime", "clv", over_all="own"),
    metric("ratio", "churn_rate"),
    metric("ratio", "churn_rate_lapsed"),
)


def lifetime_value(merged: Merge, *rows: Row, segment: str = "all", **rules: float) -> float | None:
    found = merged(*LIFETIME, sums=[sums(*VALUE, *rows)], lifetime=LifetimeRules(**rules))
    (row,) = [row for row in found if (row["metric"], row["segment"]) == ("clv", segment)]
    assert (row["period_kind"], row["currency"]) == ("all", "EUR"), "of no month"
    return row["value"]


def test_subscribers_are_expected_to_stay_one_by_their_churn(merged: Merge) -> None:
    """3 of 20 leave in the months together: 0.15 a month, 20/3 months, 0.5556 years: 83.33. What lapses does not count."""
    churn = churned("churn_rate", (JANUARY, 2, 10), (FEBRUARY, 1, 10)) + churned("churn_rate_lapsed", (JANUARY, 1, 100))
    assert lifetime_value(merged, *churn) == pytest.approx(150 * 20 / 3 / 12, rel=1e-12)


def test_where_nobody_subscribes_buyers_are_expected_to_stay_until_they_lapse(merged: Merge) -> None:
    """1 of 24 a month: 24 months, 2 years."""
    assert lifetime_value(merged, *churned("churn_rate_lapsed", (FEBRUARY, 1, 24))) == 300
    nobody = churned("churn_rate", (JANUARY, 0, 0))
    assert lifetime_value(merged, *nobody, *churned("churn_rate_lapsed", (FEBRUARY, 1, 24))) == 300


def test_where_nobody_could_leave_yet_nothing_is_expected(merged: Merge) -> None:
    assert lifetime_value(merged) is None
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 0, 0))) is None


def test_nobody_is_expected_to_stay_longer_than_the_settings_say(merged: Merge) -> None:
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 0, 10))) == 150 * 5, "without churn"
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 1, 61))) == 150 * 5, "61 months"
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 1, 60))) == 150 * 5, "60 months are 5 years"
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 1, 48))) == 150 * 4
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 1, 48)), max_years=2.5) == 150 * 2.5


def test_a_margin_makes_it_of_revenue(merged: Merge) -> None:
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 0, 1)), margin=0.2, max_years=1) == 30
    assert lifetime_value(merged, *churned("churn_rate", (JANUARY, 0, 1)), margin=1e-05, max_years=1) == 0.0015


def test_a_segment_stays_as_long_as_its_own_customers(merged: Merge) -> None:
    own = {"segment": "plan", "segment_value": "basic"}
    rows = [{**row, **own} for row in VALUE] + churned("churn_rate", (JANUARY, 1, 12), **own)
    rows += churned("churn_rate", (JANUARY, 1, 48))
    assert (lifetime_value(merged, *rows), lifetime_value(merged, *rows, segment="plan")) == (600, 150)


def test_without_a_buyer_there_is_no_lifetime_value(merged: Merge) -> None:
    (row,) = [
        r for r in merged(*LIFETIME, sums=[sums(*churned("churn_rate", (JANUARY, 1, 12)))]) if r["metric"] == "clv"
    ]
    assert (row["value"], row["numerator"], row["denominator"], row["n"]) == (None, 0, 0, 0)


def test_expected_years_without_a_metric_of_churn() -> None:
    assert expected_years(EVERYONE, LifetimeRules(), {}) is None


# --- distributions ---------------------------------------------------------------------------------------------------

TIMES = metric("distribution", statistics=("mean", "p50", "p90", "km_p50"), divisor=60, unit="minutes")


def statistic(rows: list[Row], name: str, column: str = "value", **cut: Any) -> list[Any]:
    return told([row for row in rows if row["metric"] == f"own_{name}"], column, **cut)


def test_the_statistics_of_a_distribution(merged: Merge) -> None:
    """60 s twice and 240 s in January, 600 s in February: 1, 1, 4 and 10 minutes."""
    parts = [values({"value": 240}), values({"value": 60, "count": 2}, {"value": 600, "month": FEBRUARY})]
    found = merged(TIMES, values=parts)
    assert statistic(found, "mean") == [2, 10, None, 4]
    assert statistic(found, "p50") == [1, 10, None, 2.5]
    assert statistic(found, "p90") == pytest.approx([3.4, 10, None, 8.2]), "0.9 x 3 = 2.7: between 4 and 10"
    assert statistic(found, "km_p50") == [1, 10, None, 1], "the time by which half have ended"
    assert statistic(found, "mean", "numerator") == [360, 600, 0, 960], "in whole seconds"
    assert statistic(found, "mean", "denominator") == statistic(found, "mean", "n") == [3, 1, 0, 4]
    assert {row["numerator"] for row in found if row["metric"] != "own_mean"} == {None}
    assert {(row["unit"], row["currency"], row["method"]) for row in found} == {("minutes", None, "exact")}


def test_who_still_waits_counts_for_kaplan_and_meier_alone(merged: Merge) -> None:
    """Two waited 60 s and 120 s, two wait since 90 s and 300 s: half of all have ended at no time: 3/4, 3/4 x 1/2 = 3/8."""
    waits = {"is_open": True, "pending": 1}
    found = merged(
        TIMES, values=[values({"value": 60}, {"value": 120}, {"value": 90, **waits}, {"value": 300, **waits})]
    )
    assert (statistic(found, "mean")[0], statistic(found, "p50")[0], statistic(found, "km_p50")[0]) == (1.5, 1.5, 2)
    assert [statistic(found, name, "n")[0] for name in ("mean", "p50", "km_p50")] == [2, 2, 4]
    for name in ("mean", "p50", "km_p50"):
        assert statistic(found, name, "status") == ["provisional", "final", "provisional", "provisional"]


def test_who_only_waits_has_no_value(merged: Merge) -> None:
    found = merged(TIMES, values=[values({"value": 90, "is_open": True})])
    for name in ("mean", "p50", "p90", "km_p50"):
        assert statistic(found, name) == [None] * 4
    assert statistic(found, "km_p50", "n") == [1, 0, 0, 1]
    assert statistic(found, "mean", "status")[0] == "final", "it ended without what was waited for"


def test_a_distribution_by_segment(merged: Merge) -> None:
    plan = {"segment": "plan", "segment_value": "a"}
    found = merged(TIMES, values=[values({"value": 60}, {"value": 180}, {**plan, "value": 180}, {**plan, "segment_value": "(none)", "value": 60})])  # fmt: skip
    assert statistic(found, "p50") == [2, None, None, 2]
    assert statistic(found, "p50", segment="plan", value="a") == [3, None, None, 3]
    assert statistic(found, "p50", segment="plan", value="(none)") == [1, None, None, 1]


def test_a_distribution_told_by_dimension_only(merged: Merge) -> None:
    of = metric("distribution", statistics=("p50",), dimensions=("stage",), by_dimension_only=True)
    found = merged(of, values=[values({"segment": "stage", "segment_value": "usage", "value": 5})])
    assert {(row["segment"], row["segment_value"]) for row in found} == {("stage", "usage")}
    assert merged(of) == []


def test_a_distribution_without_values_has_its_rows(merged: Merge) -> None:
    found = merged(TIMES)
    for name in ("mean", "p50", "p90", "km_p50"):
        assert (statistic(found, name), statistic(found, name, "n")) == ([None] * 4, [0] * 4)


# --- many values -----------------------------------------------------------------------------------------------------


def many(sample: np.ndarray) -> pa.Table:
    unique, counts = np.unique(sample, return_counts=True)
    n = len(unique)
    columns = {
        "metric": ["own"] * n, "segment": ["all"] * n, "segment_value": [None] * n, "month": [JANUARY] * n,
        "value": unique, "is_open": [False] * n, "count": counts, "total": unique * counts, "pending": [0] * n,
        "is_bucket": [False] * n,
    }  # fmt: skip
    return pa.table([pa.array(columns[f.name], f.type) for f in VALUES], schema=VALUES)


def sample(n: int) -> np.ndarray:
    return np.random.default_rng(7).lognormal(10, 2, n).astype(np.int64)


def test_up_to_100_000_values_are_exact(merged: Merge) -> None:
    assert EXACT_VALUES == 100_000, "as docs/metrics.md says"
    found = merged(TIMES, values=[many(sample(EXACT_VALUES))])
    for percent in (50, 90):
        assert statistic(found, f"p{percent}", "method")[0] == "exact"
        by_numpy = np.percentile(sample(EXACT_VALUES), percent) / 60
        assert statistic(found, f"p{percent}")[0] == pytest.approx(by_numpy, rel=1e-12)


def test_one_more_comes_from_buckets_and_says_so(merged: Merge) -> None:
    everything = sample(EXACT_VALUES + 1)
    found = merged(TIMES, values=[many(everything)])
    for name, percent in (("p50", 50), ("p90", 90), ("km_p50", 50)):
        by_numpy = np.percentile(everything, percent) / 60
        assert (statistic(found, name, "method")[0], statistic(found, name, "n")[0]) == ("buckets", EXACT_VALUES + 1)
        assert statistic(found, name)[0] == pytest.approx(by_numpy, rel=0.005)
        assert statistic(found, name)[0] < by_numpy


def test_a_mean_is_exact_however_many_values(merged: Merge) -> None:
    everything = sample(EXACT_VALUES + 1)
    found = merged(TIMES, values=[many(everything)])
    assert statistic(found, "mean")[0] == float(Fraction(int(everything.sum()), len(everything) * 60))
    assert statistic(found, "mean", "numerator")[0] == int(everything.sum())
    assert statistic(found, "mean", "method")[0] == "exact"


@pytest.mark.parametrize("cuts", [[1], [50_000], [100_001], [10, 100_011], [60_000, 120_000, 180_000]])
def test_buckets_are_the_same_for_any_split(merged: Merge, cuts: list[int]) -> None:
    everything = sample(200_023)
    whole = merged(TIMES, values=[many(everything)])
    parts = [many(part) for part in np.split(everything, cuts)]
    # A shard that has too many values by itself sends buckets; the others send values.
    sent = [to_buckets(part, {False}) if part["count"].to_numpy().sum() > EXACT_VALUES else part for part in parts]
    assert merged(TIMES, values=sent[::-1]) == whole


def test_who_waits_stays_apart_in_buckets(merged: Merge) -> None:
    waits = values({"value": 10**9, "is_open": True, "count": 3, "pending": 3})
    found = merged(TIMES, values=[many(sample(EXACT_VALUES + 1)), to_buckets(waits, {True})])
    assert statistic(found, "p50", "status")[0] == "provisional"
    assert (statistic(found, "p50", "n")[0], statistic(found, "km_p50", "n")[0]) == (EXACT_VALUES + 1, EXACT_VALUES + 4)


@pytest.mark.parametrize(
    ("tickets", "cuts", "method"),
    [(110_000, (1, 55_000, 100_001), "exact"), (210_000, (1, 105_000, 160_000), "buckets")],
)
def test_no_cut_of_many_values_shows(
    merged: Merge, connection: duckdb.DuckDBPyConnection, tickets: int, cuts: tuple[int, ...], method: str
) -> None:
    """A third of the tickets still wait, and only the others count: 73,333 are told exactly, 140,000 in buckets.

    Then a shard sends buckets if it has too many by itself, and else values.
    """

    def shard(first: int, end: int) -> pa.Table:
        sql = f"""select n as customer_no, date '2026-01-01' as month, 1000 + n as value, n % 3 = 0 as is_open
            from range({first}, {end}) as r (n)"""
        return partial_metrics([metric("distribution", statistics=("p50",), sql=sql)], (), [connection], {})["values"]

    whole = merged(TIMES, values=[shard(0, tickets)])
    assert statistic(whole, "p50", "method")[0] == method
    for cut in cuts:
        assert merged(TIMES, values=[shard(0, cut), shard(cut, tickets)]) == whole, cut


def test_many_waits_go_into_buckets_and_few_values_stay_exact(
    merged: Merge, connection: duckdb.DuckDBPyConnection
) -> None:
    """26,250 of 210,000 tickets are answered. No row a ticket leaves a shard for the others, which no quantile counts."""

    def shard(first: int, end: int) -> pa.Table:
        sql = f"""select n as customer_no, date '2026-01-01' as month, 1000 + n as value, n % 8 != 0 as is_open
            from range({first}, {end}) as r (n)"""
        return partial_metrics([metric("distribution", statistics=("p50",), sql=sql)], (), [connection], {})["values"]

    sent = shard(0, 210_000)
    assert sent.filter(pc.field("is_open")).num_rows < 2_000
    assert sent.filter(~pc.field("is_open")).num_rows == 26_250
    whole = merged(TIMES, values=[sent])
    assert [statistic(whole, name, "method")[0] for name in ("mean", "p50", "p90", "km_p50")] == [
        "exact", "exact", "exact", "buckets",
    ]  # fmt: skip
    assert statistic(whole, "p50")[0] == (1000 + (210_000 - 8) / 2) / 60
    for cut in (1, 105_000, 160_000):
        assert merged(TIMES, values=[shard(0, cut), shard(cut, 210_000)]) == whole, cut
    added = add_values([shard(at, at + 70_000) for at in (0, 70_000, 140_000)])
    assert added.filter(pc.field("is_open")).num_rows < 2_000, "nor does one gather on the one who adds up"
