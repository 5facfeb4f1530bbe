"""Maxima of the likelihoods of pairs, each over its own h².

The likelihood of most pairs has one maximum. The signs of its slope on a grid, in single precision,
show that, and the cell of the grid it is in; near the ends, where two can be close, more points are
looked at. Through the slopes around goes a polynomial, at whose root a Newton step in double
precision is the last. Of pairs for which any of this is in doubt, the grid is looked at in double
precision, more steps are taken, and the maximum is compared with those that there may be at 0 and
1; where doubt remains, they are left to `global_maximum`.

Where some eigenvalue is zero, the grid ends at a δ = (1-h)/h a little below the positive ones, and
`_no_turn_beyond` shows that no maximum is between that and h = 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.pair_terms import NOTHING, PairProfile, PairTerms, PairValues, pair_sums
from lmmlite_jax.mapping.some import replaced
from lmmlite_jax.model.maximum import (
    ANY_EIGENVALUES,
    ROOT_STEPS,
    EvenGrid,
    GridSize,
    even_grid,
    global_maximum,
    where_linear,
)
from lmmlite_jax.model.profile import Profile

__all__ = [
    "HowToRefit",
    "PairMaxima",
    "any_maximum",
    "range_below_positive",
    "single_maximum",
]

DOUBTFUL_AT_ONCE = 128
"""Pairs that `global_maximum` takes together."""

DOUBT = {"float32": 1e-5, "float64": 1e-9}
"""Part of the terms of a slope below which rounding, or the skeleton, may have its sign wrong."""

MORE_STEPS = 4
"""Newton steps before the last one for pairs whose slopes are known in double precision."""

AROUND = 10
"""Points of the grid that the polynomial goes through. The slope is analytic in a strip of
half-width π, and these are less than an eighth of that apart: the polynomial leaves some 1e-7."""

BESIDE = AROUND // 2 - 1
"""Points of the grid beyond each of its ends, for a polynomial in the cell next to it."""

BELOW = 100.0
"""How far below the positive eigenvalues the slope has the sign that the zero ones give it, but for
few pairs."""


class HowToRefit(NamedTuple):
    """What pairs are fitted by.

    ``restricted``: the likelihood, that of the traits, restricted by the marker's effect as well,
    for REML with the marker among the covariates; ``corrected``: with ``bias`` and ``spread``;
    ``points``: how many the grid has between its ends; ``below``: how far below the smallest
    positive eigenvalue it ends, None where no eigenvalue that enters is zero.
    """

    restricted: bool
    corrected: bool
    points: int
    below: float | None

    @property
    def singular(self) -> bool:
        """Whether some eigenvalue that enters is zero."""
        return self.below is not None

    @property
    def size(self) -> GridSize:
        """Of the grid on which `global_maximum` searches pairs that are in doubt."""
        return ANY_EIGENVALUES if self.singular else GridSize(self.points)


class PairMaxima(NamedTuple):
    """Of pairs: h² at the maximum, sums there, the log likelihood, whether all is sure."""

    hsq: Float[Array, "*pairs"]
    values: PairValues
    loglik: Float[Array, "*pairs"]
    sure: Bool[Array, "*pairs"]


def single_maximum(
    terms: PairTerms, null: Profile, tol: Array, how: HowToRefit, *, careful: bool = False
) -> PairMaxima:
    """Fits of pairs whose likelihood has one maximum, and which those are.

    If ``careful``, of pairs (P,), in double precision, with maxima at 0 and 1 beside that one as
    well. Where no eigenvalue is zero, h = 1 is a point like any other.
    """
    grid = even_grid(null.skeleton, how.points + 1, how.below)
    dtype = "float64" if careful else "float32"
    slope = lax.optimization_barrier(_slopes_on_grid(terms, grid, how, dtype))
    last = grid.cells

    def turn(i: Array, turns: Array) -> Array:
        """One number a pair: how often the slope turns from up to down, where, and its doubts."""
        here, there = slope[BESIDE + i], slope[BESIDE + 1 + i]
        down = (here > 0) & ~(there > 0)
        return turns + jnp.where(down, last + i, 0) + jnp.where(jnp.isnan(here), 2 * last, 0)

    start = jnp.zeros(slope.shape[1:], np.int32)
    turns = lax.fori_loop(np.int32(0), np.int32(last), turn, start)
    # The maxima that there are. Where the covariates absorb the null space of K, the way up to
    # h = 1 leads to none.
    at_zero, end = ~(slope[BESIDE] > 0), slope[BESIDE + last]
    at_one = (end > 0) & ~terms.absorbed
    inside = (turns >= last) & (turns < 2 * last)
    maxima = at_zero.astype(np.int8) + inside + at_one
    single = (turns < 2 * last) & ~jnp.isnan(end) & ~_turns_near_ends(slope, last)
    single = single & ((maxima > 0) if careful else (maxima == 1))
    if how.singular:
        single = single & ~at_one & _no_turn_beyond(terms, grid.hsq(last))
    inside = single & inside
    cell = jnp.where(inside, turns - last, 0)
    hsq = jnp.where(inside, _root(slope, grid, cell), jnp.where(at_one, 1.0, 0.0))
    hsq = lax.optimization_barrier(hsq)  # XLA would repeat what led there for every sum
    if careful:
        hsq = _more_steps(terms, hsq, grid.hsq(cell), grid.hsq(cell + 1), inside)
        hsq = _highest(terms, null, hsq, (at_zero, inside, at_one))
        inside = inside & ~(at_zero & (hsq == 0)) & ~(at_one & (hsq == 1))
    sums = pair_sums(terms, hsq)
    # The last step leaves an error of its square.
    accuracy = 0.3 * jnp.sqrt(tol) * (hsq + where_linear(null.skeleton)) * (1 - hsq)
    step = lax.optimization_barrier(jnp.where(inside, sums.newton_step(terms), 0.0))
    found = jnp.abs(step) <= accuracy
    step = jnp.where(found, step, 0.0)
    hsq, values = lax.optimization_barrier((jnp.clip(hsq + step, 0, 1), sums.after(step)))
    loglik = jnp.zeros(())
    if not how.restricted:
        # A trait at a time: XLA takes long to compile this for all.
        of_pairs = null.log_determinant
        logdet = of_pairs(hsq) if hsq.ndim == 1 else lax.map(of_pairs, hsq)
        residual = jnp.maximum(values.a - values.b**2 / values.d, 0.0)
        loglik = -0.5 * (logdet + terms.dof * jnp.log(residual))
    sure = single & (found | ~inside)
    return PairMaxima(hsq, values, jnp.broadcast_to(loglik, hsq.shape), sure)


def _highest(
    terms: PairTerms, null: Profile, inside: Array, maxima: tuple[Array, Array, Array]
) -> Float[Array, " P"]:
    """Heritabilities (P,) of the highest of the maxima at 0, inside and at 1 that pairs have."""

    def loglik(hsq: Array) -> Array:
        weights = 1 / (hsq * terms.nodes[:, None] + (1 - hsq))
        a, b, d = (jnp.sum(weights * rows, axis=0) for rows in (terms.a, terms.b, terms.d))
        logdet = null.log_determinant(hsq) + terms.restricted * jnp.log(d)
        return -0.5 * (logdet + terms.dof * jnp.log(jnp.maximum(a - b**2 / d, 0.0)))

    hsq = jnp.stack([jnp.zeros_like(inside), inside, jnp.ones_like(inside)])
    values = jnp.where(jnp.stack(maxima), lax.map(loglik, hsq), -jnp.inf)
    return jnp.take_along_axis(hsq, jnp.argmax(values, axis=0)[None], axis=0)[0]


def range_below_positive(n: int, *, restricted: bool) -> float:
    """How far below the positive eigenvalues of n individuals the grid goes where others are zero.

    Covariates that absorb zero eigenvalues leave none to a restricted likelihood. For others, to
    where `_no_turn_beyond` is sure of a single one that is absorbed, in a power of ten, so that
    compiled programs stay few.
    """
    return BELOW if restricted else float(10.0 ** np.ceil(np.log10(2.5 * n)))


def _more_steps(terms: PairTerms, hsq: Array, low: Array, high: Array, inside: Array) -> Array:
    """Heritabilities of pairs after some Newton steps in their cells."""

    def move(_: int | Array, hsq: Array) -> Array:
        step = pair_sums(terms, hsq).newton_step(terms)
        return jnp.where(inside, jnp.clip(hsq + step, low, high), hsq)

    return lax.fori_loop(0, MORE_STEPS, move, hsq)


def _turns_near_ends(slope: Array, last: int) -> Bool[Array, "*pairs"]:
    """Whether the slope turns more than once in the first or the last cell, or may do so."""
    up, found = slope > 0, jnp.zeros(slope.shape[1:], bool)
    places = np.split(np.arange(len(slope))[last + 1 + 2 * BESIDE :], 2)
    for cell, near in zip((BESIDE, BESIDE + last - 1), places, strict=True):
        turned = up[cell] != up[near[0]]
        for here, there in pairwise((*near, cell + 1)):
            turns = up[here] != up[there]
            found = found | jnp.isnan(slope[here]) | (turned & turns)
            turned = turned | turns
    return found


def _root(slope: Array, grid: EvenGrid, cell: Int[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """Heritability in a cell of the grid at which the slope is zero, by a polynomial."""
    middle = (AROUND - 1) / 2
    # By one number, which is looked up in half of the time of two.
    place = cell.ravel() * cell.size + jnp.arange(cell.size, dtype=cell.dtype)
    places = place + cell.size * np.arange(AROUND, dtype=cell.dtype)[:, None]
    around = slope.ravel().at[places].get(mode="promise_in_bounds")
    of_powers = np.linalg.inv(np.vander(np.arange(AROUND) - middle, increasing=True))
    powers = jnp.asarray(of_powers, slope.dtype) @ around
    powers = lax.optimization_barrier(powers.reshape(AROUND, *cell.shape))
    at = jnp.zeros(cell.shape, slope.dtype)
    for _ in range(ROOT_STEPS):
        value = change = jnp.zeros_like(at)
        for power in powers[::-1]:
            change = change * at + value
            value = value * at + power
        at = jnp.clip(at - value / change, -0.5, 0.5)
    return grid.hsq(cell + (0.5 + at.astype(float)))


def _no_turn_beyond(terms: PairTerms, hsq: Float[Array, ""]) -> Bool[Array, "*pairs"]:
    """Whether the likelihood of a pair keeps one sign of its slope from h² to 1.

    With δ = (1-h)/h, the share s of the residual squares that is in the null space of K, and z zero
    eigenvalues, the slope of -2 loglik in log δ is at most z + ε dof - s dof, where ε = δ/λ for
    the smallest positive eigenvalue λ. The marker's effect can leave no less in the null space
    than e = a₀ - b₀²/d₀, so that s is at least its part with the effect b₀/d₀, where the rest grows
    by no more than 1 + ε towards h = 1: if the likelihood falls by this at h², it falls from there
    to 1. Where the covariates absorb the null space, s is at most ε, and it rises if z > ε dof.
    """
    positive = terms.nodes[:-1]
    epsilon = 1.1 * (1 - hsq) / hsq / jnp.min(positive)
    zeros, most = -terms.slopes[-1], epsilon * (terms.dof + 1)
    weights = 1 / (hsq * positive + (1 - hsq))
    a, b, d = (jnp.tensordot(weights, rows[:-1], 1) for rows in (terms.a, terms.b, terms.d))
    in_null = 1 / (1 - hsq)
    a0, b0, d0 = (rows[-1] * in_null for rows in (terms.a, terms.b, terms.d))
    some = terms.d[-1] > NOTHING
    effect = jnp.where(some, b0 / jnp.where(some, d0, 1.0), 0.0)
    left = a0 - effect * b0
    left = jnp.where(left > NOTHING * a0, left, 0.0)
    rest = a - effect * (2 * b - effect * d)
    falls = terms.dof * left > (zeros + most) * (left + (1 + epsilon) * rest)
    return jnp.where(terms.absorbed, zeros > most, falls)


def _slopes_on_grid(terms: PairTerms, grid: EvenGrid, how: HowToRefit, dtype: str) -> Array:
    """2 rss/a · d loglik / d place, over a constant (g, *pairs); NaN where its sign is in doubt.

    Positive where the likelihood rises with h². It has no pole in the strip of `AROUND`. The last
    rows are those of the places near the ends.
    """
    places = np.append(np.arange(-BESIDE, grid.cells + 1 + BESIDE), grid.near_ends)
    hsq = grid.hsq(places)
    weights = 1 / (hsq[:, None] * terms.nodes + (1 - hsq[:, None]))
    both = jnp.concatenate([weights, -(weights**2) * (terms.nodes - 1)])

    def at(rows: Array) -> tuple[Array, Array]:
        values = both.astype(rows.dtype) @ rows.reshape(len(rows), -1)
        first, second = values.reshape(2, len(hsq), *rows.shape[1:])
        return first, second

    a, a1 = at(terms.a)
    d, d1 = at(terms.d)
    b, b1 = at(terms.b.astype(dtype))
    logdet = (weights @ terms.slopes).reshape(-1, *(1,) * (b.ndim - 1))
    log_d1 = d1 / d
    of_marker = (logdet + terms.restricted * log_d1, 1 / d, terms.dof * log_d1)
    trace, inverse, fall = (x.astype(dtype) for x in of_marker)
    change = grid.change(places).reshape(-1, *(1,) * (b.ndim - 1))
    size = (change / a).astype(dtype)
    a, a1 = a.astype(dtype), (terms.dof * a1).astype(dtype)
    twice = (2 * terms.dof).astype(dtype)
    # rss = a - b²/d, and b²/d changes by (2 b b' - b² d'/d) / d.
    slope = b * inverse * (b * (trace - fall) + twice * b1) - (trace * a + a1)
    scale = jnp.abs(trace) * a + jnp.abs(a1)
    return jnp.where(jnp.abs(slope) > DOUBT[dtype] * scale, slope * size, jnp.nan)


def any_maximum(terms: PairTerms, null: Profile, tol: Array, how: HowToRefit) -> PairMaxima:
    """Fits of some pairs (P,), whatever their likelihoods: none is sure that has no maximum."""
    fits = single_maximum(terms, null, tol, how, careful=True)
    return replaced(
        fits,
        ~fits.sure,
        DOUBTFUL_AT_ONCE,
        lambda pairs: _global_maximum(terms.some(pairs), null, tol, how),
    )


def _global_maximum(pairs: PairTerms, null: Profile, tol: Array, how: HowToRefit) -> PairMaxima:
    """Fit some pairs (P,) without any assumption."""
    none = jnp.zeros(pairs.b.shape[1:])
    (a, b, d), (a0, b0, d0) = (pairs.a, pairs.b, pairs.d), (none, none, none)
    if how.singular:
        a, b, d, a0, b0, d0 = a[:-1], b[:-1], d[:-1], a[-1], b[-1], d[-1]
    explained = jnp.where(d0 > 0, b0**2 / jnp.where(d0 > 0, d0, 1.0), 0.0)
    absorbs = (explained > a0 * (1 - NOTHING)) & (a0 > 0)
    profile = PairProfile(
        null.skeleton,
        a,
        jnp.where(absorbs, 0.0, a0 - explained),  # not the rounding of a difference
        null.logdet,
        null.zeros,
        dof=pairs.dof,
        null_rss=a0,
        null_product=b0,
        null_square=d0,
        product=b,
        square=d,
        absorbs=absorbs,
        restricted=pairs.restricted,
    )
    spike = pairs.absorbed | profile.spike
    top = global_maximum(profile, tol, spike=spike, check_boundary=True, size=how.size)
    hsq = profile.before_one(jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq))
    values = pair_sums(pairs, hsq).after(jnp.zeros(()))
    # Rounding is all that a marker leaves of a trait that it explains: no h² is the most likely.
    exact = jnp.isnan(top.hsq) & (values.a - values.b**2 / values.d <= NOTHING * values.a)
    loglik = profile.loglik(hsq)
    loglik = jnp.where(exact | jnp.isnan(loglik), jnp.inf, loglik)
    return PairMaxima(top.hsq, values, loglik, top.flat | exact | ~jnp.isnan(top.hsq))
