"""Maximum likelihood fit of rotated data, one trait or many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lmmlite_jax.model.estimate import EffectVariance, constant_status, estimate, where_fitted
from lmmlite_jax.model.likelihood import (
    EXACT_TOLERANCE,
    NullDirections,
    null_directions,
    rotated_data,
)
from lmmlite_jax.model.missing import TRAITS_AT_ONCE
from lmmlite_jax.model.options import Options, Prior, check_options
from lmmlite_jax.model.precision import in_float64, is_traced
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.skeleton import RANK_TOLERANCE, Skeleton, interval_skeleton

__all__ = ["ABSORBED_TOLERANCE", "fit_lmm"]

ABSORBED_TOLERANCE = 1e-6
"""Part of K's largest eigenvalue below which its variance along the covariates counts as zero in
ML: a kinship matrix that was centred and then printed has that much rounding."""


@in_float64
def fit_lmm(
    Kva: Any,
    y: Any,
    X: Any,
    reml: bool = True,
    check_boundary: bool = True,
    tol: float = 1e-8,
    compute_se: bool = False,
    *,
    prior_variance: float = 0.0,
    prior_sample_size: float = 0.0,
) -> LMMFit:
    """Fit a linear mixed model to rotated data, for one trait or many.

    The maximum is the global one over h² in [0, 1]: every local maximum of a grid is bracketed and
    refined by Newton's method, and the boundaries are compared.

    Parameters
    ----------
    Kva, y, X : (n,), (n,) or (n, m), (n, p)
        Rotated data of `eigen_rotation`.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    check_boundary : bool
        Compare h² = 0 and h² = 1 explicitly. Without, the search stays in [tol, 1 - tol].
    tol : float
        Largest last step in h², relative to h²(1 - h²).
    compute_se : bool
        Whether to give standard errors of β, h², σg² and σe².
    prior_variance, prior_sample_size : float
        Scaled inverse χ² prior on σ²: its scale, in the trait's units squared, and its degrees of
        freedom. No prior by default.

    Returns
    -------
    LMMFit
        ``beta`` (p,) or (p, m); all else of the shape of a trait axis.

    Raises
    ------
    ValueError
        If shapes do not fit, values are missing, or n < p + 2.

    Notes
    -----
    R/lmmlite's ``fitLMM``, without its limit of 1e-4 on the precision of h². The prior is
    BulkLMM's: σ² = (rss + prior_sample_size · prior_variance) / (n - p + prior_sample_size).

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=1, hsq=0.6, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    >>> fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    >>> bool(abs(fit.hsq - 0.6) < 0.3), fit.beta.shape
    (True, (3,))
    """
    spectrum, traits, covariates = rotated_data(Kva, y, X)
    n, p = covariates.shape
    if n < p + 2:
        raise ValueError(f"a fit with {p} covariates needs at least {p + 2} individuals, got {n}.")
    options = Options(reml, check_boundary, compute_se)
    prior = Prior(prior_variance, prior_sample_size)
    check_options(tol, prior)
    if not reml:
        spectrum = _without_absorbed(spectrum, covariates)
    skeleton = interval_skeleton(_spectrum_ratio(spectrum, covariates), jnp.max(spectrum))
    design = _design(spectrum, covariates, skeleton, reml=reml)

    def fit(block: Any) -> LMMFit:
        # Only the first two of these programs depend on n: a loop over cohorts of many sizes
        # would otherwise compile everything for each of them.
        sums = _sums(block, design, skeleton)
        return _fit_sums(sums, design.shared, skeleton, n=n, tol=tol, prior=prior, options=options)

    if traits.ndim == 1:
        return jax.tree.map(lambda a: a[..., 0], fit(traits[:, None]))
    return _in_blocks(fit, traits)


def _in_blocks(fit: Callable[[Any], LMMFit], y: Any) -> LMMFit:
    """Fit blocks of traits of one width; the last overlaps the one before rather than be padded."""
    m = y.shape[1]
    if m <= TRAITS_AT_ONCE or is_traced(y):
        return fit(y)
    starts = [*range(0, m - TRAITS_AT_ONCE, TRAITS_AT_ONCE), m - TRAITS_AT_ONCE]
    stops = [*starts[1:], m]
    fits = [
        jax.tree.map(
            lambda a, width=stop - start: np.asarray(a)[..., :width],
            fit(y[:, start : start + TRAITS_AT_ONCE]),
        )
        for start, stop in zip(starts, stops, strict=True)
    ]
    return jax.tree.map(lambda *parts: jax.device_put(np.concatenate(parts, axis=-1)), *fits)


@jax.jit
def _without_absorbed(Kva: Array, X: Array) -> Array:
    """Eigenvalues for ML: zero where they are almost zero and the covariates span the direction."""
    almost_zero = Kva <= ABSORBED_TOLERANCE * jnp.max(Kva)
    leverage = jnp.sum(jnp.linalg.qr(X)[0] ** 2, axis=1)
    return jnp.where(almost_zero & (leverage > 1 - ABSORBED_TOLERANCE), 0.0, Kva)


def _spectrum_ratio(Kva: Array, X: Array) -> float:
    """Smallest over largest positive eigenvalue that any projection of K on X's complement has."""
    if is_traced(Kva, X):
        return RANK_TOLERANCE
    values = np.asarray(Kva)
    smallest = float(values[values > 0].min())
    if (values == 0).any():
        found = jax.device_get(_null_directions(Kva, X))
        partly = found.eigenvalues[found.pinned].min(initial=np.inf)
        # Half their harmonic mean is a bound: B of `NullDirections` at λ has 1/(Kva - λ).
        smallest = smallest / (1 + smallest / partly)
    return smallest / float(values.max())


