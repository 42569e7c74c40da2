"""Service and loyalty: small companies worked out by hand, the statistics against scipy, and that chance earns no claim."""

from __future__ import annotations

import datetime
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from transforms import duck, service_loyalty
from transforms.quantiles import lower_edges
from transforms.service_loyalty import (
    EXPOSURES,
    LESS,
    LOYALTY_CELLS,
    MIN_CUSTOMERS,
    MORE,
    NONE,
    OUTCOMES,
    REPLICATES,
    SERVICE_LOYALTY,
    add_cells,
    compare,
    exposures_and_outcomes,
    merge_service_loyalty,
    q_values,
    rank_correlation,
)

Row = dict[str, Any]
AS_OF = "2026-12-31"
MICROSECOND, MINUTE, HOUR = (datetime.timedelta(**{unit: 1}) for unit in ("microseconds", "minutes", "hours"))
DAY = datetime.timedelta(days=1)
#: The ticket of every story is opened then, unless the story says otherwise.
OPENED = datetime.datetime(2026, 2, 1, 10, tzinfo=datetime.UTC)
RESPONSE, RESOLUTION, REOPENED, CSAT = EXPOSURES


def cells(steps: Any, rows: Iterable[Row], as_of: Any = AS_OF) -> pa.Table:
    shard = steps.journeys(rows, as_of)
    answers = duck.select_windows(
        steps.connection, duck.read_sql("metric_inputs/answers"), {"touchpoints": shard["touchpoints"]}
    )
    end = datetime.datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    return exposures_and_outcomes({**shard, "answers": answers}, end.replace(tzinfo=datetime.UTC), steps.connection)


def found(
    steps: Any, rows: Iterable[Row], exposure: str, outcome: str, as_of: Any = AS_OF
) -> list[tuple[int | None, int | None]]:
    """(value, result) of each customer of one exposure and outcome, sorted; (None, None) for one who is pending."""
    of_all = cells(steps, rows, as_of).to_pylist()
    own = [row for row in of_all if (row["exposure"], row["outcome"]) == (exposure, outcome)]
    pairs = [(row["value"], row["result"]) for row in own for _ in range(row["count"])]
    return sorted(pairs, key=lambda pair: (pair[0] is None, pair))


def story(who: str, *events: Row) -> list[Row]:
    return [{"who": who, **event} for event in events]


def ticket(
    at: datetime.datetime = OPENED, ticket_id: str = "t", answered: datetime.timedelta | None = None,
    resolved: datetime.timedelta | None = None, **fields: Any,
) -> list[Row]:  # fmt: skip
    """A ticket, answered by an agent and resolved so long after its opening."""
    events = [{"type": "ticket_opened", "at": at}]
    if answered is not None:
        events.append({"type": "ticket_replied", "at": at + answered})
    if resolved is not None:
        events.append({"type": "ticket_resolved", "at": at + resolved})
    return [{"source": "desk", "ticket_id": ticket_id, **fields, **event} for event in events]


def reopens(after: datetime.timedelta, **fields: Any) -> Row:
    return {"type": "ticket_reopened", "source": "desk", "ticket_id": "t", "at": OPENED + after, **fields}


def subscribes(at: Any = "2026-01-01") -> Row:
    return {"type": "subscription_started", "at": at, "subscription_id": "s"}


def renews(at: Any, outcome: str | None = "renewed") -> Row:
    return {"type": "renewal", "at": at, "subscription_id": "s", "outcome": outcome}


def cancels(at: Any, kind: str = "effective") -> Row:
    return {"type": "cancellation", "at": at, "subscription_id": "s", "kind": kind}


def buys(at: Any, **fields: Any) -> Row:
    return {"type": "purchase", "at": at, **fields}


def rates(kind: str, score: float, at: Any, low: float = 0, high: float = 10, **fields: Any) -> Row:
    return {
        "type": "survey_response", "at": at, "survey_type": kind, "score": float(score), "scale_min": float(low),
        "scale_max": float(high), **fields,
    }  # fmt: skip


# --- who counts, and with what ---------------------------------------------------------------------------------------


