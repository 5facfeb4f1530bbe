"""Minus log10 of p-values, in log space: p = 1e-1000 is a number like any other.

Half the degrees of freedom (of F: of its numerator) are a + m with 0 < a <= 1 and m whole. Then

    upper tail = lead (fraction + sum of the first m terms),
    lower tail = lead (sum of all terms from the m-th on),

with the same terms, all positive, of which the first is 1. Near the centre the second sum converges
fast, beyond it a continued fraction does (Didonato & Morris 1992, ACM Trans. Math. Softw. 18:360,
for F; Legendre's for χ²). Both are cut at a fixed depth, so that all is one elementwise program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import betaln, gammaln
from jaxtyping import Float

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced

__all__ = ["log10p_chi2", "log10p_f"]

DEPTH = 27
"""Terms of the sum and levels of the fraction, which leave 1e-13 where one takes over."""

_CENTRE = 3.0  # χ²/2 at which the fraction takes over from the sum
_SPREAD = 12.0  # the same for F, at y = _CENTRE / (b + _SPREAD)
_SHIFT = 10  # by which arguments of Γ are raised for Stirling's series
_MOST_UNROLLED = 24
_MOST_TABULATED = 10_000
_HUGE = 1e150


@in_float64
def log10p_f(
    ratio: ArrayOrFrame, df1: ArrayOrFrame, df2: ArrayOrFrame
) -> Float[AnyArray, "*shape"]:
    """Minus log10 of the upper tail of the F distribution, at any depth.

    The p-value of an F test is that of ``F = ratio * df2 / df1`` with df1 and df2 degrees of
    freedom: the regularised incomplete beta function I_x(df2 / 2, df1 / 2) at x = 1 / (1 + ratio).

    Parameters
    ----------
    ratio : array_like
        Sum of squares explained over residual sum of squares, (rss0 - rss1) / rss1.
    df1, df2 : array_like
        Degrees of freedom of the two, positive; broadcast against `ratio`. Give `df1` as a number,
        not as a traced array, where it is known.

    Returns
    -------
    array
        -log10 p, to 1e-12 of itself or 1e-14. 0 for a ratio of 0, infinite for an infinite one,
        NaN for a negative one or NaN.

    Examples
    --------
    >>> from lmmlite_jax.mapping.tails import log10p_f
    >>> print(log10p_f([0.0, 0.02, 0.5, 1e4], 1, 400).round(4))
    [  0.       2.3086  36.3812 801.408 ]
    """
    squares, *degrees = (jnp.asarray(value, dtype=jnp.float64) for value in (ratio, df1, df2))
    return _log10p_f(_leading_terms(df1), squares, *degrees)


@in_float64
def log10p_chi2(statistic: ArrayOrFrame, df: ArrayOrFrame) -> Float[AnyArray, "*shape"]:
    """Minus log10 of the upper tail of the χ² distribution, at any depth.

    Parameters
    ----------
    statistic : array_like
        χ² statistic, for example twice a difference of log likelihoods.
    df : array_like
        Degrees of freedom, positive; broadcast against `statistic`. Give it as a number, not as a
        traced array, where it is known.

    Returns
    -------
    array
        -log10 p, to 1e-12 of itself or 1e-14. 0 for a statistic of 0, infinite for an infinite one,
        NaN for a negative one or NaN.

    Examples
    --------
    >>> from lmmlite_jax.mapping.tails import log10p_chi2
    >>> print(log10p_chi2([0.0, 3.841459, 4000.0], 1).round(4))
    [  0.       1.301  870.4882]
    """
    values, degrees = (jnp.asarray(value, dtype=jnp.float64) for value in (statistic, df))
    return _log10p_chi2(_leading_terms(df), values, degrees)


class _Level(NamedTuple):
    """What the sum and the fraction have at one depth, besides the data."""

    rate: Array
    counts: Array
    numerator: Array
    constant: Array
    slope: Array


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def _log10p_f(terms: int | None, ratio: Array, df1: Array, df2: Array) -> Array:
    (m, a), b = _split(df1), df2 / 2
    x, y = 1 / (1 + ratio), 1 / (1 + 1 / ratio)
    lead = _log_gamma_ratio(b, a) - gammaln(a + 1)
    lead = lead - b * jnp.log1p(ratio) - a * jnp.log1p(1 / ratio)

    unit = 1 / (b + DEPTH)

    def part(k: int | Array) -> Array:
        """Part of the largest b + k that a level has."""
        return (b + k) * unit

    def level(k: int | Array) -> _Level:
        # Times (b + |2k - 1|) (b + 2k + 1), over the squared unit: no level divides.
        below, above = part(jnp.abs(2 * k - 1)), part(2 * k + 1)
        before = part(jnp.abs(2 * k - 3)) * part(k - 1) * part(a + k - 1)
        pull, push = k * (a - k) * unit * above, part(k) * below
        return _Level(
            rate=(b + a + k) * (1 / (a + 1 + k)),
            counts=m <= k,
            numerator=before * above * k * (a - k),
            constant=k * below * above + pull + push * (1 - a + k),
            slope=push * (b + a + k) - pull,
        )

    first = a * part(1) ** 2
    tail = _log10_tail(lead, y, x**2, b * y, y * (b + _SPREAD) < _CENTRE, level, first, m, terms)
    return jnp.where((ratio >= 0) & (df1 > 0) & (df2 > 0), tail, jnp.nan)


@partial(_log10p_f.defjvp, symbolic_zeros=True)
def _log10p_f_jvp(
    terms: int | None, primals: tuple[Array, ...], tangents: tuple[Array | SymbolicZero, ...]
) -> tuple[Array, Array]:
    ratio, df1, df2 = primals
    tail = _log10p_f(terms, *primals)
    a, b = df1 / 2, df2 / 2

    def log_density(ratio: Array) -> Array:
        return (a - 1) * jnp.log(ratio) - (a + b) * jnp.log1p(ratio) - betaln(a, b)

    return tail, _change_of_tail(tail, ratio, log_density, tangents)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def _log10p_chi2(terms: int | None, statistic: Array, df: Array) -> Array:
    (m, a), half = _split(df), statistic / 2
    lead = a * jnp.log(half) - half - gammaln(a + 1)

    def level(k: int | Array) -> _Level:
        return _Level(1 / (a + 1 + k), m <= k, k * (a - k), 2 * k + 1 - a, jnp.ones_like(a + k))

    tail = _log10_tail(lead, half, 1.0, half, half < _CENTRE, level, a, m, terms)
    tail = jnp.where(half > _HUGE, half / math.log(10), tail)  # the rest is below its rounding
    return jnp.where((statistic >= 0) & (df > 0), tail, jnp.nan)


@partial(_log10p_chi2.defjvp, symbolic_zeros=True)
def _log10p_chi2_jvp(
    terms: int | None, primals: tuple[Array, ...], tangents: tuple[Array | SymbolicZero, ...]
) -> tuple[Array, Array]:
    statistic, df = primals
    tail = _log10p_chi2(terms, *primals)
    a = df / 2

    def log_density(statistic: Array) -> Array:
        half = statistic / 2
        return (a - 1) * jnp.log(half) - half - gammaln(a) - math.log(2)

    return tail, _change_of_tail(tail, statistic, log_density, tangents)


def _change_of_tail(
    tail: Array,
    at: Array,
    log_density: Callable[[Array], Array],
    tangents: tuple[Array | SymbolicZero, ...],
) -> Array:
    """Tangent of -log10 of an upper tail: density over tail; none at 0, where that is infinite."""
    change, *of_degrees = tangents
    if not all(isinstance(tangent, SymbolicZero) for tangent in of_degrees):
        raise NotImplementedError("p-values have no derivative in their degrees of freedom here.")
    if isinstance(change, SymbolicZero):
        return jnp.zeros_like(tail)
    inside = (at > 0) & jnp.isfinite(at)
    hazard = jnp.exp(log_density(jnp.where(inside, at, 1.0)) + tail * math.log(10)) / math.log(10)
    return jnp.where(inside, hazard, 0.0) * change


def _leading_terms(df: ArrayOrFrame) -> int | None:
    """Largest m of ``df``; None where only a trace will know."""
    if is_traced(df):
        return None
    m = np.ceil(np.asarray(df, dtype=np.float64) / 2) - 1
    return int(np.max(m, initial=0, where=np.isfinite(m)))


def _split(df: Array) -> tuple[Array, Array]:
    m = jnp.ceil(df / 2) - 1
    return m, df / 2 - m


def _log10_tail(
    lead: Array,
    argument: Array,
    weight: Array | float,
    growth: Array,
    central: Array,
    level: Callable[[int | Array], _Level],
    first: Array,
    m: Array,
    terms: int | None,
) -> Array:
    """Minus log10 of the upper tail by the module's two formulas.

    Term j + 1 is term j times level j's rate times ``argument``. The fraction is ``first`` over
    d0 + n1/(d1 + n2/(d2 + …)), with d = constant + slope ``argument``, n = numerator ``weight``: a
    ratio of two numbers that are carried on in units of the d, which are about as large as
    ``growth``, for a division a level takes longer than the rest of it.
    """
    levels = _tabulated(level)
    lower = jnp.ones_like(lead)
    for at in reversed(levels[:-1]):
        lower = at.counts + at.rate * argument * lower
    unit = 1 / (DEPTH + growth)
    argument_in_units, weight_in_units = argument * unit, weight * unit**2
    above, below = jnp.ones_like(lead), jnp.zeros_like(lead)
    for at, after in zip(reversed(levels), reversed([*levels[1:], None]), strict=True):
        d = at.constant * unit + at.slope * argument_in_units
        rest = 0.0 if after is None else after.numerator * weight_in_units * below
        above, below = d * above + rest, above

    def add(j: int | Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        upper, term, exponent = state
        upper = upper + jnp.where(j < m, term, 0.0)
        term = term * level(j).rate * argument
        large = term > _HUGE
        scale = jnp.where(large, 1 / _HUGE, 1.0)
        return upper * scale, term * scale, exponent + jnp.where(large, math.log(_HUGE), 0.0)

    state = (first * unit * below / above, jnp.ones_like(lead), lead)
    if terms is None:
        most = jnp.max(jnp.where(jnp.isfinite(m), m, 0), initial=0).astype(int)
        state = lax.fori_loop(0, most, add, state)
    elif terms:
        state = lax.fori_loop(0, terms, add, state, unroll=terms <= _MOST_UNROLLED)
    upper, _, exponent = state
    # One logarithm for both: what subtracting 1 loses is far below the exponent's rounding.
    log = jnp.log1p(jnp.where(central, -jnp.exp(lead) * lower, upper - 1))
    # At p = 1 rounding has either sign, and so has 0.
    return jnp.abs(log + jnp.where(central, 0.0, exponent)) / math.log(10)


def _tabulated(level: Callable[[int | Array], _Level]) -> list[_Level]:
    """Levels 0 to DEPTH, in one go where they are few numbers: that compiles in a fifth."""
    like = jax.eval_shape(level, 0).rate
    if like.size > _MOST_TABULATED:
        return [level(k) for k in range(DEPTH + 1)]
    table = level(jnp.arange(DEPTH + 1.0).reshape(-1, *(1,) * like.ndim))
    return [_Level(*parts) for parts in zip(*map(jnp.unstack, table), strict=True)]


def _log_gamma_ratio(b: Array, a: Array) -> Array:
    """Log Γ(b + a) / Γ(b) for 0 < a <= 1, without the cancellation of two large logarithms."""
    z = b + _SHIFT
    steps = [(b + i) / (b + a + i) for i in range(_SHIFT)]
    up = (z + a - 0.5) * jnp.log1p(a / z) - a + a * jnp.log(z)
    return up + _stirling(z + a) - _stirling(z) + jnp.log(math.prod(steps[1:], start=steps[0]))


def _stirling(z: Array) -> Array:
    """What is left of log Γ(z) beside (z - 1/2) log z - z + log(2π)/2, for z >= 10."""
    series = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
    total = jnp.zeros_like(z)
    for coefficient in reversed(series):
        total = total / z**2 + coefficient
    return total / z