@jax.jit
def _null_directions(Kva: Array, X: Array) -> NullDirections:
    return null_directions(Kva, jnp.linalg.qr(X)[0])


class _Sums(NamedTuple):
    """What a block of m traits contributes: (r, m), (m,), (r, p, m), (p, m), (m,).

    ``shifts`` are what generalised least squares at the nodes adds to ``least_squares``.
    """

    rss: Array
    zero_rss: Array
    shifts: Array
    least_squares: Array
    status: Array


class _Shared(NamedTuple):
    """What all traits share, whatever n is; ``to_beta`` (p, p) is R⁻¹."""

    to_beta: Array
    logdet: Array
    zeros: Array
    free_zeros: Array
    effect_variance: EffectVariance


class _Design(NamedTuple):
    """What the covariates do at the nodes of a skeleton, for all traits alike.

    Q (n, p) an orthonormal basis of the covariates; at each node the weights of individuals
    (r, n), an orthonormal basis of the weighted Q, weighted again (r p, n), and the inverse of the
    triangle that leads from there to Q (r, p, p); the null space of K, and the part of it that the
    covariates span.

    ``rounded`` (n, p) are eigenvectors in the complement of the covariates whose eigenvalues count
    as zero, though they are not: covariates almost in the range of K. ``dropped`` (r, p) is what
    their weights lack to those of zero, and ``leaning`` (p, n) the parts of K's null space that
    they lean from; ``shifting`` (r, p, p) takes traits along them to their part of ``shifts``.
    """

    Q: Array
    weights: Array
    weighted_bases: Array
    inverses: Array
    null: Array
    null_basis: Array
    rounded: Array
    leaning: Array
    dropped: Array
    shifting: Array
    shared: _Shared