def test_renewal_after_the_first_response(steps: Any) -> None:
    at_once, slowly = ticket(answered=30 * MINUTE), ticket(answered=2 * HOUR)
    rows = [
        *story("renews", subscribes(), *at_once, renews("2026-03-01")),
        *story("renews without a word", subscribes(), *at_once, renews("2026-03-01", None)),
        *story("declines", subscribes(), *slowly, renews("2026-03-01", "declined")),
        *story("cancels", subscribes(), *slowly, cancels("2026-02-20", "requested"), cancels("2026-03-01")),
        *story("closes", subscribes(), *slowly, {"type": "account_closed", "at": "2026-03-01"}),
        *story("decides twice", subscribes(), *at_once, cancels("2026-03-01"), renews("2026-03-02")),
        *story("only asks", subscribes(), *at_once, cancels("2026-03-01", "requested")),
    ]
    kept, left = (1800, 1), (7200, 0)
    pairs = found(steps, rows, "first_response_minutes", "renewal")
    assert pairs == [(1800, 0), kept, kept, left, left, left, (None, None)]


def test_what_is_not_later_than_the_response_does_not_count(steps: Any) -> None:
    answered = OPENED + HOUR
    before = [
        *story("before", subscribes(), *ticket(answered=HOUR), renews(answered - MICROSECOND)),
        *story("at once", subscribes(), *ticket(answered=HOUR), renews(answered)),
    ]
    assert found(steps, before, "first_response_minutes", "renewal") == [(None, None)] * 2
    after = story("after", subscribes(), *ticket(answered=HOUR), renews(answered), cancels(answered + MICROSECOND))
    assert found(steps, after, "first_response_minutes", "renewal") == [(3600, 0)]


def test_only_subscribers_can_renew(steps: Any) -> None:
    rows = [
        *story("too late", *ticket(answered=HOUR), subscribes(OPENED + HOUR + MICROSECOND), renews("2026-03-01")),
        *story("just so", *ticket(answered=HOUR), subscribes(OPENED + HOUR), renews("2026-03-01")),
        *story("never", *ticket(answered=HOUR), {"type": "account_closed", "at": "2026-03-01"}),
    ]
    assert found(steps, rows, "first_response_minutes", "renewal") == [(3600, 1)]


def test_only_the_first_ticket_of_a_known_customer(steps: Any) -> None:
    second = ticket(OPENED + DAY, "t2", answered=MINUTE)
    rows = [
        *story("unanswered at first", subscribes(), *ticket(), *second, renews("2026-03-01")),
        *story("no ticket", subscribes(), renews("2026-03-01")),
        *story("anon:nobody", subscribes(), *ticket(answered=HOUR), renews("2026-03-01")),
        *story("twice", subscribes(), *ticket(answered=HOUR), *second, renews("2026-03-01")),
        *story("by a bot", subscribes(), *ticket(answered=HOUR, author="bot"), renews("2026-03-01")),
    ]
    assert found(steps, rows, "first_response_minutes", "renewal") == [(3600, 1)]


def test_of_tickets_of_one_moment_the_first_by_source_and_id(steps: Any) -> None:
    def tickets(*named: tuple[str | None, str]) -> list[Row]:
        rows = [
            event
            for n, (source, ticket_id) in enumerate(named, start=1)
            for event in ticket(ticket_id=ticket_id, answered=n * HOUR, source=source)
        ]
        return story("ann", subscribes(), *rows, renews("2026-03-01"))

    for named, hours in (
        ((("desk", "b"), ("desk", "a")), 2),
        ((("desk", "a"), ("chat", "b")), 2),
        ((("desk", "a"), (None, "b")), 2),
    ):
        assert found(steps, tickets(*named), "first_response_minutes", "renewal") == [(hours * 3600, 1)]


def test_repurchase_within_90_days_of_the_resolution(steps: Any) -> None:
    resolved = OPENED + 3 * HOUR
    served = ticket(resolved=3 * HOUR)
    rows = [
        *story("last moment", buys("2026-01-05"), *served, buys(resolved + 90 * DAY)),
        *story("too late", buys("2026-01-05"), *served, buys(resolved + 90 * DAY + MICROSECOND)),
        *story("never", buys("2026-01-05"), *served),
        *story("first order at the resolution", *served, buys(resolved)),
        *story("no order before", *served, buys(resolved + DAY)),
        *story(
            "a line of the same order", buys("2026-01-05", order_id="o"), *served, buys(resolved + DAY, order_id="o")
        ),
        *story("unresolved", buys("2026-01-05"), *ticket(answered=HOUR), buys("2026-03-01")),
    ]
    assert found(steps, rows, "resolution_hours", "repurchase_90d") == [(10800, 0)] * 4 + [(10800, 1)]


