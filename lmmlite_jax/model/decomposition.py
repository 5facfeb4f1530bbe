"""One decomposition of the kinship for all traits observed in the same individuals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.estimate import EffectVariance
from lmmlite_jax.model.fit import ABSORBED_TOLERANCE
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.precision import AnyArray, is_traced
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.rotation import (
    Extremes,
    Projection,
    check_spectrum,
    clean_spectrum,
    project,
    zero_eigenvalue,
)
from lmmlite_jax.model.skeleton import (
    RANK_TOLERANCE,
    Skeleton,
    interval_skeleton,
    spectrum_skeleton,
)
from lmmlite_jax.model.threads import on_cpu

__all__ = ["Pattern", "Sample", "decompose", "shared_skeleton", "widened"]

REGULAR = 1e-8
"""Smallest eigenvalue, as a part of the largest, down to which a skeleton is taken at first where
patterns of missing values, or more covariates, have smaller positive eigenvalues than everyone."""

WIDE = 1e-2
"""Smallest eigenvalue of K, as a part of the largest, below which those of N'KN are looked at: they
are often closer together."""

TINY = 1e-5
"""Smallest eigenvalue of N'KN, as a part of the largest, to which rounding leaves the digits of a
skeleton's error, however it is found."""

FAR_FROM_ROUNDING = 1e-5
"""Smallest eigenvalue of K, as a part of the largest, from which the determinant of its covariates'
part has the digits that a likelihood needs: others take K's own eigenvalues."""


class Sample(NamedTuple):
    """What all traits share: kinship, covariates, and weights of the residuals, or None."""

    K: Float[AnyArray, "n n"]
    X: Float[AnyArray, "n p"]
    weights: Float[AnyArray, " n"] | None

    def weighted_kinship(self) -> Float[AnyArray, "n n"]:
        """Kinship of individuals scaled so that all residuals have the same variance."""
        if self.weights is None:
            return self.K
        root = self.weights**0.5
        return self.K * root[:, None] * root

    def weighted_covariates(self) -> Float[AnyArray, "n p"]:
        """Covariates of individuals scaled as in `weighted_kinship`."""
        return self.X if self.weights is None else self.weights[:, None] ** 0.5 * self.X


def shared_skeleton(
    sample: Sample, reml: bool, whole: Extremes | None = None, *, complete: bool = False
) -> tuple[Skeleton, Extremes]:
    """One skeleton for all patterns of missing values, and the extreme eigenvalues of K.

    A pattern's complement of the covariates is part of everyone's: what is zero for the absent and
    orthogonal to the covariates of those present is orthogonal to the covariates. So the
    eigenvalues of a pattern lie between the smallest and the largest of everyone's. Only where
    some of these are zero can a pattern have smaller positive ones: see `widened`.

    ``complete`` says that there is no pattern but everyone: then restricted likelihoods have the
    eigenvalues found here and no others, but for more covariates. Where the extreme eigenvalues of
    K are known, they are given as ``whole``, inside a trace.
    """
    if whole is not None:
        return interval_skeleton(RANK_TOLERANCE, whole.largest), whole
    K = sample.weighted_kinship()
    if is_traced(K):
        spectrum = jnp.linalg.eigvalsh(lax.stop_gradient(K))
        whole = Extremes(spectrum[0], spectrum[-1])
        return interval_skeleton(RANK_TOLERANCE, whole.largest), whole
    K = (K + K.T) / 2  # as `project` has it: one rounded otherwise may be read from half of it
    spectrum = check_spectrum(np.linalg.eigvalsh(K), clip_negative=False)
    whole = Extremes(spectrum[0], spectrum[-1])
    ratio, largest = float(spectrum[0] / spectrum[-1]), spectrum[-1]
    if ratio < (WIDE if reml else REGULAR) and not is_traced(sample.X):
        X = sample.weighted_covariates()
        beside, exact = _spectrum_beside(K, X, np.asarray(spectrum), whole)
        used = beside if reml else np.concatenate([beside, spectrum])
        positive = used[used > zero_eigenvalue(whole)]
        if complete and reml and exact and positive.size and positive[0] > TINY * positive[-1]:
            return spectrum_skeleton(positive), whole
        if positive.size:
            largest = positive.max()
            ratio = float(positive.min() / largest)
        if positive.size < used.size and not complete:
            ratio = min(ratio, REGULAR)
    return interval_skeleton(max(ratio, RANK_TOLERANCE), largest), whole


