"""The bound of `share_bound` for single pairs, with their own d, in the usual cells and in parts.

The maximum is at h only if the pair has there what it has in the middle of any other cell: this
leaves few cells, of which the parts are looked at. NumPy gathers what these few need: it copies
rows where XLA, on a CPU, finds the place of every number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from lmmlite_jax.mapping.share_bound import SINGLE, SLACK, cell_before, log_squares
from lmmlite_jax.model.cells import Cells, TraitsInCells
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray

__all__ = [
    "Level",
    "PairCells",
    "PairMarkers",
    "PairTraits",
    "largest_shares",
    "pair_cells",
    "pair_markers",
    "pair_traits",
    "parts_of_cells",
]

PAIRS_AT_ONCE = 512
"""Pairs that are looked at together in the usual cells."""

PARTS_AT_ONCE = 4096
"""Pairs, each with one cell, that are looked at together in its parts."""


class PairCells(NamedTuple):
    """C cells, in single precision.

    factors (C, J): of the products; margin (C,): what a cosine in the middle may be off by; way
    (C,): tanh of what atanh may change by within the cell.
    """

    factors: Float[np.ndarray, "C J"]
    margin: Float[np.ndarray, " C"]
    way: Float[np.ndarray, " C"]


class PairMarkers(NamedTuple):
    """B markers in C cells, in single precision.

    scale (B, C): 1/√d; half_log_d (B, C): of d, on the ways to h = 1 that of the cell before.
    """

    scale: Float[AnyArray, "B C"]
    half_log_d: Float[AnyArray, "B C"]


class PairTraits(NamedTuple):
    """T traits in C cells, in single precision.

    scale (T, C): 1/√a; least, most (T, C): log likelihoods with a marker, in the middle of each
    cell, and at most anywhere in it, without what is the marker's own or the pair's; dof (): the
    factor of -log(1 - cos² θ) in the latter.
    """

    scale: Float[AnyArray, "T C"]
    least: Float[AnyArray, "T C"]
    most: Float[AnyArray, "T C"]
    dof: Float[AnyArray, ""]


class Level(NamedTuple):
    """What is known in the same cells."""

    cells: PairCells
    markers: PairMarkers
    traits: PairTraits


class _Bounds(NamedTuple):
    """Of pairs in cells: log likelihood at least and, with its slack, at most; share at most."""

    least: Float[AnyArray, "*of"]
    most: Float[AnyArray, "*of"]
    share: Float[AnyArray, "*of"]


def parts_of_cells(usual: Cells, fine: Cells) -> Int[np.ndarray, " C_times_k"]:
    """The finer cells, k in each of the usual ones: of the ways to h = 1 k times the same."""
    count, of_fine = len(usual.middle), len(fine.middle)
    ways = np.arange(of_fine, len(fine.factors))
    return np.concatenate([np.arange(of_fine), np.repeat(ways, of_fine // count)])


def pair_cells(cells: Cells, order: Int[np.ndarray, " C"]) -> PairCells:
    """Cells, in some order, for `largest_shares`."""
    of_cells = cells.factors, cells.margin, np.tanh(cells.radius)
    return PairCells(*(np.asarray(values, dtype=np.float32)[order] for values in of_cells))


@jax.jit
def pair_markers(markers: Markers, cells: Cells, order: Int[Array, " C"]) -> PairMarkers:
    """Markers of one column for `largest_shares`."""
    log_d, there, _ = log_squares(markers, cells)
    scale = jnp.where(there, jnp.exp(-log_d / 2), 0.0)
    half = log_d[cell_before(cells)] / 2
    return PairMarkers(*(of_cells[order].T.astype(jnp.float32) for of_cells in (scale, half)))


@partial(jax.jit, static_argnames="restricted")
def pair_traits(
    traits: TraitsInCells, cells: Cells, order: Int[Array, " C"], dof: Array, *, restricted: bool
) -> PairTraits:
    """Traits for `largest_shares`."""
    scale = jnp.where(traits.squares > 0, 1 / jnp.sqrt(traits.squares), 0.0)
    least, most, factor = traits.middle, -traits.loss, traits.dof / 2
    if restricted:
        log_a = jnp.log(traits.squares)[cell_before(cells)]
        least, most = least + log_a / 2, most + log_a / 2 + cells.width / 4
        factor = (dof - 1) / 2
    scale, least, most = (x[order].T.astype(jnp.float32) for x in (scale, least, most))
    return PairTraits(scale, least, most, factor.astype(jnp.float32))


def largest_shares(
    found: Float[Array, "J T B"],
    marker: Int[np.ndarray, " P"],
    trait: Int[np.ndarray, " P"],
    share: Float[np.ndarray, " P"],
    usual: Level,
    fine: Level,
    *,
    restricted: bool,
) -> Float[np.ndarray, " P"]:
    """What some pairs of a tile explain at most, as `share_of_score` has it; -1 if not a share."""
    largest = np.full(marker.size, -1.0)
    if marker.size == 0:
        return largest
    looked_at = [
        _in_usual_cells(found, *piece, usual, restricted=restricted)
        for piece in _pieces((marker, trait, share.astype(np.float32)), PAIRS_AT_ONCE)
    ]
    products, matters, at_least = (np.concatenate(of) for of in zip(*looked_at, strict=True))
    matters = matters[: marker.size]
    pair, cell = np.divmod(np.flatnonzero(matters), matters.shape[1])
    if pair.size == 0:
        return largest
    where = pair, marker[pair], trait[pair], cell
    parts = [
        _in_parts(*_rows(products, fine, matters.shape[1], *piece), restricted=restricted)
        for piece in _pieces(where, PARTS_AT_ONCE)
    ]
    bounds = _Bounds(
        *(np.concatenate(of, axis=1)[:, : pair.size] for of in zip(*parts, strict=True))
    )

    first = np.flatnonzero(np.diff(pair, prepend=-1))  # of the cells of each pair that has some
    which = np.repeat(np.arange(first.size), np.diff(first, append=pair.size))
    elsewhere = np.maximum.reduceat(bounds.least.max(axis=0), first)
    elsewhere = np.maximum(elsewhere, at_least[pair[first]])
    ruled_out = bounds.most < elsewhere[which]
    of_parts = np.where(ruled_out, -1.0, bounds.share).max(axis=0)
    largest[pair[first]] = np.maximum.reduceat(of_parts, first)
    return largest


@partial(jax.jit, static_argnames="restricted")
def _in_usual_cells(
    found: Float[Array, "J T B"],
    marker: Int[Array, " P"],
    trait: Int[Array, " P"],
    share: Float[Array, " P"],
    level: Level,
    *,
    restricted: bool,
) -> tuple[Float[Array, "P J"], Bool[Array, "P C"], Float[Array, " P"]]:
    """Products of pairs, the cells in which each may explain a share, its likelihood at least."""
    # By one number: a gather by three would turn all products around first.
    place = trait * found.shape[2] + marker
    each = np.arange(len(found)) * (found.shape[1] * found.shape[2])
    products = found.ravel()[place[:, None] + each]
    cells, markers, of_traits = level
    weighted = jnp.matmul(products, cells.factors.T, precision=lax.Precision.HIGHEST)
    scale, least, most = (values[trait] for values in of_traits[:3])
    traits = PairTraits(scale, least, most, of_traits.dof)
    markers = PairMarkers(*(values[marker] for values in markers))
    bounds = _bounds(weighted, markers, traits, cells.margin[None], cells.way[None], restricted)
    at_least = jnp.max(bounds.least, axis=1)
    ruled_out = bounds.most < at_least[:, None]
    too_small = bounds.share < share[:, None]  # if it is NaN, nothing is known
    return products, jnp.logical_not(ruled_out | too_small), at_least


def _rows(
    products: Float[np.ndarray, "P J"],
    fine: Level,
    count: int,
    pair: Int[np.ndarray, " some"],
    marker: Int[np.ndarray, " some"],
    trait: Int[np.ndarray, " some"],
    cell: Int[np.ndarray, " some"],
) -> tuple[AnyArray | PairMarkers | PairTraits, ...]:
    """What `_in_parts` needs, of pairs in the k parts of one of ``count`` cells each."""
    factors, *of_cells = (
        values.reshape(count, -1, *values.shape[1:]).take(cell, axis=0) for values in fine.cells
    )

    def taken(values: AnyArray, place: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some k"]:
        rows = np.asarray(values).reshape(len(values) * count, -1)
        return rows.take(place * count + cell, axis=0)

    markers = PairMarkers(*(taken(values, marker) for values in fine.markers))
    scale, least, most = (taken(values, trait) for values in fine.traits[:3])
    traits = PairTraits(scale, least, most, fine.traits.dof)
    return products.take(pair, axis=0), factors, markers, traits, *of_cells


@partial(jax.jit, static_argnames="restricted")
def _in_parts(
    products: Float[Array, "P J"],
    factors: Float[Array, "P k J"],
    markers: PairMarkers,
    traits: PairTraits,
    margin: Float[Array, "P k"],
    way: Float[Array, "P k"],
    *,
    restricted: bool,
) -> _Bounds:
    """Bounds (k, P) of pairs in parts of cells of their own."""
    weighted = jnp.asarray(
        sum(factors[:, :, j] * products[:, j, None] for j in range(factors.shape[2]))
    )
    bounds = _bounds(weighted, markers, traits, margin, way, restricted)
    return _Bounds(bounds.least.T, bounds.most.T, bounds.share.T)


def _bounds(
    weighted: Float[Array, "P C"],
    markers: PairMarkers,
    traits: PairTraits,
    margin: Float[AnyArray, "#P C"],
    way: Float[AnyArray, "#P C"],
    restricted: bool,
) -> _Bounds:
    """Of pairs whose Σ w g̃ ỹ in the middle of each cell are known."""
    cosine = jnp.abs(weighted) * markers.scale * traits.scale
    most = cosine + margin
    most = jnp.where(most < 1, (most + way) / (1 + most * way), 1.0)

    def gain(cosine: Array) -> Array:
        return jnp.log((1 - cosine) * (1 + cosine)) * -traits.dof

    at_most = traits.most + gain(most) + SLACK + 2 * SINGLE * traits.dof
    if not restricted:  # the log likelihood decides, and no cell rules out another
        share = -jnp.expm1(-jnp.maximum(at_most, 0.0) / traits.dof)
        return _Bounds(jnp.full_like(at_most, -jnp.inf), at_most, share)
    least = jnp.clip(cosine - margin, 0.0, 1 - SINGLE)
    at_least = traits.least - markers.half_log_d + gain(least)
    return _Bounds(at_least, at_most - markers.half_log_d, most**2)


def _pieces(
    arrays: tuple[Shaped[np.ndarray, " some"], ...], size: int
) -> Iterator[list[Shaped[np.ndarray, " size"]]]:
    """Pieces of arrays, padded to one size."""
    for start in range(0, len(arrays[0]), size):
        pieces = (values[start : start + size] for values in arrays)
        yield [np.pad(piece, (0, size - piece.size)) for piece in pieces]