def test_until_the_90_days_are_over_all_are_pending(steps: Any) -> None:
    served = ticket(resolved=HOUR)
    rows = [
        *story("quick", buys("2026-01-05"), *served, buys("2026-02-02")),
        *story("slow", buys("2026-01-05"), *served),
    ]
    over = OPENED + HOUR + 90 * DAY
    assert found(steps, rows, "resolution_hours", "repurchase_90d", over - MICROSECOND) == [(None, None)] * 2
    assert found(steps, rows, "resolution_hours", "repurchase_90d", over) == [(3600, 0), (3600, 1)]


def test_reopened_is_known_seven_days_after_the_resolution(steps: Any) -> None:
    served = ticket(resolved=HOUR)
    landmark = HOUR + 7 * DAY
    rows = [
        *story("quiet", subscribes(), *served, renews(OPENED + landmark + MICROSECOND)),
        *story("at once", subscribes(), *served, reopens(HOUR), renews("2026-04-01")),
        *story("last moment", subscribes(), *served, reopens(landmark), renews("2026-04-01")),
        *story("later", subscribes(), *served, reopens(landmark + MICROSECOND), renews("2026-04-01")),
        *story("another ticket", subscribes(), *served, reopens(2 * HOUR, ticket_id="u"), renews("2026-04-01")),
        *story("another desk", subscribes(), *served, reopens(2 * HOUR, source="chat"), renews("2026-04-01")),
        *story(
            "leaves before it is known",
            subscribes(),
            *served,
            cancels(OPENED + 2 * DAY),
            renews("2026-04-01", "declined"),
        ),
        *story("leaves at the landmark", subscribes(), *served, cancels(OPENED + landmark)),
        *story("unresolved", subscribes(), *ticket(answered=HOUR), cancels("2026-04-01")),
    ]
    assert found(steps, rows, "reopened", "renewal") == [(0, 0)] + [(0, 1)] * 4 + [(1, 1)] * 2 + [(None, None)]
    assert found(steps, rows[:3], "reopened", "renewal", OPENED + landmark - MICROSECOND) == []
    assert found(steps, rows[:3], "reopened", "renewal", OPENED + landmark) == [(None, None)]


def test_change_of_nps_after_the_satisfaction(steps: Any) -> None:
    def rated(who: str, *more: Row, score: float = 4, low: float = 1, high: float = 5) -> list[Row]:
        answer = rates("csat", score, OPENED + DAY, low, high, ticket_id="t", source="desk")
        return story(who, *ticket(), answer, *more)

    before = rates("nps", 6, OPENED, survey_id="s1")
    rows = [
        *rated(
            "up", rates("nps", 2, "2026-01-05"), before, rates("nps", 9, "2026-03-01"), rates("nps", 0, "2026-04-01")
        ),
        *rated("down by half a point", before, rates("nps", 5.5, OPENED + DAY + MICROSECOND), score=1),
        *rated("waits", before, rates("nps", 9, OPENED + DAY)),
        *rated("between opening and answer", rates("nps", 6, OPENED + HOUR), rates("nps", 9, "2026-03-01")),
        *rated("other scale", rates("nps", 3, "2026-01-05", 1, 5), rates("nps", 9, "2026-03-01")),
        *rated("other scale later", before, rates("nps", 3, "2026-03-01", 1, 5)),
    ]
    assert found(steps, rows, "csat", "nps_change") == [(0, -5), (7500, 30), (None, None), (None, None)]


@pytest.mark.parametrize(
    ("score", "low", "high", "value", "why"),
    [
        (4, 1, 5, 7500, "the fourth of five satisfies"),
        (3, 1, 5, 5000, "the third does not"),
        (5, 1, 7, 6666, "cut, so that nothing below 0.75 reaches it"),
        (3, 1, 4, 7500, "of four points the upper two satisfy, as in the metric csat"),
        (4, 1, 4, 10_000, "the best"),
        (2, 1, 4, 3333, "the second of four does not"),
        (0.3, 0, 0.4, 7499, "0.3 / 0.4 is below 0.75 in binary, also for the metric csat"),
    ],
)
def test_satisfaction(steps: Any, score: float, low: float, high: float, value: int, why: str) -> None:
    answer = rates("csat", score, OPENED + DAY, low, high, ticket_id="t", source="desk")
    rows = story("ann", subscribes(), *ticket(), answer, renews("2026-04-01"))
    assert found(steps, rows, "csat", "renewal") == [(value, 1)], why


