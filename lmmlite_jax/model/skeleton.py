"""Skeleton spectrum: any sum over n individuals as a combination of a few functions of h.

All that a linear mixed model asks of rotated data is sums  Σ_i a_i w_i(h),
w_i(h) = 1/(hλ_i + 1 - h), for h in [0, 1]. With δ = (1-h)/h they are, up to a factor,
Cauchy functions 1/(λ + δ) of an eigenvalue in [a, b], and r of those, 1/(μ_k + δ), reproduce them
all from their values at r points δ_j. The relative error of that is exactly

    Π_l (λ - μ_l)/(λ + δ_l) · Π_l (δ - δ_l)/(δ + μ_l),

so that the best μ and δ solve Zolotarev's third problem on [a, b] and [-∞, 0], whose solution is
known in elliptic functions. The number of nodes depends on b/a and the tolerance alone: never on
n, the covariates or the single eigenvalues, so that one skeleton serves a regular kinship matrix,
each of its principal submatrices, and each projection of those (Cauchy interlacing; a singular one
can have projections with smaller positive eigenvalues than its own: see `decomposition`).
Eigenvalues of exactly zero, whose weight 1/(1-h) has no bound, are kept apart.

Where the eigenvalues are known, and no others will come, those far from the rest are nodes and
points themselves, μ = δ = λ: that leaves them no error, and multiplies that of the others by less
than 1. The rest lies in a shorter interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import qr, solve_triangular
from scipy.special import ellipk, ellipkm1

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import AnyArray, Scalar, in_float64, is_traced

__all__ = [
    "RANK_TOLERANCE",
    "Skeleton",
    "interval_skeleton",
    "of_same_range",
    "skeleton",
    "spectrum_skeleton",
]

RANK_TOLERANCE = 1e-12
"""Eigenvalues up to this part of the largest are zero: double precision leaves them few digits."""

WIDE = 10.0
"""Decades beyond which rounding keeps a skeleton from its usual error."""

WIDE_ERROR = 1e-9
"""Error of a skeleton over so many decades."""

MAX_NODES = 150

MOST_ALONE = 8
"""Eigenvalues at either end that can be nodes."""

NODES_OF_A_DECADE = 7.2
"""Nodes that a decade of eigenvalues takes, at the usual error: what a lone one has to save."""

LEAST_APART = 1e-2
"""Between logarithms of eigenvalues that are nodes: functions of closer ones are too much alike."""

MEASURED = 300
"""Eigenvalues for which a skeleton's error is measured."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Skeleton:
    """A few eigenvalues that stand for a whole spectrum.

    Attributes
    ----------
    smallest, largest : ()
        The interval [a, b].
    nodes : (r,)
        The eigenvalues μ_k that stand for all eigenvalues in [a, b]; of a `spectrum_skeleton`, for
        its own alone.
    deltas : (r,)
        The points δ = (1-h)/h at which a sum has to be known.
    error : ()
        Largest relative error of a weight w(λ; h), hence of any sum of terms of one sign, measured
        over these eigenvalues and h in [0, 1].
    column_scale, row_scale, orthogonal, inverse
        The scaled inverse of the matrix w(μ_k; h_j), as its QR factors with pivoting give it: the
        product ``inverse @ orthogonal.T`` would lose half the digits that its factors keep.
    """

    smallest: Float[AnyArray, ""]
    largest: Float[AnyArray, ""]
    nodes: Float[AnyArray, " r"]
    deltas: Float[AnyArray, " r"]
    error: Float[AnyArray, ""]
    column_scale: Float[AnyArray, " r"]
    row_scale: Float[AnyArray, " r"]
    orthogonal: Float[AnyArray, "r r"]
    inverse: Float[AnyArray, "r r"]

    @property
    @in_float64
    def hsq(self) -> Float[Array, " r"]:
        """Heritabilities at which a sum has to be known."""
        return jnp.asarray(1 / (1 + self.deltas))

    @property
    @in_float64
    def gap(self) -> Float[Array, " r"]:
        """1 - h at those heritabilities, without the rounding of h."""
        return jnp.asarray(self.deltas / (1 + self.deltas))

    @in_float64
    def weights_of(self, spectrum: Float[AnyArray, " n"]) -> Float[Array, "r n"]:
        """w(λ_i; h) of any eigenvalues at ``hsq``, one row a heritability."""
        deltas = jnp.asarray(self.deltas)[:, None]
        return (1 + deltas) / (jnp.asarray(spectrum) + deltas)

    @in_float64
    def weights(self, hsq: Float[AnyArray, "*h"]) -> Float[Array, "r *h"]:
        """w(μ_k; h) = 1/(hμ_k + 1 - h), one row a node."""
        nodes = jnp.asarray(self.nodes).reshape(-1, *(1,) * hsq.ndim)
        h = jnp.asarray(hsq)
        return 1 / (h * nodes + (1 - h))

    @in_float64
    def coefficients(self, values: Float[AnyArray, "r *m"]) -> Float[Array, "r *m"]:
        """Coefficients S of the sum Σ_k S_k w(μ_k; h) that takes ``values`` at ``hsq``."""
        rows = values.reshape(values.shape[0], -1) * jnp.asarray(self.row_scale)[:, None]
        solved = jnp.asarray(self.inverse) @ (jnp.asarray(self.orthogonal).T @ rows)
        return (solved * jnp.asarray(self.column_scale)[:, None]).reshape(values.shape)

    def coefficients_by_numpy(self, values: Float[np.ndarray, "r q"]) -> Float[np.ndarray, "r q"]:
        """The same outside of a trace, where nothing has to be compiled."""
        rows = values * np.asarray(self.row_scale)[:, None]
        solved = np.asarray(self.inverse) @ (np.asarray(self.orthogonal).T @ rows)
        return solved * np.asarray(self.column_scale)[:, None]

    @in_float64
    def interpolation(self, hsq: Float[AnyArray, "*h"]) -> Float[Array, "r *h"]:
        """Factors of a sum's values at ``hsq`` of the nodes that give it at other ``hsq``."""
        weights = self.weights(hsq)
        columns = weights.reshape(weights.shape[0], -1) * jnp.asarray(self.column_scale)[:, None]
        solved = jnp.asarray(self.orthogonal) @ (jnp.asarray(self.inverse).T @ columns)
        return (solved * jnp.asarray(self.row_scale)[:, None]).reshape(weights.shape)


