"""Fits inside a trace where the kinship is known: differentiable in phenotypes and covariates.

The eigenvectors are those of K itself then, constants that nothing differentiates. `fit_traits`
outside of traces has those of K in the complement of the covariates, which turn with X.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from lmmlite_jax.model.decomposition import Sample
from lmmlite_jax.model.estimate import where_fitted
from lmmlite_jax.model.fit import fit_lmm
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.options import Options, Prior
from lmmlite_jax.model.precision import AnyArray, Scalar
from lmmlite_jax.model.result import LMMFit, Status
from lmmlite_jax.model.rotation import Extremes, check_spectrum, zero_eigenvalue
from lmmlite_jax.model.threads import few_blas_threads

__all__ = ["KnownKinship", "decompose_known", "fit_known"]


class KnownKinship(NamedTuple):
    """Eigenvalues (n,), eigenvectors in rows (n, n), and roots of residual weights (n, 1)."""

    Kva: Float[np.ndarray, " n"]
    Kve_t: Float[np.ndarray, "n n"]
    roots: Float[np.ndarray, "n 1"]

    def rotate(self, values: Float[AnyArray, "n ..."]) -> Float[AnyArray, "n ..."]:
        """Values of individuals, scaled to equal residual variances and rotated."""
        roots = self.roots.reshape(-1, *(1,) * (values.ndim - 1))
        return jnp.tensordot(self.Kve_t, roots * values, 1)


def decompose_known(sample: Sample) -> KnownKinship:
    """Decompose a kinship that is no traced array, outside of the trace."""
    K = np.asarray(sample.weighted_kinship())
    with few_blas_threads(len(K)):
        values, vectors = np.linalg.eigh((K + K.T) / 2)
    check_spectrum(values, clip_negative=False)
    Kva = np.where(values > zero_eigenvalue(Extremes(values[0], values[-1])), values, 0.0)
    roots = np.ones(len(K)) if sample.weights is None else np.sqrt(sample.weights)
    return KnownKinship(Kva, vectors.T, roots[:, None])


def fit_known(
    known: KnownKinship,
    y: Float[AnyArray, "n m"],
    X: Float[AnyArray, "n p"],
    options: Options,
    *,
    tol: float,
    prior: Prior,
    blup: bool,
) -> LMMFit:
    """Fit complete traits; `LMMFit` as `fit_traits` has it."""
    rotated_y, rotated_X = known.rotate(y), known.rotate(X)
    fit = fit_lmm(
        known.Kva,
        rotated_y,
        rotated_X,
        options.reml,
        options.check_boundary,
        tol,
        options.compute_se,
        prior_variance=float(prior.variance),
        prior_sample_size=float(prior.size),
    )
    left, whole = jnp.abs(jnp.diagonal(jnp.linalg.qr(X, mode="r"))), jnp.linalg.norm(X, axis=0)
    spanned = left <= COLLINEAR_TOLERANCE * whole
    column = Status.COLLINEAR + lax.argmax(spanned, 0, jnp.int32)
    status = jnp.where(jnp.any(spanned), column, fit.status)
    predicted = None
    if blup:
        variance = fit.hsq * known.Kva[:, None] + (1 - fit.hsq)
        genetic = known.Kva[:, None] > 0
        share = jnp.where(
            genetic, fit.hsq * known.Kva[:, None] / jnp.where(genetic, variance, 1), 0
        )
        of_residuals = share * (rotated_y - rotated_X @ fit.beta)
        predicted = known.Kve_t.T @ of_residuals / known.roots
    given = _of_phenotypes_as_given(known.roots, X, options.reml)
    fit = replace(fit, loglik=fit.loglik + given, status=status, blup=predicted)

    def where_known(values: Array) -> Array:
        counts = jnp.issubdtype(values.dtype, jnp.integer)
        return values if counts else where_fitted(status, values)

    return jax.tree.map(where_known, fit)


def _of_phenotypes_as_given(
    roots: Float[np.ndarray, "n 1"], X: Float[AnyArray, "n p"], reml: bool
) -> Scalar:
    """Add to a log likelihood of scaled phenotypes what scaling took from it."""
    offset = np.sum(np.log(roots))
    if not reml or np.all(roots == 1):
        return offset
    before, after = (jnp.abs(jnp.diagonal(jnp.linalg.qr(x, mode="r"))) for x in (X, roots * X))
    return offset + jnp.sum(jnp.log(before / after))