def test_an_answer_belongs_to_the_ticket_of_its_source_or_else_to_the_first_of_that_id(steps: Any) -> None:
    def rated(who: str, *answers: Row) -> list[Row]:
        return story(who, subscribes(), *ticket(), *answers, renews("2026-12-01"))

    def answer(
        score: float, at: Any = OPENED + DAY, source: str = "desk", ticket_id: str | None = "t", **fields: Any
    ) -> Row:
        return rates("csat", score, at, 0, 4, ticket_id=ticket_id, source=source, **fields)

    elsewhere = ticket(OPENED + HOUR, source="chat")
    stories = {
        "from a survey tool": (rated("a", answer(4, source="surveys")), [(10_000, 1)]),
        "of the other ticket": (rated("a", *elsewhere, answer(4, source="chat")), []),
        "about no ticket": (rated("a", answer(4, ticket_id=None)), []),
        "about another": (rated("a", answer(4, ticket_id="u")), []),
        "before the opening": (rated("a", answer(4, OPENED - HOUR)), []),
        "two surveys, the first": (
            rated("a", answer(1, survey_id="x"), answer(4, OPENED + 2 * DAY, survey_id="y")), [(2500, 1)]),
        "one survey, the last": (
            rated("a", answer(1, survey_id="x"), answer(4, OPENED + 2 * DAY, survey_id="x")), [(10_000, 1)]),
        "after the renewal": (rated("a", answer(4, "2026-12-02")), [(None, None)]),
    }  # fmt: skip
    for name, (rows, pairs) in stories.items():
        assert found(steps, rows, "csat", "renewal") == pairs, name


def test_each_exposure_meets_each_outcome(steps: Any) -> None:
    rows = story(
        "ann", subscribes(), buys("2026-01-05"), rates("nps", 5, "2026-01-06"), *ticket(answered=HOUR, resolved=2 * HOUR),
        reopens(3 * HOUR), rates("csat", 2, OPENED + DAY, 1, 5, ticket_id="t", source="desk"),
        renews("2026-03-01"), buys("2026-03-02"), rates("nps", 8, "2026-03-03"),
    )  # fmt: skip
    values = {"first_response_minutes": 3600, "resolution_hours": 7200, "reopened": 1, "csat": 2500}
    results = {"renewal": 1, "repurchase_90d": 1, "nps_change": 30}
    assert cells(steps, rows).to_pylist() == [
        {"exposure": e, "outcome": o, "value": values[e], "result": results[o], "count": 1}
        for e in sorted(values)
        for o in sorted(results)
    ]


def test_of_nothing(steps: Any) -> None:
    partial = cells(steps, [{"type": "site_visit", "at": "2026-01-05"}])
    assert partial.schema == LOYALTY_CELLS and partial.num_rows == 0
    for partials in ([], [partial]):
        merged = merge_service_loyalty(partials)
        assert merged.schema == SERVICE_LOYALTY
        assert [(r["exposure"], r["outcome"]) for r in merged.to_pylist()] == [
            (e.name, o) for e in EXPOSURES for o in OUTCOMES
        ]
        assert {(r["n"], r["n_better"], r["n_worse"], r["n_pending"]) for r in merged.to_pylist()} == {(0, 0, 0, 0)}


# --- statistics against others ---------------------------------------------------------------------------------------

tables_with_ties = st.dictionaries(
    st.tuples(st.integers(0, 8), st.integers(-3, 3)), st.integers(1, 9), min_size=2, max_size=25
)


def columns(table: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    value, result = np.array(list(table), np.int64).T
    return value, result, np.array(list(table.values()), np.int64)


@settings(max_examples=150, deadline=None)
@given(tables_with_ties)
def test_rank_correlation_is_that_of_scipy(table: dict[tuple[int, int], int]) -> None:
    value, result, count = columns(table)
    assume(len(set(value.tolist())) > 1 and len(set(result.tolist())) > 1 and count.sum() > 2)
    correlation, p_value = rank_correlation(value, result, count)
    expected = stats.spearmanr(np.repeat(value, count), np.repeat(result, count))
    assert correlation == pytest.approx(expected.statistic, abs=1e-12)
    if abs(correlation) < 1 - 1e-9:  # nearer to 1 scipy's own 1 - r * r has lost its digits
        assert p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
    else:
        assert p_value < 1e-3 or count.sum() < 5


def test_perfect_order_leaves_no_doubt() -> None:
    value = np.arange(40)
    assert rank_correlation(value, value * 3, np.ones(40, np.int64)) == (1.0, 0.0)
    assert rank_correlation(value, -value, np.ones(40, np.int64)) == (-1.0, 0.0)


def test_ranks_of_millions_do_not_overflow() -> None:
    value, result = np.array([1, 1, 2, 2]), np.array([0, 1, 0, 1])
    count = np.array([30, 20, 20, 30])
    small, large = (rank_correlation(value, result, count * times)[0] for times in (1, 10**9))
    assert small == pytest.approx(0.2, abs=1e-15) and large == pytest.approx(0.2, abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=12))
