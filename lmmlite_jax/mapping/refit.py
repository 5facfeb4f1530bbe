"""Tests in which every pair of a marker and a trait has a heritability of its own.

The likelihood of most pairs has one maximum. The signs of its slope on a grid, in single precision,
show that, and the cell of the grid it is in, and a fixed number of Newton steps finds it there.
Pairs for which any of this is in doubt are left to `global_maximum`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.maximum import global_maximum, search_grid
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Derivatives, Profile, Weights
from lmmlite_jax.model.trait_block import RefitTraits

__all__ = ["HowToRefit", "PairProfile", "Refit", "refit_block", "refit_pairs"]

DOUBTFUL_AT_ONCE = 32
"""Pairs that `global_maximum` takes together."""

DOUBT = 1e-5
"""Part of the terms of a slope below which single precision may have its sign wrong."""

NODES_AT_ONCE = 4
"""Nodes of a skeleton whose terms are added in one pass over the pairs."""

SINGLE_STEPS = 3
"""Newton steps from the middle of a cell until single precision has no more to say; a last one in
double precision leaves an error of the square of what is left."""


class Refit(NamedTuple):
    """Of B markers on T traits, all (B, T); ``ratio`` is twice the gain in log likelihood.

    What h² being estimated does to the variance of the effect, as parts of it: ``bias``, twice of
    which it is too small on average, and ``spread``, the variance of its logarithm; both 0 where
    they were not asked for.
    """

    hsq: Float[AnyArray, "*pairs"]
    beta: Float[AnyArray, "*pairs"]
    se: Float[AnyArray, "*pairs"]
    ratio: Float[AnyArray, "*pairs"]
    bias: Float[AnyArray, "*pairs"]
    spread: Float[AnyArray, "*pairs"]


class HowToRefit(NamedTuple):
    """What pairs are fitted by.

    ``restricted``: the likelihood, that of the traits, restricted by the marker's effect as well,
    for REML with the marker among the covariates; ``corrected``: with ``bias`` and ``spread``;
    ``points``: of the grid; ``singular``: whether some eigenvalue that enters is zero.
    """

    restricted: bool
    corrected: bool
    points: int
    singular: bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PairProfile(Profile):
    """The log likelihood of P pairs: that of the trait, with one more covariate.

    Attributes
    ----------
    null_rss, null_product, null_square : (P,)
        Parts in the null space of K of a, b and d.
    product, square : (r, P)
        Coefficients of b = Σ w g̃ ỹ and d = Σ w g̃².
    restricted : () 0 or 1
        Whether log d belongs to the likelihood.
    """

    null_rss: Float[Array, " P"]
    null_product: Float[Array, " P"]
    null_square: Float[Array, " P"]
    product: Float[Array, "r P"]
    square: Float[Array, "r P"]
    restricted: Float[Array, ""]

    def sums_of(self, weights: Weights) -> tuple[Derivatives, Derivatives, Derivatives]:
        """A, b and d."""
        return (
            weights.sum(self.rss, self.null_rss),
            weights.sum(self.product, self.null_product),
            weights.sum(self.square, self.null_square),
        )

    def sums(self, hsq: Float[Array, "*m"]) -> tuple[Array, Array, Array]:
        """A, b and d."""
        a, b, d = self.sums_of(self.weights(hsq))
        return a.value, b.value, d.value

    def residual_squares(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Residual sum of squares with the marker in the model."""
        a, b, d = self.sums(hsq)
        return a - b**2 / d

    def log_determinant(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """log|V|, less a constant, with the marker among the covariates."""
        return super().log_determinant(hsq) + self.restricted * jnp.log(self.sums(hsq)[2])

    def squares_of(self, weights: Weights) -> Derivatives:
        """Residual sum of squares with the marker in the model."""
        a, b, d = self.sums_of(weights)
        effect = b.value / d.value
        change = (b.first - effect * d.first) / d.value
        return Derivatives(
            a.value - effect * b.value,
            a.first - 2 * effect * b.first + effect**2 * d.first,
            a.second
            - 2 * (effect * b.second + change * b.first)
            + effect * (2 * change * d.first + effect * d.second),
        )

    def determinant_of(self, weights: Weights) -> tuple[Float[Array, " ..."], Float[Array, " ..."]]:
        """Derivatives of log|V| with the marker among the covariates."""
        slope, curvature = super().determinant_of(weights)
        d = self.sums_of(weights)[2]
        growth = d.first / d.value
        return (
            slope + self.restricted * growth,
            curvature + self.restricted * (d.second / d.value - growth**2),
        )


class _Terms(NamedTuple):
    """Coefficients, as in `RefitTraits`, of traits, markers and their pairs.

    Of all pairs of T traits and B markers, ``a`` and ``absorbed`` have an axis of length one for
    the markers, and ``d`` for the traits. ``slopes`` are those of log|V|. For the restricted
    likelihood, log d belongs to log|V|.
    """

    nodes: Float[Array, " nodes"]
    a: Float[Array, "nodes ..."]
    b: Float[Array, "nodes *pairs"]
    d: Float[Array, "nodes ..."]
    slopes: Float[Array, " nodes"]
    dof: Float[Array, ""]
    restricted: Float[Array, ""]
    absorbed: Bool[Array, "..."]

    def single(self) -> _Terms:
        """In single precision."""
        return jax.tree.map(lambda x: x if x.dtype == bool else x.astype(jnp.float32), self)

    def some(self, pairs: Int[Array, " P"]) -> _Terms:
        """Some pairs, by their numbers among all."""
        axes = jnp.unravel_index(pairs, self.b.shape[1:])

        def take(values: Array, leading: tuple[slice, ...]) -> Array:
            shape = values.shape[len(leading) :]
            at = (jnp.minimum(axis, size - 1) for axis, size in zip(axes, shape, strict=True))
            return values[*leading, *at]

        every = (slice(None),)
        return self._replace(
            a=take(self.a, every),
            b=take(self.b, every),
            d=take(self.d, every),
            absorbed=take(self.absorbed, ()),
        )


class _Maxima(NamedTuple):
    """Of pairs: h² at the maximum, a, b and d there, the log likelihood, whether all is sure."""

    hsq: Float[Array, "*pairs"]
    a: Float[Array, "*pairs"]
    b: Float[Array, "*pairs"]
    d: Float[Array, "*pairs"]
    loglik: Float[Array, "*pairs"]
    sure: Bool[Array, "*pairs"]


@partial(jax.jit, static_argnames=("how",))
def refit_block(markers: Markers, traits: RefitTraits, tol: Array, *, how: HowToRefit) -> Refit:
    """Fit every pair of B markers of one column and T traits: shapes (B, T)."""
    values, squares, unit, varies = _scaled(markers)
    T, q = traits.values.shape
    weighted = traits.rows[:, None] * traits.values
    b = (weighted.reshape(-1, q) @ values.T).reshape(-1, T, len(values))

    def each(of_traits: Array) -> Array:
        return of_traits[..., None]

    return jax.tree.map(
        jnp.transpose, _fit(traits, each, b, squares[:, None], unit, varies, tol, how)
    )


@partial(jax.jit, static_argnames=("how",))
def refit_pairs(
    markers: Markers,
    traits: RefitTraits,
    marker: Int[Array, " P"],
    trait: Int[Array, " P"],
    tol: Array,
    *,
    how: HowToRefit,
) -> Refit:
    """Fit some pairs of a block of markers of one column and a block of traits: shapes (P,)."""
    values, squares, unit, varies = _scaled(markers.at(marker))
    b = traits.rows @ (values * traits.values[trait]).T

    def each(of_traits: Array) -> Array:
        return of_traits[..., trait]

    return _fit(traits, each, b, squares, unit, varies, tol, how)


def _scaled(
    markers: Markers,
) -> tuple[Float[Array, "B q"], Float[Array, "r_and_1 B"], Float[Array, " B"], Bool[Array, " B"]]:
    """Values and coefficients of squares in units of markers, the units, and who varies."""
    values, varies = markers.values[0].astype(float), markers.varies[0]
    unit = jnp.sqrt(jnp.where(varies, jnp.sum(values**2, axis=1), 1.0))
    squares = jnp.where(varies, markers.squares[0, 0].astype(float).T / unit**2, 1.0)
    return values / unit[:, None], squares, unit, varies


def _fit(
    traits: RefitTraits,
    each: Callable[[Array], Array],
    b: Float[Array, "r_and_1 *pairs"],
    d: Float[Array, "r_and_1 ..."],
    unit: Float[Array, " B"],
    varies: Bool[Array, " B"],
    tol: Array,
    how: HowToRefit,
) -> Refit:
    """Fit pairs; ``each`` gives what traits have to their pairs."""
    nodes = jnp.concatenate([traits.profile.skeleton.nodes, jnp.zeros(1)])
    used = slice(None) if how.singular else slice(-1)
    terms = _Terms(
        nodes=nodes[used],
        a=each(traits.squares)[used],
        b=b[used],
        d=d[used],
        slopes=traits.slopes[used],
        dof=jnp.asarray(traits.profile.dof) - (1 if how.restricted else 0),
        restricted=jnp.asarray(1.0 if how.restricted else 0.0),
        absorbed=each(traits.absorbed),
    )
    known = each(traits.fitted) & varies
    fits = _single_maximum(terms, traits.profile, tol, how)
    fits = _settle_doubts(fits, known & ~fits.sure, terms, traits.profile, tol, how)
    known = known & fits.sure
    residual = jnp.maximum(fits.a - fits.b**2 / fits.d, 0.0)
    bias = spread = jnp.zeros(known.shape)
    if how.corrected:
        bias, spread = _small_sample(terms, jnp.where(known, fits.hsq, 0.0), traits.dof - 1)
    scale = each(traits.unit) / unit
    found = Refit(
        hsq=fits.hsq,
        beta=scale * fits.b / fits.d,
        se=scale * jnp.sqrt(residual / ((traits.dof - 1) * fits.d)),
        ratio=jnp.maximum(2 * (fits.loglik - each(traits.loglik)), 0.0),
        bias=bias,
        spread=spread,
    )
    return jax.tree.map(lambda values: jnp.where(known, values, jnp.nan), found)


def _small_sample(terms: _Terms, hsq: Array, dof: Array) -> tuple[Array, Array]:
    """``bias`` and ``spread`` of a `Refit` (T, B), with v the variance of the estimate of h².

    The variance of the effect is σ²/d. To first order (Kenward and Roger 1997) it is too small by
    2 v (d''/(2d) - (d'/d)²) of itself, and its logarithm varies by v (d'/d - (log rss)')². v is one
    over the expected information of REML with the marker among the covariates, and at most what a
    number in [0, 1] can have: h²(1 - h²) with the mean h², and anyhow 1/4. Wald's F takes the
    latter, because it would pass for sure of an h² of 0 or 1.
    """

    def add(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        node = terms.nodes[k]
        # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
        variance = hsq * node + (1 - hsq)
        weight = jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1.0), 0.0)
        slope = -weight * (node - 1)  # of log weight
        d, trace = terms.d[k] * weight, terms.slopes[k] * weight
        of_node = (d, d * slope, d * slope**2, trace, trace * slope)
        return tuple(total + x for total, x in zip(sums, of_node, strict=True))

    sums = _over_nodes(terms, add, (jnp.zeros_like(hsq),) * 5)
    d, d1, half_d2, trace, trace1 = sums
    growth = d1 / d
    trace = trace + growth  # of P dV/dh, with the marker among the covariates
    squares = -trace1 - 2 * half_d2 / d + growth**2
    information = (squares - trace**2 / dof) / 2
    most = jnp.where(terms.restricted > 0, 0.25, hsq * (1 - hsq))
    variance = jnp.where(information * most > 1, 1 / information, most)
    # (log rss)' is -trace / dof at the maximum.
    spread = variance * (growth + trace / dof) ** 2
    return variance * jnp.maximum(half_d2 / d - growth**2, 0.0), spread


