"""p-values of the best of many correlated tests, from few permutations.

Under the null the smallest p-value of a gene's markers has about the law Beta(1, k), k the number
of independent tests among them, and the largest share of variance that a marker explains comes from
about as many degrees of freedom as there are residuals. FastQTL fits both to the permutations: the
degrees of freedom at which the first shape is 1 by its moments, and then both shapes by maximum
likelihood (Ongen et al. 2016, Bioinformatics 32:1479).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import digamma, polygamma
from jaxtyping import Array, Float, Int
from scipy.special import betainc

from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import AnyArray, in_float64

__all__ = ["FEWEST_PERMUTATIONS", "BetaApproximation", "beta_approximation"]

FEWEST_PERMUTATIONS = 20
"""Below this a law with three parameters is not fitted."""

LN10 = float(np.log(10))

_STEP = 1.0  # largest change of log degrees of freedom at once
_TOLERANCE = 1e-9  # of log degrees of freedom
_MOST_STEPS = 60
_NEWTON_STEPS = 40


class BetaApproximation(NamedTuple):
    """Of each gene, all (m,); NaN where there is no test.

    ``pval_perm`` is the share of permutations as good as the data, both counted in; ``true_df``
    the fitted degrees of freedom, ``pval_true_df`` the best marker's p-value with them, and
    ``pval_beta`` the probability of one as small under Beta(``beta_shape1``, ``beta_shape2``).
    """

    pval_perm: Float[np.ndarray, " m"]
    pval_beta: Float[np.ndarray, " m"]
    beta_shape1: Float[np.ndarray, " m"]
    beta_shape2: Float[np.ndarray, " m"]
    true_df: Float[np.ndarray, " m"]
    pval_true_df: Float[np.ndarray, " m"]


@in_float64
def beta_approximation(
    permuted: ArrayOrFrame, share: ArrayOrFrame, df: ArrayOrFrame
) -> BetaApproximation:
    """Fit FastQTL's approximation.

    Parameters
    ----------
    permuted : (m, P) array
        Largest share of residual variance that any marker explains (squared correlation), in each
        of P permutations.
    share : (m,) array
        The same of the data.
    df : (m,) array or float
        Residual degrees of freedom of the test, where the search for fitted ones begins.

    Returns
    -------
    BetaApproximation

    Raises
    ------
    ValueError
        If there are fewer than 20 permutations.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.cis.beta_approximation import beta_approximation
    >>> rng = np.random.default_rng(1)
    >>> share = rng.beta(0.5, 49, (1, 2000, 30)).max(axis=2)  # 30 independent tests, 98 df
    >>> fitted = beta_approximation(share, [0.2], 98.0)
    >>> print(fitted.beta_shape1.round(1), fitted.beta_shape2.round(), fitted.true_df.round())
    [1.] [31.] [98.]
    """
    largest, observed = (np.asarray(x, dtype=np.float64) for x in (permuted, share))
    if largest.shape[-1] < FEWEST_PERMUTATIONS:
        raise ValueError(
            f"permutations must be at least {FEWEST_PERMUTATIONS} for a beta approximation, got "
            f"{largest.shape[-1]}."
        )
    start = np.broadcast_to(np.asarray(df, dtype=np.float64), observed.shape)
    true_df, shape1, shape2 = (np.asarray(x) for x in _fit(largest, start))
    pval_true_df = 10 ** -np.asarray(_log10p(observed, true_df))
    beyond = np.sum(largest >= observed[:, None], axis=1)
    known = np.isfinite(observed) & np.isfinite(largest).all(axis=1)
    return BetaApproximation(
        np.where(known, (beyond + 1) / (largest.shape[1] + 1), np.nan),
        betainc(shape1, shape2, pval_true_df),
        shape1,
        shape2,
        true_df,
        pval_true_df,
    )


def _log10p(share: Float[AnyArray, "m *P"], df: Float[AnyArray, "m *_"]) -> Float[AnyArray, "m *P"]:
    return log10p_f(share / (1 - share), 1, df)


class _Law(NamedTuple):
    """p-values of permutations at some degrees of freedom: what there is to know of their law.

    ``mean``, ``spread`` = mean (1 - mean) / variance - 1, and the means of log p and log(1 - p).
    """

    mean: Float[Array, " m"]
    spread: Float[Array, " m"]
    log_p: Float[Array, " m"]
    log_rest: Float[Array, " m"]


class _Secant(NamedTuple):
    """Where to look next, the point before, what is known to enclose the root, the last step."""

    x: Float[Array, " m"]
    before: Float[Array, " m"]
    value_before: Float[Array, " m"]
    law: _Law
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    step: Float[Array, " m"]
    steps: Int[Array, ""]


@jax.jit
def _fit(largest: Array, start: Array) -> tuple[Array, Array, Array]:
    """Degrees of freedom and both shapes, from the largest shares (m, P).

    The log of the first shape by moments falls, almost in a line, with the log of the degrees of
    freedom: secant steps inside what is known to enclose its root.
    """

    def advance(state: _Secant) -> _Secant:
        x, law = state.x, _law(largest, jnp.exp(state.x))
        value = jnp.log(law.spread * law.mean)
        low, high = jnp.where(value > 0, x, state.low), jnp.where(value < 0, x, state.high)
        slope = (value - state.value_before) / (x - state.before)
        secant = x - jnp.clip(value / slope, -_STEP, _STEP)
        enclosed = jnp.isfinite(low) & jnp.isfinite(high)
        other = jnp.where(enclosed, (low + high) / 2, x + jnp.sign(value) * _STEP / 2)
        following = jnp.where((secant > low) & (secant < high), secant, other)
        moving = (state.step > _TOLERANCE) & jnp.isfinite(value) & (value != 0)
        following = jnp.where(moving, following, x)
        step = jnp.abs(following - x)
        return _Secant(following, x, value, law, low, high, step, state.steps + 1)

    def searching(state: _Secant) -> Array:
        return (state.steps < _MOST_STEPS) & jnp.any(state.step > _TOLERANCE)

    x = jnp.log(start)
    unknown, infinite = jnp.full_like(x, jnp.nan), jnp.full_like(x, jnp.inf)
    nothing = _Law(unknown, unknown, unknown, unknown)
    found = lax.while_loop(
        searching,
        advance,
        _Secant(x, unknown, unknown, nothing, -infinite, infinite, infinite, jnp.zeros((), int)),
    )
    return jnp.exp(found.before), *_most_likely(found.law)


def _law(largest: Array, df: Array) -> _Law:
    log_p = -LN10 * _log10p(largest, df[:, None])
    pvalues = jnp.exp(log_p)
    mean, variance = jnp.mean(pvalues, axis=1), jnp.var(pvalues, axis=1)
    # The largest p-value may round to 1, which no beta law allows.
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(float).eps)
    return _Law(
        mean,
        mean * (1 - mean) / variance - 1,
        jnp.mean(log_p, axis=1),
        jnp.mean(jnp.log(rest), axis=1),
    )


def _most_likely(law: _Law) -> tuple[Array, Array]:
    """Shapes of greatest likelihood by Newton's method, from those by moments."""

    def newton(_: int | Array, shapes: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = shapes
        three = jnp.stack([a, b, a + b])
        of_a, of_b, of_sum = digamma(three)
        curvature_a, curvature_b, curvature = polygamma(1, three)
        slope_a, slope_b = of_sum - of_a + law.log_p, of_sum - of_b + law.log_rest
        along_a, along_b = curvature_a - curvature, curvature_b - curvature
        determinant = along_a * along_b - curvature**2
        step_a = (along_b * slope_a + curvature * slope_b) / determinant
        step_b = (along_a * slope_b + curvature * slope_a) / determinant
        return jnp.clip(a + step_a, a / 2, 2 * a), jnp.clip(b + step_b, b / 2, 2 * b)

    start = law.spread * law.mean, law.spread * (1 - law.mean)
    return lax.fori_loop(0, _NEWTON_STEPS, newton, start)
