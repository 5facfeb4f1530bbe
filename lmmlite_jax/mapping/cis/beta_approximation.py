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
from jaxtyping import Array, Float
from scipy.special import betainc, digamma, polygamma

from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import AnyArray, in_float64

__all__ = ["FEWEST_PERMUTATIONS", "BetaApproximation", "beta_approximation", "beta_pvalue"]

FEWEST_PERMUTATIONS = 20
"""Below this a law with three parameters is not fitted."""

LN10 = float(np.log(10))

_STEP = 1.0  # largest change of log degrees of freedom at once
_TOLERANCE = 1e-9  # of log degrees of freedom
_MOST_STEPS = 60
_NEWTON_STEPS = 40


class BetaApproximation(NamedTuple):
    """Of each gene, all (m,); NaN where there is no test.

    ``log10p`` is that of the best marker with the test's own degrees of freedom; ``pval_perm`` the
    share of permutations as good as the data, both counted in; ``true_df`` the fitted degrees of
    freedom, ``pval_true_df`` the best marker's p-value with them, and
    ``pval_beta`` the probability of one as small under Beta(``beta_shape1``, ``beta_shape2``).
    """

    log10p: Float[np.ndarray, " m"]
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
    fitted = _fit(np.column_stack([largest, observed]), start)
    shape1, shape2 = _most_likely(fitted.law)
    pval_true_df = 10**-fitted.law.log10p
    beyond = np.sum(largest >= observed[:, None], axis=1)
    known = np.isfinite(observed) & np.isfinite(largest).all(axis=1)
    return BetaApproximation(
        fitted.log10p,
        np.where(known, (beyond + 1) / (largest.shape[1] + 1), np.nan),
        betainc(shape1, shape2, pval_true_df),
        shape1,
        shape2,
        fitted.df,
        pval_true_df,
    )


@in_float64
def beta_pvalue(
    share: ArrayOrFrame, true_df: ArrayOrFrame, shape1: ArrayOrFrame, shape2: ArrayOrFrame
) -> Float[np.ndarray, " pairs"]:
    """Probability that the best of a gene's markers explains a share, by the gene's beta law.

    Parameters
    ----------
    share : (pairs,) array
        Share of residual variance that a marker explains.
    true_df, shape1, shape2 : (pairs,) arrays
        Of the gene of each, as `beta_approximation` has them.

    Returns
    -------
    (pairs,) array

    Examples
    --------
    >>> from lmmlite_jax.mapping.cis.beta_approximation import beta_pvalue
    >>> beta_pvalue([0.2], [98.0], [1.0], [30.0]).round(6)
    array([9.3e-05])
    """
    shares, df = (np.asarray(x, dtype=np.float64) for x in (share, true_df))
    pvalue = 10 ** -np.asarray(log10p_f(shares / (1 - shares), 1, df))
    return np.asarray(betainc(np.asarray(shape1), np.asarray(shape2), pvalue))


class _Law(NamedTuple):
    """p-values at some degrees of freedom: what there is to know of their law.

    Of permutations ``mean``, ``spread`` = mean (1 - mean) / variance - 1, and the means of log p
    and log(1 - p); of the data ``log10p``.
    """

    mean: Float[np.ndarray, " m"]
    spread: Float[np.ndarray, " m"]
    log_p: Float[np.ndarray, " m"]
    log_rest: Float[np.ndarray, " m"]
    log10p: Float[np.ndarray, " m"]


class _Fit(NamedTuple):
    """Degrees of freedom, the law there, and -log10 p of the data where the search began."""

    df: Float[np.ndarray, " m"]
    law: _Law
    log10p: Float[np.ndarray, " m"]


@np.errstate(divide="ignore", invalid="ignore")
def _fit(shares: Float[np.ndarray, "m P_and_1"], start: Float[np.ndarray, " m"]) -> _Fit:
    """Degrees of freedom of the largest shares in permutations, the last column being the data.

    The log of the first shape by moments falls, almost in a line, with the log of the degrees of
    freedom: secant steps inside what is known to enclose its root. What compiles slowly, the
    p-values, is one program, and the rest are a few numbers a gene.
    """
    on_device = jax.device_put(shares)
    x = np.log(start)
    law = first = _law_of(on_device, start)
    before, value_before = np.full_like(x, np.nan), np.full_like(x, np.nan)
    low, high = np.full_like(x, -np.inf), np.full_like(x, np.inf)
    for _ in range(_MOST_STEPS):
        value = np.log(law.spread * law.mean)
        low, high = np.where(value > 0, x, low), np.where(value < 0, x, high)
        slope = (value - value_before) / (x - before)
        secant = x - np.clip(value / slope, -_STEP, _STEP)
        enclosed = np.isfinite(low) & np.isfinite(high)
        other = np.where(enclosed, (low + high) / 2, x + np.sign(value) * _STEP / 2)
        following = np.where((secant > low) & (secant < high), secant, other)
        moving = np.isfinite(value) & (value != 0) & (np.abs(following - x) > _TOLERANCE)
        if not moving.any():
            break
        before, value_before = np.where(moving, x, before), np.where(moving, value, value_before)
        x = np.where(moving, following, x)
        law = _law_of(on_device, np.exp(x))
    return _Fit(np.exp(x), law, first.log10p)


def _law_of(shares: Float[Array, "m P_and_1"], df: Float[np.ndarray, " m"]) -> _Law:
    return _Law(*(np.asarray(values) for values in _law(shares, df)))


@jax.jit
def _law(shares: Float[Array, "m P_and_1"], df: Float[Array, " m"]) -> tuple[AnyArray, ...]:
    """What `_Law` has, in its order."""
    log10p = log10p_f(shares / (1 - shares), 1, df[:, None])
    log_p = -LN10 * log10p[:, :-1]
    pvalues = jnp.exp(log_p)
    mean, variance = jnp.mean(pvalues, axis=1), jnp.var(pvalues, axis=1)
    # The largest p-value may round to 1, which no beta law allows.
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(float).eps)
    return (
        mean,
        mean * (1 - mean) / variance - 1,
        jnp.mean(log_p, axis=1),
        jnp.mean(jnp.log(rest), axis=1),
        log10p[:, -1],
    )


@np.errstate(divide="ignore", invalid="ignore")
def _most_likely(law: _Law) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Shapes of greatest likelihood by Newton's method, from those by moments."""
    a, b = law.spread * law.mean, law.spread * (1 - law.mean)
    for _ in range(_NEWTON_STEPS):
        three = np.stack([a, b, a + b])
        of_a, of_b, of_sum = digamma(three)
        curvature_a, curvature_b, curvature = polygamma(1, three)
        slope_a, slope_b = of_sum - of_a + law.log_p, of_sum - of_b + law.log_rest
        along_a, along_b = curvature_a - curvature, curvature_b - curvature
        determinant = along_a * along_b - curvature**2
        step_a = (along_b * slope_a + curvature * slope_b) / determinant
        step_b = (along_a * slope_b + curvature * slope_a) / determinant
        a, b = np.clip(a + step_a, a / 2, 2 * a), np.clip(b + step_b, b / 2, 2 * b)
    return a, b