def widened(skeleton: Skeleton, patterns: Pattern) -> Skeleton:
    """The skeleton, or where patterns have a positive eigenvalue below its nodes' a wider one."""
    smallest = float(np.min(np.asarray(patterns.smallest)))
    if smallest >= float(skeleton.smallest) * (1 - 1e-3):
        return skeleton
    regular = smallest >= REGULAR * float(skeleton.largest)
    return interval_skeleton(REGULAR if regular else RANK_TOLERANCE, skeleton.largest)


def _spectrum_beside(
    K: Float[AnyArray, "n n"],
    X: Float[AnyArray, "n p"],
    spectrum: Float[np.ndarray, " n"],
    whole: Extremes,
) -> tuple[Float[np.ndarray, " q"], bool]:
    """Eigenvalues of K in the complement of X, ascending, as `project` finds them, and if exact.

    Where X takes in the null space of K, as the intercept does that of centred genotypes, they lie
    between K's positive eigenvalues: it is these then, if they are close together.
    """
    Q = np.linalg.qr(X)[0]
    KQ = K @ Q
    zero = zero_eigenvalue(whole)
    positive = spectrum[spectrum > zero]
    if positive.size and positive[0] >= WIDE * positive[-1]:
        absorbed = np.sum(np.linalg.eigvalsh(Q.T @ KQ) <= zero)
        if absorbed >= spectrum.size - positive.size:
            return positive, False
    half = KQ - Q @ (Q.T @ KQ / 2) + Q * (np.linalg.norm(K) / 2)
    return np.asarray(np.linalg.eigvalsh(K - Q @ half.T - half @ Q.T)[X.shape[1] :]), True


class Pattern(NamedTuple):
    """What the traits of one pattern of missing values share.

    ``members`` and the square roots of their weights, or None; ``rows`` (r + 2, q) take squared
    rotated traits to their weighted sums at the nodes, their sum, and their sum in the null space
    of K; ``smallest`` is the smallest positive eigenvalue that enters; ``to_beta`` (p, p) is R⁻¹;
    ``offset`` is what weights add to the log likelihood.
    """

    members: Int[Array, "*P s"]
    roots: Float[Array, "*P s"] | None
    n: Int[Array, "*P"]
    projection: Projection
    rows: Float[Array, "*P r_and_2 q"]
    smallest: Float[Array, "*P"]
    to_beta: Float[Array, "*P p p"]
    logdet: Float[Array, "*P r"]
    zeros: Float[Array, "*P"]
    free_zeros: Float[Array, "*P"]
    collinear: Int[Array, "*P"]
    offset: Float[Array, "*P"]
    effect_variance: EffectVariance | None


def decompose(
    sample: Sample,
    *,
    members: Int[AnyArray, "P s"],
    skeleton: Skeleton,
    whole: Extremes,
    reml: bool,
    effects: bool,
) -> Pattern:
    """Decompose K among the members of each pattern (P, s)."""
    return _decompose(
        sample, members, skeleton, whole, reml=reml, effects=effects, one_by_one=on_cpu()
    )


@partial(jax.jit, static_argnames=("reml", "effects", "one_by_one"))
def _decompose(
    sample: Sample,
    members: Int[Array, "P s"],
    skeleton: Skeleton,
    whole: Extremes,
    *,
    reml: bool,
    effects: bool,
    one_by_one: bool,
) -> Pattern:
    def decompose_one(members: Array) -> Pattern:
        return _pattern(sample, members, skeleton, whole, reml, effects)

    return lax.map(decompose_one, members) if one_by_one else jax.vmap(decompose_one)(members)


