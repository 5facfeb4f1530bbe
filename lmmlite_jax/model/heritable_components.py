"""Principal components of heritability: which combinations of traits are most heritable.

With ỹ the traits in the basis of the kinship's eigenvectors beside the covariates, λ its
eigenvalues and S(h) = ỹ' (hΛ + (1-h)I)⁻¹ ỹ, the likelihood ratio of h² = h to h² = 0 falls with
w'S(h)w / w'S(0)w for a combination ỹw: the best are the eigenvectors of S(h) beside S(0). Where G
and R are the genetic and the residual covariances of the traits, the expectation of any S(h) is a
sum of a multiple of G and one of R: the eigenvectors estimate those of G beside G + R, whatever h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from lmmlite_jax.model.estimate import CONSTANT_TOLERANCE
from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    as_covariates,
    as_kinship,
    as_traits,
    check_same_individuals,
    column_name,
)
from lmmlite_jax.model.precision import AnyArray, in_float64
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.rotation import projected_rotation
from lmmlite_jax.model.traits import fit_traits

__all__ = ["HeritableComponents", "heritable_components"]

H = 0.5
"""The heritability at which traits are weighed."""


class HeritableComponents(NamedTuple):
    """Combinations of m traits, the most heritable first.

    Attributes
    ----------
    weights : (m, k)
        Weights of the traits as they came: each combination has variance 1 beside the covariates,
        and the trait that counts most a positive weight.
    values : (n, k)
        The combinations, ``Y @ weights``.
    fit : LMMFit
        Of the combinations on the individuals that they were made of. Its ĥ² and p-values are
        those of the best of many: judge a combination by individuals who had no part in it.
    traits : tuple of str or None
        Names, where a data frame came in.
    """

    weights: Float[AnyArray, "m k"]
    values: Float[AnyArray, "n k"]
    fit: LMMFit
    traits: tuple[str, ...] | None


@in_float64
def heritable_components(
    K: ArrayOrFrame,
    Y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    *,
    count: int = 1,
    ridge: float = 1.0,
) -> HeritableComponents:
    """Find the linear combinations of traits that are most heritable.

    They are the principal components of heritability (Ott and Rabinowitz 1999), by the restricted
    likelihood: without a ridge, the first has the largest likelihood ratio of h² = 0.5 to h² = 0.

    Parameters
    ----------
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite.
    Y : (n, m) array or data frame
        Phenotypes, complete; their units make no difference.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    count : int
        Combinations to return, at most m.
    ridge : float
        Part of each trait's variance that is added to it, uncorrelated with other traits and saying
        nothing of h² (after Wang and others 2007). It keeps the weights from following
        noise, and is to be larger the fewer individuals there are for each trait; 0 is the
        maximum itself.

    Returns
    -------
    HeritableComponents

    Raises
    ------
    ValueError
        If K, Y or X cannot be used, a trait is constant, or there are as many traits as individuals
        beside the covariates and no ridge.

    Notes
    -----
    With few individuals for each trait a combination may be worth less than the best single trait
    (docs/examples.md): judge it, and the ridge, by individuals who had no part in it.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=150, m=6, hsq=[0.9, 0, 0, 0, 0.4, 0], seed=2)
    >>> found = lmm.heritable_components(cohort.kinship, cohort.pheno, cohort.covar)
    >>> found.weights[:, 0].round(1)
    array([ 4. ,  0.7, -0.1, -0.1,  0.1, -0. ])
    """
    kinship = as_kinship(K)
    n = len(kinship.values)
    traits, covariates = as_traits("Y", Y, n, missing=False), as_covariates(X, n)
    check_same_individuals(K=kinship, Y=traits, X=covariates)
    y, x = traits.values, covariates.values
    _check(y, n - x.shape[1], count, ridge)
    projection = projected_rotation(K, X)
    rotated = np.asarray(projection.Kve_t) @ y
    constant = np.sum(rotated**2, axis=0) <= CONSTANT_TOLERANCE * np.sum(y**2, axis=0)
    if constant.any():
        name = column_name(traits.columns, int(np.flatnonzero(constant)[0]))
        raise ValueError(
            f"trait {name} is constant, or a combination of the covariates: leave it out."
        )
    weights = _weights(np.asarray(projection.Kva), rotated, count, ridge)
    values = y @ weights
    return HeritableComponents(
        weights, values, fit_traits(kinship.values, values, x), traits.columns
    )


def _check(y: Float[AnyArray, "n *m"], dof: int, count: int, ridge: float) -> None:
    if y.ndim != 2 or y.shape[1] < 2:
        raise ValueError(f"Y must be several traits (n, m), got shape {y.shape}.")
    if not 1 <= count <= y.shape[1]:
        raise ValueError(f"count must be from 1 to the {y.shape[1]} traits, got {count}.")
    if not ridge >= 0:
        raise ValueError(f"ridge must not be negative, got {ridge}.")
    if ridge == 0 and y.shape[1] >= dof:
        raise ValueError(
            f"Y has {y.shape[1]} traits for {dof} individuals beside the covariates: some "
            "combination of them explains anything; give a ridge, such as 1, or fewer traits."
        )


def _weights(
    Kva: Float[np.ndarray, " q"], y: Float[np.ndarray, "q m"], count: int, ridge: float
) -> Float[np.ndarray, "m count"]:
    """Weights of rotated traits, the best combination first."""
    sd = np.sqrt(np.mean(y**2, axis=0))
    y = y / sd
    extra = ridge * len(y) * np.eye(y.shape[1])
    left = (y.T / (H * Kva + 1 - H)) @ y + extra
    whole = y.T @ y + extra
    if np.linalg.matrix_rank(whole, hermitian=True) < len(whole):
        raise ValueError(
            "some traits of Y are combinations of others: leave them out, or give a ridge."
        )
    _, vectors = scipy.linalg.eigh(left, whole, subset_by_index=(0, count - 1))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    return vectors / np.sqrt(np.mean((y @ vectors) ** 2, axis=0)) / sd[:, None]
