"""Forecasts of purchases and spend: BG/NBD or MBG/NBD for how often, Gamma-Gamma for how much.

A customer buys at random at a rate of their own and, after some purchase, silently stops for good ("buy till you die").
What is known of a customer is x, the days with a purchase after the first such day; t_x, the time from the first of
them to the last; and T, the time from the first to now. All times are weeks, but any unit does, the same for all.

BG/NBD       rate ~ Gamma(r, alpha); after each repeat purchase a customer stops with a probability ~ Beta(a, b).
             Fader, Hardie & Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24 (2).
MBG/NBD      the same, but a customer can stop after the first purchase, too.
             Batislam, Denizel & Filiztekin (2007), Int. J. of Research in Marketing 24 (3); Wagner & Hoppe (2008), 25.
Gamma-Gamma  a purchase ~ Gamma(p, rate nu), nu ~ Gamma(q, v), apart from how often.
             Fader & Hardie (2013), The Gamma-Gamma Model of Monetary Value, http://brucehardie.com/notes/025/.

Fits are by maximum likelihood, and the same on any order of the rows and any cut of them into counts, to the last bit.
Forecasts of a customer do not depend on which others are asked about. All figures are rounded to nine significant
digits, so that they are also the same on another machine. Fitting imports scipy, and nothing else does.

200,000 distinct rows take 3 to 5 s of one core to fit (Gamma-Gamma 2 s), the 2,357 customers of the CDNOW sample 0.3 s.
The value of 12 months takes 40 us a distinct (x, T), and 1 us a customer.
"""

# ruff: noqa: N803, N806  # T and B: the letters of the papers

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: Of parameters: the log-likelihood, its gradient and, only if it is asked for (it is not cheap), its Hessian.
Likelihood = Callable[[Array, bool], tuple[float, Array, Array]]

DIGITS = 9
MIN_CUSTOMERS = 30
MIN_REPEATERS = 10
#: Calendar months in weeks, on average.
WEEKS_PER_MONTH = 365.25 / 12 / 7

#: The parameters of each model, in the order of its paper.
_NAMES = {"bg_nbd": ("r", "alpha", "a", "b"), "mbg_nbd": ("r", "alpha", "a", "b"), "gamma_gamma": ("p", "q", "v")}
#: By model whether a customer can stop after the first purchase already.
_STOPS_AT_FIRST = {"bg_nbd": False, "mbg_nbd": True}
#: A parameter is looked for within this factor of its natural size, both ways. Further out lies a limit, no estimate.
_RANGE = 1e5
_NO_HESSIAN = np.zeros((0, 0))
_NEWTON_STEPS = 50
_HALVINGS = 12
_POWERS_OF_TEN = np.array([float(f"1e{power}") for power in range(301)])


@dataclass(frozen=True)
class Fit:
    """What a model learnt from `n` customers, or why it learnt nothing.

    `parameters` by name (r, alpha, a, b, or p, q, v) and their `standard_errors`, from the curvature of the
    log-likelihood at its maximum: all rounded to nine significant digits. If it has not `converged`, a plain
    sentence says the `reason`, there are no parameters and no log-likelihood, and forecasts refuse the fit.

    Where next to nobody stops, a and b can be large and their errors larger: only a / b is known then, and it is all
    that the forecasts need.
    """

    model: str
    parameters: dict[str, float]
    standard_errors: dict[str, float]
    log_likelihood: float | None
    n: int
    converged: bool
    reason: str | None


def fit_bg_nbd(x: ArrayLike, t_x: ArrayLike, T: ArrayLike, count: ArrayLike) -> Fit:
    """BG/NBD on histories x, t_x, T, each of `count` customers: four arrays of one length, in any order.

    Raises:
        ValueError: x or count is not a whole number, t_x is not 0 where x is 0, or not above 0 and up to T elsewhere.
    """
    return _fit_purchases("bg_nbd", x, t_x, T, count)


def fit_mbg_nbd(x: ArrayLike, t_x: ArrayLike, T: ArrayLike, count: ArrayLike) -> Fit:
    """MBG/NBD, otherwise as `fit_bg_nbd`."""
    return _fit_purchases("mbg_nbd", x, t_x, T, count)


