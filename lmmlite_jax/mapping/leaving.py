"""What a screen leaves: the pairs that can matter, found where the screened numbers are.

Three steps, each with a margin of its own: the largest correlation in each group of neighbouring
markers, on an accelerator of numbers rounded to bfloat16; in the groups that can matter every
marker's, in single precision; and of these the pairs that can matter, for double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from lmmlite_jax.mapping.blocks import GROUP, WHOLE_TILES, MarkerBlock
from lmmlite_jax.mapping.genotypes import without_gaps
from lmmlite_jax.model.at_once import Product, at_once
from lmmlite_jax.model.screening import ROUNDOFF, ScreenMarkers, ScreenTraits, margin_of_product
from lmmlite_jax.model.threads import on_cpu
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["Left", "Maxima", "Waiting", "group_maxima", "leaving", "maxima_of_block"]

Maxima: TypeAlias = tuple[Float[Array, "groups T"], Float[Array, " T"]]
"""Largest shares of variance in groups of markers, and in all that are known."""

FEWEST = 64
"""Groups of a block of markers for which there is room at least: a power of two, as all room is."""

LANES = 64
"""Numbers of a row are filled up with zeros to a multiple of this, where they are bfloat16."""


class Left(NamedTuple):
    """Pairs that a screen leaves.

    ``numbers`` (D,) are those of their markers in the scan and ``dosages`` (n, D) their genotypes;
    ``marker`` says which of these a pair has, and ``trait`` which of the block's traits.
    """

    numbers: Int[np.ndarray, " D"]
    dosages: Float[np.ndarray, "n D"]
    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]


@dataclass
class Waiting:
    """Blocks of markers screened for a block of traits: nothing of it has left the device.

    ``double``: whether markers are rotated in double precision. ``top``: of each block of markers
    the largest shares.
    """

    block: TraitBlock
    double: bool
    product: Product = field(default_factory=lambda: at_once().product)
    markers: list[MarkerBlock] = field(default_factory=list)
    maxima: list[Float[Array, "groups T"]] = field(default_factory=list)
    top: list[Float[Array, " T"]] = field(default_factory=list)

    def add(self, block: MarkerBlock, found: Maxima) -> None:
        """Take a block of markers that was screened."""
        maxima, top = found
        self.markers.append(block)
        self.maxima.append(maxima)
        self.top.append(top)


def maxima_of_block(block: MarkerBlock, waiting: Sequence[Waiting]) -> list[Maxima]:
    """`group_maxima` of a block of markers for each of some blocks of traits."""
    found = []
    for one in waiting:
        markers = block.screened(one.double)
        whole = len(markers.values) % WHOLE_TILES == 0
        maxima = group_maxima(
            markers,
            one.block.for_screen,
            product=one.product if whole else _plain(one.product),
            some=_equal_parts(markers.values.shape[0], at_once().screened),
        )
        found.append(maxima)
    return found


def _plain(product: Product) -> Product:
    """As precise, for blocks that are not whole tiles of the kernel."""
    return "coarse" if product == "fused" else product


def _equal_parts(size: int, most: int) -> int:
    """Size of as few equal parts, of whole groups, as are at most so large."""
    groups = size // GROUP
    parts = next(k for k in range(-(-size // most), groups + 1) if groups % k == 0)
    return size // parts


@partial(jax.jit, static_argnames=("product", "some"))
def group_maxima(
    markers: ScreenMarkers,
    traits: ScreenTraits,
    *,
    product: Product,
    some: int,
) -> Maxima:
    """Largest share of variance in each group of neighbouring markers, and of all that are known.

    Infinite in a group of which a marker is unsure. ``some`` markers at a time.
    """
    weighted = _factor(traits.weighted, product).T

    def of_part(part: ScreenMarkers) -> Array:
        if product == "fused":
            # Imported where there is a use for it: that takes longer than all of this package.
            from lmmlite_jax.mapping.fused import fused_maxima

            values, of_traits = _factor(part.values, product), traits.weights
            maxima = fused_maxima(values, weighted, part.squares, of_traits, group=GROUP)
        else:
            share = _shares(part, weighted, traits.weights, product)
            maxima = jnp.max(share.reshape(-1, GROUP, share.shape[1]), axis=1)
        unsure = jnp.any(part.unsure.reshape(-1, GROUP), axis=1)
        return jnp.where(unsure[:, None], jnp.inf, maxima)

    if some == markers.unsure.size:
        maxima = of_part(markers)
    else:
        parts = jax.tree.map(lambda a: a.reshape(-1, some, *a.shape[1:]), markers)
        maxima = lax.map(of_part, parts).reshape(-1, weighted.shape[1])
    return maxima, jnp.max(jnp.where(maxima < jnp.inf, maxima, 0.0), axis=0)


def _factor(values: Float[Array, "some q"], product: Product) -> Array:
    """One of a product. Tensor cores are slow where rows begin at odd places."""
    if product == "single":
        return values
    beyond = -values.shape[1] % LANES
    return jnp.pad(values.astype(jnp.bfloat16), ((0, 0), (0, beyond)))


def _shares(
    markers: ScreenMarkers, weighted: Array, weights: Float[Array, "r_and_1 T"], product: Product
) -> Float[Array, "B T"]:
    b = jnp.matmul(
        _factor(markers.values, product),
        weighted,
        precision=lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return b**2 / jnp.matmul(markers.squares, weights, precision=lax.Precision.HIGHEST)


def leaving(waiting: Waiting, known: Float[np.ndarray, " T"], *, best_alone: bool) -> Left:
    """Pairs whose correlation may be at least ``known`` (T,), and their trait's best alone."""
    block, traits = waiting.block, waiting.block.for_screen
    margin = np.asarray(traits.margin_double if waiting.double else traits.margin)
    fitted = (block.traits >= 0) & np.isfinite(block.at_null.rss)

    def least(top: Float[np.ndarray, " T"], margin: Float[np.ndarray, " T"]) -> np.ndarray:
        """Share, in single precision, from which a pair can matter."""
        bar = known - margin
        if best_alone:
            bar = np.fmax(bar, np.sqrt(top.astype(float)) - 2 * margin)
        bar = np.maximum(bar, 0.0) ** 2 * (1 - 2 * ROUNDOFF)
        return np.where(fitted, bar, np.inf).astype(np.float32)

    coarse = margin_of_product(waiting.product, block.n, margin)
    over = _over(waiting.maxima, least(_fetched(waiting.top).max(axis=0), coarse))
    shares = _shares_in(waiting, traits, over)
    known_shares = np.where(shares < np.inf, shares, 0.0).max(axis=1, initial=0.0)
    top = np.zeros(fitted.size, np.float32)
    np.maximum.at(top, over.trait, known_shares)
    return _left(waiting, over, shares, least(top, margin))