def _single_maximum(terms: _Terms, null: Profile, tol: Array, how: HowToRefit) -> _Maxima:
    """Fits of pairs whose likelihood has one maximum, and which those are.

    Where no eigenvalue is zero, h = 1 is a point like any other.
    """
    grid = search_grid(null.skeleton.nodes, 0.0, how.points)
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
    inside = single & inside
    low, high = (grid[jnp.where(inside, turns - last + i, i)] for i in (0, 1))
    delta = jnp.sqrt((1 - low) / jnp.where(low > 0, low, 1.0) * (1 - high) / high)
    hsq = jnp.where(low > 0, 1 / (1 + delta), high / 2)
    hsq = jnp.where(high < 1, hsq, (low + 1) / 2)
    single_terms = terms.single()

    def move(_: int | Array, hsq: Array) -> Array:
        step = _newton_step(single_terms, hsq.astype(jnp.float32)).astype(float)
        return jnp.clip(hsq + step, low, high)

    hsq = lax.fori_loop(0, SINGLE_STEPS, move, hsq)
    accuracy = 0.1 * jnp.sqrt(tol) * (hsq + grid[1]) * (1 - hsq)
    step = lax.optimization_barrier(_newton_step(terms, hsq))
    hsq = hsq + step
    found = (jnp.abs(step) <= accuracy) & (hsq >= low) & (hsq <= high)
    sure = single & (found | ~inside)
    hsq = jnp.where(inside & sure, hsq, jnp.where(at_one & sure, 1.0, 0.0))
    a, b, d = _sums_at(terms, hsq)
    loglik = jnp.zeros(())
    if not how.restricted:
        # A trait at a time: XLA takes long to compile this for all.
        of_pairs = null.log_determinant
        logdet = of_pairs(hsq) if hsq.ndim == 1 else lax.map(of_pairs, hsq)
        loglik = -0.5 * (logdet + terms.dof * jnp.log(a - b**2 / d))
    return _Maxima(hsq, a, b, d, jnp.broadcast_to(loglik, hsq.shape), sure)


