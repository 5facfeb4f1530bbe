"""Sums of markers against traits, and what tests make of them: pure functions of arrays.

Of a marker with rotated columns g̃ and a trait ỹ, all tests need at a heritability h

    a = Σ w̃ ỹ²,   b = Σ w̃ g̃ ỹ,   d = Σ w̃ g̃ g̃',

w̃ the weights in the complement of the covariates. With h fixed, b of all pairs is one product; a
and d are skeleton sums.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.model.engine import Rotated
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.pattern import Pattern
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "BestOfBlock",
    "Effects",
    "MarkerRotation",
    "Markers",
    "Traits",
    "best_of_block",
    "effects_of_best",
    "effects_of_block",
    "effects_of_sums",
    "marker_rotation",
    "rotate_markers",
    "traits_at",
]


SINGLE_COLLINEAR_TOLERANCE = 1e-5
"""COLLINEAR_TOLERANCE for markers in single precision."""

DEPENDENT_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
"""Part of a column that must be left beside the columns before it: above a skeleton's error."""


class MarkerRotation(NamedTuple):
    """What takes genotypes of all n individuals to sums in one pattern of missing values.

    Attributes
    ----------
    rotation : (n, q)
        From genotypes to g̃; zero for an individual that is not in the pattern.
    onto, back : (n, p), (p, n)
        From genotypes to what the covariates explain, and back.
    individuals : (n,)
        Weights of the individuals, zero for one that is not in the pattern.
    rows : (q, r + 2)
        From squares to their coefficients in the nodes, their sum in the null space, and their sum.
    """

    rotation: Array
    onto: Array
    back: Array
    individuals: Array
    rows: Array


class Markers(NamedTuple):
    """A block of B rotated markers of k columns each.

    Attributes
    ----------
    values : (k, B, q)
        g̃.
    squares : (k, k, B, r + 1)
        Coefficients of Σ w g̃ᵢ g̃ⱼ in the nodes of a skeleton, and the sum in the null space of K.
    varies : (k, B)
        Whether the covariates leave anything of a column.
    """

    values: Array
    squares: Array
    varies: Array

    def part(self, some: slice) -> Markers:
        """Some of the markers."""
        return Markers(self.values[:, some], self.squares[:, :, some], self.varies[:, some])


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


class BestOfBlock(NamedTuple):
    """For each of T traits the largest share in a block, of which marker, and its sums.

    ``share``, ``marker`` and ``rss`` (T,), b (k, T), d (k, k, T), ``varies`` (k, T).
    """

    share: Any
    marker: Any
    b: Any
    d: Any
    varies: Any
    rss: Any


@partial(jax.jit, static_argnames=("n", "dtype"))
def marker_rotation(pattern: Pattern, skeleton: Skeleton, *, n: int, dtype: str) -> MarkerRotation:
    """Prepare one pattern (leading axis 1) for the markers of n individuals."""
    own = jax.tree.map(lambda a: a[0], pattern)
    present = own.members >= 0
    where = jnp.where(present, own.members, n)
    roots = jnp.ones(own.members.size) if own.roots is None else own.roots

    def of_all(columns: Array) -> Array:
        return jnp.zeros((n, *columns.shape[1:])).at[where].set(columns, mode="drop")

    root, Q = roots[:, None], own.projection.Q_t.T
    return MarkerRotation(
        of_all(root * own.projection.Kve_t.T).astype(dtype),
        of_all(root * Q),
        of_all(Q / root).T,
        of_all(roots**2),
        jnp.concatenate([skeleton.coefficients(own.rows[:-2]), own.rows[:-3:-1]]).T.astype(dtype),
    )


@partial(jax.jit, static_argnames="dtype")
def rotate_markers(by: MarkerRotation, G: Float[Array, "k B n"], *, dtype: str) -> Markers:
    """Rotate a block of markers: a product that is fastest with markers in rows."""
    k, B, n = G.shape
    G = G.reshape(k * B, n).astype(float)
    whole = jnp.sum(G**2 * by.individuals, axis=1).reshape(k, B)
    tolerance = COLLINEAR_TOLERANCE if dtype == "float64" else SINGLE_COLLINEAR_TOLERANCE
    if dtype == "float32":
        # What the covariates explain would use up single precision's digits.
        G = G - (G @ by.onto) @ by.back
    rotated = (G.astype(dtype) @ by.rotation).reshape(k, B, -1)

    def products(i: int) -> Array:
        """Sums of column i with those up to it, (i + 1, B, r + 2), and zeros for the others."""
        columns = rotated[: i + 1] * rotated[i]
        sums = (columns.reshape(-1, columns.shape[-1]) @ by.rows).reshape(i + 1, B, -1)
        return jnp.pad(sums, ((0, k - i - 1), (0, 0), (0, 0)))

    lower = jnp.stack([products(i) for i in range(k)])
    strict = np.tril(np.ones((k, k), dtype=bool), -1)[:, :, None, None]
    squares = lower + jnp.swapaxes(jnp.where(strict, lower, 0.0), 0, 1)
    left = jnp.diagonal(squares[..., -1]).T
    varies = left > tolerance**2 * whole
    return Markers(jnp.where(varies[:, :, None], rotated, 0.0), squares[..., :-1], varies)


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
    varies = markers.varies[:, :, None]
    return effects_of_sums(*_sums(markers, traits), traits.rss, varies, traits.dof)


