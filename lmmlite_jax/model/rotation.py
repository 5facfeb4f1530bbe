"""Rotations that turn a linear mixed model into a weighted regression.

``eigen_rotation`` rotates by the eigenvectors of the kinship matrix and leaves the covariates in
the model. ``projected_rotation`` rotates the complement of the covariates, so that restricted
likelihoods need no covariates at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    as_covariates,
    as_kinship,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.precision import AnyArray, Scalar, in_float64, is_traced
from lmmlite_jax.model.skeleton import RANK_TOLERANCE

__all__ = [
    "NEGATIVE_TOLERANCE",
    "Extremes",
    "Projection",
    "Rotation",
    "check_scale",
    "check_spectrum",
    "clean_spectrum",
    "clipped",
    "eigen_rotation",
    "project",
    "projected_rotation",
    "scaled",
    "zero_eigenvalue",
]

NEGATIVE_TOLERANCE = 1e-8
"""Negative eigenvalues up to this part of the largest are accepted as rounding of K's digits."""

SCALES = (1e-7, 1e10)
"""Mean diagonals of K that are accepted: for smaller ones h² is so close to 1, where doubles are
1e-16 apart, that variances would lose more than half their digits."""


class Extremes(NamedTuple):
    """Smallest and largest eigenvalue of a kinship matrix."""

    smallest: Scalar
    largest: Scalar


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rotation:
    """Kinship, phenotypes and covariates in the basis of the kinship's eigenvectors.

    Attributes
    ----------
    Kva : (n,)
        Eigenvalues of the kinship matrix, ascending.
    Kve_t : (n, n)
        Eigenvectors, one a row.
    y : (n,) or (n, m)
        Rotated phenotypes.
    X : (n, p)
        Rotated covariates.
    traits, covariates : tuple of str or None
        Names, where data frames came in.
    """

    Kva: Float[AnyArray, " n"]
    Kve_t: Float[AnyArray, "n n"]
    y: Float[AnyArray, "n *m"]
    X: Float[AnyArray, "n p"]
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    covariates: tuple[str, ...] | None = field(default=None, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Projection:
    """Kinship in the complement of the covariates.

    With X = QR and N an orthonormal basis of the complement of X, N'KN has eigenvalues ``Kva``
    and U = N times its eigenvectors; for every h, the matrix P(h) = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹ is
    U diag(1/(h Kva + 1 - h)) U'.

    Attributes
    ----------
    Kva : (n - p,)
        Eigenvalues of N'KN, ascending.
    Kve_t : (n - p, n)
        U', so that ``Kve_t @ y`` is the rotated phenotype.
    Q_t, R : (p, n), (p, p)
        Thin QR factors of the covariates, the first transposed.
    inner, cross : (p, p), (n - p, p)
        Q'KQ and U'KQ, from which the fixed effects come back.
    """

    Kva: Float[AnyArray, "*P q"]
    Kve_t: Float[AnyArray, "*P q n"]
    Q_t: Float[AnyArray, "*P p n"]
    R: Float[AnyArray, "*P p p"]
    inner: Float[AnyArray, "*P p p"]
    cross: Float[AnyArray, "*P q p"]


@in_float64
def eigen_rotation(
    K: ArrayOrFrame,
    y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    *,
    clip_negative: bool = False,
    scale_kinship: bool = False,
) -> Rotation:
    """Rotate phenotypes and covariates by the eigenvectors of the kinship matrix.

    Parameters
    ----------
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite.
    y : (n,) or (n, m) array or data frame
        Phenotypes, none missing.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    clip_negative : bool
        Set negative eigenvalues of K to zero instead of refusing them.
    scale_kinship : bool
        Divide K by its mean diagonal first, so that h² is a heritability.

    Returns
    -------
    Rotation
        ``Kva`` (n,), ``Kve_t`` (n, n), ``y`` and ``X`` rotated.

    Raises
    ------
    ValueError
        If K is not square, symmetric, complete and positive semidefinite; y or X has another
        number of rows or missing values; X is rank-deficient.

    Notes
    -----
    The function of the same name in R/lmmlite (Broman); equation in Lippert et al. 2011.
    Eigenvalues up to 1e-12 of the largest, or up to twice the size of the most negative one, are
    set to zero: they are rounding.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=1, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    >>> rot.Kva.shape, rot.Kve_t.shape, rot.y.shape, rot.X.shape
    ((60,), (60, 60), (60,), (60, 3))
    """
    kinship = as_kinship(K)
    n = np.shape(kinship.values)[0]
    traits, covariates = as_traits("y", y, n), as_covariates(X, n)
    check_same_individuals(K=kinship, y=traits, X=covariates)
    Kva, Kve_t, rotated_y, rotated_X = _rotate(
        scaled(kinship.values) if scale_kinship else kinship.values,
        traits.values,
        covariates.values,
    )
    Kva = clean_spectrum(check_spectrum(Kva, clip_negative), clip_negative)
    if not is_traced(Kva):
        Kva = jax.device_put(Kva)
    return Rotation(Kva, Kve_t, rotated_y, rotated_X, traits.columns, covariates.columns)


@in_float64
def projected_rotation(
    K: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    *,
    clip_negative: bool = False,
    scale_kinship: bool = False,
) -> Projection:
    """Eigendecomposition of the kinship matrix in the complement of the covariates.

    With it the restricted likelihood of a phenotype needs no covariates: it is that of
    ``Kve_t @ y`` with independent elements of variance proportional to h·Kva + 1 - h.

    Parameters
    ----------
    K, X, clip_negative, scale_kinship
        As in `eigen_rotation`.

    Returns
    -------
    Projection

    Raises
    ------
    ValueError
        As in `eigen_rotation`.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=1, seed=1)
    >>> projection = lmm.projected_rotation(cohort.kinship, cohort.covar)
    >>> projection.Kva.shape, projection.Kve_t.shape
    ((57,), (57, 60))
    """
    kinship = as_kinship(K)
    covariates = as_covariates(X, np.shape(kinship.values)[0])
    check_same_individuals(K=kinship, X=covariates)
    values = scaled(kinship.values) if scale_kinship else kinship.values
    if clip_negative:
        values = clipped(values)
    if is_traced(values):
        return _project(values, covariates.values)
    spectrum = check_spectrum(np.linalg.eigvalsh(values), clip_negative=False)
    return _project(values, covariates.values, Extremes(spectrum[0], spectrum[-1]))


def scaled(K: Float[AnyArray, "n n"]) -> Float[AnyArray, "n n"]:
    """Kinship divided by its mean diagonal."""
    mean = K.diagonal().mean()
    if not is_traced(K) and not mean > 0:
        raise ValueError(f"K has a mean diagonal of {mean:.3g}: it is no kinship matrix.")
    return K / mean


def clipped(K: Float[AnyArray, "n n"]) -> Float[AnyArray, "n n"]:
    """Kinship with its negative eigenvalues set to zero."""
    numerics = jnp if is_traced(K) else np
    values, vectors = numerics.linalg.eigh((K + K.T) / 2)
    check_spectrum(values, clip_negative=True)
    return (vectors * numerics.maximum(values, 0)) @ vectors.T


def project(
    K: Float[Array, "n n"], X: Float[Array, "n p"], whole: Extremes | None = None
) -> Projection:
    """Kernel of `projected_rotation`: arrays in, arrays out, nothing checked.

    The complement of X is never formed. Its directions are moved to an eigenvalue below all
    others instead, where sorting finds them: zero would mix them with K's own null space.
    Which eigenvalues are zero is a matter of the ``whole`` spectrum of K.
    """
    K, X = _undifferentiable(K, X)
    p = X.shape[1]
    K = (K + K.T) / 2
    Q, R = jnp.linalg.qr(X)
    KQ = K @ Q
    inner = Q.T @ KQ
    half = KQ - Q @ (inner / 2) + Q * (jnp.linalg.norm(K) / 2)
    values, vectors = jnp.linalg.eigh(K - Q @ half.T - half @ Q.T, symmetrize_input=False)
    Kve_t = vectors[:, p:].T
    Kva = clean_spectrum(values[p:], False, whole)
    cross = jnp.where(Kva[:, None] > 0, Kve_t @ KQ, 0.0)
    return Projection(Kva, Kve_t, Q.T, R, inner, cross)


@jax.custom_jvp
def _undifferentiable(K: Array, X: Array) -> tuple[Array, Array]:
    """K and X as they are; derivatives, which would go through eigenvectors, are refused."""
    return K, X


@partial(_undifferentiable.defjvp, symbolic_zeros=True)
def _undifferentiable_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | SymbolicZero, Array | SymbolicZero]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    if not all(isinstance(change, SymbolicZero) for change in tangents):
        raise NotImplementedError(
            "derivatives in K, or in anything beside a traced K, do not go through its "
            "eigenvectors, which may have none: use heritability or log_likelihood, or leave K "
            "out of the trace."
        )
    K, X = primals
    return primals, (jnp.zeros_like(K), jnp.zeros_like(X))


