"""What the covariates do to rotated traits at the nodes of a skeleton, and what traits add."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.estimate import EffectVariance, constant_status
from lmmlite_jax.model.likelihood import EXACT_TOLERANCE, NullDirections, null_directions
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "Design",
    "Shared",
    "TraitSums",
    "counts_as_zero",
    "design_at_nodes",
    "sums_of_traits",
]

SECULAR_TOLERANCE = 1e-13
"""Rounding of eigenvalues of a small matrix whose elements are about one."""

MAX_STEPS = 60


class TraitSums(NamedTuple):
    """What a block of m traits contributes.

    ``rss`` and ``zero_rss`` are a `Profile`'s; ``shifts`` are what generalised least squares at the
    nodes adds to ``least_squares``.
    """

    rss: Float[Array, "r m"]
    zero_rss: Float[Array, " m"]
    shifts: Float[Array, "r p m"]
    least_squares: Float[Array, "p m"]
    status: Int[Array, " m"]


class Shared(NamedTuple):
    """What all traits share, whatever n is; ``to_beta`` is R⁻¹, and the next are a `Profile`'s."""

    to_beta: Float[Array, "p p"]
    logdet: Float[Array, "r 1"]
    zeros: Float[Array, " 1"]
    free_zeros: Float[Array, " 1"]
    effect_variance: EffectVariance


class Design(NamedTuple):
    """What the covariates do at the nodes of a skeleton, for all traits alike.

    Q is an orthonormal basis of the covariates; at each node there are the weights of individuals,
    an orthonormal basis of the weighted Q, weighted again, and the inverse of the triangle that
    leads from there to Q; then the null space of K, and the part of it that the covariates span.

    ``rounded`` are k eigenvectors in the complement of the covariates whose eigenvalues count as
    zero, though they are not: covariates almost in the range of K, k = p or 0. ``dropped`` is what
    their weights lack to those of zero, and ``leaning`` the parts of K's null space that they lean
    from; ``shifting`` takes traits along them to their part of ``shifts``.
    """

    Q: Float[Array, "n p"]
    weights: Float[Array, "r n"]
    weighted_bases: Float[Array, "rp n"]
    inverses: Float[Array, "r p p"]
    null: Bool[Array, " n"]
    null_basis: Float[Array, "n p"]
    rounded: Float[Array, "n k"]
    leaning: Float[Array, "k n"]
    dropped: Float[Array, "r k"]
    shifting: Float[Array, "r p k"]
    shared: Shared


@partial(jax.jit, static_argnames=("reml", "rounded"))
def design_at_nodes(
    Kva: Float[Array, " n"],
    X: Float[Array, "n p"],
    skeleton: Skeleton,
    *,
    reml: bool,
    rounded: bool,
) -> Design:
    """Everything of the covariates that no trait enters.

    Without ``rounded``, `counts_as_zero` is known to have no direction: it compiles faster.
    """
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
    eigenvalues, small, leaning = jnp.zeros(0), Q[:, :0], Q.T[:0]  # nothing to add for any trait
    if rounded:
        eigenvalues, small, leaning = _rounded(Kva, Q, directions)
    deltas = jnp.asarray(skeleton.deltas)[:, None]
    dropped = (1 + deltas) * eigenvalues / (deltas * (deltas + eigenvalues))
    own_weights = (1 + deltas) / (deltas + eigenvalues)
    cross = Q.T @ (Kva[:, None] * small)
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
    return Design(
        Q=Q,
        weights=weights,
        weighted_bases=jnp.swapaxes(roots * bases, 1, 2).reshape(-1, n),
        inverses=inverses,
        null=null,
        null_basis=null_basis,
        rounded=small,
        leaning=leaning,
        dropped=dropped,
        shifting=skeleton.hsq[:, None, None] * own_weights[:, None, :] * cross,
        shared=Shared(
            to_beta,
            skeleton.coefficients(slopes)[:, None],
            zeros[None],
            free_zeros[None],
            _effect_variance(Kva, Q @ free, to_beta, pinned, free, inverses, of_rounded, skeleton),
        ),
    )


def _separated(
    in_null: Float[Array, "n p"], directions: NullDirections
) -> tuple[Float[Array, "n p"], Float[Array, "p p"]]:
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


def counts_as_zero(directions: NullDirections) -> Bool[AnyArray, " p"]:
    """Directions beside which there is an eigenvalue that counts as zero though it is positive."""
    return ~directions.pinned & (directions.lengths > 1e-6)