@in_float64
def skeleton(spectrum: ArrayOrFrame, tol: float = 1e-10) -> Skeleton:
    """Skeleton of the eigenvalues of a kinship matrix.

    Parameters
    ----------
    spectrum : (n,)
        Eigenvalues, none negative. Zeros are allowed and take no part.
    tol : float
        Largest relative error accepted.

    Returns
    -------
    Skeleton
        With its measured ``error``.

    Raises
    ------
    ValueError
        If the spectrum has negative eigenvalues or no positive one, or the error stays above
        ``tol``.

    Examples
    --------
    >>> import numpy as np
    >>> few = skeleton(np.geomspace(0.01, 10, 5000))
    >>> few.nodes.shape, bool(few.error < 1e-10)
    ((25,), True)
    """
    values = np.asarray(spectrum, dtype=np.float64)
    positive = values[values > 0]
    if values.size == 0:
        raise ValueError("spectrum is empty: give the eigenvalues of a kinship matrix.")
    if (values < 0).any() or positive.size == 0:
        raise ValueError(
            f"spectrum must be non-negative with a positive eigenvalue, its smallest is "
            f"{values.min():.3g} and its largest {values.max():.3g}: see eigen_rotation's "
            "clip_negative."
        )
    decades = float(np.log10(positive.max() / positive.min()))
    return _scaled(_unit_skeleton(decades, tol), positive.max())


def interval_skeleton(ratio: float, largest: Scalar, tol: float = 1e-10) -> Skeleton:
    """Skeleton of every spectrum in [ratio · largest, largest]; ``largest`` may be traced.

    The interval is rounded outwards to half a decade, so that nearby spectra share a compiled
    program. Over more than 10 decades the error accepted is 1e-9.
    """
    decades = float(np.ceil(-2 * np.log10(ratio) - 1e-9) / 2)
    error = tol if decades <= WIDE else max(tol, WIDE_ERROR)
    return _scaled(_unit_skeleton(decades, error), largest)


def of_same_range(skeleton: Skeleton) -> Skeleton:
    """The `interval_skeleton` of all spectra that go as far as one that has a skeleton."""
    return interval_skeleton(float(skeleton.smallest / skeleton.largest), skeleton.largest)


def spectrum_skeleton(spectrum: Float[np.ndarray, " q"], tol: float = 1e-10) -> Skeleton:
    """Skeleton of these positive eigenvalues, ascending, and of no others between them.

    Those far from the rest are nodes, if that takes fewer: an even number, so that spectra that
    differ little share a compiled program.
    """
    largest, values = spectrum[-1], spectrum / spectrum[-1]
    every = interval_skeleton(float(values[0]), largest, tol)
    low, high = _far_from_rest(values), _far_from_rest(1 / values[::-1])
    rest = values[low : values.size - high]
    alone = np.concatenate([values[:low], values[values.size - high :]])
    if min(alone.size, rest.size) == 0 or np.any(np.diff(np.log(alone)) < LEAST_APART):
        return every
    condition = float(rest[-1] / rest[0])
    needed = next(r for r in range(1, MAX_NODES) if _zolotarev(condition, r)[2] <= 0.9 * tol)
    nodes, deltas, _ = _zolotarev(condition, needed + (needed + alone.size) % 2)
    some = values[np.linspace(0, values.size - 1, MEASURED).astype(int)]
    unit = _solved(
        np.sort(np.append(rest[-1] * nodes, alone)),
        np.sort(np.append(rest[-1] * deltas, alone)),
        np.union1d(some, alone),
    )
    if unit["nodes"].size < every.nodes.size and unit["error"] <= tol:
        return replace(_scaled(unit, largest), smallest=every.smallest)
    return every


