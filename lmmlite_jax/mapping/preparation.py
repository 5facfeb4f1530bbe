"""What is done to phenotypes before they are mapped: scales, normal quantiles, hidden factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from lmmlite_jax.mapping.tables import like
from lmmlite_jax.model.inputs import ArrayOrFrame

__all__ = ["PhenotypeComponents", "inverse_normal", "phenotype_components", "tmm_factors"]

TRIMMED_RATIOS, TRIMMED_MEANS = 0.3, 0.05
"""Parts of the genes that are left out on either side, by log ratio and by mean expression."""


def inverse_normal(Y: ArrayOrFrame) -> ArrayOrFrame:
    """Bring the values of each trait to quantiles of a standard normal law, by their ranks.

    The value of rank r among n becomes Φ⁻¹(r/(n + 1)), as in GTEx's eQTL pipeline. The ranks are
    those of the values as they are, before covariates are taken out: the covariates are then fitted
    to the quantiles.

    Parameters
    ----------
    Y : (n, m) array or data frame
        Phenotypes; NaN where missing.

    Returns
    -------
    (n, m) array, or data frame where one came
        NaN where missing. Equal values have the mean of their ranks.

    Raises
    ------
    ValueError
        If Y is not of shape (n, m).

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> print(lmm.inverse_normal([[3.0], [1000.0], [4.0]]).round(3).ravel())
    [-0.674  0.674  0.   ]
    """
    from scipy.stats import rankdata  # a third of a second

    values = _as_table("Y", Y)
    ranks = rankdata(values, axis=0, nan_policy="omit")
    return like(Y, ndtri(ranks / (np.sum(~np.isnan(values), axis=0) + 1)))


def tmm_factors(counts: ArrayOrFrame) -> Float[np.ndarray, " n"]:
    """Scaling factors of libraries by the trimmed mean of M values (TMM).

    A library of which few genes take most reads has fewer left for the others. Its size times its
    factor is what counts are divided by.

    Parameters
    ----------
    counts : (n, m) array or data frame
        Reads of m genes in n individuals, none of them missing.

    Returns
    -------
    (n,) array
        Factors, whose product is 1.

    Raises
    ------
    ValueError
        If a count is missing or negative, or an individual has no reads.

    Notes
    -----
    Robinson and Oshlack 2010 (Genome Biology 11:R25), with edgeR's weights, trimming and choice of
    the reference: the library whose upper quartile is nearest to the mean of all.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> counts = [[100, 200, 300, 400, 50], [100, 200, 300, 400, 5000]]
    >>> print(lmm.tmm_factors(counts).round(3))
    [2.39  0.418]
    """
    values = _as_table("counts", counts)
    if not np.all(values >= 0):
        raise ValueError("counts has a missing or negative value: give counts of reads.")
    sizes = values.sum(axis=1)
    if np.any(sizes == 0):
        raise ValueError(f"counts of individual {np.argmin(sizes)} are all zero: leave it out.")
    values = values[:, values.any(axis=0)]
    quartiles = np.quantile(values / sizes[:, None], 0.75, axis=1)
    reference = np.argmin(np.abs(quartiles - quartiles.mean()))
    if np.median(quartiles) < 1e-20:  # of zeros
        reference = np.argmax(np.sqrt(values).sum(axis=1))
    logs = [
        _log2_factor(values[i], values[reference], sizes[i], sizes[reference])
        for i in range(sizes.size)
    ]
    return np.asarray(2.0 ** (np.array(logs) - np.mean(logs)))


def _log2_factor(
    own: Float[np.ndarray, " m"], reference: Float[np.ndarray, " m"], size: float, of: float
) -> float:
    """Weighted mean of the log2 ratios of a library to another, of genes that are not trimmed."""
    from scipy.stats import rankdata

    there = (own > 0) & (reference > 0)
    own, reference = own[there], reference[there]
    ratio = np.log2((own / size) / (reference / of))
    if np.max(np.abs(ratio), initial=0.0) < 1e-6:
        return 0.0
    mean = np.log2(own / size * reference / of) / 2
    weight = 1 / ((size - own) / size / own + (of - reference) / of / reference)
    kept = np.ones(ratio.size, dtype=bool)
    for values, trimmed in ((ratio, TRIMMED_RATIOS), (mean, TRIMMED_MEANS)):
        low, rank = np.floor(ratio.size * trimmed) + 1, rankdata(values)
        kept &= (rank >= low) & (rank <= ratio.size + 1 - low)
    if not kept.any():
        return 0.0
    return float(np.average(ratio[kept], weights=weight[kept]))


class PhenotypeComponents(NamedTuple):
    """Principal components (n, k) of variance 1, and the share of variance (k,) of each."""

    values: Float[np.ndarray, "n k"]
    share: Float[np.ndarray, " k"]


def phenotype_components(
    Y: ArrayOrFrame, number: int, X: ArrayOrFrame | None = None
) -> PhenotypeComponents:
    """Principal components of the traits, covariates taken out: hidden factors of all of them.

    Added to the covariates, they take out what batches, cell types and the like do to many traits
    at once. They take out trans effects on many traits as well.

    Parameters
    ----------
    Y : (n, m) array or data frame
        Phenotypes. Missing values have no part: they are taken for what the covariates say.
    number : int
        How many components, from the largest.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out. The
        components are orthogonal to them.

    Returns
    -------
    PhenotypeComponents

    Raises
    ------
    ValueError
        If Y or X is not of its shape, or there are not so many components.

    Notes
    -----
    Each trait has variance 1 before the components are found, so that none counts by its unit.
    Zhou et al. 2022 (Genome Biology 23:210) find components as good as factors that are estimated
    in other ways.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> rng = np.random.default_rng(1)
    >>> hidden = rng.standard_normal(80)
    >>> Y = np.outer(hidden, rng.standard_normal(200)) + rng.standard_normal((80, 200))
    >>> found = lmm.phenotype_components(Y, 1)
    >>> print(bool(abs(np.corrcoef(found.values[:, 0], hidden)[0, 1]) > 0.99))
    True
    """
    values = _as_table("Y", Y)
    n, m = values.shape
    covariates = np.ones((n, 1)) if X is None else np.asarray(X, dtype=float)
    if covariates.ndim != 2 or len(covariates) != n:
        raise ValueError(f"X must be of shape ({n}, p), got {covariates.shape}.")
    most = min(n - covariates.shape[1] - 2, m)
    if not 1 <= number <= most:
        raise ValueError(
            f"there can be 1 to {most} components of {m} traits of {n} individuals with "
            f"{covariates.shape[1]} covariates, got {number}."
        )
    filled, residuals = _residuals(values, covariates)
    spread = np.sqrt(np.mean(residuals**2, axis=0))
    varies = spread > 1e-10 * np.max(np.abs(filled), axis=0)
    scaled = residuals / np.where(varies, spread, np.inf)
    variances, vectors = np.linalg.eigh(scaled @ scaled.T)
    chosen = vectors[:, ::-1][:, :number]
    largest = chosen[np.abs(chosen).argmax(axis=0), np.arange(number)]
    share = variances[::-1][:number] / np.sum(variances)
    return PhenotypeComponents(chosen * np.sign(largest) * np.sqrt(n), share)


def _residuals(
    values: Float[np.ndarray, "n m"], covariates: Float[np.ndarray, "n p"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    """Traits with what the covariates say where they are missing, and what covariates leave."""
    basis = np.linalg.qr(covariates)[0]
    missing = np.isnan(values)
    filled = np.where(missing, 0.0, values)
    for trait in np.flatnonzero(missing.any(axis=0)):
        seen = ~missing[:, trait]
        effects = np.linalg.lstsq(covariates[seen], values[seen, trait])[0]
        filled[:, trait] = np.where(seen, values[:, trait], covariates @ effects)
    return filled, filled - basis @ (basis.T @ filled)


def _as_table(name: str, given: ArrayOrFrame) -> Float[np.ndarray, "n m"]:
    values = np.asarray(given, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"{name} must be of shape (n, m), got {values.shape}.")
    return values
