"""Genotypes rotated for the individuals of a block of traits: what tests need of markers."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Real

from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.programs import OLDER_LOOPS
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "MISSING_GENOTYPE",
    "MarkerRotation",
    "Markers",
    "decoded",
    "marker_rotation",
    "rotate_markers",
]

MISSING_GENOTYPE = -127
"""What stands for a missing genotype in int8: bed-reader's."""

SINGLE_COLLINEAR_TOLERANCE = 1e-5
"""COLLINEAR_TOLERANCE for markers in single precision."""


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

    rotation: Float[Array, "n q"]
    onto: Float[Array, "n p"]
    back: Float[Array, "p n"]
    individuals: Float[Array, " n"]
    rows: Float[Array, "q r_and_2"]


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

    values: Float[Array, "k B q"]
    squares: Float[Array, "k k B r_and_1"]
    varies: Bool[Array, "k B"]

    def at(self, places: Int[Array, " some"]) -> Markers:
        """Markers in some places."""
        return Markers(self.values[:, places], self.squares[:, :, places], self.varies[:, places])

    def part(self, start: int, size: int) -> Markers:
        """Some of the markers."""
        return self if size == self.varies.shape[1] else _part(self, start, size=size)


@partial(jax.jit, static_argnames="size")
def _part(markers: Markers, start: int | Array, *, size: int) -> Markers:
    def some(values: Array, axis: int) -> Array:
        return lax.dynamic_slice_in_dim(values, start, size, axis)

    return Markers(some(markers.values, 1), some(markers.squares, 2), some(markers.varies, 1))


@partial(jax.jit, static_argnames=("n", "dtype"), compiler_options=OLDER_LOOPS)
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


def decoded(G: Real[Array, "B n"]) -> Float[Array, "B n"]:
    """Genotypes in double precision; a missing one of int8 is the mean of those observed."""
    if G.dtype != jnp.int8:
        return G.astype(float)
    gaps = G == MISSING_GENOTYPE
    observed = jnp.where(gaps, 0, G.astype(int))
    mean = jnp.sum(observed, axis=1) / jnp.maximum(jnp.sum(~gaps, axis=1), 1)
    return jnp.where(gaps, mean[:, None], observed.astype(float))


@partial(jax.jit, static_argnames="dtype")
def rotate_markers(by: MarkerRotation, G: Real[Array, "k B n"], *, dtype: str) -> Markers:
    """Rotate a block of markers: a product that is fastest with markers in rows.

    Those of int8 may have gaps.
    """
    k, B, n = G.shape
    G = decoded(G.reshape(k * B, n))
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