@jax.jit
def best_of_block(markers: Markers, traits: Traits) -> BestOfBlock:
    """Best marker of a block for each trait; nothing of the size of the block leaves the cache."""
    b, d = _sums(markers, traits)
    score = _explained(_eliminate(b, d, markers.varies[:, :, None]))
    top = jnp.max(score, axis=0)
    index = lax.broadcasted_iota(jnp.int32, score.shape, 0)
    marker = jnp.min(jnp.where(score >= top, index, len(score) - 1), axis=0)

    def take(values: Array) -> Array:
        rows = marker[(None,) * (values.ndim - 1)]
        return jnp.take_along_axis(values, rows, axis=-2)[..., 0, :]

    varies = markers.varies[:, marker]
    share = jnp.where(jnp.any(varies, axis=0), top / traits.rss.astype(top.dtype), jnp.nan)
    return BestOfBlock(share, marker, take(b), take(d), varies, traits.rss)


@jax.jit
def effects_of_best(best: BestOfBlock, dof: Array) -> Effects:
    """Effects of the best markers of T traits, (T, k) and (T,)."""
    b, d, varies = (x[..., None, :] for x in (best.b, best.d, best.varies))
    return jax.tree.map(lambda x: x[0], effects_of_sums(b, d, best.rss, varies, dof))


def _sums(markers: Markers, traits: Traits) -> tuple[Array, Array]:
    """Sums b (k, B, T) and d (k, k, B, T)."""
    k, B, q = markers.values.shape
    b = markers.values.reshape(k * B, q) @ traits.weighted
    d = markers.squares.reshape(k * k * B, -1) @ traits.weights
    return b.reshape(k, B, -1), d.reshape(k, k, B, -1)


class _Elimination(NamedTuple):
    """LDL' decomposition of d, for each of k columns.

    ``scores`` are pairs of (L⁻¹b)ᵢ and Dᵢ, (B, T) both, ``inverse`` the rows of L⁻¹ (k, B, T) if
    asked for, ``kept`` whether a column is used: one that is not has the score 0.
    """

    scores: list[tuple[Array, Array]]
    inverse: list[Array]
    kept: list[Array]


def _eliminate(b: Array, d: Array, varies: Array, inverse: bool = False) -> _Elimination:
    """Eliminate k columns, without those that the covariates or the columns before them span.

    ``varies`` (k, B, 1 or T) says which the covariates span.
    """
    k = len(b)
    tolerance = DEPENDENT_TOLERANCE[b.dtype.name]
    found = _Elimination([], [], [])
    whole = [d[i, i] for i in range(k)]
    rows = jnp.eye(k, dtype=d.dtype)[:, :, None, None] if inverse else jnp.zeros((k, 0, 1, 1))
    for i in range(k):
        left = d[0, 0]
        keep = varies[i]
        if i > 0:
            keep = keep & (left > tolerance * whole[i])
        left = jnp.where(keep, left, 1.0)
        found.scores.append((jnp.where(keep, b[0], 0.0) if i > 0 else b[0], left))
        found.kept.append(keep)
        found.inverse.append(rows[0])
        factors = jnp.where(keep, d[1:, 0] / left, 0.0)
        b = b[1:] - factors * b[0]
        d = d[1:, 1:] - factors[:, None] * d[0, 1:]
        rows = rows[1:] - factors[:, None] * rows[0]
        b, d, rows = lax.optimization_barrier((b, d, rows))  # XLA would repeat the steps before
    return found


def _explained(found: _Elimination) -> Array:
    """Sum of squares that the columns explain together, (B, T)."""
    return reduce(add, (score**2 / left for score, left in found.scores))


def effects_of_sums(b: Array, d: Array, rss: Array, varies: Array, dof: Array) -> Effects:
    """Coefficients and their standard errors, NaN for columns left out."""
    found = _eliminate(b, d, varies, inverse=True)
    scores, inverse, kept = found
    rank = sum(jnp.where(keep, 1, 0) for keep in kept)
    share = jnp.where(rank > 0, _explained(found) / rss.astype(b.dtype), 0.0)
    residual = rss * jnp.maximum(1 - share, 0.0) / (dof - rank)
    used = jnp.stack([jnp.broadcast_to(keep, share.shape) for keep in kept])
    beta = norm = jnp.zeros(())
    for row, keep, (score, left) in zip(inverse, kept, scores, strict=True):
        beta = beta + row * (score / left)
        norm = norm + jnp.where(keep, row**2 / left, 0.0)
    share = jnp.where(rank > 0, share, jnp.nan)
    known = used & jnp.isfinite(share)
    norm = jnp.where(used, norm, 1.0)  # the root has no derivative at zero

    def columns(values: Array) -> Array:
        return jnp.moveaxis(jnp.where(known, values, jnp.nan), 0, -1)

    return Effects(
        columns(beta),
        columns(jnp.sqrt(residual * norm)),
        share,
        jnp.broadcast_to(rank, share.shape),
    )
