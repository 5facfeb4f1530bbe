"""Which genes are significant among thousands.

Storey and Tibshirani's q-values (2003, PNAS 100:9440), as the R package qvalue computes them. With
π₀ the proportion of true null hypotheses, they are π₀ times Benjamini and Hochberg's adjusted
p-values, which SciPy has; what is left to do here is π₀.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv

from lmmlite_jax.model.inputs import ArrayOrFrame

__all__ = ["QValues", "effective_tests", "nominal_thresholds", "null_proportion", "q_values"]

_CUTS = np.arange(1, 20) / 20
"""p-values above which π₀ is estimated."""

_SPLINE_DF = 3.0

_MARKERS_TOGETHER = 200
_VARIANCE_EXPLAINED = 0.99


class QValues(NamedTuple):
    """q-values (m,), and the proportion π₀ of true null hypotheses."""

    qvalue: Float[np.ndarray, " m"]
    pi0: float


def q_values(pvalue: ArrayOrFrame, pi0: SupportsFloat | None = None) -> QValues:
    """q-value of each p-value: the false discovery rate if it and all smaller ones are called.

    Parameters
    ----------
    pvalue : (m,) array
        p-values, NaN where there is no test.
    pi0 : float, optional
        Proportion of true null hypotheses; 1 gives Benjamini and Hochberg's adjusted p-values.
        Estimated by `null_proportion` where left out.

    Returns
    -------
    QValues
        NaN where the p-value is. Without any p-value there is no proportion: π₀ is NaN too, unless
        it is given.

    Raises
    ------
    ValueError
        If p-values are not between 0 and 1, or π₀ cannot be estimated.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> p = np.concatenate([np.full(20, 1e-4), (np.arange(80) + 0.5) / 80])
    >>> qvalue, pi0 = lmm.q_values(p)
    >>> print(round(pi0, 2), qvalue[:20].max().round(5))
    0.8 0.0004
    """
    pvalues = _as_pvalues(pvalue)
    known = ~np.isnan(pvalues)
    if pi0 is None and not known.any():
        return QValues(np.full(pvalues.size, np.nan), float("nan"))
    proportion = _estimated(pvalues) if pi0 is None else float(pi0)
    if not 0 < proportion <= 1:
        raise ValueError(f"pi0 must be above 0 and at most 1, got {proportion:g}.")
    qvalue = np.full(pvalues.size, np.nan)
    qvalue[known] = proportion * _adjusted(pvalues[known])
    return QValues(qvalue, proportion)


def _adjusted(pvalues: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Benjamini and Hochberg's p-values: SciPy's, whose statistics take half a second to import."""
    largest_first = np.argsort(-pvalues)
    ranks = np.arange(pvalues.size, 0, -1)
    adjusted = np.empty_like(pvalues)
    adjusted[largest_first] = np.minimum.accumulate(pvalues[largest_first] * pvalues.size / ranks)
    return np.minimum(adjusted, 1.0)


def _estimated(pvalues: np.ndarray) -> float:
    try:
        return null_proportion(pvalues)
    except ValueError as error:
        advice = "set pi0=1 for Benjamini and Hochberg's method"
        raise ValueError(f"{str(error).removesuffix('.')}: {advice}.") from error


def null_proportion(pvalue: ArrayOrFrame, cut: float | None = None) -> float:
    """Proportion π₀ of true null hypotheses.

    The share of p-values above λ, over 1 - λ, at λ = 0.05, 0.10, …, 0.95, smoothed by a natural
    cubic spline with 3 degrees of freedom and read at 0.95.

    Parameters
    ----------
    pvalue : (m,) array
        p-values, NaN where there is no test.
    cut : float, optional
        One λ in place of the 19, and no smoothing.

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    ValueError
        If p-values are not between 0 and 1, ``cut`` is not from 0 to below 1, or no proportion is
        found: too few p-values, or none of them large.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.multiple_testing import null_proportion
    >>> print(f"{null_proportion(np.linspace(0, 1, 1001) ** 2):.2f}")
    0.51
    """
    pvalues = _as_pvalues(pvalue)
    pvalues = pvalues[~np.isnan(pvalues)]
    if cut is not None and not 0 <= cut < 1:
        raise ValueError(f"cut must be at least 0 and below 1, got {cut:g}.")
    highest = _CUTS[-1] if cut is None else cut
    if pvalues.size == 0 or pvalues.max() < highest:
        raise ValueError(
            f"the proportion of true null hypotheses cannot be estimated from {pvalues.size} "
            f"p-values of which none is above {highest:g}."
        )
    if cut is not None:
        return min(float(np.mean(pvalues >= cut)) / (1 - cut), 1.0)
    above = np.array([np.mean(pvalues >= one) for one in _CUTS]) / (1 - _CUTS)
    estimate = float(_smoother() @ above)
    if estimate <= 0:
        raise ValueError(
            f"the proportion of true null hypotheses is estimated at {estimate:.3g} from "
            f"{pvalues.size} p-values."
        )
    return min(estimate, 1.0)


