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
    "ANY_EIGENVALUES",
    "GRID_POINTS",
    "LAST",
    "ROOT_STEPS",
    "EvenGrid",
    "GridSize",
    "Maximum",
    "even_grid",
    "global_maximum",
    "grid_points",
    "size_of_grid",
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

COARSER = 4
"""Steps between neighbours so far below the positive eigenvalues that a likelihood turns once more
at most."""

ROOT_STEPS = 4
"""Newton steps from the middle of a cell to the root of a polynomial."""

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


class GridSize(NamedTuple):
    """What is known of a grid before it is compiled.

    ``points`` between its ends if it is an `EvenGrid`; from `GRID_POINTS` on it is the grid for any
    eigenvalues. ``below``: how far below the smallest positive eigenvalue the points are close
    together, None where no eigenvalue is zero.
    """

    points: int
    below: float | None = None


ANY_EIGENVALUES = GridSize(GRID_POINTS)


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
    size: GridSize = ANY_EIGENVALUES,
    smallest: Scalar | None = None,
) -> Maximum:
    """Grid, every local maximum bracketed, Newton safeguarded inside each, boundaries compared.

    ``spike`` marks traits whose likelihood at h = 1 is infinite for a reason that says nothing of
    heritability (ML with K singular along the covariates): h = 1 is not theirs. Without
    ``check_boundary`` the search stays in [tol, 1 - tol], as R's ``optimize`` does. It is on an
    `EvenGrid` where ``size`` says so. Otherwise ``smallest`` is the smallest eigenvalue that
    enters, for nodes that go far below it: where none is zero, the grid does not follow them, to
    where the weights of such nodes leave no digits of the slopes.

    Derivatives of the maximum do not go through the search: see `_stationary`.
    """
    differentiable = profile
    profile = lax.stop_gradient(profile)
    if smallest is not None:
        smallest = jnp.where(jnp.any(profile.zeros > 0), 0.0, smallest)
    edge = 0.0 if check_boundary else tol
    if size.points < GRID_POINTS:
        even = even_grid(profile.skeleton, size.points + 1, size.below)
        places = _places(even, with_zeros=size.below is not None)
        inside = even.hsq(places[1:] if size.below is not None else places[1:-1])
    else:
        even, places = None, np.zeros(0)
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
        ends = jnp.minimum(cell + np.arange(2)[:, None], last + 1)
        start = _secant(grid[ends], jnp.take_along_axis(slopes, ends, axis=0, mode="clip"))
        if even is not None:
            root = _cubic_root(even, places, slopes[: places.size], cell)
            start = jnp.where(jnp.isnan(root), start, jnp.clip(root, *grid[ends]))
        hsq = _newton(profile, grid[ends], cell <= last, start, tol)
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


def size_of_grid(
    skeleton: Skeleton,
    n: Int[AnyArray, "*P"],
    zeros: Float[AnyArray, "*P"],
    prior_size: Scalar = 0.0,
) -> GridSize:
    """Of the grid on which fits are searched, with so many individuals and zero eigenvalues.

    With δ = (1-h)/h, the share s of the residual squares that is in the null space of K, z zero
    eigenvalues and ε = δ/λ for the smallest positive eigenvalue λ, the slope of -2 loglik in log δ
    is z - s dof, up to ε dof. Where ε dof is at most 1/16 it is zero for s > 15 ε alone, and there
    s falls with δ by more than the rest can rise: the likelihood turns once at most. A power of
    ten, so that compiled programs stay few.

    The squares of a prior on σ² are those of an eigenvalue of 1, which every `EvenGrid` allows for.
    """
    if is_traced(skeleton.smallest, skeleton.largest, n, zeros, prior_size):
        return ANY_EIGENVALUES
    if not np.any(np.asarray(zeros) > 0):
        return GridSize(grid_points(skeleton))
    most_dof = np.max(np.asarray(n)) + np.asarray(prior_size)
    below = float(10.0 ** np.ceil(np.log10(16 * most_dof)))
    return GridSize(grid_points(skeleton, below), below)


