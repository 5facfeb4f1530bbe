"""Maximum of the likelihood of several variance components, by average-information steps."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.variance import Pieces, factorise

__all__ = [
    "Point",
    "TraitData",
    "best_start",
    "differentiable",
    "evaluate",
    "likelihood_ratios",
    "maximise",
    "pieces_at",
    "smallest_eigenvalue",
    "variance_of_estimates",
]

SINGULAR = 1e-13
"""Part of the mean eigenvalue below which an eigenvalue of the variance matrix is zero."""

ROUNDING = 1e-10
"""A step may lower a log likelihood by this part of it, which is its rounding."""

SHORTEST_STEP = 1e-9

DOMINANT = 0.8
"""Share of the variance that one component has in the starting points that try it."""


class TraitData(NamedTuple):
    """One trait: c = C + 1 kinships, the residual's identity last, phenotypes and covariates.

    Individuals not observed are zero everywhere, and ``absent`` on the diagonal of V.
    """

    kinships: Float[Array, "c n n"]
    y: Float[Array, " n"]
    X: Float[Array, "n p"]
    absent: Float[Array, " n"]
    dof: Float[Array, ""]


class Point(NamedTuple):
    """Variances, scaled so that σ² is at its best, with their log likelihood and its score.

    ``information`` is the average information.
    """

    variances: Float[Array, " c"]
    value: Float[Array, ""]
    score: Float[Array, " c"]
    information: Float[Array, "c c"]


class _Climb(NamedTuple):
    """Where the steps have come to, and the share of the next one that is tried."""

    point: Point
    share: Float[Array, ""]
    steps: Int[Array, ""]
    done: Bool[Array, ""]


def _variance(data: TraitData, variances: Float[Array, " c"]) -> Float[Array, "n n"]:
    return jnp.tensordot(variances, data.kinships, 1) + jnp.diag(data.absent)


def pieces_at(data: TraitData, variances: Float[Array, " c"], reml: bool) -> Pieces:
    """What the likelihood is made of, at variances (C + 1,)."""
    return factorise(reml, _variance(data, variances), jnp.asarray(SINGULAR), data.X)


def smallest_eigenvalue(pieces: Pieces) -> Float[Array, ""]:
    """Smallest eigenvalue of the variance matrix (ML), within a factor of n."""
    return 1 / jnp.max(jnp.diagonal(pieces.slope))


def evaluate(
    data: TraitData, variances: Float[Array, " c"], reml: bool, *, rescaled: bool = True
) -> Point:
    """Log likelihood with its derivatives, at the best multiple of ``variances`` or at themselves.

    The value is that of the best multiple always.
    """
    pieces = pieces_at(data, variances, reml)
    weighted = pieces.P @ data.y
    squares = data.y @ weighted
    value = -0.5 * (pieces.logdet + data.dof * jnp.log(squares))
    # P scales like one over the variances.
    scale = squares / data.dof if rescaled else jnp.ones(())
    along = data.kinships @ weighted
    traces = jnp.sum(data.kinships * pieces.slope, axis=(1, 2))
    return Point(
        variances * scale,
        value,
        score=0.5 * (along @ weighted / scale - traces) / scale,
        information=0.5 * along @ (pieces.P @ along.T) / scale**3,
    )


def best_start(data: TraitData, reml: bool) -> Float[Array, " c"]:
    """Best of equal shares and of those that give one component most of the variance."""
    size = len(data.kinships)
    shares = jnp.full((size, size), (1 - DOMINANT) / max(size - 1, 1))
    shares = jnp.where(jnp.eye(size, dtype=bool), DOMINANT, shares)
    shares = jnp.concatenate([jnp.full((1, size), 1 / size), shares])
    values = lax.map(lambda share: evaluate(data, share, reml).value, shares)
    return shares[jnp.nanargmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]


def maximise(
    data: TraitData,
    start: Float[Array, " c"],
    allowed: Bool[Array, " c"],
    tol: Array,
    max_steps: Array,
    reml: bool,
) -> tuple[Point, Array, Array]:
    """Projected steps of the average information, halved until the likelihood grows.

    A component at zero that the score would push below it rests; those not ``allowed`` are zero.
    """

    def proposal(point: Point, share: Array) -> Array:
        free = allowed & ((point.variances > 0) | (point.score > 0))
        information = jnp.where(free[:, None] & free, point.information, 0.0)
        ridge = 1e-12 * jnp.max(jnp.diagonal(information)) + jnp.where(free, 0.0, 1.0)
        step = jnp.linalg.solve(information + jnp.diag(ridge), jnp.where(free, point.score, 0.0))
        return jnp.maximum(point.variances + share * step, 0.0)

    def advance(search: _Climb) -> _Climb:
        point = search.point
        target = proposal(point, search.share)
        candidate = evaluate(data, target, reml)
        slack = ROUNDING * (1 + jnp.abs(point.value))
        accepted = candidate.value >= point.value - slack
        moved = jnp.max(jnp.abs(target - point.variances))
        finished = accepted & (search.share == 1) & (moved <= tol * jnp.sum(point.variances))
        chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), candidate, point)
        return _Climb(
            chosen,
            jnp.where(accepted, 1.0, search.share / 2),
            search.steps + 1,
            finished,
        )

    def unfinished(search: _Climb) -> Array:
        possible = (search.share >= SHORTEST_STEP) & (search.steps < max_steps)
        return ~search.done & possible & jnp.isfinite(search.point.value)

    first = evaluate(data, jnp.where(allowed, start, 0.0), reml)
    search = lax.while_loop(
        unfinished,
        advance,
        _Climb(first, jnp.ones(()), jnp.zeros((), int), jnp.zeros((), bool)),
    )
    return search.point, search.steps, search.done


def differentiable(data: TraitData, found: Point, reml: bool) -> Point:
    """The maximum found, with the derivatives that the implicit function theorem gives it.

    The score of the components above zero is zero: d variances = information⁻¹ d score. Those at
    zero stay there.
    """
    known, at = lax.stop_gradient((data, found.variances))
    free = at > 0
    information = _information(known, pieces_at(known, at, reml))
    information = jnp.where(free[:, None] & free, information, jnp.diag(jnp.where(free, 0.0, 1.0)))
    score = jnp.where(free, evaluate(data, at, reml, rescaled=False).score, 0.0)
    move = jnp.linalg.solve(information, score - lax.stop_gradient(score))
    value = evaluate(data, at, reml).value
    return Point(at + move, value, score, information)


def likelihood_ratios(
    data: TraitData, found: Point, tol: Array, max_steps: Array, reml: bool
) -> Array:
    """Twice the loss of log likelihood without each of the C components; NaN if not found."""
    size = len(data.kinships)
    known = lax.stop_gradient(data)

    def without(c: Array) -> Array:
        allowed = jnp.arange(size) != c
        at = lax.stop_gradient(found.variances)
        spread = jnp.where(at > 0, at, 0.01 * jnp.sum(at))
        point, _, converged = maximise(known, spread, allowed, tol, max_steps, reml)
        value = evaluate(data, lax.stop_gradient(point.variances), reml).value
        ratio = jnp.where(converged, 2 * (found.value - value), jnp.nan)
        return jnp.where(found.variances[c] > 0, jnp.maximum(ratio, 0.0), 0.0)

    return lax.map(without, jnp.arange(size - 1))


def _information(data: TraitData, pieces: Pieces) -> Float[Array, "c c"]:
    """Observed information on the variances."""
    weighted = pieces.P @ data.y
    along = data.kinships @ weighted
    products = lax.map(lambda K: pieces.slope @ K, data.kinships)
    traces = lax.map(
        lambda left: jnp.sum(left * jnp.swapaxes(products, 1, 2), axis=(1, 2)), products
    )
    return along @ (pieces.P @ along.T) - 0.5 * traces


def variance_of_estimates(
    data: TraitData, pieces: Pieces
) -> tuple[Float[Array, "c c"], Bool[Array, ""]]:
    """Variance matrix of the estimates, by the observed information, and whether it is one.

    It is finite where it is none: the derivative of a NaN would be NaN, that of estimates as well.
    """
    information, identity = _information(data, pieces), jnp.eye(len(data.kinships))
    regular = jnp.all(jnp.isfinite(jnp.linalg.cholesky(lax.stop_gradient(information))))
    root = jnp.linalg.cholesky(jnp.where(regular, information, identity))
    return jax.scipy.linalg.cho_solve((root, True), identity), regular
