"""Search in single precision for the pairs that matter, and test those in double.

Of the best marker of each trait, or of the pairs over a threshold, single precision with a margin
(`model.screening`) rules out all but a few in ten thousand pairs. What it leaves is computed again,
pair by pair, in double precision, which decides: the result is that of double precision throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.blocks import GROUP, Tile
from lmmlite_jax.mapping.effects import Effects, effects_of_sums
from lmmlite_jax.mapping.statistics import (
    PAIRS_AT_ONCE,
    Method,
    Pairs,
    PairsFound,
    least_share,
    tests_of_effects,
)
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.screening import ROUNDOFF, WIDEST_MARGIN, ScreenMarkers, ScreenTraits
from lmmlite_jax.model.trait_block import TraitBlock, Traits

__all__ = ["ScreenedBest", "ScreenedHits", "group_maxima"]

NUMBERS_WAITING = 2**23
"""Genotypes that are screened before the pairs left are tested: the more, the fewer are left."""

GROUPS_AT_ONCE = 128
"""Groups of markers that are looked into together."""

MARKERS_TOGETHER = 256
"""Markers that are rotated together in double precision."""


class _Left(NamedTuple):
    """Pairs of a tile that a screen leaves.

    ``numbers`` (D,) are those of their markers in the scan and ``dosages`` (n, D) their genotypes;
    ``marker`` says which of these a pair has, and ``trait`` which of the block's traits.
    """

    numbers: Int[np.ndarray, " D"]
    dosages: Float[np.ndarray, "n D"]
    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]


class _Tested(NamedTuple):
    """Pairs in double precision: number of the marker, place of the trait in its block."""

    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]
    effects: Effects


class _Screen(ABC):
    """Screens tiles, some of them before the first is looked into, and tests what is left."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._waiting: list[tuple[Tile, bool, Float[Array, "groups T"]]] = []

    def add(self, tile: Tile) -> None:
        """Screen a tile."""
        if self._waiting and self._too_many_with(tile):
            self._look()
        traits = tile.block.for_screen
        double = bool(np.max(np.asarray(traits.margin)) > WIDEST_MARGIN)
        maxima = group_maxima(tile.marker_block.screened(double), traits)
        self._waiting.append((tile, double, maxima))

    def _too_many_with(self, tile: Tile) -> bool:
        blocks = {id(waiting.marker_block): waiting.marker_block for waiting, _, _ in self._waiting}
        size = sum(block.dosages.size for block in blocks.values())
        new = tile.dosages.size if id(tile.marker_block) not in blocks else 0
        return size + new > NUMBERS_WAITING

    def _look(self) -> None:
        """Test the pairs that can matter of all tiles that wait."""
        waiting, self._waiting = self._waiting, []
        blocks = {id(tile.block): tile.block for tile, _, _ in waiting}
        for block in blocks.values():
            own = [
                (tile, double, maxima) for tile, double, maxima in waiting if tile.block is block
            ]
            self._look_into(block, own)

    def _look_into(
        self, block: TraitBlock, tiles: list[tuple[Tile, bool, Float[Array, "groups T"]]]
    ) -> None:
        traits = block.for_screen
        margins = [traits.margin_double if double else traits.margin for _, double, _ in tiles]
        margin = np.max(np.asarray(margins), axis=0)
        maxima = [np.asarray(maxima) for _, _, maxima in tiles]
        top = np.sqrt(np.max([of_tile.max(axis=0) for of_tile in maxima], axis=0).astype(float))
        bar = np.maximum(self._bar(block, top, margin), 0.0) ** 2 * (1 - 2 * ROUNDOFF)
        fitted = (block.traits >= 0) & np.isfinite(block.at_null.rss)
        least = np.where(fitted, bar, np.inf).astype(np.float32)
        left = [
            _left(tile, double, traits, of_tile, least)
            for (tile, double, _), of_tile in zip(tiles, maxima, strict=True)
        ]
        first = np.cumsum([0, *(some.numbers.size for some in left)])
        index = np.concatenate([some.marker + at for some, at in zip(left, first, strict=False)])
        if index.size:
            place = np.concatenate([some.trait for some in left])
            dosages = np.concatenate([some.dosages for some in left], axis=1)
            effects = _effects(block, dosages, index, place)
            numbers = np.concatenate([some.numbers for some in left])
            self._decide(block, _Tested(numbers[index], place, effects))

    @abstractmethod
    def _bar(
        self,
        block: TraitBlock,
        top: Float[np.ndarray, " T"],
        margin: Float[np.ndarray, " T"],
    ) -> Float[np.ndarray, " T"]:
        """Correlation in single precision from which a pair can matter."""

    @abstractmethod
    def _decide(self, block: TraitBlock, tested: _Tested) -> None:
        """Take pairs tested in double precision."""