def test_q_values_are_those_of_scipy(p_values: list[float]) -> None:
    assert q_values(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist(), rel=1e-12)


def test_no_p_values_no_q_values() -> None:
    assert q_values([]) == []


def resampled(pairs: np.ndarray, split: int, replicates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The plain way: customers drawn one by one, ranks by scipy. Limits of difference and correlation."""
    rng = np.random.default_rng(seed)
    differences, correlations = [], []
    for _ in range(replicates):
        value, result = pairs[rng.integers(len(pairs), size=len(pairs))].T
        differences.append(result[value <= split].mean() - result[value > split].mean())
        correlations.append(-np.corrcoef(stats.rankdata(value), stats.rankdata(result))[0, 1])
    return np.quantile(differences, (0.025, 0.975)), np.quantile(correlations, (0.025, 0.975))


@pytest.mark.parametrize(
    ("n", "outcome", "times"), [(120, "renewal", 60), (600, "renewal", 10**6), (300, "nps_change", 10**6)]
)
def test_the_interval_is_that_of_resampled_customers(n: int, outcome: str, times: int) -> None:
    """The second and third have more cells than are drawn from one by one: in groups it is the same interval."""
    rng = np.random.default_rng(n)
    value = rng.integers(1, times, n)
    result = (rng.random(n) < np.where(value <= np.median(value), 0.7, 0.45)).astype(np.int64)
    if outcome == "nps_change":
        result = 10 * (rng.integers(-3, 4, n) + 2 * result)
    row = compare(RESPONSE, outcome, *columns(dict(Counter(zip(value.tolist(), result.tolist(), strict=True)))))
    split = np.sort(value)[(n - 1) // 2]
    parts = OUTCOMES[outcome]
    difference, correlation = resampled(np.column_stack((value, result)), split, 1500, seed=1)
    width = {"difference": np.ptp(difference) / parts, "spearman": np.ptp(correlation)}
    got = [row[name] for name in ("difference_low", "difference_high", "spearman_low", "spearman_high")]
    expected = [*(difference / parts), *correlation]
    for name, one, other in zip(("difference", "difference", "spearman", "spearman"), got, expected, strict=True):
        assert abs(one - other) < 0.08 * width[name]
    assert row["difference"] == pytest.approx(
        (result[value <= split].mean() - result[value > split].mean()) / parts, rel=1e-8
    )
    assert row["spearman"] == pytest.approx(-stats.spearmanr(value, result).statistic, rel=1e-8)
    assert row["p_value"] == pytest.approx(stats.spearmanr(value, result).pvalue, rel=1e-7)


def test_the_interval_covers_a_planted_difference() -> None:
    """Of 300 customers 0.7 of the quick half and 0.5 of the slow one renew: 95 in 100 should cover 0.2."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        value = np.arange(300) // 10
        result = (rng.random(300) < np.where(value < 15, 0.7, 0.5)).astype(np.int64)
        row = compare(RESPONSE, "renewal", *columns(dict(Counter(zip(value.tolist(), result.tolist(), strict=True)))))
        assert row["n_better"] == 150
        covered += row["difference_low"] <= 0.2 <= row["difference_high"]
    assert covered >= 90


# --- what is claimed -------------------------------------------------------------------------------------------------


def partial(rows: dict[tuple[str, str], Sequence[tuple[int, int]]]) -> pa.Table:
    """The contingency table of (value, result) of customers, for some exposures and outcomes."""
    counted = [
        {"exposure": exposure, "outcome": outcome, "value": value, "result": result, "count": count}
        for (exposure, outcome), pairs in rows.items()
        for (value, result), count in Counter(pairs).items()
    ]
    return pa.Table.from_pylist(counted, LOYALTY_CELLS)


def merged(*partials: pa.Table) -> dict[tuple[str, str], Row]:
    return {(row["exposure"], row["outcome"]): row for row in merge_service_loyalty(partials).to_pylist()}


FIGURES = [name for name in SERVICE_LOYALTY.names if pa.types.is_floating(SERVICE_LOYALTY.field(name).type)]


def is_silent(row: Row, reason: str) -> bool:
    silent = all(row[name] is None for name in [*FIGURES, "claim", "method", "bootstrap_replicates"])
    return silent and row["reason"] == reason


def test_worked_example() -> None:
    """40 renewals after tickets answered in 10 and 20 minutes, half of them; the quick ones renew 15 of 20, the slow 5."""
    pairs = [(600, 1)] * 15 + [(600, 0)] * 5 + [(1200, 1)] * 5 + [(1200, 0)] * 15
    row = merged(partial({("first_response_minutes", "renewal"): pairs}))["first_response_minutes", "renewal"]
    assert (row["n"], row["n_better"], row["n_worse"], row["n_pending"]) == (40, 20, 20, 0)
    assert (row["exposure_split"], row["outcome_better"], row["outcome_worse"], row["difference"]) == (
        10,
        0.75,
        0.25,
        0.5,
    )
    assert row["spearman"] == 0.5  # of two by two it is phi: (15 * 15 - 5 * 5) / 400
    assert row["p_value"] == row["q_value"] == pytest.approx(2 * stats.t.sf(0.5 * math.sqrt(38 / 0.75), 38), rel=1e-8)
    assert 0.1 < row["difference_low"] < 0.5 < row["difference_high"] < 0.85
    assert (row["claim"], row["reason"], row["method"], row["bootstrap_replicates"]) == (
        MORE,
        None,
        "exact",
        REPLICATES,
    )


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("exposure", EXPOSURES, ids=lambda exposure: exposure.name)
@pytest.mark.parametrize("claim", [MORE, LESS])
def test_a_planted_effect_is_found_with_its_sign(exposure: Any, outcome: str, claim: str) -> None:
    rng = np.random.default_rng(3)
    values = {"reopened": [0, 1], "csat": [2500, 5000, 7500, 10_000]}.get(exposure.name, [600, 1200, 2400, 9000])
    value = np.resize(values, 200)
    well = value >= 7500 if exposure.name == "csat" else value <= sorted(values)[len(values) // 2 - 1]
    result = (rng.random(200) < np.where(well == (claim == MORE), 0.8, 0.4)) * OUTCOMES[outcome]
    pairs = list(zip(value.tolist(), result.tolist(), strict=True))
    row = merged(partial({(exposure.name, outcome): pairs}))[exposure.name, outcome]
    assert row["claim"] == claim
    assert row["n_better"] == well.sum() and row["n_worse"] == 200 - well.sum()
    for name in ("difference", "spearman"):
        low, middle, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
        assert low < middle < high and (low > 0 if claim == MORE else high < 0)


def test_the_split_is_the_lower_median_and_in_the_unit_of_the_name() -> None:
    hours = [(3600 * n, n % 2) for n in range(1, 41)]
    row = merged(partial({("resolution_hours", "renewal"): hours}))["resolution_hours", "renewal"]
    assert (row["exposure_split"], row["n_better"], row["n_worse"]) == (20, 20, 20)
    row = merged(partial({("resolution_hours", "renewal"): [*hours, (3600 * 99, 0)]}))["resolution_hours", "renewal"]
    assert (row["exposure_split"], row["n_better"], row["n_worse"]) == (21, 21, 20)


def test_independent_data_earn_no_claim() -> None:
    quiet = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = {"reopened": [0, 1], "csat": [0, 2500, 5000, 7500, 10_000]}
        rows = {
            (exposure.name, outcome): list(
                zip(
                    rng.choice(values.get(exposure.name, np.arange(60, 9000)), 60).tolist(),
                    rng.integers(0, 2 if OUTCOMES[outcome] == 1 else 8, 60).tolist(),
                    strict=True,
                )
            )
            for exposure in EXPOSURES
            for outcome in OUTCOMES
        }
        claims = {row["claim"] for row in merged(partial(rows)).values()}
        quiet += claims == {NONE}
    assert quiet >= 27


def test_all_rows_with_a_p_value_are_one_family() -> None:
    """What would be claimed alone is not among eleven others that show nothing."""
    rng = np.random.default_rng(5)
    weak = [(0, 1)] * 18 + [(0, 0)] * 12 + [(1, 1)] * 10 + [(1, 0)] * 20
    alone = merged(partial({("reopened", "renewal"): weak}))["reopened", "renewal"]
    assert alone["claim"] == MORE and alone["q_value"] == alone["p_value"] < 0.05
    rows: dict[tuple[str, str], Sequence[tuple[int, int]]] = {
        (e.name, o): [(n * 250, int(rng.integers(0, 2))) for n in range(41)]
        for e in (RESPONSE, RESOLUTION, CSAT)
        for o in OUTCOMES
    }
    among = merged(partial({("reopened", "renewal"): weak, **rows}))
    row = among["reopened", "renewal"]
    assert {k: v for k, v in row.items() if k not in ("q_value", "claim")} == {
        k: v for k, v in alone.items() if k not in ("q_value", "claim")
    }
    assert row["claim"] == NONE and row["q_value"] > 0.05
    spoken = [r for r in among.values() if r["p_value"] is not None]
    assert len(spoken) == 10
    expected = stats.false_discovery_control([r["p_value"] for r in spoken])
    assert [r["q_value"] for r in spoken] == pytest.approx(expected.tolist(), rel=1e-8)


def test_where_mean_and_ranks_contradict_each_other_nothing_is_claimed() -> None:
    """Of the better served few rise by ten points and most fall by one; the worse served stay as they were."""
    pairs = [(0, 100)] * 70 + [(0, -10)] * 130 + [(1, 0)] * 200
    row = merged(partial({("reopened", "nps_change"): pairs}))["reopened", "nps_change"]
    assert row["difference_low"] > 0 and row["spearman_high"] < 0 and row["q_value"] < 1e-6
    assert row["claim"] == NONE


def test_one_extreme_answer_is_no_claim() -> None:
    """The ranks are certain, the mean is not: its interval holds 0."""
    pairs = [(0, 10)] * 30 + [(0, -100)] * 3 + [(1, 0)] * 33
    row = merged(partial({("reopened", "nps_change"): pairs}))["reopened", "nps_change"]
    assert row["q_value"] < 0.05 and row["spearman_low"] > 0
    assert row["difference_low"] < 0 < row["difference_high"] and row["claim"] == NONE


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(n, n % 2) for n in range(MIN_CUSTOMERS - 1)], "fewer than 30 customers"),
        ([(600, n % 2) for n in range(50)], "one of the two groups is empty"),
        ([(600, n % 2) for n in range(50)] + [(900, 1)] * 9, "fewer than 10 customers in one of the two groups"),
        ([(n, 1) for n in range(50)], "all outcomes equal"),
    ],
)
def test_silence(pairs: list[tuple[int, int]], reason: str) -> None:
    row = merged(partial({("resolution_hours", "renewal"): pairs}))["resolution_hours", "renewal"]
    assert is_silent(row, reason)
    assert row["n"] == len(pairs) == row["n_better"] + row["n_worse"]


