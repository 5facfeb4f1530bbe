"""Sums of markers against traits, and what tests make of them: pure functions of arrays.

Of a marker with rotated columns g̃ and a trait ỹ, all tests need at a heritability h

    a = Σ w̃ ỹ²,   b = Σ w̃ g̃ ỹ,   d = Σ w̃ g̃ g̃',

w̃ the weights in the complement of the covariates. With h fixed, b of all pairs is one product; a
and d are skeleton sums.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.tested_traits import AmongMore, Traits

__all__ = [
    "BestOfBlock",
    "Effects",
    "best_of_block",
    "effects_among_more",
    "effects_of_best",
    "effects_of_block",
    "effects_of_sums",
    "largest_share",
    "ranks_of_block",
]

DEPENDENT_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
"""Part of a column that must be left beside the columns before it: above a skeleton's error."""

LEAST_LEFT = 0.1
"""Part of a column's squares that individuals left out must leave, lest a skeleton's error grow."""


class Effects(NamedTuple):
    """Of B markers of k columns on T traits: (B, T, k), (B, T, k), (B, T), (B, T).

    ``share`` is the part of a that the marker explains, ``rank`` its independent columns.
    """

    beta: Float[AnyArray, "*pairs k"]
    se: Float[AnyArray, "*pairs k"]
    share: Float[AnyArray, "*pairs"]
    rank: Int[AnyArray, "*pairs"]


class BestOfBlock(NamedTuple):
    """For each of T traits the largest share in a block, of which marker, and its sums.

    ``share``, ``marker`` and ``rss`` (T,), b (k, T), d (k, k, T), ``varies`` (k, T).
    """

    share: Float[AnyArray, " T"]
    marker: Int[AnyArray, " T"]
    b: Float[AnyArray, "k T"]
    d: Float[AnyArray, "k k T"]
    varies: Bool[AnyArray, "k T"]
    rss: Float[AnyArray, " T"]


@jax.jit
def effects_of_block(markers: Markers, traits: Traits) -> Effects:
    """All effects of a block of markers on a block of traits, h² fixed."""
    varies = markers.varies[:, :, None]
    return effects_of_sums(*_sums(markers, traits), traits.rss, varies, traits.dof)


@jax.jit
def effects_among_more(markers: Markers, traits: AmongMore) -> tuple[Effects, Bool[Array, " T"]]:
    """As `effects_of_block`, markers rotated for more individuals, and for whom it is as exact.

    Not for a trait that lacks almost all the individuals in whom some column varies.
    """
    b, whole = _sums(markers, traits.traits)
    k, B, q = markers.values.shape
    s, _, T = traits.left_out.shape
    rows = jnp.moveaxis(traits.left_out, 0, 1).reshape(q, s * T)
    lost = (markers.values.reshape(k * B, q) @ rows).reshape(k, B, s, T)
    d = whole - sum(lost[:, None, :, i] * lost[None, :, :, i] for i in range(s))
    varies = markers.varies[:, :, None]
    of_column = jnp.arange(k)
    left = d[of_column, of_column] >= LEAST_LEFT * whole[of_column, of_column]
    found = effects_of_sums(b, d, traits.traits.rss, varies, traits.traits.dof)
    return found, jnp.all(left | ~varies, axis=(0, 1))


@jax.jit
def ranks_of_block(markers: Markers) -> Int[Array, " B"]:
    """Independent columns: weights are positive, so that they are as many at any heritability."""
    d = jnp.sum(markers.squares, axis=-1)[..., None]
    return _rank(_eliminate(jnp.zeros_like(d[0]), d, markers.varies[:, :, None]))[:, 0]


