"""Sums of markers against traits, and what tests make of them: pure functions of arrays.

Of a marker with rotated columns g̃ and a trait ỹ, all tests need at a heritability h

    a = Σ w̃ ỹ²,   b = Σ w̃ g̃ ỹ,   d = Σ w̃ g̃ g̃',

w̃ the weights in the complement of the covariates. With h fixed, b of all pairs is one product; a
and d are skeleton sums.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.model.engine import Rotated
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.pattern import Pattern
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "Best",
    "Effects",
    "Markers",
    "Traits",
    "best_of_block",
    "effects_of_block",
    "rotate_markers",
    "traits_at",
]


SINGLE_COLLINEAR_TOLERANCE = 1e-5
"""COLLINEAR_TOLERANCE for markers in single precision."""

DEPENDENT_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
"""Part of a column that must be left beside the columns before it: above a skeleton's error."""


class Markers(NamedTuple):
    """A block of B rotated markers of k columns each.

    Attributes
    ----------
    values : (k, q, B)
        g̃.
    squares : (k, k, r + 1, B)
        Coefficients of Σ w g̃ᵢ g̃ⱼ in the nodes of a skeleton, and the sum in the null space of K.
    varies : (k, B)
        Whether the covariates leave anything of a column.
    """

    values: Array
    squares: Array
    varies: Array


class Traits(NamedTuple):
    """A block of T traits of one pattern of missing values, at their heritabilities.

    weighted (q, T) is w̃ ∘ ỹ; weights (r + 1, T) those of the nodes, and 1/(1-h); rss (T,) is a, NaN
    for a trait without a fit; dof () the degrees of freedom n - p.
    """

    weighted: Array
    weights: Array
    rss: Array
    dof: Array


class Effects(NamedTuple):
    """Of B markers of k columns on T traits: (B, T, k), (B, T, k), (B, T), (B, T).

    ``share`` is the part of a that the marker explains, ``rank`` its independent columns.
    """

    beta: Array
    se: Array
    share: Array
    rank: Array


class Best(NamedTuple):
    """For each of T traits the largest share in a block, and of which marker: (T,) or (T, k)."""

    share: Array
    marker: Array
    beta: Array
    se: Array
    rank: Array


@partial(jax.jit, static_argnames="dtype")
def rotate_markers(
    pattern: Pattern, G: Float[Array, "n B k"], skeleton: Skeleton, *, dtype: str
) -> Markers:
    """Rotate markers of all individuals by the decomposition of one pattern (leading axis 1)."""
    own = jax.tree.map(lambda a: a[0], pattern)
    G = jnp.moveaxis(G.astype(float), 2, 0)  # (k, n, B)
    present = (own.members >= 0)[:, None]
    values = jnp.where(present, G[:, own.members], 0.0)
    if own.roots is not None:
        values = own.roots[:, None] * values
    whole = jnp.sum(values**2, axis=1)
    tolerance = COLLINEAR_TOLERANCE if dtype == "float64" else SINGLE_COLLINEAR_TOLERANCE
    if dtype == "float32":
        # What the covariates explain would use up single precision's digits.
        Q_t = own.projection.Q_t
        values = values - Q_t.T @ (Q_t @ values)
    k, n, B = values.shape
    flat = jnp.moveaxis(values, 0, 1).reshape(n, k * B).astype(dtype)
    rotated = jnp.moveaxis((own.projection.Kve_t.astype(dtype) @ flat).reshape(-1, k, B), 1, 0)
    rows = own.rows.astype(dtype)
    sums = [[rows @ (rotated[i] * rotated[j]) for j in range(i + 1)] for i in range(k)]
    table = jnp.stack(
        [jnp.stack([sums[max(i, j)][min(i, j)] for j in range(k)]) for i in range(k)]
    ).astype(float)
    at_nodes = jnp.moveaxis(skeleton.coefficients(jnp.moveaxis(table[:, :, :-2], 2, 0)), 0, 2)
    squares = jnp.concatenate([at_nodes, table[:, :, -1:]], axis=2)
    left = jnp.stack([table[i, i, -2] for i in range(k)])
    varies = left > tolerance**2 * whole
    return Markers(jnp.where(varies[:, None], rotated, 0.0), squares.astype(dtype), varies)


@partial(jax.jit, static_argnames="dtype")
def traits_at(
    pattern: Pattern,
    rotated: Rotated,
    block: Array,
    hsq: Float[Array, " T"],
    status: Array,
    *,
    dtype: str,
) -> Traits:
    """Traits of one block at the heritabilities of their fits without markers."""
    own = jax.tree.map(lambda a: a[0], pattern)
    hsq = jnp.where(jnp.isnan(hsq), 0.0, hsq)
    values = rotated.values[block].astype(float) * rotated.scale[block]
    variance = hsq * own.projection.Kva[:, None] + (1 - hsq)
    weighted = values / variance
    regular = (status == Status.OK) | (status == Status.FLAT)
    # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
    inverse_gap = jnp.where(hsq < 1, 1 / (1 - hsq), 0.0)
    return Traits(
        weighted.astype(dtype),
        jnp.concatenate([rotated.profile.skeleton.weights(hsq), inverse_gap[None]]).astype(dtype),
        jnp.where(regular, jnp.sum(values * weighted, axis=0), jnp.nan),
        (own.n - len(own.projection.R)).astype(float),
    )