def test_thirty_customers_are_enough() -> None:
    pairs = [(n, n % 2) for n in range(MIN_CUSTOMERS)]
    row = merged(partial({("resolution_hours", "renewal"): pairs}))["resolution_hours", "renewal"]
    assert row["claim"] == NONE and row["reason"] is None and None not in [row[name] for name in FIGURES]


def test_pending_customers_stand_beside() -> None:
    waiting = pa.Table.from_pylist(
        [{"exposure": "csat", "outcome": "renewal", "value": None, "result": None, "count": 7}], LOYALTY_CELLS
    )
    row = merged(waiting, partial({("csat", "renewal"): [(10_000, 1)] * 3}), waiting)["csat", "renewal"]
    assert (row["n"], row["n_better"], row["n_worse"], row["n_pending"]) == (3, 3, 0, 14)


# --- the same on any cut ---------------------------------------------------------------------------------------------


def company(customers: int, seed: int) -> dict[str, list[Row]]:
    """Events by customer: the sooner a ticket is answered, the likelier a renewal, an order and a better NPS."""
    rng = random.Random(seed)
    stories = {}
    for number in range(customers):
        who = f"c{number}"
        answered = rng.randint(1, 48) * HOUR + rng.randint(0, 3599) * datetime.timedelta(seconds=1)
        well = rng.random() < (0.9 if answered < DAY else 0.3)
        events = [
            subscribes(), buys("2026-01-05"), rates("nps", 6, "2026-01-06"),
            *ticket(ticket_id=f"t{number}", answered=answered, resolved=answered + HOUR),
            rates("csat", rng.randint(3, 5) if well else rng.randint(1, 3), OPENED + 4 * DAY, 1, 5, ticket_id=f"t{number}", source="desk"),
            renews("2026-04-01", "renewed" if well else "declined"),
            rates("nps", 8 if well else 3, "2026-04-02"),
        ]  # fmt: skip
        if well:
            events.append(buys("2026-03-05"))
        if not well and rng.random() < 0.6:
            events.append(reopens(answered + 2 * HOUR, ticket_id=f"t{number}"))
        stories[who] = story(who, *events)
    return stories