class _Over(NamedTuple):
    """Groups of markers that can matter for a trait, by block of markers; ``ends`` of each."""

    group: Int[np.ndarray, " C"]
    trait: Int[np.ndarray, " C"]
    ends: Int[np.ndarray, " blocks"]


def _over(maxima: list[Float[Array, "groups T"]], least: Float[np.ndarray, " T"]) -> _Over:
    """Places where the largest share of a group is not below what a trait needs."""
    if on_cpu():  # these arrays are NumPy's as well, and its search the faster one
        found = [np.nonzero(~(np.asarray(of_block) < least)) for of_block in maxima]
        ends = np.cumsum([group.size for group, _ in found])
        group, trait = (np.concatenate(of_all) for of_all in zip(*found, strict=True))
        return _Over(group, trait, ends)
    on_device = jax.device_put(least)
    counts = _fetched([_count(of_block, on_device) for of_block in maxima])
    ends = np.cumsum(counts)
    room = max(FEWEST, _rounded_up(int(max(counts))))
    places = jnp.zeros(_rounded_up(int(ends[-1]) + room), jnp.int32)
    for of_block, first in zip(maxima, [0, *ends[:-1]], strict=True):
        places = _with_places(places, of_block, on_device, first, room=room)
    group, trait = np.divmod(np.asarray(places)[: ends[-1]], least.size)
    return _Over(group, trait, ends)


def _rounded_up(least: int) -> int:
    """To a power of two, so that programs are few."""
    return 1 << (int(least) - 1).bit_length() if least > 1 else 1


@jax.jit
def _count(maxima: Float[Array, "groups T"], least: Float[Array, " T"]) -> Int[Array, ""]:
    return jnp.sum(~(maxima < least))