def nominal_thresholds(
    pval_beta: ArrayOrFrame,
    beta_shape1: ArrayOrFrame,
    beta_shape2: ArrayOrFrame,
    fdr: float = 0.05,
    pi0: SupportsFloat | None = None,
) -> np.ndarray:
    """Nominal p-value below which a marker of each gene is significant, as tensorQTL defines it.

    The limit between genes that are significant and those that are not, halfway between their
    ``pval_beta``, is put through the inverse of each gene's beta law.

    Parameters
    ----------
    pval_beta, beta_shape1, beta_shape2 : (m,) arrays
        As `map_cis` returns them.
    fdr : float
        False discovery rate of genes.
    pi0 : float, optional
        As in `q_values`.

    Returns
    -------
    (m,) array
        NaN where no gene is significant, or the gene has no test.

    Raises
    ------
    ValueError
        If ``fdr`` is not between 0 and 1, and as in `q_values`.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax import nominal_thresholds
    >>> p = np.array([1e-6, 1e-3, 0.5, 0.97])
    >>> nominal_thresholds(p, np.ones(4), np.full(4, 100.0), pi0=1).round(4)
    array([0.0029, 0.0029, 0.0029, 0.0029])
    """
    if not 0 < fdr < 1:
        raise ValueError(f"fdr must lie between 0 and 1, got {fdr}.")
    pvalues = _as_pvalues(pval_beta)
    qvalue = q_values(pvalues, pi0).qvalue
    significant, other = pvalues[qvalue <= fdr], pvalues[qvalue > fdr]
    if significant.size == 0:
        return np.full(pvalues.size, np.nan)
    limit = significant.max()
    if other.size:
        limit = (limit + other.min()) / 2
    return np.asarray(betaincinv(np.asarray(beta_shape1), np.asarray(beta_shape2), limit))


def effective_tests(dosages: np.ndarray) -> int:
    """Number of independent tests among correlated markers (eigenMT).

    Of each 200 markers in a row, how many eigenvalues of their correlation matrix, shrunk as Ledoit
    and Wolf do, make up 99% of the variance.

    Parameters
    ----------
    dosages : (n, M) array
        Markers that vary, without gaps.

    Returns
    -------
    int

    References
    ----------
    Davis et al. 2016, Am J Hum Genet 98:216; Ledoit and Wolf 2004, J Multivar Anal 88:365.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.multiple_testing import effective_tests
    >>> one = np.random.default_rng(1).binomial(2, 0.3, (300, 1))
    >>> effective_tests(np.repeat(one, 50, axis=1)), effective_tests(one)
    (1, 1)
    """
    values = np.asarray(dosages, dtype=float)
    return sum(
        _effective_tests_of(values[:, start : start + _MARKERS_TOGETHER])
        for start in range(0, values.shape[1], _MARKERS_TOGETHER)
    )


def _effective_tests_of(values: np.ndarray) -> int:
    n, M = values.shape
    centred = values - values.mean(axis=0)
    covariance = centred.T @ centred / n
    # How far the covariance is from its target, a multiple of the identity, and its own error.
    distance = (np.sum(covariance**2) - np.trace(covariance) ** 2 / M) / M
    squares = centred**2
    error = (np.sum(squares.sum(axis=1) ** 2) / n - np.sum(covariance**2)) / (M * n)
    shrinkage = min(error / distance, 1.0) if distance > 0 else 0.0
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / M * np.eye(M)
    scale = 1 / np.sqrt(shrunk.diagonal())
    eigenvalues = np.maximum(np.linalg.eigvalsh(scale[:, None] * shrunk * scale), 0)[::-1]
    return int(np.searchsorted(np.cumsum(eigenvalues), _VARIANCE_EXPLAINED * M)) + 1


def _as_pvalues(pvalue: ArrayOrFrame) -> Float[np.ndarray, " m"]:
    values = np.asarray(pvalue, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p-values must be of shape (m,), got {values.shape}.")
    wrong = ~(np.isnan(values) | ((values >= 0) & (values <= 1)))
    if wrong.any():
        raise ValueError(f"p-values must lie between 0 and 1, got {values[wrong][0]:g}.")
    return values


@cache
def _smoother() -> np.ndarray:
    """Weights (19,) that take values at the cuts to the spline's value at the last.

    The spline minimises Σ (y - f)² + c ∫ f''², whose penalty is f' D' B⁻¹ D f with D the second
    divided differences and B the tridiagonal matrix of Green and Silverman (1994); c is such that
    the trace of the smoother is the degrees of freedom.
    """
    from scipy.optimize import brentq  # a tenth of a second

    m, gap = _CUTS.size, _CUTS[1] - _CUTS[0]
    D = (np.eye(m - 2, m) - 2 * np.eye(m - 2, m, 1) + np.eye(m - 2, m, 2)) / gap
    B = gap * (4 * np.eye(m - 2) + np.eye(m - 2, k=1) + np.eye(m - 2, k=-1)) / 6
    values, vectors = np.linalg.eigh(D.T @ np.linalg.solve(B, D))
    penalty = np.where(values > 1e-9 * values[-1], values, 0.0)  # lines are not penalised

    def excess(log_c: float) -> float:
        return float(np.sum(1 / (1 + np.exp(log_c) * penalty)) - _SPLINE_DF)

    c = np.exp(brentq(excess, -30.0, 30.0, xtol=1e-12))
    return (vectors[-1] / (1 + c * penalty)) @ vectors.T