def _rounded(
    Kva: Float[Array, " n"], Q: Float[Array, "n p"], directions: NullDirections
) -> tuple[Float[Array, " p"], Float[Array, "n p"], Float[Array, "p n"]]:
    """Eigenvalues beside the covariates that count as zero though they are positive.

    These (p,), their eigenvectors (n, p), and the directions (p, n) of K's null space from which
    those lean; zero where there is none. Constants for derivatives: they correct rounding.
    """
    Kva, Q = lax.stop_gradient((Kva, Q))
    null = (Kva == 0)[:, None]
    parts = Q @ directions.basis
    there = counts_as_zero(directions)
    eigenvalues, turns = _secular_roots(Kva, jnp.where(null, 0.0, parts), directions, there)
    vectors = jnp.where(null, 1.0, -eigenvalues / _above(Kva, eigenvalues)) * (parts @ turns)
    norms = jnp.linalg.norm(vectors, axis=0)
    leaning = jnp.where(null, parts, 0.0) / jnp.where(there, directions.lengths, 1.0)
    return (
        eigenvalues,
        jnp.where(there, vectors / jnp.where(there, norms, 1.0), 0.0),
        jnp.where(there, leaning, 0.0).T,
    )


def _secular_roots(
    Kva: Float[Array, " n"],
    in_range: Float[Array, "n p"],
    directions: NullDirections,
    there: Bool[AnyArray, " p"],
) -> tuple[Float[Array, " p"], Float[Array, "p p"]]:
    """Roots λ of the secular equation [A - λ B(λ)] b = 0, and b, in the basis of ``directions``.

    λ is an eigenvalue in the complement of the covariates, and (K - λ)⁻¹Qb its eigenvector, with
    B(λ) = Q'(K - λ)⁻¹Q in the range of K. B(0), which `NullDirections` has, is not enough where λ
    is not far below the smallest eigenvalue of K: 1e-4 of λ is 1e-6 of a log likelihood.
    """

    def newton_step(root: Array, number: Array) -> tuple[Array, Array, Array]:
        """A better root, its vector, and how far the root was from being one."""
        above = _above(Kva, root)
        scaled = in_range / jnp.sqrt(above)
        values, vectors = jnp.linalg.eigh(
            jnp.diag(directions.lengths**2) - root * (scaled.T @ scaled)
        )
        part = (in_range / above) @ vectors[:, number]
        change = values[number] / (Kva @ part**2)
        return root + change, vectors[:, number], values[number]

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        roots, _, _, steps = state
        # Vectors of equal roots are orthogonal only if they come from one matrix.
        equal = jnp.abs(roots[:, None] - roots) <= 1e-9 * roots
        roots = jnp.max(jnp.where(equal, roots[:, None], 0.0), axis=0)
        better, turns, values = lax.map(lambda of_one: newton_step(*of_one), (roots, numbers))
        return jnp.where(there, better, 0.0), turns.T, jnp.where(there, values, 0.0), steps + 1

    def goes_on(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, values, steps = state
        return jnp.any(jnp.abs(values) > SECULAR_TOLERANCE) & (steps < MAX_STEPS)

    # From above: eigenvalues of A - λ B(λ) are concave in λ, and no step goes beyond the root.
    p = len(there)
    numbers, starts = jnp.arange(p), jnp.where(there, directions.eigenvalues, 0.0)
    start = starts, jnp.eye(p), jnp.where(there, jnp.inf, 0.0), jnp.zeros((), int)
    roots, turns, _, _ = lax.while_loop(goes_on, step, start)
    return roots, turns


def _above(Kva: Float[Array, " n"], eigenvalues: Float[Array, "*p"]) -> Float[Array, "n #p"]:
    """K - λ in the range of K, one in its null space."""
    null = (Kva == 0)[:, None]
    return jnp.where(null, 1.0, Kva[:, None] - eigenvalues)


def _effect_variance(
    Kva: Float[Array, " n"],
    turned: Float[Array, "n p"],
    to_beta: Float[Array, "p p"],
    pinned: Bool[Array, " p"],
    G: Float[Array, "p p"],
    inverses: Float[Array, "r p p"],
    of_rounded: Float[Array, "r p"],
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
def sums_of_traits(y: Float[AnyArray, "n m"], design: Design, skeleton: Skeleton) -> TraitSums:
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
    return TraitSums(
        rss=skeleton.coefficients(rss - zero_rss / skeleton.gap[:, None]),
        zero_rss=zero_rss,
        shifts=design.inverses @ scores + design.shifting @ along,
        least_squares=least_squares,
        status=constant_status(total, jnp.sum(y**2, axis=0)),
    )