def _far_from_rest(values: Float[np.ndarray, " q"]) -> int:
    """How many of the smallest eigenvalues are nodes rather than in the interval of the rest."""
    ends = values[: MOST_ALONE + 1]
    return int(np.argmax(NODES_OF_A_DECADE * np.log10(ends / ends[0]) - np.arange(ends.size)))


def _scaled(unit: dict[str, np.ndarray], largest: Scalar) -> Skeleton:
    # NumPy's arithmetic compiles nothing.
    largest = jnp.asarray(largest) if is_traced(largest) else np.asarray(largest)
    bottom = largest * unit["smallest"]
    nodes, deltas = largest * unit["nodes"], largest * unit["deltas"]
    return Skeleton(
        smallest=bottom if is_traced(bottom) else np.asarray(bottom),
        largest=largest,
        nodes=nodes,
        deltas=deltas,
        error=unit["error"],
        column_scale=nodes**0.5,
        row_scale=2 * deltas**0.5 / (1 + deltas),
        orthogonal=unit["orthogonal"],
        inverse=unit["inverse"],
    )


@lru_cache(maxsize=128)
def _unit_skeleton(decades: float, tol: float) -> dict[str, np.ndarray]:
    condition = 10.0**decades
    spectrum = np.geomspace(1 / condition, 1, MEASURED)
    best = np.inf
    tries = (r for r in range(1, MAX_NODES) if _zolotarev(condition, r)[2] <= 0.9 * tol)
    for r in islice(tries, 5):  # the first will do, unless rounding needs the room of another node
        nodes, deltas, _ = _zolotarev(condition, r)
        unit = _solved(nodes, deltas, spectrum)
        if unit["error"] <= tol:
            return unit
        best = min(best, float(unit["error"]))
    raise ValueError(
        f"a skeleton of relative error {tol:.1e} is out of reach of double precision for "
        f"eigenvalues over {decades:g} decades, the best has {best:.1e}: "
        "ask for a larger tolerance."
    )


def _solved(
    nodes: Float[np.ndarray, " r"],
    deltas: Float[np.ndarray, " r"],
    spectrum: Float[np.ndarray, " some"],
) -> dict[str, np.ndarray]:
    """A skeleton of these nodes and points, its error measured for some eigenvalues up to 1."""
    matrix = 2 * np.sqrt(deltas[:, None] * nodes) / (nodes + deltas[:, None])
    # Pivoting grades the rows of the triangle: its explicit inverse is as good as solving.
    orthogonal, triangle, order = qr(matrix, pivoting=True)
    inverse = solve_triangular(triangle, np.eye(nodes.size))[np.argsort(order)]
    measured = _measured_error(spectrum, nodes, deltas, orthogonal, inverse)
    return {
        "smallest": np.asarray(spectrum[0]),
        "nodes": nodes,
        "deltas": deltas,
        "error": np.asarray(measured),
        "orthogonal": orthogonal,
        "inverse": inverse,
    }


def _zolotarev(
    condition: float, r: int
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"], float]:
    """Best nodes on [1/condition, 1] against [-∞, 0], and the error they achieve.

    A Möbius map takes the two intervals to [1, s] and [-s, -1], where the solution is the
    Jacobi function dn; its expansion in sech converges at once for the moduli that occur.
    """
    if condition < 1 + 1e-12:
        return np.ones(1), np.ones(1), 0.0
    s = 2 * condition - 1 + 2 * np.sqrt(condition * (condition - 1))
    quarter, conjugate = ellipkm1(s**-2), ellipk(s**-2)
    u = quarter * (2 * np.arange(r) + 1) / (2 * r)
    shifts = 2 * quarter * np.arange(-20, 21)
    decay = np.exp(-np.pi / (2 * conjugate) * np.abs(u[:, None] - shifts))
    t = s * np.pi / conjugate * (decay / (1 + decay**2)).sum(1)
    error = np.prod((t - 1) / (t + 1)) ** 2
    pole = (1 + s) / (2 * condition)
    return pole * (t + 1) / (t + s), pole * (t - 1) / (s - t), float(error)


def _measured_error(
    spectrum: Float[np.ndarray, " some"],
    nodes: Float[np.ndarray, " r"],
    deltas: Float[np.ndarray, " r"],
    orthogonal: Float[np.ndarray, "r r"],
    inverse: Float[np.ndarray, "r r"],
) -> float:
    matrix = 2 * np.sqrt(deltas[:, None] * spectrum) / (spectrum + deltas[:, None])
    combined = inverse @ (orthogonal.T @ matrix)
    # δ from h = 1 - 1e-13 down to h = 1e-6, at K's own scale.
    delta = np.geomspace(1e-13 * spectrum[0], 1e6, 1000)[:, None]
    exact = np.sqrt(spectrum) / (spectrum + delta)
    skeletal = (np.sqrt(nodes) / (nodes + delta)) @ combined
    return float(np.max(np.abs(skeletal / exact - 1)))