def test_from_events_to_claims_on_any_cut(steps: Any) -> None:
    stories = company(60, seed=4)
    whole = merge_service_loyalty([cells(steps, [row for rows in stories.values() for row in rows])])
    rows = {(r["exposure"], r["outcome"]): r for r in whole.to_pylist()}
    assert {r["n"] for r in rows.values()} == {60} and {r["n_pending"] for r in rows.values()} == {0}
    assert {r["claim"] for r in rows.values()} == {MORE}
    names = list(stories)
    for shards in (1, 4):
        random.Random(shards).shuffle(names)
        dealt = [cells(steps, [row for who in names[n::shards] for row in stories[who]]) for n in range(shards)]
        random.Random(shards).shuffle(dealt)
        assert merge_service_loyalty(dealt).equals(whole)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_buckets_do_not_show_the_cut(seed: int, shards: int) -> None:
    """Over the limit times go into buckets, in a shard that is over it by itself and in the sum of those that are not."""
    rng = np.random.default_rng(seed)
    keys = [("first_response_minutes", "renewal"), ("csat", "renewal")]
    pairs = np.column_stack((rng.integers(0, 20_000, 120), rng.integers(0, 2, 120)))
    shard = rng.integers(0, rng.integers(1, shards, endpoint=True), 120)  # uneven, also all in one
    rows = {keys[0]: [tuple(pair) for pair in pairs.tolist()], keys[1]: [(v % 5 * 2500, r) for v, r in pairs.tolist()]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_loyalty, "EXACT_CUSTOMERS", 40)
        cut = [
            add_cells([partial({key: [p for p, at in zip(all_of, shard.tolist(), strict=True) if at == n] for key, all_of in rows.items()})])
            for n in range(shards)
        ]  # fmt: skip
        whole = merge_service_loyalty([partial(rows)])
        assert merge_service_loyalty(cut).equals(whole)
        assert merge_service_loyalty(cut[::-1]).equals(whole)
        times = add_cells(cut).filter(pa.compute.field("exposure") == keys[0][0])
        assert set(times["value"].to_pylist()) == set(lower_edges(pairs[:, 0]).tolist())
        assert sum(times["count"].to_pylist()) == 120
        answers = add_cells(cut).filter(pa.compute.field("exposure") == keys[1][0])
        assert set(answers["value"].to_pylist()) <= {0, 2500, 5000, 7500, 10_000}
    first = whole.to_pylist()
    assert [row["method"] for row in first if row["n"]] == ["buckets", "exact"]