def fit_gamma_gamma(x: ArrayLike, mean: ArrayLike, count: ArrayLike) -> Fit:
    """Gamma-Gamma on the mean spend of a repeat purchase day over x such days, each pair of `count` customers.

    Rows with no repeat purchase, or without a mean above 0, are left out and not counted in `n`: the model gives no
    density to a mean of zero. Money is in one unit; it is that of v and of all spend expected later.

    Raises:
        ValueError: x or count is not a whole number, or a mean is infinite.
    """
    x, mean, count = np.broadcast_arrays(*(np.asarray(column, np.float64) for column in (x, mean, count)))
    _whole(x=x, count=count)
    usable = (x > 0) & (mean > 0) & (count > 0)
    if np.isinf(mean[usable]).any():
        raise ValueError("mean must be finite")
    (x, mean), count = _distinct([x[usable], mean[usable]], count[usable])
    n = int(count.sum())
    if n < MIN_REPEATERS:
        return _unfit(
            "gamma_gamma", n, f"{n} customers have repeat purchases of a positive mean, and {MIN_REPEATERS} are needed."
        )
    if (mean == mean[0]).all():
        return _unfit(
            "gamma_gamma", n, "All customers spend the same: there is no difference between them to learn from."
        )
    typical = _total(count, mean) / n
    starts = [(p, q, typical * (q - 1) / p) for p, q in ((1.0, 2.0), (6.0, 4.0), (2.0, 20.0), (50.0, 3.0))]
    fit = _maximise("gamma_gamma", _spend_likelihood(x, mean, count), n, starts, (1.0, 1.0, typical))
    if fit.converged and fit.parameters["q"] <= 1:
        return _unfit("gamma_gamma", n, "The spend varies so much that its expectation is infinite (q is not above 1).")
    return fit


