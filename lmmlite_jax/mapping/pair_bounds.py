"""The bound of `share_bound` for single pairs, with their own d.

The maximum is at h only if the pair has there what it has in the middle of any other cell: this
leaves few cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Real, Shaped

from lmmlite_jax.mapping.share_bound import (
    SINGLE,
    SLACK,
    MarkersInCells,
    log_squares,
    markers_in_cells,
    most_of_neighbours,
)
from lmmlite_jax.model.cells import Cells, PairTraits
from lmmlite_jax.model.marker_rotation import MarkerRotation, Markers, rotate_markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.programs import OLDER_LOOPS

__all__ = [
    "CellMarkers",
    "PairCells",
    "PairMarkers",
    "PairsInCells",
    "largest_shares",
    "pair_cells",
    "rotate_into_cells",
]

PAIRS_AT_ONCE = 512
"""Pairs that are looked at together."""


class PairCells(NamedTuple):
    """C cells, in single precision.

    factors (C, J): of the products; margin (C,): what a cosine in the middle may be off by; way
    (C,): tanh of what atanh may be above those in the middle of a cell and of its neighbours;
    tail (2,) or (0,): as `Cells` has it.
    """

    factors: Float[np.ndarray, "C J"]
    margin: Float[np.ndarray, " C"]
    way: Float[np.ndarray, " C"]
    tail: Float[np.ndarray, " t"]


class PairMarkers(NamedTuple):
    """B markers in C cells, in single precision.

    scale (B, C): 1/√d; half_log_d (B, C): of d, on the ways to h = 1 that of the cell before.
    """

    scale: Float[AnyArray, "B C"]
    half_log_d: Float[AnyArray, "B C"]


class PairsInCells(NamedTuple):
    """Cells, and what markers and traits have in them."""

    cells: PairCells
    markers: PairMarkers
    traits: PairTraits


class CellMarkers(NamedTuple):
    """B markers for all pairs in the usual cells, and for some of them in the fine ones."""

    usual: MarkersInCells
    fine: PairMarkers


class _Bounds(NamedTuple):
    """Of pairs in cells: log likelihood at least and, with its slack, at most; share at most."""

    least: Float[AnyArray, "*of"]
    most: Float[AnyArray, "*of"]
    share: Float[AnyArray, "*of"]


def pair_cells(cells: Cells) -> PairCells:
    """Cells for `largest_shares`."""
    of_cells = cells.factors, cells.margin, np.tanh(cells.radius), cells.tail
    return PairCells(*(np.asarray(values, dtype=np.float32) for values in of_cells))


@partial(jax.jit, static_argnames="dtype", compiler_options=OLDER_LOOPS)
def rotate_into_cells(
    by: MarkerRotation, G: Real[Array, "1 B n"], cells: Cells, fine: Cells, *, dtype: str
) -> tuple[Markers, CellMarkers]:
    """Markers of one column, rotated, and what the cells have of them: one program for both."""
    markers = rotate_markers(by, G, dtype=dtype)
    in_cells = CellMarkers(markers_in_cells(markers, cells), _pair_markers(markers, fine))
    return markers, in_cells


def _pair_markers(markers: Markers, cells: Cells) -> PairMarkers:
    log_d, there, _ = log_squares(markers, cells)
    scale = jnp.where(there, jnp.exp(-log_d / 2), 0.0)
    half = log_d[cells.before] / 2
    return PairMarkers(*(of_cells.T.astype(jnp.float32) for of_cells in (scale, half)))


def largest_shares(
    found: Float[Array, "J T B"],
    marker: Int[np.ndarray, " P"],
    trait: Int[np.ndarray, " P"],
    known: PairsInCells,
    *,
    restricted: bool,
) -> Float[np.ndarray, " P"]:
    """What some pairs of a tile explain at most, as `statistics.share_of_score` has it."""
    largest = [
        _largest_shares(found, *piece, known, restricted=restricted)
        for piece in _pieces((marker, trait), PAIRS_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0), *largest])[: marker.size]


@partial(jax.jit, static_argnames="restricted")
def _largest_shares(
    found: Float[Array, "J T B"],
    marker: Int[Array, " P"],
    trait: Int[Array, " P"],
    known: PairsInCells,
    *,
    restricted: bool,
) -> Float[Array, " P"]:
    # By one number: a gather by three would turn all products around first.
    place = trait * found.shape[2] + marker
    each = np.arange(len(found)) * (found.shape[1] * found.shape[2])
    products = found.ravel()[place[:, None] + each]
    cells, markers, traits = known
    weighted = jnp.matmul(products, cells.factors.T, precision=lax.Precision.HIGHEST)
    markers = PairMarkers(*(values[marker] for values in markers))
    scale, least, most = (values[trait] for values in traits[:3])
    traits = PairTraits(scale, least, most, traits.dof)
    bounds = _bounds(weighted, PairsInCells(cells, markers, traits), restricted)
    ruled_out = bounds.most < jnp.max(bounds.least, axis=1)[:, None]
    return jnp.max(jnp.where(ruled_out, -1.0, bounds.share), axis=1)


def _bounds(weighted: Float[Array, "P C"], known: PairsInCells, restricted: bool) -> _Bounds:
    """Of pairs whose Σ w g̃ ỹ in the middle of each cell are known."""
    cells, markers, traits = known
    cosine = jnp.abs(weighted) * markers.scale * traits.scale
    most = most_of_neighbours(cosine + cells.margin, cells.tail.size)
    most = jnp.where(most < 1, (most + cells.way) / (1 + most * cells.way), 1.0)

    def gain(cosine: Array) -> Array:
        return jnp.log((1 - cosine) * (1 + cosine)) * -traits.dof

    at_most = traits.most + gain(most) + SLACK + 2 * SINGLE * traits.dof
    if not restricted:  # the log likelihood decides, and no cell rules out another
        share = -jnp.expm1(-jnp.maximum(at_most, 0.0) / traits.dof)
        return _Bounds(jnp.full_like(at_most, -jnp.inf), at_most, share)
    least = jnp.clip(cosine - cells.margin, 0.0, 1 - SINGLE)
    at_least = traits.least - markers.half_log_d + gain(least)
    return _Bounds(at_least, at_most - markers.half_log_d, most**2)


def _pieces(
    arrays: tuple[Shaped[np.ndarray, " some"], ...], size: int
) -> Iterator[list[Shaped[np.ndarray, " size"]]]:
    """Pieces of arrays, padded to one size."""
    for start in range(0, len(arrays[0]), size):
        pieces = (values[start : start + size] for values in arrays)
        yield [np.pad(piece, (0, size - piece.size)) for piece in pieces]