def zero_eigenvalue(whole: Extremes) -> Scalar:
    """Largest size of an eigenvalue of K, or of its projections, that counts as zero.

    The one rule for all paths. What is 1e-12 of the largest has lost its digits in double
    precision. A kinship that was printed, or computed in single precision, shows by its negative
    eigenvalues how far its rounding reaches; what is clipped is no rounding.
    """
    numerics = jnp if is_traced(*whole) else np
    return numerics.maximum(RANK_TOLERANCE * whole.largest, -2 * whole.smallest)


def clean_spectrum(
    Kva: Float[AnyArray, " n"], clip_negative: bool, whole: Extremes | None = None
) -> Float[AnyArray, " n"]:
    """Eigenvalues with rounding around zero removed; NaN for what `check_spectrum` refuses."""
    numerics = jnp if is_traced(Kva, *(whole or ())) else np  # NumPy compiles nothing
    Kva = numerics.asarray(Kva)
    if clip_negative:
        Kva = numerics.maximum(Kva, 0.0)
    if whole is None:
        whole = Extremes(Kva.min(), Kva.max())
    kept = numerics.where(Kva > zero_eigenvalue(whole), Kva, 0.0)
    return numerics.where(Kva < -NEGATIVE_TOLERANCE * whole.largest, numerics.nan, kept)