@partial(jax.jit, static_argnames="room", donate_argnums=0)
def _with_places(
    places: Int[Array, " all"],
    maxima: Float[Array, "groups T"],
    least: Float[Array, " T"],
    first: Int[Array, ""],
    *,
    room: int,
) -> Int[Array, " all"]:
    """Write a block's places, ``room`` of them, from ``first`` on: the next overwrites the rest.

    Sought in lines first, then in those that have any: few of all are looked at twice.
    """
    over = ~(maxima < least).ravel()
    length = 1 << max(0, ((over.size // room).bit_length() - 1) // 2)
    while over.size % length:
        length //= 2
    lines = over.reshape(-1, length)
    (line,) = jnp.nonzero(jnp.any(lines, axis=1), size=min(room, len(lines)), fill_value=0)
    known = jnp.arange(line.size) < jnp.sum(jnp.any(lines, axis=1))
    (at,) = jnp.nonzero((lines[line] & known[:, None]).ravel(), size=room, fill_value=0)
    found = line[at // length] * length + at % length
    return lax.dynamic_update_slice_in_dim(places, found.astype(places.dtype), first, 0)


def _shares_in(
    waiting: Waiting, traits: ScreenTraits, over: _Over
) -> Float[np.ndarray, "C in_group"]:
    """Share of variance of each marker in the groups found, in single precision."""
    found, together, start = [], at_once().groups, 0
    for block, end in zip(waiting.markers, over.ends, strict=True):
        markers = block.screened(waiting.double)
        for at in range(start, end, together):
            some = slice(at, min(at + together, end))
            padding = (0, together - (some.stop - at))
            places = (np.pad(x[some], padding) for x in (over.group, over.trait))
            shares = _shares_of_groups(markers, traits, *places, in_turn=on_cpu())
            found.append((shares, some.stop - at))
        start = end
    if not found:
        return np.zeros((0, GROUP), np.float32)
    fetched = _fetched([shares for shares, _ in found])
    return np.concatenate([shares[:size] for shares, (_, size) in zip(fetched, found, strict=True)])


def _fetched(arrays: list[Array]) -> Shaped[np.ndarray, "arrays ..."]:
    """Arrays of one shape, stacked, in one transfer however many they are."""
    if on_cpu():
        return np.stack([np.asarray(array) for array in arrays])
    repeated = [arrays[-1]] * (_rounded_up(len(arrays)) - len(arrays))
    return np.asarray(jnp.stack(arrays + repeated))[: len(arrays)]


@partial(jax.jit, static_argnames="in_turn")
def _shares_of_groups(
    markers: ScreenMarkers,
    traits: ScreenTraits,
    group: Int[Array, " some"],
    trait: Int[Array, " some"],
    *,
    in_turn: bool,
) -> Float[Array, "some in_group"]:
    """Share of variance of each marker in a group for a trait; infinite where that is unsure."""

    def of_one(pair: tuple[Array, Array]) -> Array:
        group, trait = pair

        def in_group(of_markers: Array) -> Array:
            return lax.dynamic_slice_in_dim(of_markers, group * GROUP, GROUP)

        weighted, weights = traits.weighted[trait], traits.weights[:, trait]
        b = jnp.matmul(in_group(markers.values), weighted, precision=lax.Precision.HIGHEST)
        d = jnp.matmul(in_group(markers.squares), weights, precision=lax.Precision.HIGHEST)
        return jnp.where(in_group(markers.unsure), jnp.inf, b**2 / d)

    pairs = group, trait
    return lax.map(of_one, pairs) if in_turn else jax.vmap(of_one)(pairs)


def _left(
    waiting: Waiting,
    over: _Over,
    shares: Float[np.ndarray, "C in_group"],
    least: Float[np.ndarray, " T"],
) -> Left:
    """Pairs of at least these shares, with the genotypes of their markers."""
    keep: Bool[np.ndarray, "C in_group"] = ~(shares < least[over.trait, None])
    found, within = np.nonzero(keep)
    which = np.searchsorted(over.ends, found, side="right")
    place, trait = over.group[found] * GROUP + within, over.trait[found]
    numbers, dosages, pairs, count = [], [], [], 0
    for k, block in enumerate(waiting.markers):
        own = np.flatnonzero((which == k) & (place < block.numbers.size))
        distinct, marker = np.unique(place[own], return_inverse=True)
        numbers.append(block.numbers[distinct])
        dosages.append(without_gaps(block.stored[:, distinct, 0]))
        pairs.append((marker + count, trait[own]))
        count += distinct.size
    marker, trait = (np.concatenate(of_all) for of_all in zip(*pairs, strict=True))
    return Left(np.concatenate(numbers), np.concatenate(dosages, axis=1), marker, trait)