@partial(jax.jit, static_argnames="reml")
def _design(Kva: Array, X: Array, skeleton: Skeleton, *, reml: bool) -> _Design:
    n, p = X.shape
    Q, R = jnp.linalg.qr(X)
    to_beta = jax.scipy.linalg.solve_triangular(R, jnp.eye(p))
    null = Kva == 0
    weights = skeleton.weights_of(Kva)
    roots = jnp.sqrt(weights)[:, :, None]
    # One after the other: XLA is slower at all together, and has been seen to hang (jaxlib 0.10.2).
    bases, triangles = lax.map(lambda root: jnp.linalg.qr(root * Q), roots)
    inverses = lax.map(
        lambda triangle: jax.scipy.linalg.solve_triangular(triangle, jnp.eye(p)), triangles
    )
    directions = null_directions(Kva, Q)
    pinned = directions.pinned
    null_basis, free = _separated(Q * null[:, None], directions)
    eigenvalues, rounded, leaning = _rounded(Kva, Q, directions)
    deltas = jnp.asarray(skeleton.deltas)[:, None]
    dropped = (1 + deltas) * eigenvalues / (deltas * (deltas + eigenvalues))
    own_weights = (1 + deltas) / (deltas + eigenvalues)
    cross = Q.T @ (Kva[:, None] * rounded)
    of_rounded = skeleton.hsq[:, None] ** 2 * (own_weights @ ((to_beta @ cross) ** 2).T)

    # log|V| (ML) or log|N'VN| (REML) by its slopes at the nodes: N takes away an individual's
    # leverage.
    all_zeros = jnp.sum(null).astype(X.dtype)
    free_zeros = all_zeros - jnp.sum(pinned)
    zeros = free_zeros if reml else all_zeros
    shares = weights * (1 - jnp.sum(bases**2, axis=2)) if reml else weights
    slopes = jnp.sum((Kva - 1) * shares, axis=1) + zeros / skeleton.gap
    if reml:
        slopes = slopes - jnp.sum(dropped + eigenvalues * own_weights, axis=1)
    return _Design(
        Q=Q,
        weights=weights,
        weighted_bases=jnp.swapaxes(roots * bases, 1, 2).reshape(-1, n),
        inverses=inverses,
        null=null,
        null_basis=null_basis,
        rounded=rounded,
        leaning=leaning,
        dropped=dropped,
        shifting=skeleton.hsq[:, None, None] * own_weights[:, None, :] * cross,
        shared=_Shared(
            to_beta,
            skeleton.coefficients(slopes),
            zeros,
            free_zeros,
            _effect_variance(Kva, Q @ free, to_beta, pinned, free, inverses, of_rounded, skeleton),
        ),
    )


def _separated(in_null: Array, directions: NullDirections) -> tuple[Array, Array]:
    """Orthonormal basis (n, p) of the pinned parts in the null space of K, and all directions.

    The first is zero for directions not pinned. Those are freed of the pinned ones: directions
    being constants, orthogonality is what brings in their derivatives.
    """
    basis, lengths, _, pinned = directions
    parts = in_null @ (basis / jnp.where(pinned, lengths, 1.0))
    held = jnp.where(pinned, parts, 0.0)
    gram = held.T @ held + jnp.diag(jnp.where(pinned, 0.0, 1.0))
    root = jnp.linalg.cholesky(gram)
    orthonormal = jax.scipy.linalg.solve_triangular(root, held.T, lower=True).T
    along = jax.scipy.linalg.cho_solve((root, True), held.T @ jnp.where(pinned, 0.0, parts))
    return orthonormal, basis - basis @ (along / jnp.where(pinned, lengths, 1.0)[:, None])


def _rounded(Kva: Array, Q: Array, directions: NullDirections) -> tuple[Array, Array, Array]:
    """Eigenvalues beside the covariates that count as zero though they are positive.

    These (p,), their eigenvectors (n, p), and the directions (p, n) of K's null space from which
    those lean; zero where there is none. Constants for derivatives: they correct rounding.
    """
    Kva, Q = lax.stop_gradient((Kva, Q))
    null = (Kva == 0)[:, None]
    there = ~directions.pinned & (directions.lengths > 1e-6)
    eigenvalues = jnp.where(there, directions.eigenvalues, 0.0)
    parts = Q @ directions.basis
    above = jnp.where(null, 1.0, jnp.maximum(Kva[:, None] - eigenvalues, Kva[:, None] / 2))
    vectors = jnp.where(null, parts, -eigenvalues / above * parts)
    norms = jnp.linalg.norm(vectors, axis=0)
    leaning = jnp.where(null, parts, 0.0) / jnp.where(there, directions.lengths, 1.0)
    return (
        eigenvalues,
        jnp.where(there, vectors / jnp.where(there, norms, 1.0), 0.0),
        jnp.where(there, leaning, 0.0).T,
    )


