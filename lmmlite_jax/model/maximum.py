"""Global maximum of a log likelihood of the heritability over [0, 1], for many traits at once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Real

from lmmlite_jax.model.precision import AnyArray, Scalar, is_traced
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "GRID_POINTS",
    "LAST",
    "EvenGrid",
    "Maximum",
    "even_grid",
    "global_maximum",
    "grid_points",
    "points_of_fits",
    "where_linear",
]

GRID_POINTS = 100
GRID_RANGE = (1e-14, 1e2)
"""δ = (1-h)/h of the grid where nothing is known of eigenvalues but the largest, in whose units it
is: a likelihood hardly turns twice between neighbours, because it is analytic in log δ in a strip
of width 2π."""

STEP = float(np.log(GRID_RANGE[1] / GRID_RANGE[0])) / GRID_POINTS
"""Distance of two points."""

FEWEST_POINTS = 10
"""Points of an `EvenGrid` of eigenvalues that are close together."""

NEAR_END = np.array([0.25, 0.5, 0.75])
"""Places in the first and the last cell of such a grid: beside a maximum at h = 0 or 1 there can be
another before the next point."""

NARROWEST = 0.5
"""Ratio of the smallest to the largest eigenvalue that such a grid is made for where theirs is
closer to 1."""

LAST = 1 - 1e-15
"""Heritability of the grid that is closest to 1: few doubles are between."""

BELOW = 1e2
"""How far below the smallest eigenvalue the grid goes where nodes go further and none is zero."""

MAX_STEPS = 60

FLAT = 1e-10
"""A likelihood whose slope in logit h, a degree of freedom, stays below this does not depend
on h; nor one below ten times the error of its skeleton."""


class Maximum(NamedTuple):
    """Where the log likelihood is largest.

    Attributes
    ----------
    hsq : (m,)
        The heritability; NaN where the likelihood has no maximum.
    loglik : (m,)
        The log likelihood there, less a constant.
    flat : (m,)
        The likelihood does not depend on the heritability.
    unbounded : (m,)
        It grows without bound towards h = 1 because the covariates absorb the null space of K,
        and has no other maximum.
    """

    hsq: Float[Array, " m"]
    loglik: Float[Array, " m"]
    flat: Bool[Array, " m"]
    unbounded: Bool[Array, " m"]


class _Bracket(NamedTuple):
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    hsq: Float[Array, " m"]
    done: Bool[Array, " m"]
    steps: Int[Array, ""]


def global_maximum(
    profile: Profile,
    tol: Float[Array, ""],
    *,
    spike: Bool[Array, " m"],
    check_boundary: bool,
    points: int = GRID_POINTS,
    smallest: Scalar | None = None,
) -> Maximum:
    """Grid, every local maximum bracketed, Newton safeguarded inside each, boundaries compared.

    ``spike`` marks traits whose likelihood at h = 1 is infinite for a reason that says nothing of
    heritability (ML with K singular along the covariates): h = 1 is not theirs. Without
    ``check_boundary`` the search stays in [tol, 1 - tol], as R's ``optimize`` does. It is on an
    `EvenGrid` where that needs fewer ``points`` than `GRID_POINTS`. Otherwise ``smallest`` is the
    smallest eigenvalue that enters, for nodes that go far below it: where none is zero, the grid
    does not follow them, to where the weights of such nodes leave no digits of the slopes.

    Derivatives of the maximum do not go through the search: see `_stationary`.
    """
    differentiable = profile
    profile = lax.stop_gradient(profile)
    if smallest is not None:
        smallest = jnp.where(jnp.any(profile.zeros > 0), 0.0, smallest)
    edge = 0.0 if check_boundary else tol
    if points < GRID_POINTS:
        even = even_grid(profile.skeleton, points + 1)
        inside = even.hsq(np.sort(np.append(np.arange(1, even.cells), even.near_ends)))
    else:
        inside = _whole_grid(profile.skeleton.nodes, smallest)
    inside = jnp.clip(inside, edge, jnp.minimum(1 - edge, LAST))
    grid = jnp.concatenate([jnp.array([edge]), inside, jnp.array([1 - edge])])
    last = grid.size - 2  # of the cells
    slopes, values = jax.vmap(profile.slope)(grid), jax.vmap(profile.loglik)(grid[:: last + 1])
    logit_slopes = slopes[:-1] * (grid * (1 - grid))[:-1, None]
    rounding = jnp.maximum(FLAT, 10 * jnp.asarray(profile.skeleton.error))
    flat = jnp.max(jnp.abs(logit_slopes), axis=0) <= rounding * profile.dof

    low_is_maximum = slopes[0] <= 0
    best_value = jnp.where(low_is_maximum, values[0], -jnp.inf)
    high_is_best = (slopes[-1] >= 0) & ~spike & (values[1] > best_value)
    best_value = jnp.where(high_is_best, values[1], best_value)
    best_hsq = jnp.where(high_is_best, grid[-1], jnp.where(low_is_maximum, grid[0], jnp.nan))

    cells = np.arange(last + 1, dtype=np.int32)[:, None]
    peaks = (slopes[:-1] > 0) & (slopes[1:] <= 0)

    def next_peak(after: Int[Array, " m"] | int) -> Int[Array, " m"]:
        """First cell with a maximum, of those behind one; beyond the last where there is none."""
        return jnp.min(jnp.where(peaks & (cells > after), cells, last + 1), axis=0)

    def refine(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        cell, best_value, best_hsq = state
        hsq = _newton(profile, grid, slopes, cell, tol)
        value = profile.loglik(hsq)
        better = (cell <= last) & (value > best_value)
        return (
            next_peak(cell),
            jnp.where(better, value, best_value),
            jnp.where(better, hsq, best_hsq),
        )

    _, best_value, best_hsq = lax.while_loop(
        lambda state: jnp.any(state[0] <= last), refine, (next_peak(-1), best_value, best_hsq)
    )
    unbounded = spike & jnp.isnan(best_hsq)
    inside = (best_hsq > grid[0]) & (best_hsq < grid[-1]) & ~flat
    hsq, loglik = _stationary(
        differentiable, jnp.where(flat, jnp.nan, best_hsq), best_value, inside
    )
    return Maximum(hsq, loglik, flat, unbounded)


@jax.custom_jvp
def _stationary(profile: Profile, hsq: Array, loglik: Array, inside: Array) -> tuple[Array, Array]:
    """Maxima found, with the derivatives that the implicit function theorem gives them.

    The slope is zero ``inside``: dĥ = -d(slope) / curvature. A maximum at a boundary stays there.
    """
    return hsq, loglik


@_stationary.defjvp
def _stationary_jvp(
    primals: tuple[Profile, Array, Array, Array],
    tangents: tuple[Profile, Array, Array, AnyArray],
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (profile, hsq, loglik, inside), (change, *_) = primals, tangents
    hsq, loglik = _stationary(profile, hsq, loglik, inside)
    at = jnp.where(inside, hsq, 0.5)
    moved = jax.jvp(lambda profile: profile.slope(at), (profile,), (change,))[1]
    curvature = profile.curvature(at)
    regular = inside & (curvature < 0)
    move = jnp.where(regular, -moved / jnp.where(regular, curvature, -1.0), 0.0)
    at = jnp.where(jnp.isnan(hsq), 0.0, hsq)
    _, rise = jax.jvp(lambda profile, hsq: profile.loglik(hsq), (profile, at), (change, move))
    return (hsq, loglik), (move, rise)


class EvenGrid(NamedTuple):
    """Heritabilities from 0 on, between which likelihoods change evenly.

    With all eigenvalues in [a, b] a likelihood is analytic in δ = (1-h)/h but on [-b, -a], hence in
    log e, e = (δ+a)/(1+δ/b), in a strip of width 2π; and e goes from b, at h = 0, to a, at h = 1.
    Where others are zero it goes to 0, in logarithms without end: a is 0 then, and ``last`` some
    e > 0. Neighbours are `STEP` apart at most, as in the grid for any eigenvalues. V is positive
    definite for all e > 0, so that there are places before 0, of h² < 0, and after ``cells``.
    """

    a: Float[AnyArray, ""]
    b: Float[AnyArray, ""]
    last: Float[AnyArray, ""]
    cells: int

    @property
    def near_ends(self) -> Float[np.ndarray, " near"]:
        """Places in the first and the last cell to be looked at as well, ascending."""
        return np.append(NEAR_END, self.cells - NEAR_END[::-1])

    def hsq(self, place: Real[AnyArray, "*s"] | int) -> Float[Array, "*s"]:
        """Heritabilities at and between the points 0, 1, …, ``cells``."""
        e = self._e(place)
        near_zero = 1 - e / self.b
        return near_zero / (near_zero + (e - self.a))

    def change(self, place: Real[AnyArray, "*s"] | int) -> Float[Array, "*s"]:
        """How fast h² changes there, over a constant."""
        e = self._e(place)
        return e / (1 - e / self.b + e - self.a) ** 2

    def _e(self, place: Real[AnyArray, "*s"] | int) -> Float[Array, "*s"]:
        return jnp.asarray(self.b) * jnp.exp(place * (jnp.log(self.last / self.b) / self.cells))


def even_grid(skeleton: Skeleton, cells: int, below: float | None = None) -> EvenGrid:
    """The grid for eigenvalues in the range of a skeleton, and the residuals' eigenvalue, 1.

    Where others are zero it ends so far ``below`` these; None: none is, and it ends at h = 1.
    """
    b = jnp.maximum(skeleton.largest, 1.0)
    a = jnp.minimum(jnp.minimum(skeleton.smallest, 1.0), NARROWEST * b)
    return EvenGrid(a, b, a, cells) if below is None else EvenGrid(0 * a, b, a / below, cells)


def grid_points(skeleton: Skeleton, below: float | None = None) -> int:
    """Points that an `even_grid` needs between its ends, for its range in half decades."""
    ratio = min(float(skeleton.smallest), 1.0) / max(float(skeleton.largest), 1.0)
    decades = np.ceil(2 * np.log10((below or 1.0) / min(ratio, NARROWEST)) - 1e-9) / 2
    return max(FEWEST_POINTS, int(np.ceil(decades * np.log(10) / STEP)) - 1)


def points_of_fits(skeleton: Skeleton, zeros: Float[AnyArray, "*P"]) -> int:
    """Points of the grid on which fits are searched, with so many zero eigenvalues.

    All where some are zero, or nobody knows. The squares of a prior on σ² are those of an
    eigenvalue of 1, which every `EvenGrid` allows for.
    """
    unknown = is_traced(skeleton.smallest, skeleton.largest, zeros)
    if unknown or np.any(np.asarray(zeros) > 0):
        return GRID_POINTS
    return grid_points(skeleton)


def where_linear(skeleton: Skeleton) -> Float[Array, ""]:
    """Heritability below which a likelihood is as good as linear."""
    return 1 / (1 + GRID_RANGE[1] * jnp.asarray(skeleton.largest))


def _whole_grid(nodes: Float[AnyArray, " r"], smallest: Scalar | None) -> Float[Array, " points"]:
    """Heritabilities between 0 and 1, evenly spaced in log δ."""
    high, low = (jnp.max(nodes) * end for end in GRID_RANGE[::-1])
    if smallest is not None:
        low = jnp.maximum(low, smallest / BELOW)
    return 1 / (1 + high * (low / high) ** (np.arange(GRID_POINTS) / (GRID_POINTS - 1)))


def _newton(
    profile: Profile,
    grid: Float[Array, " g"],
    slopes: Float[Array, "g m"],
    cell: Int[Array, " m"],
    tol: Scalar,
) -> Float[Array, " m"]:
    """Root of the slope in a cell of the grid, from the secant through its ends."""
    ends = jnp.minimum(cell + np.arange(2)[:, None], len(grid) - 1)
    low, high = grid[ends]
    slope_low, slope_high = jnp.take_along_axis(slopes, ends, axis=0, mode="clip")
    part = slope_low / (slope_low - slope_high)
    part = jnp.where(part > 0, part, 0.5)  # 0 or NaN where a slope is infinite
    smallest = where_linear(profile.skeleton)

    def step(state: _Bracket) -> _Bracket:
        slope, curvature = profile.slope_and_curvature(state.hsq)
        low = jnp.where(slope > 0, state.hsq, state.low)
        high = jnp.where(slope > 0, state.high, state.hsq)
        newton = state.hsq - slope / curvature
        inside = (newton >= low) & (newton <= high) & (curvature < 0)
        proposal = jnp.where(inside, newton, (low + high) / 2)
        moved = jnp.abs(proposal - state.hsq)
        hsq = jnp.where(state.done, state.hsq, proposal)
        arrived = (moved <= tol * (hsq + smallest) * (1 - hsq)) | (high - low <= 1e-16 * high)
        done = state.done | arrived
        return _Bracket(low, high, hsq, done, state.steps + 1)

    start = _Bracket(low, high, low + part * (high - low), cell > len(grid) - 2, jnp.zeros((), int))
    return lax.while_loop(
        lambda state: jnp.any(~state.done) & (state.steps < MAX_STEPS), step, start
    ).hsq
