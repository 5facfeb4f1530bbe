"""A bound of the share of variance that a marker explains, at whatever heritability its pair has.

A pair with the angle θ(h) between √w ∘ ỹ and √w ∘ g̃ explains a share cos² θ of the residual sum of
squares a at h. With d = Σ w g̃², and l₀ the log likelihood without marker, largest at ĥ₀, its own is

    restricted:  l₀(h) + ½ log (a/d)(h) - ½ (dof - 1) log(1 - cos² θ),
    otherwise:   l₀(h) - ½ dof log(1 - cos² θ).

A pair matters for its F test where the share at its own maximum is at least some number, and the
maximum is at h only if this is at least what the pair has at ĥ₀. A pair matters for its likelihood
ratio where this is some number above l₀(ĥ₀). Both ask for a least |cos θ| in each of the `Cells` of
the heritability; a pair that has it in none is done with. Kenward and Roger's F test, and the
corrected likelihood ratio, are never more significant than the plain ones: the effect's variance
grows by its bias, the degrees of freedom fall, and the ratio is divided by a factor above one.

All pairs are looked at in the cells, with what any marker of a block can gain by its d. Those that
are left are looked at one by one: see `pair_bounds`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.cells import Cells, CellTraits, TraitsInCells
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.programs import WIDE_VECTORS

__all__ = [
    "SINGLE",
    "SLACK",
    "MarkersInCells",
    "could_matter",
    "log_squares",
    "markers_in_cells",
    "most_of_neighbours",
    "most_promising",
]

SINGLE = 1e-6
"""Part by which what is computed in single precision may be off."""

SLACK = 1e-2
"""Of log likelihoods in single precision, and for each degree of freedom `SINGLE`."""


class MarkersInCells(NamedTuple):
    """B markers in C cells.

    values (B, q): g̃ in units of its length, single; scale (C, B): 1/√d in the middle of each cell,
    single, 0 where there is no share; least (C, C): of log d in one cell less that in another.
    """

    values: Float[Array, "B q"]
    scale: Float[Array, "C B"]
    least: Float[Array, "C C"]


def markers_in_cells(markers: Markers, cells: Cells) -> MarkersInCells:
    """Markers of one column in the cells."""
    log_d, there, unit = log_squares(markers, cells)
    varies = markers.varies[0]

    def least(of_cell: Array) -> Array:
        difference = jnp.where(varies, log_d - of_cell, jnp.inf)
        return jnp.min(difference, axis=1)

    return MarkersInCells(
        (markers.values[0].astype(float) / unit[:, None]).astype(jnp.float32),
        jnp.where(there, jnp.exp(-log_d / 2), 0.0).astype(jnp.float32),
        lax.map(least, log_d).T,
    )


def log_squares(markers: Markers, cells: Cells) -> tuple[Array, Array, Array]:
    """Logarithm of d (C, B) of markers in units of their length, where there is any; the units."""
    values, varies = markers.values[0].astype(float), markers.varies[0]
    unit = jnp.where(varies, jnp.sqrt(jnp.sum(values**2, axis=1)), jnp.inf)
    d = cells.at_nodes @ (markers.squares[0, 0].astype(float) / unit[:, None] ** 2).T
    there = varies & (d > 0)
    return jnp.log(jnp.where(there, d, 1.0)), there, unit


@jax.jit
def most_promising(
    markers: MarkersInCells, of_traits: CellTraits, cells: Cells
) -> tuple[Float[Array, " T"], Int[Array, " T"]]:
    """Largest |cos θ| in the cell of each trait's own heritability, and whose it is."""
    traits, products = of_traits.usual, of_traits.products
    factors = jnp.asarray(cells.factors)[traits.own]
    weighted = jnp.einsum("tj,jtq->tq", factors, products, precision=lax.Precision.HIGHEST)
    scale = markers.scale[traits.own] / jnp.sqrt(
        jnp.take_along_axis(traits.squares, traits.own[None], axis=0)[0, :, None]
    ).astype(jnp.float32)
    cosine = jnp.abs(_product(weighted, markers.values) * scale)
    place = lax.argmax(cosine, 1, jnp.int32)
    return jnp.take_along_axis(cosine, place[:, None], axis=1)[:, 0], place


def _product(traits: Float[Array, "T q"], markers: Float[Array, "B q"]) -> Float[Array, "T B"]:
    return jnp.matmul(traits, markers.T, precision=lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames="restricted", compiler_options=WIDE_VECTORS)
def could_matter(
    markers: MarkersInCells,
    of_traits: CellTraits,
    cells: Cells,
    share: Float[Array, " T"],
    dof: Array,
    *,
    restricted: bool,
) -> tuple[Float[Array, "J T B"], Bool[Array, "T B"]]:
    """Pairs that may explain a share, other things equal, as `statistics.share_of_score` has it.

    Beside them the products of which all cells' are made.
    """
    traits, (J, T, q) = of_traits.usual, of_traits.products.shape
    found = _product(of_traits.products.reshape(J * T, q), markers.values).reshape(J, T, -1)
    least = _least_cosines(markers, traits, cells, share, dof, restricted)
    everything = jnp.any(least <= 0, axis=0)
    least = jnp.where(least > 0, least, 1.0)
    scale = ((1 + SINGLE) / (least * jnp.sqrt(traits.squares))).astype(jnp.float32)
    factors = jnp.asarray(cells.factors)
    top = jnp.zeros(found.shape[1:], jnp.float32)
    for i in range(len(factors)):
        cosine = sum(factors[i, j] * found[j] for j in range(J))
        top = jnp.maximum(top, jnp.abs(cosine) * (markers.scale[i] * scale[i][:, None]))
    return found, (top >= 1) | everything[:, None]


def _least_cosines(
    markers: MarkersInCells,
    traits: TraitsInCells,
    cells: Cells,
    share: Float[Array, " T"],
    dof: Array,
    restricted: bool,
) -> Float[Array, "C T"]:
    """Computed cosines in the middle of each cell below which a pair does not matter there."""
    if restricted:
        number = cells.before
        log_a = jnp.log(traits.squares)
        ratio = markers.least[number][:, traits.own] - log_a[number]
        ratio = ratio + jnp.take_along_axis(log_a, traits.own[None], axis=0) - cells.width
        loss = jnp.maximum((2 * traits.loss + ratio) / (dof - 1), 0.0)
        needed = jnp.maximum(-jnp.expm1(-loss), share)
    else:
        log_rest = jnp.log1p(-share) - 2 * traits.loss / traits.dof
        needed = -jnp.expm1(jnp.minimum(log_rest, 0.0))
    cosine = jnp.minimum(jnp.sqrt(needed), 1 - 1e-15)
    away = jnp.arctanh(cosine) - cells.radius[:, None]
    return jnp.tanh(-most_of_neighbours(-away.T, cells.tail.size).T) - cells.margin[:, None]


def most_of_neighbours(values: Float[Array, "P C"], ways: int) -> Float[Array, "P C"]:
    """Largest in a cell and those beside it, of which the last ones, ways to h = 1, have none."""
    count = values.shape[1] - ways
    regular = jnp.pad(values[:, :count], ((0, 0), (1, 1)), constant_values=-jnp.inf)
    most = jnp.maximum(jnp.maximum(regular[:, :-2], regular[:, 2:]), values[:, :count])
    return jnp.concatenate([most, values[:, count:]], axis=1)
