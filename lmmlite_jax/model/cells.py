"""Cells of the heritability, in each of which no share of variance changes by much.

Let θ be the angle between √w ∘ ỹ and √w ∘ g̃. From h to h' both vectors are multiplied by the same
diagonal matrix, and Wielandt's inequality bounds the change of atanh |cos θ| by half of the range
of log(w'/w) over the eigenvalues. With δ = (1-h)/h and eigenvalues in [a, b] that range is the
change of φ(δ) = log((b + δ)/(a + δ)): cells are of one length in φ, those at the ends of half.

Nor does it bend much: t = atanh cos θ has |t''| ≤ ¼ in φ, so that between points L apart |t| is at
most L²/32 above the larger of both ends. Less a number that all share, which turns no angle,
ℓᵢ = d log wᵢ / dφ is between -½ and ½ and ℓᵢ' = ℓᵢ² - ¼. In the plane of both vectors, and in their
bisectors as its axes, let diag(ℓ) be the matrix [[μ + ρ cos ω, ρ sin ω], [ρ sin ω, μ - ρ cos ω]],
and diag(ℓ²) the square of that and a positive semidefinite R, that is at most ¼ together. Then

    t' = ρ cos ω,    t'' = ρ² cos θ sin² ω + 2 μ ρ cos ω + R₁₁ - R₂₂,
    R₁₁ ≤ ¼ - μ² - ρ² - 2 μ ρ cos ω,    R₂₂ ≤ ¼ - μ² - ρ² + 2 μ ρ cos ω,

and |t''| ≤ ¼ - μ² - ρ² (1 - |cos θ| sin² ω).

In single precision, cos θ in the middle of every cell is a combination of a few products: a coarse
`Skeleton` leaves an error in each weight, at most that part of Σ w |g̃ ỹ|, and so by the inequality
of Cauchy and Schwarz at most that change of cos θ.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.programs import OLDER_LOOPS
from lmmlite_jax.model.skeleton import Skeleton, interval_skeleton
from lmmlite_jax.model.tested_traits import FittedTraits, RefitTraits, for_refit_of

__all__ = [
    "CellTraits",
    "Cells",
    "PairTraits",
    "TraitsInCells",
    "cells_of_spectrum",
    "traits_for_refit",
]

WIDEST = 0.5
"""Longest cell in φ, as long as these are not more than `MOST_CELLS`."""

STEP_OF_CELLS = 16
"""Cells come in multiples of these, so that programs are few."""

MOST_CELLS = 96

COARSE_ERROR = 5e-3
"""Of the weights that the skeleton of the products may leave."""

BEYOND = 1e5
"""How far outside of the eigenvalues δ goes before the ends: what is left changes nothing."""

TAIL = 1e-3
"""Part of the smallest positive eigenvalue at which δ begins the way to h = 1 where some are 0."""

FINE_ERROR = 0.1
"""What the log likelihood between points at which it is known may be above them."""

SINGLE = 2.0**-24

SLACK = 1e-5
"""Added to every margin for what double precision and the skeleton proper leave."""


class Cells(NamedTuple):
    """C cells of the heritability, and two more where q₀ of q eigenvalues are zero.

    Of these, one is for the shares in the null space of K alone, and one for what is left: on the
    way from the last cell to h = 1 no share is above the larger of both.

    Attributes
    ----------
    sources : (J, q)
        Weights of the individuals in J products; the last are of the null space, if there is one.
    factors : (C, J)
        Of the products, for Σ w g̃ ỹ in the middle of each cell.
    at_nodes : (C, r + 1)
        Factors of coefficients (see `RefitTraits`) for such sums in the middle of each cell.
    radius, margin : (C,)
        By how much atanh |cos θ| in a cell can be above those in its middle and in those of the
        cells beside it, which ways to h = 1 have none of; and computed values of cos θ be off.
    middle : (C,) or (C - 2,)
        Heritability in the middle of each cell that is no way to h = 1; of the first and the last
        at their ends.
    width : ()
        Change of φ over a cell, which bounds that of the logarithm of a ratio of two sums.
    hsq : (F,)
        Heritabilities at which likelihoods are known.
    first, second : (F - 1,)
        Cells that the interval after each of those is in.
    above : (F - 1,)
        What a log likelihood, a degree of freedom, can be above its ends in each interval.
    edges : (2,)
        [a, b]; a is 0 where some eigenvalue is.
    still : ()
        δ below which the way up to a spike at h = 1 has no stationary point: times zero
        eigenvalues of log|V| over degrees of freedom.
    tail : (2,) or (0,)
        Where some eigenvalue is zero, δ at which the last cell ends, and what the slope of log|V|
        in log δ may be beyond, less the number of zero eigenvalues.
    """

    sources: Float[AnyArray, "J q"]
    factors: Float[AnyArray, "C J"]
    at_nodes: Float[AnyArray, "C r_and_1"]
    radius: Float[AnyArray, " C"]
    margin: Float[AnyArray, " C"]
    middle: Float[AnyArray, " regular"]
    width: Float[AnyArray, ""]
    hsq: Float[AnyArray, " F"]
    first: Int[AnyArray, " F_less_1"]
    second: Int[AnyArray, " F_less_1"]
    above: Float[AnyArray, " F_less_1"]
    edges: Float[AnyArray, "2"]
    still: Float[AnyArray, ""]
    tail: Float[AnyArray, " t"]

    @property
    def before(self) -> Int[np.ndarray, " C"]:
        """Number of each cell; the ways to h = 1 begin where the last of the others ends."""
        number = np.arange(len(self.factors))
        return np.minimum(number, len(self.middle) - 1)


class TraitsInCells(NamedTuple):
    """T traits in C cells.

    squares (C, T): Σ w ỹ² in the middle of each cell; loss (C, T): what the log likelihood is at
    least below that at the null's heritability, anywhere in a cell; middle (C, T): what it is above
    that in the middle of one, -inf on the way to h = 1 or to a spike; own (T,): number of the cell
    of the null's heritability; dof (): factor of log rss in twice the log likelihood.
    """

    squares: Float[Array, "C T"]
    loss: Float[Array, "C T"]
    middle: Float[Array, "C T"]
    own: Int[Array, " T"]
    dof: Float[Array, ""]


class PairTraits(NamedTuple):
    """T traits in C cells for pairs that are looked at one by one, in single precision.

    scale (T, C): 1/√a; least, most (T, C): log likelihoods with a marker, in the middle of each
    cell, and at most anywhere in it, without what is the marker's own or the pair's; dof (): the
    factor of -log(1 - cos² θ) in the latter.
    """

    scale: Float[AnyArray, "T C"]
    least: Float[AnyArray, "T C"]
    most: Float[AnyArray, "T C"]
    dof: Float[AnyArray, ""]


class CellTraits(NamedTuple):
    """T traits for all pairs in the usual cells, and for some of them in the fine ones.

    products (J, T, q): the traits times the weights of J products, in single precision.
    """

    usual: TraitsInCells
    fine: PairTraits
    products: Float[Array, "J T q"]


def cells_of_spectrum(
    spectrum: Float[np.ndarray, " q"],
    real: Bool[np.ndarray, " q"],
    skeleton: Skeleton,
    smallest: float,
    dof: float,
    n: int,
    parts: int = 1,
) -> Cells:
    """Cells for the eigenvalues of one pattern of missing values, of which some are real.

    ``smallest`` is the smallest positive eigenvalue that enters a likelihood of n individuals,
    ``dof`` the factor of log rss in twice the log likelihood, ``parts`` how many times as many
    cells are wanted as usual, the products being the same.
    """
    rows, zero = int(real.sum()), real & (spectrum <= 0)
    values = spectrum[real & (spectrum > 0)]
    low, high, singular = values.min(), values.max(), bool(zero.any())
    low_edge = 0.0 if singular else low
    tail = TAIL * min(low, smallest)
    end = tail if singular else low / BEYOND
    length = max(np.log((high + end) / (low_edge + end)), 1e-6)
    wanted = (length / WIDEST + 1) / STEP_OF_CELLS
    count = parts * int(min(MOST_CELLS, STEP_OF_CELLS * np.ceil(wanted)))
    width = length / (count - 1)
    growth = np.expm1(np.arange(1, count) * width)
    deltas = np.append(np.inf, (high - low_edge * (growth + 1)) / growth)
    deltas = np.clip(deltas, end, BEYOND * high)

    coarse = interval_skeleton(float(low / high), high, COARSE_ERROR)
    at = np.asarray(coarse.deltas)[:, None]
    sources = np.where(real & (spectrum > 0), (1 + at) / (np.where(real, spectrum, 1) + at), 0.0)
    hsq = 1 / (1 + deltas)
    factors = _interpolation(coarse, hsq)
    nodes = np.asarray(skeleton.nodes)
    at_nodes = np.concatenate(
        [(1 + deltas[:, None]) / (nodes + deltas[:, None]), (1 + 1 / deltas)[:, None] * singular],
        axis=1,
    )
    of_eigenvalues = (1 + deltas[:, None]) / (values + deltas[:, None])
    # The ends are 1 / BEYOND short in φ, of which atanh |cos θ| changes by half.
    radius = np.full(count, width**2 / 32 + 1 / BEYOND)
    if singular:
        sources = np.concatenate([sources, np.where(zero, 1.0, 0.0)[None]])
        rest = _interpolation(coarse, np.ones(1))
        nothing = np.zeros((1, nodes.size))
        factors = np.concatenate([factors, np.zeros_like(rest), rest])
        factors = np.column_stack([factors, [*(1 + 1 / deltas), 1.0, 0.0]])
        alone = np.concatenate([nothing, [[1.0]]], axis=1)
        without = np.concatenate([1 / nodes, [0.0]])[None]
        at_nodes = np.concatenate([at_nodes, alone, without])
        of_eigenvalues = np.concatenate(
            [of_eigenvalues, np.zeros((1, values.size)), 1 / values[None]]
        )
        radius = np.concatenate([radius, [0.0, np.log1p(tail / low) / 2]])
    factors = factors.astype(np.float32)
    margin = _margins(factors.astype(float), sources, of_eigenvalues, values, coarse, rows)
    if singular:
        margin[count] = SLACK + (rows + 12) * SINGLE

    # No interval is longer than a cell, φ changing the most in log δ halfway between the ends.
    steepest = 1.0 if singular else np.tanh(length / 4)
    step = min(np.sqrt(32 * FINE_ERROR / dof), width / steepest)
    ends = BEYOND * max(high, float(skeleton.largest)), end
    points = int(np.ceil(np.log(ends[0] / ends[1]) / step)) + 1
    fine = np.geomspace(*ends, points)
    step = np.log(ends[0] / ends[1]) / (points - 1)
    cell = np.log((high + fine) / (low_edge + fine)) / width
    cell = np.clip(np.rint(cell), 0, count - 1).astype(int)
    above, fine_hsq = np.full(points - 1, step**2 / 32), 1 / (1 + fine)
    close = 1 / BEYOND  # half of the range of log(w'/w) to an end, and with room
    cell, above, fine_hsq = np.append(0, cell), np.append(close, above), np.append(0.0, fine_hsq)
    if not singular:
        cell, above, fine_hsq = (
            np.append(cell, count - 1),
            np.append(above, close),
            np.append(fine_hsq, 1.0),
        )
    return Cells(
        sources=sources,
        factors=factors,
        at_nodes=at_nodes,
        radius=radius,
        margin=margin,
        middle=hsq,
        width=np.asarray(width),
        hsq=fine_hsq,
        first=cell[:-1],
        second=cell[1:],
        above=above,
        edges=np.array([low_edge, high]),
        still=np.asarray(0.99 * low),
        tail=np.array([tail, n * TAIL] if singular else []),
    )


def _interpolation(coarse: Skeleton, hsq: Float[np.ndarray, " C"]) -> Float[np.ndarray, "C J"]:
    """`Skeleton.interpolation` in NumPy, which compiles nothing."""
    h, nodes = hsq[:, None], np.asarray(coarse.nodes)
    columns = np.asarray(coarse.column_scale) / (h * nodes + (1 - h))
    solved = columns @ np.asarray(coarse.inverse) @ np.asarray(coarse.orthogonal).T
    return solved * np.asarray(coarse.row_scale)


def _margins(
    factors: Float[np.ndarray, "C J"],
    sources: Float[np.ndarray, "J q"],
    of_eigenvalues: Float[np.ndarray, "C positive"],
    values: Float[np.ndarray, " positive"],
    coarse: Skeleton,
    n: int,
) -> Float[np.ndarray, " C"]:
    """Largest errors of computed cosines: those of the coarse skeleton, and of rounding.

    A product of n terms is off by n + 2 roundings of the sum of their sizes, both factors being
    rounded, and a combination by one more for each product.
    """
    at = np.asarray(coarse.deltas)
    source = (1 + at[:, None]) / (values + at[:, None])
    used = factors[:, : at.size]
    there = np.where(of_eigenvalues > 0, of_eigenvalues, np.inf)
    off = np.abs(used @ source / there - (of_eigenvalues > 0)).max(axis=1)
    sizes = np.stack([(row / there).max(axis=1) for row in source], axis=1)
    amplified = (np.abs(used) * sizes).sum(axis=1) + 1
    return SLACK + off + (n + factors.shape[1] + 12) * SINGLE * amplified


@partial(jax.jit, static_argnames=("reml", "restricted"), compiler_options=OLDER_LOOPS)
def traits_for_refit(
    fitted: FittedTraits, cells: Cells, fine: Cells, *, reml: bool, restricted: bool
) -> tuple[RefitTraits, CellTraits]:
    """The traits as `for_refit_of` has them, and in the cells: one program for both.

    ``restricted``: whether pairs are fitted by the likelihood that the marker restricts as well.
    """
    traits = for_refit_of(fitted, reml=reml)
    known = jnp.where(jnp.isnan(fitted.hsq), 0.0, fitted.hsq)
    usual, finer = (_in_cells(traits, known, of) for of in (cells, fine))
    dof = traits.dof if restricted else None
    return traits, CellTraits(
        usual,
        _pair_traits(finer, fine, dof),
        (jnp.asarray(cells.sources)[:, None] * traits.values).astype(jnp.float32),
    )


def _pair_traits(traits: TraitsInCells, cells: Cells, restricted: Array | None) -> PairTraits:
    """With degrees of freedom before the marker where the likelihood is ``restricted``."""
    scale = jnp.where(traits.squares > 0, 1 / jnp.sqrt(traits.squares), 0.0)
    least, most, factor = traits.middle, -traits.loss, traits.dof / 2
    if restricted is not None:
        log_a = jnp.log(traits.squares)[cells.before]
        least, most = least + log_a / 2, most + log_a / 2 + cells.width / 4
        factor = (restricted - 1) / 2
    scale, least, most = (x.T.astype(jnp.float32) for x in (scale, least, most))
    return PairTraits(scale, least, most, factor.astype(jnp.float32))


def _in_cells(traits: RefitTraits, hsq: Float[Array, " T"], cells: Cells) -> TraitsInCells:
    squares, profile, loglik = traits.squares, traits.profile, traits.loglik
    singular = cells.tail.size > 0
    count = len(cells.factors) - (2 if singular else 0)
    dof, zeros = jnp.asarray(profile.dof), profile.zeros[0]

    def known(h: Array) -> tuple[Array, Array, Array]:
        """Log likelihoods, residual sums of squares, and what the null space weighs."""
        in_null = jnp.where((h < 1) & singular, 1 / jnp.where(h < 1, 1 - h, 1.0), 0.0)
        rss = jnp.concatenate([profile.skeleton.weights(h), in_null[None]]).T @ squares
        value = -0.5 * (profile.log_determinant(h)[:, None] + dof * jnp.log(rss))
        # On the way up to a spike there is no maximum.
        spike = traits.absorbed & ((1 - h) < cells.still * zeros / dof * h)[:, None]
        return jnp.where(spike, -jnp.inf, value), rss, in_null

    at_points, rss, in_null = known(jnp.asarray(cells.hsq))
    most = jnp.maximum(at_points[:-1], at_points[1:]) + dof * cells.above[:, None]
    of_cells = [jax.ops.segment_max(most, cell, count) for cell in (cells.first, cells.second)]
    loss = loglik - jnp.maximum(*of_cells)
    middle = known(jnp.asarray(cells.middle))[0] - loglik
    span = jnp.where(hsq > 0, (1 - hsq) / jnp.where(hsq > 0, hsq, 1.0), jnp.inf)
    low, high = cells.edges
    phi = jnp.where(hsq > 0, jnp.log((high + span) / (low + span)), 0.0)
    own = jnp.clip(jnp.rint(phi / cells.width), 0, count - 1).astype(int)
    if singular:
        # Beyond the last cell the likelihood falls where most of rss is in the null space.
        share = squares[-1] * in_null[-1] / rss[-1]
        falls = (dof - 1) * share >= zeros + cells.tail[1]
        beyond = jnp.where(falls, loglik - at_points[-1], -jnp.inf)
        loss = jnp.concatenate([loss, beyond[None], beyond[None]])
        loss = jnp.where(span < cells.tail[0], -jnp.inf, loss)
        middle = jnp.pad(middle, ((0, 2), (0, 0)), constant_values=-jnp.inf)
    return TraitsInCells(
        squares=jnp.asarray(cells.at_nodes) @ squares,
        loss=loss,
        middle=middle,
        own=own,
        dof=dof,
    )
