"""Maxima of the likelihoods of pairs, each over its own h².

The likelihood of most pairs has one maximum. The signs of its slope on a grid, in single precision,
show that, and the cell of the grid it is in, and a fixed number of Newton steps finds it there, or
a few more. Pairs for which any of this is in doubt are left to `global_maximum`.

Where some eigenvalue is zero, the grid ends at a δ = (1-h)/h a little below the positive ones, and
`_no_turn_beyond` shows that no maximum is between that and h = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.pair_terms import NOTHING, PairProfile, PairTerms, newton_step, sums_at
from lmmlite_jax.model.maximum import (
    GRID_POINTS,
    REGULAR_RANGE,
    global_maximum,
    grid_points,
    search_grid,
)
from lmmlite_jax.model.profile import Profile

__all__ = [
    "HowToRefit",
    "PairMaxima",
    "points_of_pairs",
    "settle_doubts",
    "single_maximum",
]

DOUBTFUL_AT_ONCE = 128
"""Pairs that `global_maximum` takes together."""

DOUBT = 1e-5
"""Part of the terms of a slope below which single precision may have its sign wrong."""

SINGULAR_RANGE = 1e4
"""How far below the smallest positive eigenvalue the grid goes where others are zero."""

POLISHED_AT_ONCE = 256
"""Pairs that take more steps together."""

MORE_STEPS = 4
"""Newton steps in double precision that they take."""

SINGLE_STEPS = 3
"""Newton steps from the middle of a cell until single precision has no more to say; a last one in
double precision leaves an error of the square of what is left."""


class HowToRefit(NamedTuple):
    """What pairs are fitted by.

    ``restricted``: the likelihood, that of the traits, restricted by the marker's effect as well,
    for REML with the marker among the covariates; ``corrected``: with ``bias`` and ``spread``;
    ``points``: as `points_of_pairs`; ``singular``: whether some eigenvalue that enters is zero.
    """

    restricted: bool
    corrected: bool
    points: int
    singular: bool


class PairMaxima(NamedTuple):
    """Of pairs: h² at the maximum, a, b and d there, the log likelihood, whether all is sure."""

    hsq: Float[Array, "*pairs"]
    a: Float[Array, "*pairs"]
    b: Float[Array, "*pairs"]
    d: Float[Array, "*pairs"]
    loglik: Float[Array, "*pairs"]
    sure: Bool[Array, "*pairs"]


def single_maximum(terms: PairTerms, null: Profile, tol: Array, how: HowToRefit) -> PairMaxima:
    """Fits of pairs whose likelihood has one maximum, and which those are.

    Where no eigenvalue is zero, h = 1 is a point like any other.
    """
    reach = SINGULAR_RANGE if how.singular else REGULAR_RANGE
    grid = search_grid(null.skeleton.nodes, 0.0, how.points, reach=reach)
    slope = lax.optimization_barrier(_slopes_on_grid(terms, grid[:-1] if how.singular else grid))
    last = len(slope) - 1
    # One number a pair: how often the slope turns from up to down, where, and whether in doubt.
    turns = sum(
        jnp.where((slope[i] > 0) & ~(slope[i + 1] > 0), last + i, 0)
        + jnp.where(jnp.isnan(slope[i]), 2 * last, 0)
        for i in range(last)
    )
    turns = lax.optimization_barrier(turns)
    rises, ends_rising = slope[0] > 0, slope[-1] > 0
    once = (turns >= last) & (turns < 2 * last)
    inside = rises & once & ~ends_rising
    at_zero = ~rises & (turns == 0) & ~ends_rising
    # Where the covariates absorb the null space of K, the way up to h = 1 is no maximum.
    inside = inside | (rises & once & terms.absorbed)
    at_zero = at_zero | (~rises & (turns == 0) & terms.absorbed)
    at_one = rises & (turns == 0) & ends_rising & ~terms.absorbed & (not how.singular)
    single = (inside | at_zero | at_one) & ~jnp.isnan(slope[-1])
    if how.singular:
        single = single & _no_turn_beyond(terms, grid[-2])
    inside = single & inside
    low, high = (grid[jnp.where(inside, turns - last + i, i)] for i in (0, 1))
    delta = jnp.sqrt((1 - low) / jnp.where(low > 0, low, 1.0) * (1 - high) / high)
    hsq = jnp.where(low > 0, 1 / (1 + delta), high / 2)
    hsq = jnp.where(high < 1, hsq, (low + 1) / 2)
    single_terms = terms.single()

    def move(_: int | Array, hsq: Array) -> Array:
        step = newton_step(single_terms, hsq.astype(jnp.float32)).astype(float)
        return jnp.clip(hsq + step, low, high)

    hsq = lax.fori_loop(0, SINGLE_STEPS, move, hsq)
    cell = _Cell(low, high, 0.1 * jnp.sqrt(tol), grid[1])
    hsq, found = cell.last_step(terms, hsq)
    hsq, found = _polish(terms, cell, hsq, found, inside & ~found)
    sure = single & (found | ~inside)
    hsq = jnp.where(inside & sure, hsq, jnp.where(at_one & sure, 1.0, 0.0))
    a, b, d = sums_at(terms, hsq)
    loglik = jnp.zeros(())
    if not how.restricted:
        # A trait at a time: XLA takes long to compile this for all.
        of_pairs = null.log_determinant
        logdet = of_pairs(hsq) if hsq.ndim == 1 else lax.map(of_pairs, hsq)
        loglik = -0.5 * (logdet + terms.dof * jnp.log(a - b**2 / d))
    return PairMaxima(hsq, a, b, d, jnp.broadcast_to(loglik, hsq.shape), sure)


def points_of_pairs(nodes: Float[np.ndarray, " r"], singular: bool) -> int:
    """Points of the grid on which the likelihoods of pairs are searched."""
    return grid_points(nodes, SINGULAR_RANGE if singular else REGULAR_RANGE)


class _Cell(NamedTuple):
    """Where the maxima of pairs are: between ``low`` and ``high``."""

    low: Float[Array, "*pairs"]
    high: Float[Array, "*pairs"]
    tol: Array
    first: Float[Array, ""]

    def at(self, pairs: Int[Array, " P"]) -> _Cell:
        """Those of some pairs, by their numbers among all."""
        return self._replace(low=self.low.ravel()[pairs], high=self.high.ravel()[pairs])

    def last_step(self, terms: PairTerms, hsq: Array) -> tuple[Array, Array]:
        """h² after a step in double precision, and whether that was short enough to be the last."""
        accuracy = self.tol * (hsq + self.first) * (1 - hsq)
        step = lax.optimization_barrier(newton_step(terms, hsq))
        hsq = hsq + step
        return hsq, (jnp.abs(step) <= accuracy) & (hsq >= self.low) & (hsq <= self.high)


def _polish(
    terms: PairTerms, cell: _Cell, hsq: Array, found: Array, left: Bool[Array, "*pairs"]
) -> tuple[Array, Array]:
    """More steps for the pairs that are left, to which single precision did not come close."""
    shape, size = left.shape, min(POLISHED_AT_ONCE, left.size)

    def some(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        left, hsq, found = state
        (pairs,) = jnp.nonzero(left, size=size, fill_value=left.size)
        own, own_cell = terms.some(pairs), cell.at(jnp.minimum(pairs, left.size - 1))

        def move(_: int | Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            return own_cell.last_step(own, jnp.clip(state[0], own_cell.low, own_cell.high))

        start = hsq[pairs], jnp.zeros(pairs.shape, bool)
        own_hsq, own_found = lax.fori_loop(0, MORE_STEPS, move, start)
        return (
            left.at[pairs].set(False, mode="drop"),
            hsq.at[pairs].set(own_hsq, mode="drop"),
            found.at[pairs].set(own_found, mode="drop"),
        )

    start = left.ravel(), hsq.ravel(), found.ravel()
    _, hsq, found = lax.while_loop(lambda state: jnp.any(state[0]), some, start)
    return hsq.reshape(shape), found.reshape(shape)


def _no_turn_beyond(terms: PairTerms, hsq: Float[Array, ""]) -> Bool[Array, "*pairs"]:
    """Whether the likelihood of a pair keeps one sign of its slope from h² to 1.

    With δ = (1-h)/h, the share s of the residual squares that is in the null space of K, and z zero
    eigenvalues, the slope of -2 loglik in log δ is at most z + ε dof - s dof, where ε = δ/λ for
    the smallest positive eigenvalue λ. The marker's effect can leave no less in the null space
    than e = a₀ - b₀²/d₀, so that s is at least its part with the effect b₀/d₀, where the rest grows
    by no more than 1 + ε towards h = 1: if the likelihood falls by this at h², it falls from there
    to 1. Where the covariates absorb the null space, s is at most ε, and it rises if z > ε dof.
    """
    epsilon = 1.1 * (1 - hsq) / hsq / jnp.min(terms.nodes[:-1])
    zeros, most = -terms.slopes[-1], epsilon * (terms.dof + 1)
    at = jnp.broadcast_to(hsq, terms.b.shape[1:])
    a, b, d = sums_at(terms, at)
    in_null = 1 / (1 - hsq)
    a0, b0, d0 = (rows[-1] * in_null for rows in (terms.a, terms.b, terms.d))
    some = terms.d[-1] > NOTHING
    effect = jnp.where(some, b0 / jnp.where(some, d0, 1.0), 0.0)
    left = a0 - effect * b0
    left = jnp.where(left > NOTHING * a0, left, 0.0)
    rest = (a - a0) - effect * (2 * (b - b0) - effect * (d - d0))
    falls = terms.dof * left > (zeros + most) * (left + (1 + epsilon) * rest)
    return jnp.where(terms.absorbed, zeros > most, falls)


def _slopes_on_grid(terms: PairTerms, grid: Array) -> Array:
    """-2 rss · d loglik/dh (g, *pairs) in single precision; NaN where its sign is in doubt."""
    weights = 1 / (grid[:, None] * terms.nodes + (1 - grid[:, None]))
    both = jnp.concatenate([weights, -(weights**2) * (terms.nodes - 1)])

    def at(rows: Array) -> tuple[Array, Array]:
        values = both.astype(rows.dtype) @ rows.reshape(len(rows), -1)
        first, second = values.reshape(2, len(grid), *rows.shape[1:]).astype(jnp.float32)
        return first, second

    a, a_slope = at(terms.a)
    d, d_slope = at(terms.d)
    b, b_slope = at(terms.b.astype(jnp.float32))
    logdet = (weights @ terms.slopes).reshape(-1, *(1,) * (b.ndim - 1)).astype(jnp.float32)
    dof = terms.dof.astype(jnp.float32)
    of_markers = logdet + terms.restricted.astype(jnp.float32) * d_slope / d
    effect = b * (1 / d)
    rss_slope = a_slope - 2 * effect * b_slope + effect**2 * d_slope
    slope = -(of_markers * (a - effect * b) + dof * rss_slope)
    scale = jnp.abs(of_markers) * a + dof * jnp.abs(a_slope)
    return jnp.where(jnp.abs(slope) > DOUBT * scale, slope, jnp.nan)


def settle_doubts(
    fits: PairMaxima,
    doubtful: Bool[Array, "*pairs"],
    terms: PairTerms,
    null: Profile,
    tol: Array,
    how: HowToRefit,
) -> PairMaxima:
    """Fit the doubtful pairs, as many at a time as `DOUBTFUL_AT_ONCE`."""
    shape = doubtful.shape
    size = min(DOUBTFUL_AT_ONCE, doubtful.size)
    flat = jax.tree.map(jnp.ravel, fits)

    def settle(state: tuple[Array, PairMaxima]) -> tuple[Array, PairMaxima]:
        doubtful, fits = state
        (pairs,) = jnp.nonzero(doubtful, size=size, fill_value=0)
        found = _global_maximum(terms.some(pairs), null, tol, how)
        fits = jax.tree.map(lambda all, some: all.at[pairs].set(some), fits, found)
        return doubtful.at[pairs].set(False), fits

    _, flat = lax.while_loop(lambda state: jnp.any(state[0]), settle, (doubtful.ravel(), flat))
    return jax.tree.map(lambda x: x.reshape(shape), flat)


def _global_maximum(pairs: PairTerms, null: Profile, tol: Array, how: HowToRefit) -> PairMaxima:
    """Fit some pairs (P,) without any assumption."""
    none = jnp.zeros(pairs.b.shape[1:])
    (a, b, d), (a0, b0, d0) = (pairs.a, pairs.b, pairs.d), (none, none, none)
    if how.singular:
        a, b, d, a0, b0, d0 = a[:-1], b[:-1], d[:-1], a[-1], b[-1], d[-1]
    explained = jnp.where(d0 > 0, b0**2 / jnp.where(d0 > 0, d0, 1.0), 0.0)
    profile = PairProfile(
        null.skeleton,
        a,
        # Rounding of a difference, where the marker explains all of the trait in the null space.
        jnp.where(explained > a0 * (1 - NOTHING), 0.0, a0 - explained),
        null.logdet,
        null.zeros,
        dof=pairs.dof,
        null_rss=a0,
        null_product=b0,
        null_square=d0,
        product=b,
        square=d,
        restricted=pairs.restricted,
    )
    points = GRID_POINTS if how.singular else how.points
    top = global_maximum(profile, tol, spike=pairs.absorbed, check_boundary=True, points=points)
    hsq = jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)
    return PairMaxima(top.hsq, *profile.sums(hsq), profile.loglik(hsq), ~top.unbounded)