def _pattern(
    sample: Sample,
    members: Int[Array, " s"],
    skeleton: Skeleton,
    whole: Extremes,
    reml: bool,
    effects: bool,
) -> Pattern:
    """An absent individual is a row of the identity in K, and of zeros in X.

    For the decomposition its eigenvalue is above all others, where sorting finds it: 1 may be
    beyond what K's own scale resolves.
    """
    present = members >= 0
    both = present[:, None] & present[None, :]
    absent = 2 * whole.largest * jnp.eye(members.size)
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
    projection = project(sub_K, sub_X, whole)
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
    free_zeros = jnp.sum(~positive).astype(K.dtype)
    determinant = _Determinant(
        weights @ (projection.Kva - 1),
        free_zeros,
        jnp.min(jnp.where(real & positive, projection.Kva, jnp.inf)),
    )
    if not reml:
        determinant = _with_covariates(
            determinant, projection, sub_K, jnp.sum(present), skeleton, whole
        )
    ones = jnp.where(real, 1.0, 0.0)
    # Solved here once: BLAS has threads of its own, which go on spinning after every call.
    to_beta = jax.scipy.linalg.solve_triangular(projection.R, jnp.eye(len(projection.R)))
    return Pattern(
        members=members,
        roots=roots,
        n=jnp.sum(present),
        projection=projection,
        rows=jnp.concatenate([weights, ones[None], jnp.where(positive, 0.0, 1.0)[None]]),
        smallest=determinant.smallest,
        to_beta=to_beta,
        logdet=skeleton.coefficients(determinant.slopes),
        zeros=determinant.zeros,
        free_zeros=free_zeros,
        collinear=jnp.where(
            jnp.any(spanned), Status.COLLINEAR + lax.argmax(spanned, 0, jnp.int32), Status.OK
        ),
        offset=offset,
        effect_variance=_effect_variance(projection, to_beta, skeleton) if effects else None,
    )


def _effect_variance(
    projection: Projection, to_beta: Float[Array, "p p"], skeleton: Skeleton
) -> EffectVariance:
    """R⁻¹ G(h) R⁻ᵀ on the diagonal, G(h) the variance of the fixed effects in the basis Q.

    G(h) = h G(1) + (1-h) [I + h Σ_i c_i c_i' w_i(h) / λ_i], c_i the rows of ``cross``.
    """
    inverse, at_one = _at_one(projection)
    squares = (projection.cross @ to_beta.T) ** 2
    return EffectVariance(
        at_one=jnp.maximum(jnp.sum((to_beta @ at_one) * to_beta, axis=1), 0.0),
        at_zero=jnp.sum(to_beta**2, axis=1),
        spectral=skeleton.coefficients(
            skeleton.weights_of(projection.Kva) @ (inverse[:, None] * squares)
        ),
    )


class _Determinant(NamedTuple):
    """Slopes of log|V| or log|N'VN| at the nodes, its eigenvalues zero, the smallest positive."""

    slopes: Float[Array, " r"]
    zeros: Float[Array, ""]
    smallest: Float[Array, ""]


def _with_covariates(
    beside: _Determinant,
    projection: Projection,
    K: Float[Array, "s s"],
    n: Int[Array, ""],
    skeleton: Skeleton,
    whole: Extremes,
) -> _Determinant:
    """log|V| for ML from log|N'VN|: a determinant of order p is all that is between them.

    Its eigenvalues near zero have no digits: there, those of K itself are needed.
    """

    def by_covariates() -> _Determinant:
        slopes = beside.slopes + _covariate_slopes(projection, skeleton)
        return _Determinant(slopes, beside.zeros, beside.smallest)

    def by_own_spectrum() -> _Determinant:
        own = _own_determinant(K, projection, n, skeleton, whole)
        return own._replace(smallest=jnp.minimum(own.smallest, beside.smallest))

    p = len(projection.inner)
    if skeleton.nodes.size * p**3 > len(K) ** 3:  # more work than the eigenvalues of K
        return by_own_spectrum()
    inverse, at_one = _at_one(projection)
    # K = L diag(Λ, G(1)) L' in the basis of U and Q, L = [[I, 0], [C'Λ⁻¹, I]]: no eigenvalue of K
    # is smaller than the smallest of Λ and G(1) over the square of |L⁻¹|, or than everyone's.
    stretch = 1 + jnp.linalg.norm(inverse[:, None] * projection.cross)
    smallest = jnp.minimum(beside.smallest, jnp.linalg.eigvalsh(at_one)[0]) / stretch**2
    smallest = jnp.maximum(smallest, whole.smallest)
    regular = smallest >= jnp.maximum(FAR_FROM_ROUNDING * whole.largest, skeleton.smallest)
    return lax.cond(regular & (beside.zeros == 0), by_covariates, by_own_spectrum)