def check_spectrum(Kva: Float[AnyArray, " n"], clip_negative: bool) -> Float[AnyArray, " n"]:
    """Refuse a spectrum that no variance matrix can have; return it as it came."""
    if is_traced(Kva):
        return Kva
    values = np.asarray(Kva)  # a JAX array would become part of a trace here
    smallest, largest = float(values.min()), float(values.max())
    if not largest > 0:
        raise ValueError(
            f"K has no positive eigenvalue, its largest is {largest:.3g}: it is no kinship matrix."
        )
    check_scale(float(values.mean()))
    if smallest < -NEGATIVE_TOLERANCE * largest and not clip_negative:
        raise ValueError(
            f"K is not positive semidefinite: its smallest eigenvalue is {smallest:.4g}, its "
            f"largest {largest:.4g}; pass clip_negative=True to set negative eigenvalues to zero."
        )
    return Kva


def check_scale(mean: float) -> None:
    """Refuse a kinship whose mean diagonal puts h² where doubles have no digits left."""
    if not SCALES[0] <= mean <= SCALES[1]:
        raise ValueError(
            f"K has a mean diagonal of {mean:.3g}, at which h² is too close to 0 or 1 for its "
            f"digits: bring it between {SCALES[0]:g} and {SCALES[1]:g}, best to 1 by "
            "scale_kinship=True or by dividing K."
        )


@jax.jit
def _rotate(
    K: Float[AnyArray, "n n"], y: Float[AnyArray, "n *m"], X: Float[AnyArray, "n p"]
) -> tuple[Float[Array, " n"], Float[Array, "n n"], Float[Array, "n *m"], Float[Array, "n p"]]:
    Kva, Kve = jnp.linalg.eigh((K + K.T) / 2, symmetrize_input=False)
    return Kva, Kve.T, Kve.T @ y, Kve.T @ X


_project = jax.jit(project)