class ScreenedBest(_Screen):
    """The best marker of each trait, h² fixed."""

    def __init__(self, m: int, method: Method) -> None:
        super().__init__(method)
        nothing = np.full((m, 1), np.nan)
        self.effects = Effects(nothing, nothing.copy(), np.full(m, np.nan), np.zeros(m, dtype=int))
        self.marker = np.full(m, -1)
        self.dof, self.n = np.full((2, m), 2.0)

    def _bar(
        self,
        block: TraitBlock,
        top: Float[np.ndarray, " T"],
        margin: Float[np.ndarray, " T"],
    ) -> Float[np.ndarray, " T"]:
        before = np.sqrt(self.effects.share[block.traits]) - margin
        return np.fmax(before, top - 2 * margin)

    def _decide(self, block: TraitBlock, tested: _Tested) -> None:
        share, traits = tested.effects.share, block.traits[tested.trait]
        order = np.lexsort((tested.marker, -share, traits))  # NaN comes last
        order = order[np.diff(traits[order], prepend=-1) > 0]
        before = np.nan_to_num(self.effects.share[traits[order]], nan=-1.0)
        better = order[share[order] > before]
        to = traits[better]
        self.marker[to], self.dof[to], self.n[to] = tested.marker[better], block.dof, block.n
        for kept, values in zip(self.effects, tested.effects, strict=True):
            kept[to] = values[better]

    def pairs(self) -> tuple[Pairs, Int[np.ndarray, " m"], None]:
        """Shapes (m,)."""
        self._look()
        return tests_of_effects(self.effects, self.dof, self.n, self.method), self.marker, None


class ScreenedHits(_Screen):
    """Pairs of -log10 p at least a threshold, h² fixed."""

    def __init__(self, threshold: float, method: Method) -> None:
        super().__init__(method)
        self.threshold = threshold
        self.found = PairsFound(method)

    def _bar(
        self,
        block: TraitBlock,
        top: Float[np.ndarray, " T"],
        margin: Float[np.ndarray, " T"],
    ) -> Float[np.ndarray, " T"]:
        share = least_share(self.threshold, float(block.n), float(block.dof), self.method)
        return np.sqrt(share) - margin

    def _decide(self, block: TraitBlock, tested: _Tested) -> None:
        pairs = _tests(tested.effects, float(block.dof), float(block.n), self.method)
        over = np.asarray(pairs.log10p) >= self.threshold
        traits = block.traits[tested.trait[over]]
        self.found.add(tested.marker[over], traits, pairs.map(lambda values: values[over]))

    def pairs(self) -> tuple[Pairs, Int[np.ndarray, " hits"], Int[np.ndarray, " hits"]]:
        """Shapes (hits,), by marker and trait."""
        self._look()
        return self.found.in_order()


@jax.jit
def group_maxima(markers: ScreenMarkers, traits: ScreenTraits) -> Float[Array, "groups T"]:
    """Largest share of variance in each group of neighbouring markers, for each trait."""
    b = jnp.matmul(markers.values, traits.weighted.T, precision=lax.Precision.HIGHEST)
    d = jnp.matmul(markers.squares, traits.weights, precision=lax.Precision.HIGHEST)
    share = b**2 / d
    return jnp.max(share.reshape(-1, GROUP, share.shape[1]), axis=1)


@jax.jit
def _shares_of_groups(
    markers: ScreenMarkers,
    traits: ScreenTraits,
    group: Int[Array, " some"],
    trait: Int[Array, " some"],
) -> Float[Array, "some in_group"]:
    """Share of variance of each marker in a group for a trait."""

    def of_one(pair: tuple[Array, Array]) -> Array:
        group, trait = pair
        values = lax.dynamic_slice_in_dim(markers.values, group * GROUP, GROUP)
        squares = lax.dynamic_slice_in_dim(markers.squares, group * GROUP, GROUP)
        b = jnp.matmul(values, traits.weighted[trait], precision=lax.Precision.HIGHEST)
        d = jnp.matmul(squares, traits.weights[:, trait], precision=lax.Precision.HIGHEST)
        return b**2 / d

    return lax.map(of_one, (group, trait))