def test_the_cost_is_bounded() -> None:
    """Cells that are drawn from, whatever the number of customers and of different times."""
    rng = np.random.default_rng(1)
    n = 20_000
    value, place = np.unique(rng.integers(0, 10**7, n), return_inverse=True)
    for levels, most in ((2, 2 * 130), (21, 33 * 21)):
        result = rng.integers(0, levels, n)
        table = np.unique(np.column_stack((value[place], result)), axis=0, return_counts=True)
        (values, results), count = table[0].T, table[1]
        better = values <= np.median(values)
        drawn = service_loyalty._Cells.of(values, results, better, count)
        assert len(drawn.count) <= most and drawn.count.sum() == n
        assert drawn.count[drawn.better].sum() == count[better].sum()
        assert abs(drawn.correlation() - rank_correlation(values, results, count)[0]) < 1e-3


def test_groups_do_not_move_the_interval_off_the_correlation() -> None:
    """Of 20,000 customers the correlation is so certain that what groups take away from it would show."""
    value = np.arange(20_000)
    result = (value + np.random.default_rng(2).integers(-800, 800, len(value))) // 1000
    row = compare(RESPONSE, "nps_change", value, result, np.ones(len(value), np.int64))
    assert row["spearman_high"] - row["spearman_low"] < 0.001
    assert row["spearman_low"] < row["spearman"] < row["spearman_high"]