@jax.jit
def best_of_block(
    markers: Markers, traits: Traits, among: Bool[AnyArray, " B"] | None = None
) -> BestOfBlock:
    """Best marker of a block for each trait; nothing of the size of the block leaves the cache."""
    b, d = _sums(markers, traits)
    score = _explained(_eliminate(b, d, markers.varies[:, :, None]))
    if among is not None:
        score = jnp.where(among[:, None], score, -1.0)
    top = jnp.max(score, axis=0)
    index = lax.broadcasted_iota(jnp.int32, score.shape, 0)
    marker = jnp.min(jnp.where(score >= top, index, len(score) - 1), axis=0)

    def take(values: Array) -> Array:
        rows = marker[(None,) * (values.ndim - 1)]
        return jnp.take_along_axis(values, rows, axis=-2)[..., 0, :]

    varies = markers.varies[:, marker]
    share = jnp.where(jnp.any(varies, axis=0), top / traits.rss.astype(top.dtype), jnp.nan)
    return BestOfBlock(share, marker, take(b), take(d), varies, traits.rss)


def largest_share(markers: Markers, traits: Traits) -> Float[Array, " T"]:
    """Largest share of a block of markers for each trait; NaN where none of them varies."""
    b, d = _sums(markers, traits)
    top = jnp.max(_explained(_eliminate(b, d, markers.varies[:, :, None])), axis=0)
    return jnp.where(jnp.any(markers.varies), top / traits.rss.astype(top.dtype), jnp.nan)


@jax.jit
def effects_of_best(best: BestOfBlock, dof: Array) -> Effects:
    """Effects of the best markers of T traits, (T, k) and (T,)."""
    b, d, varies = (jnp.asarray(x)[..., None, :] for x in (best.b, best.d, best.varies))
    return jax.tree.map(lambda x: x[0], effects_of_sums(b, d, jnp.asarray(best.rss), varies, dof))


def _sums(markers: Markers, traits: Traits) -> tuple[Array, Array]:
    """Sums b (k, B, T) and d (k, k, B, T)."""
    k, B, q = markers.values.shape
    b = markers.values.reshape(k * B, q) @ traits.weighted
    d = markers.squares.reshape(k * k * B, -1) @ traits.weights
    return b.reshape(k, B, -1), d.reshape(k, k, B, -1).astype(b.dtype)


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
    return reduce(add, (score * (score / left) for score, left in found.scores))


def _rank(found: _Elimination) -> Array:
    """How many columns are used, (B, 1 or T)."""
    return reduce(add, (jnp.where(keep, 1, 0) for keep in found.kept))


def effects_of_sums(b: Array, d: Array, rss: Array, varies: Array, dof: Array) -> Effects:
    """Coefficients and their standard errors, NaN for columns left out."""
    found = _eliminate(b, d, varies, inverse=True)
    scores, inverse, kept = found
    rank, tested = _rank(found), rss > 0
    known = [keep & tested for keep in kept]
    by_itself = [
        jnp.where(one, score / left, jnp.nan)
        for one, (score, left) in zip(known, scores, strict=True)
    ]
    # Each is written once and read again, where XLA would divide for every use.
    by_itself = lax.optimization_barrier(by_itself)
    explained = beta = norm = jnp.zeros(())
    for one, own, (score, left), row in zip(known, by_itself, scores, inverse, strict=True):
        used = jnp.where(one, own, 0.0)
        explained = explained + score * used
        beta = beta + row * used
        norm = norm + jnp.where(one, row**2 / left, 0.0)
    share = jnp.where(tested, explained / rss.astype(b.dtype), 0.0)
    residual = rss * jnp.maximum(1 - share, 0.0) / (dof - rank)
    in_use = jnp.stack(known)
    norm = jnp.where(in_use, norm, 1.0)  # the root has no derivative at zero

    def columns(values: Array) -> Array:
        return jnp.moveaxis(jnp.where(in_use, values, jnp.nan), 0, -1)

    return Effects(
        by_itself[0].astype(float)[..., None] if len(by_itself) == 1 else columns(beta),
        columns(jnp.sqrt(residual * norm)),
        jnp.where(tested & (rank > 0), share, jnp.nan),
        jnp.broadcast_to(rank, share.shape),
    )
