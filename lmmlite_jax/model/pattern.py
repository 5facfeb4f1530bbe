"""What traits observed in the same individuals share: one decomposition of the kinship."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lmmlite_jax.model.estimate import EffectVariance
from lmmlite_jax.model.fit import ABSORBED_TOLERANCE
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.precision import AnyArray, is_traced
from lmmlite_jax.model.profile import derivative
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.rotation import Projection, check_spectrum, project
from lmmlite_jax.model.skeleton import RANK_TOLERANCE, Skeleton, interval_skeleton
from lmmlite_jax.model.threads import on_cpu

__all__ = ["Pattern", "Sample", "decompose", "shared_skeleton"]


class Sample(NamedTuple):
    """What all traits share: K (n, n), X (n, p), residual weights (n,) or None."""

    K: AnyArray
    X: AnyArray
    weights: AnyArray | None

    def weighted_kinship(self) -> Any:
        """Kinship of individuals scaled so that all residuals have the same variance."""
        if self.weights is None:
            return self.K
        root = self.weights**0.5
        return self.K * root[:, None] * root


def shared_skeleton(K: Any) -> tuple[Skeleton, Any]:
    """One skeleton for K, its submatrices and their projections, whose eigenvalues interlace."""
    if is_traced(K):
        largest = jnp.linalg.eigvalsh(lax.stop_gradient(K))[-1]
        return interval_skeleton(RANK_TOLERANCE, largest), largest
    spectrum = check_spectrum(np.linalg.eigvalsh(K), clip_negative=False)
    ratio = max(float(spectrum.min() / spectrum.max()), RANK_TOLERANCE)
    return interval_skeleton(ratio, spectrum.max()), spectrum.max()


class Pattern(NamedTuple):
    """What the traits of one pattern of missing values share.

    ``members`` and the square roots of their weights, or None; ``rows`` (r + 2, q) take squared
    rotated traits to their weighted sums at the nodes, their sum, and their sum in the null space
    of K; ``to_beta`` (p, p) is R⁻¹; ``offset`` is what weights add to the log likelihood.
    """

    members: Array
    roots: Array | None
    n: Array
    projection: Projection
    rows: Array
    to_beta: Array
    logdet: Array
    zeros: Array
    free_zeros: Array
    collinear: Array
    offset: Array
    effect_variance: EffectVariance | None


def decompose(
    sample: Sample,
    *,
    members: AnyArray,
    skeleton: Skeleton,
    largest: AnyArray | float,
    reml: bool,
    effects: bool,
) -> Pattern:
    """Decompose K among the members of each pattern (P, s)."""
    return _decompose(
        sample, members, skeleton, largest, reml=reml, effects=effects, one_by_one=on_cpu()
    )


@partial(jax.jit, static_argnames=("reml", "effects", "one_by_one"))
def _decompose(
    sample: Sample,
    members: Array,
    skeleton: Skeleton,
    largest: Array,
    *,
    reml: bool,
    effects: bool,
    one_by_one: bool,
) -> Pattern:
    def decompose_one(members: Array) -> Pattern:
        return _pattern(sample, members, skeleton, largest, reml, effects)

    return lax.map(decompose_one, members) if one_by_one else jax.vmap(decompose_one)(members)


def _pattern(
    sample: Sample, members: Array, skeleton: Skeleton, largest: Array, reml: bool, effects: bool
) -> Pattern:
    """An absent individual is a row of the identity in K, and of zeros in X.

    For the decomposition its eigenvalue is above all others, where sorting finds it: 1 may be
    beyond what K's own scale resolves.
    """
    present = members >= 0
    both = present[:, None] & present[None, :]
    absent = 2 * largest * jnp.eye(members.size)
    K = sample.weighted_kinship()
    sub_K = jnp.where(both, K[members[:, None], members[None, :]], absent)
    sub_X = jnp.where(present[:, None], sample.X[members], 0.0)
    roots, offset = None, jnp.zeros(())
    if sample.weights is not None:
        weights = jnp.where(present, sample.weights[members], 1.0)
        roots = jnp.sqrt(weights)
        plain_R = jnp.linalg.qr(sub_X, "r")
        sub_X = roots[:, None] * sub_X
        offset = 0.5 * jnp.sum(jnp.log(weights))
    projection = project(sub_K, sub_X, largest)
    if sample.weights is not None and reml:
        change = jnp.abs(jnp.diagonal(plain_R) / jnp.diagonal(projection.R))
        offset = offset + jnp.sum(jnp.log(change))
    real = jnp.arange(projection.Kva.size) < jnp.sum(present) - sub_X.shape[1]
    projection = replace(projection, Kva=jnp.where(real, projection.Kva, 1.0))
    spanned = jnp.abs(jnp.diagonal(projection.R)) <= COLLINEAR_TOLERANCE * jnp.linalg.norm(
        sub_X, axis=0
    )
    positive = projection.Kva > 0
    weights = jnp.where(positive, skeleton.weights_of(projection.Kva), 0.0)
    slopes = weights @ (projection.Kva - 1)
    free_zeros = jnp.sum(~positive).astype(K.dtype)
    absorbed = jnp.zeros(())
    if not reml:
        of_covariates, absorbed = _covariate_log_determinant(projection, skeleton, largest)
        slopes = slopes + of_covariates
    ones = jnp.where(real, 1.0, 0.0)
    # Solved here once: BLAS has threads of its own, which go on spinning after every call.
    to_beta = jax.scipy.linalg.solve_triangular(projection.R, jnp.eye(len(projection.R)))
    return Pattern(
        members=members,
        roots=roots,
        n=jnp.sum(present),
        projection=projection,
        rows=jnp.concatenate([weights, ones[None], jnp.where(positive, 0.0, 1.0)[None]]),
        to_beta=to_beta,
        logdet=skeleton.coefficients(slopes),
        zeros=free_zeros + absorbed,
        free_zeros=free_zeros,
        collinear=jnp.where(
            jnp.any(spanned), Status.COLLINEAR + lax.argmax(spanned, 0, jnp.int32), Status.OK
        ),
        offset=offset,
        effect_variance=_effect_variance(projection, to_beta, skeleton) if effects else None,
    )


def _effect_variance(projection: Projection, to_beta: Array, skeleton: Skeleton) -> EffectVariance:
    """R⁻¹ G(h) R⁻ᵀ, G as in `_covariate_log_determinant`, on the diagonal."""
    inverse, at_one = _at_one(projection)
    squares = (projection.cross @ to_beta.T) ** 2
    return EffectVariance(
        at_one=jnp.maximum(jnp.sum((to_beta @ at_one) * to_beta, axis=1), 0.0),
        at_zero=jnp.sum(to_beta**2, axis=1),
        spectral=skeleton.coefficients(
            skeleton.weights_of(projection.Kva) @ (inverse[:, None] * squares)
        ),
    )


def _covariate_log_determinant(
    projection: Projection, skeleton: Skeleton, largest: Array
) -> tuple[Array, Array]:
    """Slopes (r,) at the nodes of log|V| - log|N'VN|, and how many zeros that has at h = 1.

    |V| / |N'VN| is the determinant of G(h), the variance of the fixed effects in the basis Q:
    G(h) = h G(1) + (1-h) [I + h Σ_i c_i c_i' w_i(h) / λ_i], c_i the rows of ``cross``. Zeros of
    G(1) are rows that shrink like 1-h, which is divided out of them.
    """
    inverse, at_one = _at_one(projection)
    values, basis = jnp.linalg.eigh(at_one)
    absorbed = values <= ABSORBED_TOLERANCE * largest
    cross = projection.cross @ basis

    def logdet(hsq: Array) -> Array:
        weights = inverse / (hsq * projection.Kva + (1 - hsq))
        shrinking = jnp.eye(values.size) + hsq * cross.T @ (weights[:, None] * cross)
        scale = jnp.where(absorbed, 1.0, 1 - hsq)[:, None]
        return jnp.linalg.slogdet(
            scale * shrinking + hsq * jnp.diag(jnp.where(absorbed, 0.0, values))
        )[1]

    return lax.map(derivative(logdet), skeleton.hsq), jnp.sum(absorbed).astype(values.dtype)


def _at_one(projection: Projection) -> tuple[Array, Any]:
    """1/λ, zero for zero, and G(1), the variance of the fixed effects at h = 1."""
    positive = projection.Kva > 0
    inverse = jnp.where(positive, 1 / jnp.where(positive, projection.Kva, 1.0), 0.0)
    return inverse, projection.inner - projection.cross.T @ (inverse[:, None] * projection.cross)