def where_linear(skeleton: Skeleton) -> Float[Array, ""]:
    """Heritability below which a likelihood is as good as linear."""
    return 1 / (1 + GRID_RANGE[1] * jnp.asarray(skeleton.largest))


def _places(grid: EvenGrid, *, with_zeros: bool) -> Float[np.ndarray, " places"]:
    """Where on a grid slopes are looked at, from h = 0 to h = 1.

    With zero eigenvalues h = 1 is no place, but beyond all: they go on to where the grid for any
    eigenvalues ends.
    """
    even = np.arange(grid.cells + 1)
    if not with_zeros:
        return np.sort(np.append(even, grid.near_ends))
    steps = np.log(1 / GRID_RANGE[0]) / STEP
    beyond = np.arange(grid.cells + COARSER, steps + COARSER, COARSER)
    return np.sort(np.concatenate([NEAR_END, even, beyond]))


def _whole_grid(nodes: Float[AnyArray, " r"], smallest: Scalar | None) -> Float[Array, " points"]:
    """Heritabilities between 0 and 1, evenly spaced in log δ."""
    high, low = (jnp.max(nodes) * end for end in GRID_RANGE[::-1])
    if smallest is not None:
        low = jnp.maximum(low, smallest / BELOW)
    return 1 / (1 + high * (low / high) ** (np.arange(GRID_POINTS) / (GRID_POINTS - 1)))


def _secant(hsq: Float[Array, "2 m"], slope: Float[Array, "2 m"]) -> Float[Array, " m"]:
    """Root of the line through the slopes at two heritabilities."""
    part = slope[0] / (slope[0] - slope[1])
    part = jnp.where(part > 0, part, 0.5)  # 0 or NaN where a slope is infinite
    return hsq[0] + part * (hsq[1] - hsq[0])


def _cubic_root(
    grid: EvenGrid,
    places: Float[np.ndarray, " places"],
    slopes: Float[Array, "places m"],
    cell: Int[Array, " m"],
) -> Float[Array, " m"]:
    """Root in a cell of the cubic through the slopes at the four places around; NaN where none is.

    Slopes are those along the grid, where they change evenly.
    """
    first = jnp.clip(cell - 1, 0, places.size - 4)
    around = first + np.arange(4, dtype=first.dtype)[:, None]
    at = jnp.asarray(places)[around]
    along = slopes * grid.change(places)[:, None]
    differences = list(jnp.take_along_axis(along, around, axis=0, mode="clip"))
    for order in range(1, 4):
        for k in range(3, order - 1, -1):
            rise = differences[k] - differences[k - 1]
            differences[k] = rise / (at[k] - at[k - order])
    ends = jnp.minimum(cell + np.arange(2, dtype=cell.dtype)[:, None], places.size - 1)
    low, high = jnp.asarray(places)[ends]
    place = (low + high) / 2
    for _ in range(ROOT_STEPS):
        value, change = differences[3], jnp.zeros_like(place)
        for k in reversed(range(3)):
            change = change * (place - at[k]) + value
            value = value * (place - at[k]) + differences[k]
        place = jnp.clip(place - value / change, low, high)
    return grid.hsq(jnp.where((place > low) & (place < high), place, jnp.nan))


def _newton(
    profile: Profile,
    ends: Float[Array, "2 m"],
    wanted: Bool[Array, " m"],
    start: Float[Array, " m"],
    tol: Scalar,
) -> Float[Array, " m"]:
    """Root of the slope between two heritabilities, where one is wanted."""
    low, high = ends
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

    begin = _Bracket(low, high, start, ~wanted, jnp.zeros((), int))
    return lax.while_loop(
        lambda state: jnp.any(~state.done) & (state.steps < MAX_STEPS), step, begin
    ).hsq
