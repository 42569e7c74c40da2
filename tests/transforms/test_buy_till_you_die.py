"""Forecasts: the published figures of the CDNOW sample, plain formulas, planted parameters, and every refusal."""

# ruff: noqa: N803, N806  # T: the letter of the papers

from __future__ import annotations

import datetime
import doctest
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import betainc, hyp2f1

from transforms import buy_till_you_die
from transforms.buy_till_you_die import (
    WEEKS_PER_MONTH,
    Array,
    Fit,
    discounted_value,
    expected_purchases,
    expected_spend,
    fit_bg_nbd,
    fit_gamma_gamma,
    fit_mbg_nbd,
    p_alive,
    significant,
)

ROOT = Path(__file__).parents[2]
EXPORTS = Path(os.environ.get("PARCOURS_EXPORTS", ROOT.parent / "shared" / "data"))
Fitter = Callable[..., Fit]
PURCHASES = {"bg_nbd": fit_bg_nbd, "mbg_nbd": fit_mbg_nbd}


def known(model: str, *values: float) -> Fit:
    """A fit as if it had been learnt."""
    return Fit(model, dict(zip(buy_till_you_die._NAMES[model], values, strict=True)), {}, 0.0, 1000, True, None)


#: What Fader, Hardie & Lee (2005) give for the CDNOW sample.
PUBLISHED = known("bg_nbd", 0.2426, 4.4136, 0.7929, 2.4259)
MODIFIED = known("mbg_nbd", 0.525, 6.183, 0.891, 1.614)
SPEND = known("gamma_gamma", 6.25, 3.74, 15.44)


def simulate(model: str, n: int, r: float, alpha: float, a: float, b: float, seed: int) -> tuple[Array, Array, Array]:
    """x, t_x, T of customers who live by the model, first seen 10 to 104 weeks ago."""
    random = np.random.default_rng(seed)
    T = random.integers(70, 728, n) / 7
    rate, stop = random.gamma(r, 1 / alpha, n), random.beta(a, b, n)
    x, t_x, now = np.zeros(n), np.zeros(n), np.zeros(n)
    alive = random.random(n) >= stop if model == "mbg_nbd" else np.ones(n, np.bool_)
    while alive.any():
        now += random.exponential(1 / rate)
        alive &= now <= T
        x[alive] += 1
        t_x[alive] = now[alive]
        alive &= random.random(n) >= stop
    return x, t_x, T