def _slopes_on_grid(terms: _Terms, grid: Array) -> Array:
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


def _sums_at(
    terms: _Terms, hsq: Float[Array, "*pairs"]
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """Sums a, b and d at the heritabilities of pairs."""

    def add(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        weight = 1 / (hsq * terms.nodes[k] + (1 - hsq))
        rows = (terms.a[k], terms.b[k], terms.d[k])
        return tuple(total + row * weight for total, row in zip(sums, rows, strict=True))

    a, b, d = _over_nodes(terms, add, (jnp.zeros_like(hsq),) * 3)
    return a, b, d


def _over_nodes(
    terms: _Terms,
    add: Callable[[Array, tuple[Array, ...]], tuple[Array, ...]],
    start: tuple[Array, ...],
) -> tuple[Array, ...]:
    """Sum over the nodes, some at a time.

    In a loop, through which XLA cannot fuse: it would repeat all that led to h² for every node, and
    take long to compile all nodes at once.
    """
    return lax.fori_loop(0, len(terms.nodes), add, start, unroll=NODES_AT_ONCE)


def _newton_step(terms: _Terms, hsq: Array) -> Array:
    """Newton's step to the maximum in h; infinite where the likelihood is convex."""

    def add(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        node = terms.nodes[k]
        weight = 1 / (hsq * node + (1 - hsq))
        slope = -weight * (node - 1)  # of log weight
        first = [row * weight for row in (terms.a[k], terms.b[k], terms.d[k], terms.slopes[k])]
        second = [x * slope for x in first]
        third = [x * slope for x in second[:3]]
        terms_of_node = (*first, *second, *third)
        return tuple(total + x for total, x in zip(sums, terms_of_node, strict=True))

    sums = _over_nodes(terms, add, (jnp.zeros_like(hsq),) * 11)
    (a, b, d, logdet), (a1, b1, d1, logdet1), halves = sums[:4], sums[4:8], sums[8:]
    a2, b2, d2 = (2 * half for half in halves)
    effect, growth = b / d, d1 / d
    effect1 = (b1 - effect * d1) / d
    rss = a - effect * b
    rss1 = a1 - 2 * effect * b1 + effect**2 * d1
    rss2 = a2 - 2 * effect * b2 - 2 * effect1 * b1 + 2 * effect * effect1 * d1 + effect**2 * d2
    slope = logdet + terms.restricted * growth + terms.dof * rss1 / rss
    curvature = logdet1 + terms.restricted * (d2 / d - growth**2)
    curvature = curvature + terms.dof * (rss2 / rss - (rss1 / rss) ** 2)
    return jnp.where(curvature > 0, -slope / curvature, jnp.inf)


def _settle_doubts(
    fits: _Maxima,
    doubtful: Bool[Array, "*pairs"],
    terms: _Terms,
    null: Profile,
    tol: Array,
    how: HowToRefit,
) -> _Maxima:
    """Fit the doubtful pairs, as many at a time as `DOUBTFUL_AT_ONCE`."""
    shape = doubtful.shape
    size = min(DOUBTFUL_AT_ONCE, doubtful.size)
    flat = jax.tree.map(jnp.ravel, fits)

    def settle(state: tuple[Array, _Maxima]) -> tuple[Array, _Maxima]:
        doubtful, fits = state
        (pairs,) = jnp.nonzero(doubtful, size=size, fill_value=0)
        found = _global_maximum(terms.some(pairs), null, tol, how)
        fits = jax.tree.map(lambda all, some: all.at[pairs].set(some), fits, found)
        return doubtful.at[pairs].set(False), fits

    _, flat = lax.while_loop(lambda state: jnp.any(state[0]), settle, (doubtful.ravel(), flat))
    return jax.tree.map(lambda x: x.reshape(shape), flat)


def _global_maximum(pairs: _Terms, null: Profile, tol: Array, how: HowToRefit) -> _Maxima:
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
        jnp.where(explained > a0 * (1 - 1e-12), 0.0, a0 - explained),
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
    top = global_maximum(profile, tol, spike=pairs.absorbed, check_boundary=True, points=how.points)
    hsq = jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)
    return _Maxima(top.hsq, *profile.sums(hsq), profile.loglik(hsq), ~top.unbounded)