def p_alive(fit: Fit, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
    """The probability that customers still buy: float64 in 0 to 1, of the shape to which the arguments broadcast.

    Under BG/NBD one can only stop after a repeat purchase: that of a one-time buyer is 1 by construction, however
    long ago the purchase was. MBG/NBD lets one-time buyers stop.

    Raises:
        ValueError: the fit has not converged or is of another model, or a history cannot be (see `fit_bg_nbd`).
    """
    return significant(_p_alive(fit, *_histories(x, t_x, T)), DIGITS)


def expected_purchases(fit: Fit, t: ArrayLike, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
    """The purchase days to expect of customers in the next t weeks, E[Y(t) | x, t_x, T].

    float64 of the shape to which the arguments broadcast. For someone of whom nothing is known yet, but the first
    purchase now: x, t_x and T are 0.

    Raises:
        ValueError: as `p_alive`, or t is negative or not finite.

    Example:
        >>> fit = Fit("bg_nbd", {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}, {}, None, 2357, True, None)
        >>> expected_purchases(fit, 39, [0, 2], [0, 30.43], [38.86, 38.86]).round(3).tolist()
        [0.195, 1.226]
    """
    x, t_x, T = _histories(x, t_x, T)
    t, x, t_x, T = np.broadcast_arrays(np.asarray(t, np.float64), x, t_x, T)
    if not (np.isfinite(t) & (t >= 0)).all():
        raise ValueError("t must be finite and not below 0")
    return significant(_p_alive(fit, x, t_x, T) * _purchases_if_alive(fit, t, x, T), DIGITS)


def expected_spend(fit: Fit, x: ArrayLike, mean: ArrayLike) -> Array:
    """The mean spend of a purchase day to expect of customers who spent `mean` on each of x repeat purchase days.

    float64 of the shape to which the arguments broadcast, in the unit of the fit. It lies between the customer's own
    mean and that of all; the fewer purchases, the nearer to that of all, p v / (q - 1), which it is where x is 0
    (`mean` is not looked at). NaN where x is above 0 and the mean is negative or NaN: the model has no such customers.

    Raises:
        ValueError: the fit has not converged or is of another model, x is not a whole number, or a mean is infinite.
    """
    p, q, v = _parameters(fit, "gamma_gamma")
    x, mean = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(mean, np.float64))
    _whole(x=x)
    mean = np.where(x == 0, 0.0, mean)
    if np.isinf(mean).any():
        raise ValueError("mean must be finite")
    mean = np.where(mean < 0, np.nan, mean)
    return significant(p * (v + x * mean) / (p * x + q - 1), DIGITS)


def discounted_value(
    fit: Fit,
    x: ArrayLike,
    t_x: ArrayLike,
    T: ArrayLike,
    spend: ArrayLike,
    months: int = 12,
    monthly_discount: float = 0.01,
    weeks_per_month: float = WEEKS_PER_MONTH,
) -> Array:
    """What customers are expected to spend in the next months, in today's money.

    The purchases expected in each month m = 1 to `months`, times `spend` (of a purchase day, `expected_spend`), over
    (1 + monthly_discount) ** m: paid at the month's end. float64 of the shape to which the arrays broadcast; NaN where
    the spend is.

    Raises:
        ValueError: as `p_alive`, or months below 1, a discount not above -1, or weeks_per_month not above 0.
    """
    if months < 1:
        raise ValueError(f"months must be 1 or more: {months}")
    if not (math.isfinite(monthly_discount) and monthly_discount > -1):
        raise ValueError(f"monthly_discount must be above -1: {monthly_discount}")
    if not (math.isfinite(weeks_per_month) and weeks_per_month > 0):
        raise ValueError(f"weeks_per_month must be above 0: {weeks_per_month}")
    histories = _histories(x, t_x, T)
    x, t_x, T, spend = np.broadcast_arrays(*histories, np.asarray(spend, np.float64))
    first, which = _groups([x.ravel(), T.ravel()])
    some_x, some_T = x.ravel()[first], T.ravel()[first]
    discounted = np.zeros(len(first))
    before = np.zeros(len(first))
    for month in range(1, months + 1):
        after = _purchases_if_alive(fit, np.full(len(first), month * weeks_per_month), some_x, some_T)
        discounted += (after - before) / (1 + monthly_discount) ** month
        before = after
    return significant(_p_alive(fit, x, t_x, T) * discounted[which].reshape(x.shape) * spend, DIGITS)


def significant(values: ArrayLike, digits: int = DIGITS) -> Array:
    """float64 of the same shape, rounded to so many significant digits (1 to 15), at most 300 decimals. 0, infinity and NaN stay.

    Example:
        >>> significant([1234567.891, 0.00012345678, 0.0], 4).tolist()
        [1235000.0, 0.0001235, 0.0]
    """
    if not 1 <= digits <= 15:
        raise ValueError(f"digits must be 1 to 15: {digits}")
    values = np.asarray(values, np.float64)
    size = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    shift = np.clip(digits - 1 - np.floor(np.log10(size)), -300, 300).astype(np.int64)
    # Times or over an exact power of ten: a product with 1e-7 would not be the number next to the decimal.
    power = _POWERS_OF_TEN[np.abs(shift)]
    with np.errstate(over="ignore"):  # in the case that is not taken
        rounded = np.where(shift >= 0, np.rint(values * power) / power, np.rint(values / power) * power)
    return np.where(np.isfinite(rounded), rounded, values)


# ---------------------------------------------------------------------------------------------------------- forecasts


def _p_alive(fit: Fit, x: Array, t_x: Array, T: Array) -> Array:
    r, alpha, a, b = _parameters(fit, *_STOPS_AT_FIRST)
    can_stop = (x > 0) | _STOPS_AT_FIRST[fit.model]
    survived = np.where(can_stop, x + _STOPS_AT_FIRST[fit.model], 1.0)  # see _purchase_likelihood
    odds = math.log(a) - np.log(b + survived - 1) + (r + x) * np.log1p((T - t_x) / (alpha + t_x))
    return np.where(can_stop, _logistic(-odds), 1.0)


def _purchases_if_alive(fit: Fit, t: Array, x: Array, T: Array) -> Array:
    """E[Y(t)] of customers who still buy, of the arguments' one shape.

    Given a rate and a probability p of stopping it is (1 - exp(-rate p t)) / p. Of a customer who is alive the rate is
    Gamma(r + x, alpha + T), over which the mean is (1 - (1 + p u) ** -(r + x)) / p with u = t / (alpha + T), and p is
    Beta(a, b + x), in MBG/NBD Beta(a, b + x + 1).

    The papers write the mean over p as a hypergeometric function. That form divides by a - 1, cancels next to it, and
    leaves the range of floats where x is large. The mean is all positive: taken by quadrature it is good to 11 digits.
    """
    r, alpha, a, b = _parameters(fit, *_STOPS_AT_FIRST)
    x, u = x.ravel(), (t / (alpha + T)).ravel()
    # Buckets, not the largest u at hand: the nodes of a customer's integral must not depend on the other customers.
    bucket = 16 * np.ceil(np.log2(np.maximum(u, 1.0)) / 16)
    first, which = _groups([x, bucket, u])
    some_x, bucket, u = x[first], bucket[first], u[first]
    begins = np.flatnonzero((np.diff(some_x, prepend=-1) != 0) | (np.diff(bucket, prepend=-1) != 0))
    purchases = np.empty(len(first))
    for begin, end in pairwise([*begins.tolist(), len(first)]):
        s, B = float(r + some_x[begin]), float(b + some_x[begin]) + _STOPS_AT_FIRST[fit.model]
        purchases[begin:end] = _mean_over_beta(u[begin:end], s, a, B, 2.0 ** float(bucket[begin]))
    return purchases[which].reshape(t.shape)


def _mean_over_beta(u: Array, s: float, a: float, B: float, bound: float) -> Array:
    """The mean of (1 - (1 + p u) ** -s) / p over p ~ Beta(a, B), for each u[n] up to a bound.

    By the trapezoid rule over y = log(p / (1 - p)), where the integrand is smooth and falls exponentially at both ends:
    halving the step about doubles the digits, so that after a change of 1e-7 the error is below 1e-11.
    """
    step = min(1.0, math.sqrt(1 / a + 1 / B))  # the width of the density of y
    result, left = np.empty_like(u), np.arange(len(u))
    value, weight = _trapezoid(u, s, a, B, bound, step, 0.0)
    for _ in range(_HALVINGS):
        before = value / weight
        between, weight_between = _trapezoid(u[left], s, a, B, bound, step, 0.5)
        value, weight, step = value + between, weight + weight_between, step / 2
        now = value / weight
        done = np.abs(now - before) <= 1e-7 * now
        result[left[done]] = now[done]
        left, value = left[~done], value[~done]
        if not len(left):
            return result
    raise ArithmeticError(f"no convergence: u = {u[left[0]]}, s = {s}, a = {a}, B = {B}")


def _trapezoid(u: Array, s: float, a: float, B: float, bound: float, step: float, shift: float) -> tuple[Array, float]:
    """Sums over the nodes y = step (k + shift), k any integer: of the integrand for each u[n], and of the density."""
    # Beyond these ends the integrand is a pure exponential to 17 digits: what lies there is a geometric series.
    end = math.ceil((39 + math.log(s * bound + s + a + B)) / step)
    y = step * (np.arange(-end, end + 1) + shift)
    peak = a * math.log1p(B / a) + B * math.log1p(a / B)
    log_p, log_not_p = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    log_density = a * log_p + B * log_not_p + peak
    matters = log_density > -50 - math.log1p(s * bound)
    p, density = np.exp(log_p[matters]), np.exp(log_density[matters])
    density[0] *= 1 + 1 / math.expm1(min(a * step, 700.0))
    density[-1] *= 1 + 1 / math.expm1(min(B * step, 700.0))
    values = np.empty_like(u)
    rows = max(1, 2**16 // len(p))  # that stay in the cache
    for begin in range(0, len(u), rows):
        here = np.multiply.outer(u[begin : begin + rows], p)
        np.log1p(here, out=here)
        here *= -s
        np.expm1(here, out=here)
        here *= -density / p
        values[begin : begin + rows] = here.sum(axis=1)
    return values, float(density.sum())


def _parameters(fit: Fit, *models: str) -> tuple[float, ...]:
    if fit.model not in models:
        raise ValueError(f"a fit of {' or '.join(models)} is needed, not of {fit.model}")
    if not fit.converged:
        raise ValueError(f"{fit.model} has not been fitted: {fit.reason}")
    return tuple(fit.parameters[name] for name in _NAMES[fit.model])


def _logistic(values: Array) -> Array:
    """1 / (1 + exp(-values)), without overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1 + small)


# --------------------------------------------------------------------------------------------------------------- fits


def _fit_purchases(model: str, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, count: ArrayLike) -> Fit:
    x, t_x, T, count = np.broadcast_arrays(*_histories(x, t_x, T), np.asarray(count, np.float64))
    _whole(count=count)
    (x, t_x, T), count = _distinct([column[count > 0] for column in (x, t_x, T)], count[count > 0])
    n, repeaters = int(count.sum()), int(count[x > 0].sum())
    if n < MIN_CUSTOMERS:
        return _unfit(model, n, f"There are {n} customers, and {MIN_CUSTOMERS} are needed.")
    if repeaters < MIN_REPEATERS:
        return _unfit(model, n, f"{repeaters} customers bought again, and {MIN_REPEATERS} are needed.")
    age = _total(count, T) / n
    wait = _total(count, T) / _total(count, x)  # for a purchase: alpha / r, if nobody stopped
    starts = [(r, r * wait, a, b) for r, a, b in ((1.0, 1.0, 3.0), (0.3, 0.5, 1.0), (5.0, 0.5, 20.0), (0.3, 5.0, 20.0))]
    likelihood = _purchase_likelihood(x, t_x, T, count, _STOPS_AT_FIRST[model])
    return _maximise(model, likelihood, n, starts, (1.0, age, 1.0, 1.0))


def _purchase_likelihood(x: Array, t_x: Array, T: Array, count: Array, stops_at_first: bool) -> Likelihood:
    """Of the parameters (r, alpha, a, b), on distinct histories.

    A history is that of someone who still buys, or of someone who stopped after the last purchase. The second is
    exp(odds) times as likely as the first, with s = r + x,

        first = G(s) / G(r) alpha^r / (alpha + T)^s  B(a, b + survived) / B(a, b)
        odds  = log a - log(b + survived - 1) + s log((alpha + T) / (alpha + t_x))

    where G and B are the gamma and the beta function, and a customer survived x chances to stop, in MBG/NBD x + 1.
    Under BG/NBD only the first is possible where x is 0.

    x is a whole number, so the ratios of gamma and beta functions are products of x factors, (r + j) and
    (b + j) / (a + b + j): exact where the functions would cancel, which they do where next to nobody stops and b is
    large. Each factor is taken once, for all customers who have it, and so is each T of the first.
    """
    survived = x + stops_at_first
    j_bought, bought = _reaching(x, count)
    j_survived, reached = _reaching(survived, count)
    (some_T,), per_T = _distinct([T], count)
    purchases_per_T = _distinct([T], count * x)[1]  # every T has a row here, with or without a purchase
    could_stop = survived > 0
    x, t_x, T, survived, count = (column[could_stop] for column in (x, t_x, T, survived, count))
    silence = T - t_x

    def likelihood(parameters: Array, with_hessian: bool) -> tuple[float, Array, Array]:
        r, alpha, a, b = parameters.tolist()
        # Someone who still buys.
        rate, kept, chance = r + j_bought, b + j_survived, a + b + j_survived
        end, faded = alpha + some_T, np.log1p(some_T / alpha)
        value = _total(bought, np.log(rate)) - _total(reached, np.log1p(a / kept))
        value -= _total(per_T, r * faded) + _total(purchases_per_T, np.log(end))
        gradient = np.array(
            [
                _total(bought, 1 / rate) - _total(per_T, faded),
                _total(per_T, r * some_T / (alpha * end)) - _total(purchases_per_T, 1 / end),
                -_total(reached, 1 / chance),
                _total(reached, a / (kept * chance)),
            ]
        )
        # Or someone who stopped: log(1 + exp(odds)) more.
        passed = silence / (alpha + t_x)
        ratio = np.log1p(passed)
        odds = (r + x) * ratio - np.log(b + survived - 1) + math.log(a)
        small = np.exp(-np.abs(odds))
        value += _total(count, np.maximum(odds, 0) + np.log1p(small))
        weight = count * np.where(odds >= 0, 1, small) / (1 + small)
        # The slopes of the odds.
        slopes = [ratio, -(r + x) * passed / (alpha + T), np.full(len(x), 1 / a), -1 / (b + survived - 1)]
        gradient += [_total(weight, slope) for slope in slopes]
        if not with_hessian:
            return value, gradient, _NO_HESSIAN

        hessian = np.zeros((4, 4))
        hessian[0, 0] = -_total(bought, 1 / rate**2)
        hessian[0, 1] = _total(per_T, some_T / (alpha * end)) - _total(weight, passed / (alpha + T))
        hessian[1, 1] = (
            _total(per_T, -r * some_T * (alpha + end) / (alpha * end) ** 2)
            + _total(purchases_per_T, 1 / end**2)
            - _total(weight, slopes[1] * (1 / (alpha + t_x) + 1 / (alpha + T)))
        )
        hessian[2, 2] = _total(reached, 1 / chance**2) - _total(weight, slopes[2] ** 2)
        hessian[2, 3] = _total(reached, 1 / chance**2)
        hessian[3, 3] = _total(weight, slopes[3] ** 2) - _total(reached, a * (kept + chance) / (kept * chance) ** 2)
        spread = weight * np.where(odds >= 0, small, 1) / (1 + small)
        for i, j in combinations_with_replacement(range(4), 2):
            hessian[i, j] += _total(spread, slopes[i] * slopes[j])
        return value, gradient, np.triu(hessian) + np.triu(hessian, 1).T

    return likelihood


def _spend_likelihood(x: Array, mean: Array, count: Array) -> Likelihood:
    """Of the parameters (p, q, v), on distinct pairs: equation (1a) of Fader & Hardie (2013)."""
    from scipy.special import betaln, polygamma, psi  # type: ignore[import-untyped]

    (some_x,), per_x = _distinct([x], count)
    spent = x * mean
    constant = _total(count, np.log(mean))

    def likelihood(parameters: Array, with_hessian: bool) -> tuple[float, Array, Array]:
        p, q, v = parameters.tolist()
        px = p * some_x
        # Logarithms of v and of the spend as shares of their sum, so that neither is lost beside the other.
        prior, own, both = np.log1p(spent / v), np.log1p(v / spent), v + spent
        value = -_total(per_x, betaln(px, q)) - q * _total(count, prior) - p * _total(count, x * own) - constant
        gradient = np.array(
            [
                _total(per_x, some_x * (psi(px + q) - psi(px))) - _total(count, x * own),
                _total(per_x, psi(px + q) - psi(q)) - _total(count, prior),
                _total(count, (q * spent - p * x * v) / both) / v,
            ]
        )
        if not with_hessian:
            return value, gradient, _NO_HESSIAN

        hessian = np.zeros((3, 3))
        hessian[0, 0] = _total(per_x, some_x**2 * (polygamma(1, px + q) - polygamma(1, px)))
        hessian[0, 1] = _total(per_x, some_x * polygamma(1, px + q))
        hessian[0, 2] = -_total(count, x / both)
        hessian[1, 1] = _total(per_x, polygamma(1, px + q) - polygamma(1, q))
        hessian[1, 2] = _total(count, spent / both) / v
        hessian[2, 2] = _total(count, (p * x + q) / both**2 - q / v**2)
        return value, gradient, np.triu(hessian) + np.triu(hessian, 1).T

    return likelihood


def _maximise(
    model: str, likelihood: Likelihood, n: int, starts: Sequence[tuple[float, ...]], sizes: tuple[float, ...]
) -> Fit:
    """The parameters of the highest likelihood, looked for within a factor of _RANGE of their natural sizes.

    L-BFGS-B on the logarithms finds the maximum from the best start, and Newton's steps make it exact: so exact that
    start and machine no longer show in nine digits. They also tell a maximum from a ridge that climbs forever.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    natural, reach = np.array(sizes), math.log(_RANGE)

    def objective(logs: Array) -> tuple[float, Array]:
        parameters = natural * np.exp(logs)
        value, gradient, _ = likelihood(parameters, False)
        return -value / n, -gradient * parameters / n

    limits, options = [(-reach, reach)] * len(sizes), {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-7}
    found = [
        minimize(
            objective, np.log(np.array(start) / natural), method="L-BFGS-B", jac=True, bounds=limits, options=options
        )
        for start in starts
    ]
    logs = min(found, key=lambda one: float(one.fun)).x
    settled = False
    for _ in range(_NEWTON_STEPS):
        if (np.abs(logs) > reach - 1e-3).any():
            return _unfit(model, n, _runs_off(model, logs, reach))
        parameters = natural * np.exp(logs)
        value, gradient, hessian = likelihood(parameters, True)
        slope = gradient * parameters
        curvature = -hessian * np.outer(parameters, parameters) - np.diag(slope)
        if not np.isfinite(curvature).all() or np.linalg.eigvalsh(curvature)[0] <= 0:
            break
        if settled:
            errors = parameters * np.sqrt(np.diag(np.linalg.inv(curvature)))
            return Fit(
                model=model,
                parameters=dict(zip(_NAMES[model], significant(parameters).tolist(), strict=True)),
                standard_errors=dict(zip(_NAMES[model], significant(errors).tolist(), strict=True)),
                log_likelihood=float(significant(value)),
                n=n,
                converged=True,
                reason=None,
            )
        step = np.linalg.solve(curvature, slope)
        settled = bool(np.abs(step).max() < 1e-8)  # which leaves an error of its square
        logs = logs + np.clip(step, -1, 1)
    return _unfit(model, n, "The likelihood has no clear maximum: these customers do not determine the model.")


def _runs_off(model: str, logs: Array, reach: float) -> str:
    ends = [
        f"{name} runs off to {'infinity' if log > 0 else '0'}"
        for name, log in zip(_NAMES[model], logs.tolist(), strict=True)
        if abs(log) > reach - 1e-3
    ]
    return f"The likelihood has no maximum, it still rises where {' and '.join(ends)}: the model does not suit these customers."


def _unfit(model: str, n: int, reason: str) -> Fit:
    return Fit(model, {}, {}, None, n, False, reason)


# ------------------------------------------------------------------------------------------------------------- arrays


def _histories(x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> tuple[Array, Array, Array]:
    """The three as float64 of one shape, if they can be."""
    x, t_x, T = np.broadcast_arrays(*(np.asarray(column, np.float64) for column in (x, t_x, T)))
    _whole(x=x)
    if not (np.isfinite(t_x) & np.isfinite(T) & (t_x <= T) & np.where(x > 0, t_x > 0, t_x == 0)).all():
        raise ValueError("t_x must be 0 where x is 0, and elsewhere above 0 and up to T, which must be finite")
    return x, t_x, T


def _whole(**columns: Array) -> None:
    for name, column in columns.items():
        if not (np.isfinite(column) & (column >= 0) & (column == np.rint(column))).all():
            raise ValueError(f"{name} must hold whole numbers not below 0")


def _total(weights: Array, values: Array) -> float:
    """Of the products. Not `@`: its order of summation, and so its last digits, vary with the machine."""
    return float((weights * values).sum())


def _reaching(number: Array, count: Array) -> tuple[Array, Array]:
    """0 to the largest number less 1, and how many have a number above each."""
    of_each = np.bincount(number.astype(np.int64), count)
    above = of_each[::-1].cumsum()[::-1][1:].astype(np.float64)
    return np.arange(len(above), dtype=np.float64), above


def _groups(columns: Sequence[Array]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of equal rows of columns[n]: where one of each kind stands, kinds in sorted order, and the kind of each row."""
    order = np.lexsort(columns[::-1])
    is_first = np.zeros(len(order), np.bool_)
    is_first[:1] = True
    for column in columns:
        is_first[1:] |= np.diff(column[order]) != 0
    kind = np.empty(len(order), np.int64)
    kind[order] = np.cumsum(is_first) - 1
    return order[is_first], kind


def _distinct(columns: Sequence[Array], count: Array) -> tuple[list[Array], Array]:
    """The distinct rows in lexicographic order, each with the sum of its counts, which are whole numbers."""
    first, kind = _groups(columns)
    return [column[first] for column in columns], np.bincount(kind, count, len(first)).astype(np.float64)
