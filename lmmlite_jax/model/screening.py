"""Markers and traits in single precision, with the most that it can be wrong by.

Of a marker and a trait, with x = √w̃∘g̃ and y = √w̃∘ỹ, a screen wants the correlation

    |cos| = |x'y| / (‖x‖ ‖y‖),   whose square is the share of variance that the marker explains.

Computed in single precision (unit roundoff u), in sums of n products in whatever order, it is wrong
by at most `ScreenTraits.margin`, the sum of

- what the rotation does: each element of g̃ is wrong by (n + 2) u ‖g‖ (Cauchy and Schwarz, as the
  rows of the rotation have norm 1), which turns x by at most (n + 2) u ‖g‖ √Σw̃ / ‖x‖, where
  ‖x‖ ≥ ‖g̃‖ √min w̃. A rotation in double precision turns it by 2u;
- what the product x'y does: (n + 5) u of ‖x‖ ‖y‖;
- what ‖x‖² as a sum over the nodes of a skeleton does, half of (n + r + 6) u L of it: terms may
  have both signs there, and their absolute values are at most L times the sum.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Real

from lmmlite_jax.model.at_once import Product
from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.marker_rotation import decoded
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.skeleton import Skeleton
from lmmlite_jax.model.threads import on_cpu

__all__ = [
    "ROUNDOFF",
    "ScreenMarkers",
    "ScreenRotation",
    "ScreenTraits",
    "margin_of_product",
    "screen_markers",
    "screen_rotation",
    "screen_traits",
]

ROUNDOFF = 2.0**-24
"""Unit roundoff of single precision."""

BFLOAT_ROUNDOFF = 2.0**-9
"""Unit roundoff of bfloat16, whose range is that of single precision."""

WIDE_MARGIN, WIDE_MARGIN_OF_ACCELERATORS = 2e-3, 1e-2
"""Mean margin of traits from which markers are rotated in double precision: to look at the pairs in
doubt would take longer. Many accelerators are slow in double precision."""

HOPELESS_MARGIN = 0.1
"""Margin that leaves most pairs of a trait."""

SKELETON_ERROR = 1e-8
"""More than the error of a sum over the nodes of a skeleton."""

UNSURE = 4.0
"""Factor around the tolerance for collinear markers within which double precision decides."""


class ScreenRotation(NamedTuple):
    """What takes genotypes of all n individuals to `ScreenMarkers` in one pattern.

    Attributes
    ----------
    roots : (n,)
        Square roots of the individuals' weights, zero for one that is not in the pattern.
    covariates : (n, p)
        Orthonormal basis of the covariates, in weighted units.
    rotation : (n, q)
        From residuals of the covariates to g̃, of orthonormal columns.
    rows : (q, r + 1)
        From squares to their coefficients in the nodes, and their sum in the null space.
    """

    roots: Float[AnyArray, " n"]
    covariates: Float[AnyArray, "n p"]
    rotation: Float[AnyArray, "n q"]
    rows: Float[AnyArray, "q r_and_1"]


class ScreenMarkers(NamedTuple):
    """B rotated markers of one column, of norm 1 beside the covariates, in single precision.

    ``values`` (B, q) are g̃, ``squares`` (B, r + 1) the coefficients of Σ w̃ g̃². A marker that the
    covariates span has values of zero; ``unsure`` (B,) are those for which double precision has to
    decide that.
    """

    values: Float[Array, "B q"]
    squares: Float[Array, "B r_and_1"]
    unsure: Bool[Array, " B"]


class ScreenTraits(NamedTuple):
    """T traits at their heritabilities under the null, of norm 1, in single precision.

    ``weighted`` (T, q) is w̃∘ỹ over the root of Σ w̃ ỹ², zero for a trait without a fit, and
    ``exact`` (T, q) w̃∘ỹ in double precision; ``weights`` (r + 1, T) those of the nodes, and
    1/(1-h); ``margin`` (T,) is the most that a correlation may be wrong by, and ``margin_double``
    with markers rotated in double precision.
    """

    weighted: Float[Array, "T q"]
    exact: Float[Array, "T q"]
    weights: Float[Array, "r_and_1 T"]
    margin: Float[Array, " T"]
    margin_double: Float[Array, " T"]

    @property
    def wants_double(self) -> bool:
        """Whether markers rotated in double precision spare more than that costs."""
        margin = np.minimum(self.margin, HOPELESS_MARGIN)
        spared = np.where(np.asarray(self.margin_double) < HOPELESS_MARGIN, margin, 0.0)
        wide = WIDE_MARGIN if on_cpu() else WIDE_MARGIN_OF_ACCELERATORS
        return bool(np.mean(spared) > wide)


def screen_rotation(pattern: Pattern, skeleton: Skeleton, *, n: int) -> ScreenRotation:
    """Prepare one pattern (leading axis 1) for the markers of n individuals; compiles nothing."""
    members, projection = np.asarray(pattern.members)[0], pattern.projection
    present = members >= 0

    def of_all(columns: np.ndarray) -> np.ndarray:
        everyone = np.zeros((n, *columns.shape[1:]))
        everyone[members[present]] = columns[present]
        return everyone

    rows, roots = np.asarray(pattern.rows)[0], np.ones(members.size)
    if pattern.roots is not None:
        roots = np.asarray(pattern.roots)[0]
    coefficients = np.concatenate([skeleton.coefficients_by_numpy(rows[:-2]), rows[-1:]])
    # Put on the device once, not with every block of markers.
    return jax.device_put(
        ScreenRotation(
            of_all(roots),
            of_all(np.asarray(projection.Q_t)[0].T),
            of_all(np.asarray(projection.Kve_t)[0].T),
            coefficients.T.astype(np.float32),
        )
    )


def margin_of_product(
    product: Product, n: int, margin: Float[np.ndarray, " T"]
) -> Float[np.ndarray, " T"]:
    """What a correlation may be wrong by, given its ``margin`` where products are single precision.

    With x and y rounded to bfloat16 each product is wrong by 2u + u² of itself, hence their sum by
    as much of ‖x‖ ‖y‖. Tensor cores add in single precision without rounding to nearest, and a
    product of single precision split into three of theirs loses two bits: 8 times covers both.
    """
    if product == "single":
        return margin
    rounded = 2 * BFLOAT_ROUNDOFF * (1 + BFLOAT_ROUNDOFF) * (1 + margin)
    return rounded + 8 * (margin + (n + 8) * ROUNDOFF)


@partial(jax.jit, static_argnames="double")
def screen_markers(by: ScreenRotation, G: Real[Array, "1 B n"], *, double: bool) -> ScreenMarkers:
    """Rotate a block of markers, in ``double`` precision or in single."""
    G = decoded(G[0]) * by.roots
    whole = jnp.sum(G**2, axis=1)
    left = G - (G @ by.covariates) @ by.covariates.T
    square = jnp.sum(left**2, axis=1)
    least = COLLINEAR_TOLERANCE**2 * whole
    varies = square > least / UNSURE
    unit = jnp.where(varies, lax.rsqrt(jnp.where(varies, square, 1.0)), 0.0)
    left = left * unit[:, None]
    dtype = jnp.float64 if double else jnp.float32
    values = _product(left.astype(dtype), by.rotation.astype(dtype)).astype(jnp.float32)
    squares = _product(values**2, by.rows)
    # Any positive sum of squares will do for a marker whose correlations are zero.
    none = jnp.arange(squares.shape[1]) == 0
    return ScreenMarkers(
        values,
        jnp.where(varies[:, None], squares, none.astype(jnp.float32)),
        varies & (square < least * UNSURE),
    )


@jax.jit
def screen_traits(
    pattern: Pattern,
    skeleton: Skeleton,
    weighted: Float[Array, "q T"],
    rss: Float[Array, " T"],
    hsq: Float[Array, " T"],
) -> ScreenTraits:
    """Traits in single precision; ``weighted`` and ``rss`` are those of `Traits`."""
    own = jax.tree.map(lambda a: a[0], pattern)
    known = rss > 0
    h = jnp.where(known, hsq, 0.0)
    gap = jnp.where(h < 1, 1 / (1 - h), 0.0)
    weights = jnp.concatenate([skeleton.weights(h), gap[None]])
    spectrum = own.projection.Kva[:, None]
    real = jnp.arange(spectrum.size)[:, None] < own.n - len(own.projection.R)
    each = 1 / (h * spectrum + (1 - h))
    total = jnp.sum(jnp.where(real, each, 0.0), axis=0)
    least = jnp.min(jnp.where(real, each, jnp.inf), axis=0)
    absolute = jnp.abs(_coefficients(own, skeleton)).T @ weights
    spread = jnp.max(jnp.where(real, absolute / each, 0.0), axis=0)
    n, nodes = own.n.astype(float), len(weights)
    turned = (n + 3) * ROUNDOFF * jnp.sqrt(total / least)
    norm = (n + nodes + 6) * ROUNDOFF * spread
    product = (n + 8) * ROUNDOFF + norm / 2 * (1 + norm) + SKELETON_ERROR
    second_order = 1 + 4 * (turned + product)
    scale = jnp.where(known, lax.rsqrt(jnp.where(known, rss, 1.0)), 0.0)
    return ScreenTraits(
        jnp.where(known, weighted * scale, 0.0).T.astype(jnp.float32),
        weighted.T,
        weights.astype(jnp.float32),
        (turned + product) * second_order,
        (2 * ROUNDOFF + product) * second_order,
    )


def _coefficients(own: Pattern, skeleton: Skeleton) -> Float[Array, "r_and_1 q"]:
    """What the square of each rotated individual adds to the coefficients of a sum of squares."""
    return jnp.concatenate([skeleton.coefficients(own.rows[:-2]), own.rows[-1:]])


def _product(left: AnyArray, right: AnyArray) -> Array:
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)