def _covariate_slopes(projection: Projection, skeleton: Skeleton) -> Float[Array, " r"]:
    """Slopes at the nodes of log|V| - log|N'VN| = log|G(h)|, G as in `_effect_variance`."""
    cross, (q, p) = projection.cross, projection.cross.shape
    inverse, at_one = _at_one(projection)
    products = (cross[:, :, None] * cross[:, None, :]).reshape(q, p * p)
    h = skeleton.hsq[:, None]
    weights = 1 / (h * projection.Kva + (1 - h))

    def between(factors: Array) -> Array:
        return (factors @ products).reshape(-1, p, p)

    identity, h_of_nodes = jnp.eye(p), h[:, :, None]
    at_zero = identity + h_of_nodes * between(inverse * weights)
    change = projection.inner - identity - between(h * weights * (1 + weights))
    return _slope_of_log_determinant(h_of_nodes * at_one + (1 - h_of_nodes) * at_zero, change)


def _slope_of_log_determinant(
    G: Float[AnyArray, "r p p"], change: Float[AnyArray, "r p p"]
) -> Float[Array, " r"]:
    """Trace of G⁻¹ times its change: Gauss's elimination, with the change of each of its pivots.

    Of all r together: XLA calls LAPACK for one of them after the other, and the calls cost more.
    """

    def eliminate(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        G, change, slope = state
        pivot = G[:, k, k, None, None]
        column, moved = G[:, :, k, None] / pivot, change[:, :, k, None]
        row, moved_row = jnp.swapaxes(column, 1, 2), jnp.swapaxes(moved, 1, 2)
        moved_pivot = change[:, k, k, None, None]
        return (
            G - pivot * column * row,
            change - moved * row - column * moved_row + moved_pivot * column * row,
            slope + (moved_pivot / pivot)[:, 0, 0],
        )

    p = G.shape[-1]
    start = jnp.asarray(G), jnp.asarray(change), jnp.zeros(len(G))
    return lax.fori_loop(0, p, eliminate, start)[2]


def _own_determinant(
    K: Float[Array, "s s"],
    projection: Projection,
    n: Int[Array, ""],
    skeleton: Skeleton,
    whole: Extremes,
) -> _Determinant:
    """log|V| by the eigenvalues of K itself, of which the n'th and those behind it are no one's.

    As many as K has almost no variance along the covariates are zero: it was centred and then
    printed.
    """
    values = jnp.linalg.eigvalsh(K)
    number = jnp.arange(values.size)
    absorbed = jnp.sum(jnp.linalg.eigvalsh(projection.inner) <= ABSORBED_TOLERANCE * whole.largest)
    there = (number >= absorbed) & (number < n) & (clean_spectrum(values, False, whole) > 0)
    slopes = jnp.where(there, skeleton.weights_of(values), 0.0) @ (values - 1)
    smallest = jnp.min(jnp.where(there, values, jnp.inf))
    return _Determinant(slopes, (n - jnp.sum(there)).astype(K.dtype), smallest)


def _at_one(projection: Projection) -> tuple[Float[Array, " q"], Float[AnyArray, "p p"]]:
    """1/λ, zero for zero, and G(1), the variance of the fixed effects at h = 1."""
    positive = projection.Kva > 0
    inverse = jnp.where(positive, 1 / jnp.where(positive, projection.Kva, 1.0), 0.0)
    return inverse, projection.inner - projection.cross.T @ (inverse[:, None] * projection.cross)