@jax.jit
def effects_of_block(markers: Markers, traits: Traits) -> Effects:
    """All effects of a block of markers on a block of traits, h² fixed."""
    b, d = _sums(markers, traits)
    return _effects(b, d, traits.rss, markers.varies, traits.dof)


@jax.jit
def best_of_block(markers: Markers, traits: Traits) -> Best:
    """Best marker of a block for each trait; nothing of the size of the block leaves the cache."""
    b, d = _sums(markers, traits)
    score = _eliminate(b, d, markers.varies).explained
    top = jnp.max(score, axis=0)
    index = lax.broadcasted_iota(jnp.int32, score.shape, 0)
    marker = jnp.min(jnp.where(score >= top, index, len(score) - 1), axis=0)

    def take(values: Array) -> Array:
        return jnp.take_along_axis(values, marker[None], axis=0)

    of_best = [take(x) for x in b], [[take(x) for x in row] for row in d]
    chosen = markers.varies[:, marker]
    effects = _effects(
        [x.T for x in of_best[0]],
        [[x.T for x in row] for row in of_best[1]],
        traits.rss[:, None],
        chosen,
        traits.dof,
    )
    return Best(
        effects.share[:, 0], marker, effects.beta[:, 0], effects.se[:, 0], effects.rank[:, 0]
    )


def _sums(markers: Markers, traits: Traits) -> tuple[list[Array], list[list[Array]]]:
    """Sums b (k of (B, T)) and d (lower triangle of k rows)."""
    k = len(markers.values)
    b = [values.T @ traits.weighted for values in markers.values]
    d = [[markers.squares[i, j].T @ traits.weights for j in range(i + 1)] for i in range(k)]
    return b, d


class _Elimination(NamedTuple):
    """Columns after elimination of those before them, each (B, T): LDL' decomposition of d.

    ``lower`` are the rows of L below its diagonal of ones, ``left`` is D, ``scores`` are L⁻¹b;
    columns that are not ``kept`` have a score of zero.
    """

    lower: list[list[Array]]
    left: list[Array]
    scores: list[Array]
    kept: list[Array]
    explained: Array


def _eliminate(b: list[Array], d: list[list[Array]], varies: Array) -> _Elimination:
    """Sum of squares that k columns explain.

    Columns that the covariates, or the columns before them, span are left out.
    """
    tolerance = DEPENDENT_TOLERANCE[b[0].dtype.name]
    found = _Elimination([], [], [], [], jnp.zeros((), b[0].dtype))
    explained = found.explained
    for i, (score, row) in enumerate(zip(b, d, strict=True)):
        unscaled: list[Array] = []
        left, keep = row[i], varies[i][:, None]
        for j in range(i):
            value = row[j]
            for c in range(j):
                value = value - unscaled[c] * found.lower[j][c]
            unscaled.append(value)
        factors = [
            jnp.where(found.kept[j], value / found.left[j], 0.0) for j, value in enumerate(unscaled)
        ]
        for j, factor in enumerate(factors):
            left, score = left - factor * unscaled[j], score - factor * found.scores[j]
        if i > 0:
            keep = keep & (left > tolerance * row[i])
            score = jnp.where(keep, score, 0.0)
        left = jnp.where(keep, left, 1.0)
        explained = explained + score**2 / left
        if len(b) > 1:  # XLA would compute each step again in all that follow
            factors, left, score, keep = lax.optimization_barrier((factors, left, score, keep))
        found.lower.append(factors)
        found.left.append(left)
        found.scores.append(score)
        found.kept.append(keep)
    return found._replace(explained=explained)


def _effects(
    b: list[Array], d: list[list[Array]], rss: Array, varies: Array, dof: Array
) -> Effects:
    """Coefficients and their standard errors, NaN for columns left out."""
    lower, left, scores, kept, explained = _eliminate(b, d, varies)
    k = len(b)
    rank = jnp.where(kept[0], 1, 0)
    for keep in kept[1:]:
        rank = rank + jnp.where(keep, 1, 0)
    share = jnp.where(rank > 0, explained / rss.astype(explained.dtype), jnp.nan)

    def solve(right: list[Array]) -> list[Array]:
        """Solve L'x = right, whose last elements are zero if left out, like dropped columns."""
        x: list[Array] = [jnp.zeros(())] * len(right)
        for i in reversed(range(len(right))):
            value = right[i]
            for j in range(i + 1, len(right)):
                value = value - lower[j][i] * x[j]
            x[i] = jnp.where(kept[i], value, 0.0)
            if k > 1:
                x[i] = lax.optimization_barrier(x[i])
        return x

    one, nothing = jnp.ones(()), jnp.zeros(())
    columns = [solve([one if i == c else nothing for i in range(c + 1)]) for c in range(k)]
    residual = rss * jnp.maximum(1 - share, 0.0) / (dof - rank)
    beta, se = [], []
    for i, value in enumerate(solve([z / x for z, x in zip(scores, left, strict=True)])):
        norm = nothing
        for c in range(i, k):
            norm = norm + columns[c][i] ** 2 / left[c]
        beta.append(jnp.where(kept[i], value, jnp.nan))
        se.append(jnp.where(kept[i], jnp.sqrt(residual * norm), jnp.nan))
    alive = jnp.isfinite(share)[..., None]
    return Effects(
        jnp.where(alive, jnp.stack(beta, -1), jnp.nan),
        jnp.where(alive, jnp.stack(se, -1), jnp.nan),
        share,
        jnp.broadcast_to(rank, share.shape),
    )