def _left(
    tile: Tile,
    double: bool,
    traits: ScreenTraits,
    maxima: Float[np.ndarray, "groups T"],
    least: Float[np.ndarray, " T"],
) -> _Left:
    """Pairs of a tile that explain at least so much of their trait in single precision."""
    markers, size = tile.marker_block.screened(double), tile.numbers.size
    groups, places = np.nonzero(~(maxima < least))
    pairs = [np.zeros(0, dtype=int)]  # marker · T + trait
    for start in range(0, groups.size, GROUPS_AT_ONCE):
        group, place = (x[start : start + GROUPS_AT_ONCE] for x in (groups, places))
        padding = (0, GROUPS_AT_ONCE - group.size)
        shares = _shares_of_groups(markers, traits, np.pad(group, padding), np.pad(place, padding))
        row, within = np.nonzero(~(np.asarray(shares)[: group.size] < least[place, None]))
        pairs.append((group[row] * GROUP + within) * least.size + place[row])
    unsure = np.flatnonzero(np.asarray(markers.unsure))
    if unsure.size:
        pairs.append(np.add.outer(unsure * least.size, np.flatnonzero(least < np.inf)).ravel())
    marker, trait = np.divmod(np.unique(np.concatenate(pairs)), least.size)
    marker, trait = marker[marker < size], trait[marker < size]
    distinct, which = np.unique(marker, return_inverse=True)
    return _Left(tile.numbers[distinct], tile.dosages[:, distinct, 0], which, trait)


def _effects(
    block: TraitBlock,
    dosages: Float[np.ndarray, "n D"],
    marker: Int[np.ndarray, " pairs"],
    trait: Int[np.ndarray, " pairs"],
) -> Effects:
    """Effects of pairs of markers and the traits of a block, in double precision."""
    parts, order = [], np.argsort(marker, kind="stable")
    for start in range(0, dosages.shape[1], MARKERS_TOGETHER):
        some = dosages[:, start : start + MARKERS_TOGETHER]
        some = np.pad(some, ((0, 0), (0, MARKERS_TOGETHER - some.shape[1])))
        rotated = block.individuals.rotate_markers(some.T[None])
        first, last = np.searchsorted(marker[order], [start, start + MARKERS_TOGETHER])
        for at in range(first, last, PAIRS_AT_ONCE):
            pairs = order[at : min(at + PAIRS_AT_ONCE, last)]
            padding = (0, PAIRS_AT_ONCE - pairs.size)
            own = np.pad(marker[pairs] - start, padding), np.pad(trait[pairs], padding)
            found = _effects_of_pairs(rotated, block.at_null, block.for_screen.exact, *own)
            parts.append([np.asarray(values)[: pairs.size] for values in found])
    back = np.argsort(order, kind="stable")
    return Effects(*(np.concatenate(of_parts)[back] for of_parts in zip(*parts, strict=True)))


@jax.jit
def _effects_of_pairs(
    markers: Markers,
    traits: Traits,
    weighted: Float[Array, "T q"],
    marker: Int[Array, " P"],
    trait: Int[Array, " P"],
) -> Effects:
    """Sums of a pair are added in an order of their own: they do not depend on other pairs."""
    b = jnp.sum(markers.values[0, marker] * weighted[trait], axis=1)
    d = jnp.sum(markers.squares[0, 0, marker] * traits.weights[:, trait].T, axis=1)
    varies = markers.varies[:, marker, None]
    found = effects_of_sums(
        b[None, :, None], d[None, None, :, None], traits.rss[trait][:, None], varies, traits.dof
    )
    return jax.tree.map(lambda x: x[:, 0], found)


def _tests(effects: Effects, dof: float, n: float, method: Method) -> Pairs:
    """Tests of pairs, as many at once as are tested together."""
    parts = []
    for start in range(0, effects.share.size, PAIRS_AT_ONCE):
        some = Effects(*(values[start : start + PAIRS_AT_ONCE] for values in effects))
        size = some.share.size
        padded = Effects(
            *(np.resize(values, (PAIRS_AT_ONCE, *values.shape[1:])) for values in some)
        )
        tests = tests_of_effects(padded, dof, n, method)
        parts.append(tests.map(lambda values, size=size: np.asarray(values)[:size]))  # type: ignore[misc]
    return jax.tree.map(lambda *of_parts: np.concatenate(of_parts), *parts)