def simulate_spend(n: int, p: float, q: float, v: float, seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    x = random.geometric(0.3, n).astype(np.float64)
    return x, random.gamma(p * x, 1 / (random.gamma(q, 1 / v, n) * x))


# ----------------------------------------------------------------------------------------------- the published figures


class Cdnow:
    """x, t_x, T (weeks) and the mean of the repeat days of each customer, up to the end of September 1997."""

    def __init__(self, path: Path) -> None:
        last = datetime.date(1997, 9, 30)
        spent: dict[str, dict[datetime.date, float]] = defaultdict(lambda: defaultdict(float))
        for line in path.read_text().splitlines():
            who, _, day, _, dollars = line.split()
            if (date := datetime.datetime.strptime(day, "%Y%m%d").date()) <= last:
                spent[who][date] += float(dollars)
        rows = []
        for days in spent.values():
            first, *repeats = sorted(days)
            mean = sum(days[day] for day in repeats) / len(repeats) if repeats else math.nan
            t_x = (repeats[-1] - first).days / 7 if repeats else 0
            rows.append((len(repeats), t_x, (last - first).days / 7, mean))
        self.x, self.t_x, self.T, self.mean = np.array(rows).T


@pytest.fixture(scope="module")
def cdnow() -> Cdnow:
    path = EXPORTS / "cdnow" / "CDNOW_sample.txt"
    if not path.is_file():
        pytest.skip(f"the CDNOW sample is not here: {path} (PARCOURS_EXPORTS names another folder)")
    return Cdnow(path)


def test_the_cdnow_sample_is_the_published_one(cdnow: Cdnow) -> None:
    assert (len(cdnow.x), int((cdnow.x > 0).sum()), int(cdnow.x.sum())) == (2357, 946, 2457)


def test_bg_nbd_is_as_published(cdnow: Cdnow) -> None:
    fit = fit_bg_nbd(cdnow.x, cdnow.t_x, cdnow.T, 1)
    assert (fit.n, fit.converged, fit.reason) == (2357, True, None)
    assert fit.parameters == pytest.approx(PUBLISHED.parameters, abs=5e-5)
    assert fit.log_likelihood == pytest.approx(-9582.429, abs=0.001)
    assert float(expected_purchases(fit, 39, 2, 30.43, 38.86)) == pytest.approx(1.226, abs=5e-4)
    # The R package BTYD, whose fit stops a little before the maximum: these follow from its parameters.
    assert float(p_alive(fit, 26, 30.857, 31)) == pytest.approx(0.9688523, abs=2e-6)
    assert float(expected_purchases(fit, 52, 26, 30.857, 31)) == pytest.approx(25.7566, abs=1e-3)
    # The spreadsheet that goes with the paper, for a customer just won.
    ahead = expected_purchases(fit, [0.1429, 1, 3, 31.8571, 32, 78], 0, 0, 0)
    assert ahead == pytest.approx([0.0078, 0.0532, 0.1506, 1.0405, 1.0437, 1.8576], abs=5e-4)


def test_mbg_nbd_is_as_published(cdnow: Cdnow) -> None:
    """As the R package BTYDplus has it."""
    fit = fit_mbg_nbd(cdnow.x, cdnow.t_x, cdnow.T, 1)
    assert fit.parameters == pytest.approx({"r": 0.525, "alpha": 6.183, "a": 0.891, "b": 1.614}, abs=5e-4)


def test_gamma_gamma_is_as_published(cdnow: Cdnow) -> None:
    fit = fit_gamma_gamma(cdnow.x, cdnow.mean, 1)
    assert fit.n == 946
    assert fit.parameters == pytest.approx({"p": 6.2496, "q": 3.7442, "v": 15.4435}, abs=1e-4)
    assert fit.log_likelihood == pytest.approx(-4055.918, abs=0.001)


# --------------------------------------------------------------------------------------------------------- likelihoods


def plain_purchases(model: str, r: float, alpha: float, a: float, b: float, x: float, t_x: float, T: float) -> float:
    """Equation (6) of Fader, Hardie & Lee (2005), and its like of Batislam et al. (2007), as they are printed."""
    beta, gamma = lambda p, q: math.gamma(p) * math.gamma(q) / math.gamma(p + q), math.gamma
    more = model == "mbg_nbd"
    both = gamma(r + x) * alpha**r / gamma(r)
    alive = beta(a, b + x + more) / beta(a, b) * both / (alpha + T) ** (r + x)
    gone = beta(a + 1, b + x - 1 + more) / beta(a, b) * both / (alpha + t_x) ** (r + x) if x or more else 0
    return math.log(alive + gone)


def plain_spend(p: float, q: float, v: float, x: float, mean: float) -> float:
    """Equation (1a) of Fader & Hardie (2013)."""
    gamma = math.gamma
    constant = gamma(p * x + q) / (gamma(p * x) * gamma(q))
    return math.log(constant * v**q * mean ** (p * x - 1) * x ** (p * x) / (v + x * mean) ** (p * x + q))


HISTORIES = np.array([(0, 0, 30.5), (0, 0, 2), (1, 5, 20), (1, 20, 20), (4, 11.5, 40), (9, 33, 35.25)]).T
SPENDS = np.array([(1, 20), (1, 35.5), (3, 12.25), (8, 70)]).T
COUNTS = np.array([5.0, 1, 2, 1, 3, 2])


def likelihood_of(model: str) -> tuple[buy_till_you_die.Likelihood, Callable[..., float]]:
    """Ours and the plain one, of the same customers."""
    if model == "gamma_gamma":
        x, mean = SPENDS
        rows = list(zip(x, mean, COUNTS[:4], strict=True))
        ours = buy_till_you_die._spend_likelihood(x, mean, COUNTS[:4])
        return ours, lambda *theta: sum(count * plain_spend(*theta, x, mean) for x, mean, count in rows)
    ours = buy_till_you_die._purchase_likelihood(*HISTORIES, COUNTS, model == "mbg_nbd")
    histories = list(zip(HISTORIES.T, COUNTS, strict=True))
    return ours, lambda *theta: sum(count * plain_purchases(model, *theta, *history) for history, count in histories)


@pytest.mark.parametrize("model", ["bg_nbd", "mbg_nbd", "gamma_gamma"])
@pytest.mark.parametrize("theta", [(0.24, 4.4, 0.8, 2.4), (3.0, 11.0, 0.1, 0.3), (0.01, 0.5, 5.0, 20.0)])
def test_the_likelihood_is_the_plain_formula_and_its_slopes_are_its_slopes(
    model: str, theta: tuple[float, ...]
) -> None:
    ours, plain = likelihood_of(model)
    point = np.array(theta[: len(buy_till_you_die._NAMES[model])])
    value, gradient, hessian = ours(point, True)
    assert value == pytest.approx(plain(*point), rel=1e-11)
    assert ours(point, False)[0] == value
    assert np.array_equal(ours(point, False)[1], gradient)
    for i, step in enumerate(np.diag(point * 1e-5)):
        above, below = ours(point + step, False), ours(point - step, False)
        assert gradient[i] == pytest.approx((above[0] - below[0]) / (2 * step[i]), rel=1e-6, abs=1e-6)
        assert hessian[i] == pytest.approx((above[1] - below[1]) / (2 * step[i]), rel=1e-6, abs=1e-6)


def test_the_likelihood_keeps_its_digits_where_next_to_nobody_stops() -> None:
    """The gamma functions cancel there. A large beta distribution with one mean: only that mean counts."""
    ours, _ = likelihood_of("bg_nbd")
    one, two = (ours(np.array([1.4, 1.4, scale * 1e-3, scale]), False)[0] for scale in (1e9, 1e10))
    assert one == pytest.approx(two, rel=1e-9)


# ---------------------------------------------------------------------------------------------------------------- fits


@pytest.fixture(scope="module", params=["bg_nbd", "mbg_nbd"])
def bought(request: pytest.FixtureRequest) -> tuple[str, tuple[Array, Array, Array], Fit]:
    rows = simulate(request.param, 3000, 0.6, 6.0, 0.8, 2.4, seed=1)
    return request.param, rows, PURCHASES[request.param](*rows, 1)


def test_planted_parameters_are_found(bought: tuple[str, tuple[Array, Array, Array], Fit]) -> None:
    model, _, fit = bought
    assert (fit.model, fit.n, fit.converged, fit.reason) == (model, 3000, True, None)
    for name, planted in {"r": 0.6, "alpha": 6.0, "a": 0.8, "b": 2.4}.items():
        assert 0 < fit.standard_errors[name] < planted
        assert abs(fit.parameters[name] - planted) < 3 * fit.standard_errors[name], name


def test_planted_spend_is_found() -> None:
    fit = fit_gamma_gamma(*simulate_spend(2000, 6.0, 4.0, 15.0, seed=2), 1)
    for name, planted in {"p": 6.0, "q": 4.0, "v": 15.0}.items():
        assert abs(fit.parameters[name] - planted) < 3 * fit.standard_errors[name], name


def test_order_and_counts_do_not_matter(bought: tuple[str, tuple[Array, Array, Array], Fit]) -> None:
    model, rows, fit = bought
    mixed = np.random.default_rng(3).permutation(3000)
    assert PURCHASES[model](*(column[mixed] for column in rows), np.ones(3000)) == fit
    # Each customer twice, as two rows, as a count, and with rows that stand for nobody.
    twice = PURCHASES[model](*(np.concatenate((column, column[mixed])) for column in rows), 1)
    assert PURCHASES[model](*rows, np.full(3000, 2)) == twice
    idle = PURCHASES[model](*(np.concatenate((column, column[:9])) for column in rows), [2] * 3000 + [0] * 9)
    assert idle == twice
    assert twice.parameters == pytest.approx(fit.parameters, rel=1e-7)
    assert twice.standard_errors["r"] == pytest.approx(fit.standard_errors["r"] / math.sqrt(2), rel=1e-6)


def test_order_and_counts_of_spend_do_not_matter() -> None:
    x, mean = simulate_spend(500, 6.0, 4.0, 15.0, seed=4)
    mixed = np.random.default_rng(3).permutation(500)
    twice = fit_gamma_gamma(x, mean, np.full(500, 2))
    assert fit_gamma_gamma(np.concatenate((x, x[mixed])), np.concatenate((mean, mean[mixed])), 1) == twice


def test_nine_digits_hide_the_order_of_summation(
    bought: tuple[str, tuple[Array, Array, Array], Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, whose sums end in other digits."""
    model, rows, fit = bought
    spend = simulate_spend(500, 6.0, 4.0, 15.0, seed=4)
    fit_spend = fit_gamma_gamma(*spend, 1)
    monkeypatch.setattr(buy_till_you_die, "_total", lambda weights, values: float(np.cumsum(weights * values)[-1]))
    assert PURCHASES[model](*rows, 1) == fit
    assert fit_gamma_gamma(*spend, 1) == fit_spend


def test_the_unit_does_not_matter(bought: tuple[str, tuple[Array, Array, Array], Fit]) -> None:
    model, (x, t_x, T), fit = bought
    days = PURCHASES[model](x, t_x * 7, T * 7, 1)
    assert days.parameters == pytest.approx({**fit.parameters, "alpha": 7 * fit.parameters["alpha"]}, rel=1e-8)
    assert p_alive(days, x, t_x * 7, T * 7) == pytest.approx(p_alive(fit, x, t_x, T), rel=1e-7)
    assert expected_purchases(days, 70, x, t_x * 7, T * 7) == pytest.approx(
        expected_purchases(fit, 10, x, t_x, T), rel=1e-7
    )


def test_figures_have_nine_digits(bought: tuple[str, tuple[Array, Array, Array], Fit]) -> None:
    _, _, fit = bought
    for value in (*fit.parameters.values(), *fit.standard_errors.values(), fit.log_likelihood):
        assert value == float(f"{value:.8e}")


def test_loyal_customers_fit_although_a_and_b_are_only_known_as_a_ratio() -> None:
    """One in a thousand stops after a purchase, all with the same probability, as in a grocer's shop."""
    rows = simulate("bg_nbd", 1500, 1.4, 1.4, 20.0, 20000.0, seed=6)
    fit = fit_bg_nbd(*rows, 1)
    assert fit.converged
    assert fit.parameters["a"] / fit.parameters["b"] == pytest.approx(1e-3, rel=0.3)
    assert fit.standard_errors["a"] > fit.parameters["a"]
    mixed = np.random.default_rng(3).permutation(1500)
    assert fit_bg_nbd(*(column[mixed] for column in rows), 1) == fit


# ------------------------------------------------------------------------------------------------ reasons for not fitting

N = 60
X = np.arange(N) % 4.0
NO_MAXIMUM = "The likelihood has no maximum, it still rises where "


@pytest.mark.parametrize("fit", [fit_bg_nbd, fit_mbg_nbd])
@pytest.mark.parametrize(
    ("rows", "n", "reason"),
    [
        (([], [], [], []), 0, "There are 0 customers, and 30 are needed."),
        (([1, 2], [3, 4], [5, 5], [20, 9]), 29, "There are 29 customers, and 30 are needed."),
        (([0, 1], [0, 3], [5, 5], [1000, 9]), 1009, "9 customers bought again, and 10 are needed."),
        ((X, X * 10, np.full(N, 30.0), 1), 60, NO_MAXIMUM),  # the last purchase at one pace, and nobody is late
    ],
)  # fmt: skip
def test_why_purchases_are_not_fitted(fit: Fitter, rows: Any, n: int, reason: str) -> None:
    assert_unfit(fit(*rows), n, reason)


@pytest.mark.parametrize(
    ("rows", "n", "reason"),
    [
        (([], [], []), 0, "0 customers have repeat purchases of a positive mean, and 10 are needed."),
        (([0, 1, 2, 2], [9, 0, -4, np.nan], [50, 50, 50, 50]), 0, "0 customers have repeat purchases of a positive"),
        (([1, 2, 0], [9, 8, 7], [4, 5, 50]), 9, "9 customers have repeat purchases of a positive mean, and 10 are"),
        (([1, 2], [9, 9], [40, 50]), 90, "All customers spend the same"),
        # Every purchase of a customer costs the same: their means scatter no less over a thousand of them.
        ((10**X, 60 / np.random.default_rng(8).gamma(4, 1, N), 1), 60, NO_MAXIMUM + "p runs off to infinity"),
        ((*simulate_spend(800, 5.0, 0.6, 10.0, 9), 1), 800, "The spend varies so much that its expectation is infinite"),
    ],
)  # fmt: skip
def test_why_spend_is_not_fitted(rows: Any, n: int, reason: str) -> None:
    assert_unfit(fit_gamma_gamma(*rows), n, reason)


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_no_clear_maximum(bend: float) -> None:
    """Neither a plain nor the bottom of a valley is a maximum, even where the search ends on it."""

    def likelihood(parameters: Array, with_hessian: bool) -> tuple[float, Array, Array]:
        logs = np.log(parameters)
        return bend * float(logs @ logs), 2 * bend * logs / parameters, np.diag(2 * bend * (1 - logs) / parameters**2)

    fit = buy_till_you_die._maximise("gamma_gamma", likelihood, 50, [(1.0, 1.0, 1.0)], (1.0, 1.0, 1.0))
    assert_unfit(fit, 50, "The likelihood has no clear maximum")


def assert_unfit(fit: Fit, n: int, reason: str) -> None:
    assert (fit.converged, fit.n, fit.parameters, fit.standard_errors, fit.log_likelihood) == (False, n, {}, {}, None)
    assert fit.reason is not None
    assert fit.reason.startswith(reason)
    assert fit.reason.endswith(".")


@pytest.mark.parametrize("fit", [fit_bg_nbd, fit_mbg_nbd])
@pytest.mark.parametrize(
    ("history", "count", "message"),
    [
        ((-1, 0, 5), 1, "x must hold whole numbers"),
        ((1.5, 2, 5), 1, "x must hold whole numbers"),
        ((math.nan, 2, 5), 1, "x must hold whole numbers"),
        ((1, 2, 5), 0.5, "count must hold whole numbers"),
        ((1, 6, 5), 1, "t_x must be"),
        ((1, 0, 5), 1, "t_x must be"),
        ((0, 2, 5), 1, "t_x must be"),
        ((0, 0, -5), 1, "t_x must be"),
        ((0, 0, math.inf), 1, "t_x must be"),
        ((1, math.nan, 5), 1, "t_x must be"),
    ],
)
def test_impossible_histories_are_refused(fit: Fitter, history: Any, count: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(*([value] for value in history), [count])
    if count == 1:
        with pytest.raises(ValueError, match=message):
            p_alive(PUBLISHED, *history)


def test_impossible_spend_is_refused() -> None:
    with pytest.raises(ValueError, match="mean must be finite"):
        fit_gamma_gamma([1], [math.inf], [1])
    with pytest.raises(ValueError, match="x must hold whole numbers"):
        fit_gamma_gamma([0.5], [3], [1])
    with pytest.raises(ValueError, match="mean must be finite"):
        expected_spend(SPEND, 1, math.inf)


def test_forecasts_refuse_what_has_not_been_fitted() -> None:
    nothing = fit_bg_nbd([], [], [], [])
    for forecast in (
        lambda fit: p_alive(fit, 0, 0, 1),
        lambda fit: expected_purchases(fit, 1, 0, 0, 1),
        lambda fit: discounted_value(fit, 0, 0, 1, 20),
    ):
        with pytest.raises(ValueError, match="bg_nbd has not been fitted: There are 0 customers"):
            forecast(nothing)
        with pytest.raises(ValueError, match="a fit of bg_nbd or mbg_nbd is needed, not of gamma_gamma"):
            forecast(SPEND)
    with pytest.raises(ValueError, match="a fit of gamma_gamma is needed, not of bg_nbd"):
        expected_spend(PUBLISHED, 0, 0)


# ----------------------------------------------------------------------------------------------------------- forecasts

sizes = st.floats(1e-4, 1e4)
fits = st.builds(known, st.sampled_from(["bg_nbd", "mbg_nbd"]), sizes, sizes, sizes, sizes)
#: x, t_x, T: from nothing known to a thousand years at any pace.
histories = st.one_of(
    st.tuples(st.just(0), st.just(0.0), st.floats(0, 5e4)),
    st.tuples(st.integers(1, 10**6), st.floats(1e-3, 1), st.floats(1e-3, 5e4)).map(
        lambda h: (h[0], h[1] * h[2], h[2])
    ),
)  # fmt: skip


@given(fits, histories)
def test_p_alive_is_a_probability(fit: Fit, history: tuple[int, float, float]) -> None:
    alive = float(p_alive(fit, *history))
    assert 0 <= alive <= 1
    if fit.model == "bg_nbd" and history[0] == 0:
        assert alive == 1


def test_p_alive_falls_with_silence_and_only_mbg_nbd_doubts_who_bought_once() -> None:
    assert p_alive(PUBLISHED, 0, 0, [0, 10, 1000]).tolist() == [1, 1, 1]
    once = p_alive(MODIFIED, 0, 0, [0.0, 10.0, 1000.0])
    assert once[0] == pytest.approx(1 / (1 + 0.891 / 1.614))  # may have stopped after the first purchase, at once
    assert 1 > once[0] > once[1] > once[2] > 0
    for fit in (PUBLISHED, MODIFIED):
        silent = p_alive(fit, 3, 20, np.arange(20, 200, 5.0))
        assert (np.diff(silent) < 0).all()


def in_the_papers(fit: Fit, t: float, x: float, t_x: float, T: float) -> float:
    """Equation (10) of Fader, Hardie & Lee (2005), and its like of Wagner & Hoppe (2008)."""
    r, alpha, a, b = fit.parameters.values()
    b += fit.model == "mbg_nbd"
    z = t / (alpha + T + t)
    series = hyp2f1(r + x, b + x, a + b + x - 1, z) * ((alpha + T) / (alpha + T + t)) ** (r + x)
    expected = (a + b + x - 1) / (a - 1) * (1 - series)
    gone = a / (b + x - 1) * ((alpha + T) / (alpha + t_x)) ** (r + x) if x or fit.model == "mbg_nbd" else 0
    return float(expected / (1 + gone))


@pytest.mark.parametrize("fit", [PUBLISHED, MODIFIED, known("bg_nbd", 3, 10, 0.1, 5), known("bg_nbd", 0.5, 2, 7, 0.3)])
@pytest.mark.parametrize("history", [(0, 0, 0), (0, 0, 38.86), (1, 0.5, 40), (2, 30.43, 38.86), (40, 30, 31)])
def test_expected_purchases_are_those_of_the_papers(fit: Fit, history: tuple[float, float, float]) -> None:
    for t in (0.5, 4, 52, 300):
        assert float(expected_purchases(fit, t, *history)) == pytest.approx(in_the_papers(fit, t, *history), rel=6e-9)


def summed(fit: Fit, t: float, x: int, T: float) -> float:
    """E[Y(t)] of one who still buys: over k, who would buy more than k times, and does not stop at any of k."""
    r, alpha, a, b = fit.parameters.values()
    k = np.arange(30_000)
    goes_on = np.cumprod(np.concatenate(([1.0], (b + x + k[:-1]) / (a + b + x + k[:-1]))))
    return float((goes_on * betainc(k + 1, r + x, t / (alpha + T + t))).sum())


@pytest.mark.parametrize(
    ("parameters", "t", "x", "T"),
    [
        ((0.24, 4.4, 1.0, 2.4), 52, 2, 40),  # a = 1, where the formula of the papers divides by zero
        ((0.24, 4.4, 1 + 1e-8, 2.4), 52, 2, 40),  # and next to it
        ((1.4, 1.4, 4.9, 7380), 52, 311, 52),
        ((0.5, 3, 0.01, 0.02), 20, 1, 5),
        ((5000, 900, 3, 0.5), 52, 0, 10),
        ((4.4, 8.9, 0.44, 2), 2.2, 43, 41.7),
    ],
)
def test_expected_purchases_are_the_plain_sum(parameters: tuple[float, ...], t: float, x: int, T: float) -> None:
    fit = known("bg_nbd", *parameters)
    t_x = T if x else 0.0
    expected = float(p_alive(fit, x, t_x, T)) * summed(fit, t, x, T)
    assert float(expected_purchases(fit, t, x, t_x, T)) == pytest.approx(expected, rel=6e-9)


@given(fits, histories, st.floats(1e-3, 1e4))
@example(known("bg_nbd", 1e-4, 1e-4, 1e-4, 1e-4), (10**6, 5e4, 5e4), 1e4)
@example(known("mbg_nbd", 1e4, 1e-4, 1e4, 1e4), (0, 0.0, 0.0), 1e4)
def test_expected_purchases_are_finite_and_rise(fit: Fit, history: tuple[int, float, float], t: float) -> None:
    none, some, more = expected_purchases(fit, [0, t, 2 * t], *history).tolist()
    r, alpha, _, _ = fit.parameters.values()
    x, _, T = history
    assert none == 0
    assert 0 <= some <= more <= 2 * some * (1 + 1e-8)  # ever more slowly, as some stop
    assert more <= 2 * t * (r + x) / (alpha + T) * (1 + 1e-8)  # no faster than if nobody did
    assert some > 0 or float(p_alive(fit, *history)) < 1e-290


def test_a_forecast_does_not_depend_on_who_else_is_asked_about() -> None:
    x, t_x, T = simulate("bg_nbd", 400, 0.6, 6.0, 0.8, 2.4, seed=5)
    t = np.random.default_rng(6).exponential(500, 400)
    together = expected_purchases(PUBLISHED, t, x, t_x, T)
    worth = discounted_value(PUBLISHED, x, t_x, T, 20.0)
    for i in range(0, 400, 7):
        assert float(expected_purchases(PUBLISHED, t[i], x[i], t_x[i], T[i])) == together[i]
        assert float(discounted_value(PUBLISHED, x[i], t_x[i], T[i], 20.0)) == worth[i]
    one = buy_till_you_die._purchases_if_alive(PUBLISHED, t[:1], x[:1], T[:1])  # before it is rounded
    assert one[0] == buy_till_you_die._purchases_if_alive(PUBLISHED, t, x, T)[0]


def test_shapes_are_broadcast() -> None:
    assert expected_purchases(PUBLISHED, [[1], [2]], [0, 1, 2], [0, 1, 1], 5).shape == (2, 3)
    assert p_alive(PUBLISHED, [], [], []).shape == (0,)
    assert expected_purchases(PUBLISHED, 4, [], [], []).shape == (0,)
    assert discounted_value(PUBLISHED, [], [], [], []).shape == (0,)
    assert p_alive(PUBLISHED, 1, 1, 1).shape == ()


def test_expected_spend_lies_between_ones_own_and_that_of_all() -> None:
    everyone = 6.25 * 15.44 / (3.74 - 1)
    assert float(expected_spend(SPEND, 0, math.nan)) == pytest.approx(everyone)
    rising = expected_spend(SPEND, [1, 2, 5, 50, 10**6], 100.0)
    assert (np.diff(rising) > 0).all()
    assert everyone < rising[0]
    assert rising[-1] == pytest.approx(100, rel=1e-4)
    # (q - 1) / (p x + q - 1) of that of all, and the rest of one's own.
    assert float(expected_spend(SPEND, 2, 100.0)) == pytest.approx((2.74 * everyone + 12.5 * 100) / (12.5 + 2.74))
    assert np.isnan(expected_spend(SPEND, [1, 1], [-3.0, math.nan])).all()
    assert 0 < float(expected_spend(SPEND, 1, 0.0)) < everyone


def test_value_without_a_discount_is_purchases_times_spend() -> None:
    x, t_x, T, spend = [0, 2, 26], [0, 30.43, 30.857], [38.86, 38.86, 31], [30.0, 20.5, 7.25]
    for months in (1, 12, 30):
        value = discounted_value(PUBLISHED, x, t_x, T, spend, months, 0.0)
        assert value == pytest.approx(
            expected_purchases(PUBLISHED, months * WEEKS_PER_MONTH, x, t_x, T) * spend, rel=6e-9
        )


def test_value_is_discounted_month_by_month() -> None:
    bought = expected_purchases(PUBLISHED, np.array([0, 4, 8, 12]), 2, 30.43, 38.86)
    by_hand = sum((bought[m] - bought[m - 1]) * 20 / 1.02**m for m in (1, 2, 3))
    value = discounted_value(PUBLISHED, 2, 30.43, 38.86, 20, months=3, monthly_discount=0.02, weeks_per_month=4)
    assert float(value) == pytest.approx(by_hand, rel=1e-8)
    assert np.isnan(discounted_value(PUBLISHED, 2, 30.43, 38.86, math.nan))


@pytest.mark.parametrize(
    "setting", [{"months": 0}, {"monthly_discount": -1.0}, {"monthly_discount": math.nan}, {"weeks_per_month": 0.0}]
)
def test_impossible_settings_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))} must be"):
        discounted_value(PUBLISHED, 0, 0, 1, 20, **setting)
    with pytest.raises(ValueError, match="t must be finite"):
        expected_purchases(PUBLISHED, -1, 0, 0, 1)


# ------------------------------------------------------------------------------------------------------------ rounding


@given(st.floats(1e-250, 1e250), st.sampled_from([-1, 1]), st.integers(1, 15))
def test_significant_digits(size: float, sign: int, digits: int) -> None:
    rounded = float(significant(sign * size, digits))
    assert rounded == pytest.approx(float(f"{sign * size:.{digits - 1}e}"), rel=1.01 * 10.0 ** (1 - digits))
    # Of 15 digits a float itself is off by up to a tenth of the last.
    half = 0.501 if digits < 15 else 0.6
    assert abs(rounded - sign * size) <= half * 10.0 ** (math.floor(math.log10(size)) + 1 - digits)
    assert float(significant(rounded, digits)) == rounded
    if 1e-6 < size < 1e6:  # the very number that the decimal stands for
        assert rounded == float(f"{rounded:.{digits - 1}e}")


def test_significant_keeps_what_has_no_digits() -> None:
    values = [0.0, math.inf, -math.inf, math.nan]
    assert np.array_equal(significant(values), values, equal_nan=True)
    assert significant([[1234567.891, -0.00012345678]], 4).tolist() == [[1235000.0, -0.0001235]]
    with pytest.raises(ValueError, match="digits must be 1 to 15"):
        significant(1.0, 16)


# ---------------------------------------------------------------------------------------------------------- the module


def test_the_examples_run() -> None:
    assert doctest.testmod(buy_till_you_die).failed == 0


def test_importing_and_forecasting_leave_scipy_alone() -> None:
    code = (
        "import sys\nfrom transforms.buy_till_you_die import Fit, discounted_value\n"
        "fit = Fit('bg_nbd', {'r': 1.0, 'alpha': 1.0, 'a': 1.0, 'b': 1.0}, {}, 0.0, 30, True, None)\n"
        "assert discounted_value(fit, 1, 2, 3, 4) > 0\n"
        "assert not {'scipy', 'apache_beam', 'pyarrow'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