def _effect_variance(
    Kva: Array,
    turned: Array,
    to_beta: Array,
    pinned: Array,
    G: Array,
    inverses: Array,
    of_rounded: Array,
    skeleton: Skeleton,
) -> EffectVariance:
    """Variance of β from what it is at h = 0, at h = 1 and at the nodes.

    At h = 1 there is none along the ``pinned`` directions G of the covariates, which the null
    space of K determines; ``turned`` = QG. ``of_rounded`` (r, p) is what the nodes lack because of
    eigenvalues that count as zero.
    """
    root = jnp.where(Kva > 0, 1 / jnp.sqrt(jnp.where(Kva > 0, Kva, 1.0)), 0.0)[:, None]
    free = jnp.where(pinned, 0.0, root * turned)
    triangle = jnp.linalg.qr(jnp.concatenate([free, jnp.diag(pinned.astype(free.dtype))]), "r")
    identity = jnp.eye(len(to_beta))

    def squares(factor: Array) -> Array:
        return jnp.sum((to_beta @ factor) ** 2, axis=-1)

    inverse = jax.scipy.linalg.solve_triangular(triangle, identity)
    at_one = squares(G @ jnp.where(pinned[:, None], 0.0, inverse))
    at_zero = squares(identity)
    h, gap = skeleton.hsq[:, None], skeleton.gap[:, None]
    between = ((squares(inverses) + of_rounded - h * at_one) / gap - at_zero) / h
    return EffectVariance(at_one, at_zero, skeleton.coefficients(between))


@jax.jit
def _sums(y: Array, design: _Design, skeleton: Skeleton) -> _Sums:
    """Sums of traits from which the covariates are removed by ordinary least squares first."""
    r, p, _ = design.inverses.shape
    least_squares = design.Q.T @ y
    left = y - design.Q @ least_squares
    squares = left**2
    scores = (design.weighted_bases @ left).reshape(r, p, -1)
    total = jnp.sum(squares, axis=0)

    along = design.rounded.T @ left

    def null_squares(left: Array) -> Array:
        in_null = jnp.where(design.null[:, None], left, 0.0)
        in_null = in_null - design.null_basis @ (design.null_basis.T @ in_null)
        zero_rss = jnp.sum(in_null**2, axis=0)
        zero_rss = zero_rss + jnp.sum(along**2 - (design.leaning @ left) ** 2, axis=0)
        return jnp.where(zero_rss <= EXACT_TOLERANCE * total, 0.0, zero_rss)

    zero_rss = lax.cond(jnp.any(design.null), null_squares, lambda _: jnp.zeros_like(total), left)
    rss = design.weights @ squares - jnp.sum(scores**2, axis=1) + design.dropped @ along**2
    return _Sums(
        rss=skeleton.coefficients(rss - zero_rss / skeleton.gap[:, None]),
        zero_rss=zero_rss,
        shifts=design.inverses @ scores + design.shifting @ along,
        least_squares=least_squares,
        status=constant_status(total, jnp.sum(y**2, axis=0)),
    )


@partial(jax.jit, static_argnames="options")
def _fit_sums(
    sums: _Sums,
    shared: _Shared,
    skeleton: Skeleton,
    *,
    n: Array,
    tol: Array,
    prior: Prior,
    options: Options,
) -> LMMFit:
    components = estimate(
        Profile(skeleton, sums.rss, sums.zero_rss, shared.logdet[:, None], shared.zeros[None]),
        n=jnp.asarray(n)[None],
        p=len(sums.least_squares),
        free_zeros=shared.free_zeros[None],
        status=sums.status,
        tol=tol,
        prior=prior,
        options=options,
    )
    hsq = jnp.where(jnp.isnan(components.hsq), 0.0, components.hsq)
    # shifts / h is a sum of weights w(h), the shifts are not.
    nodes = skeleton.interpolation(hsq) / skeleton.hsq[:, None]
    shift = hsq * jnp.sum(nodes[:, None] * sums.shifts, axis=0)
    beta = shared.to_beta @ (sums.least_squares + shift)
    beta_se = None
    if options.compute_se:
        variance = components.sigmasq * shared.effect_variance(skeleton, hsq)
        beta_se = where_fitted(components.status, jnp.sqrt(variance))
    return LMMFit(
        beta=where_fitted(components.status, beta), beta_se=beta_se, **components._asdict()
    )
