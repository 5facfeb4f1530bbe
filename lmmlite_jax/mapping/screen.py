"""Search in low precision for the pairs that matter, and test those in double.

Of the best marker of each trait, or of the pairs over a threshold, a screen with a margin
(`model.screening`) rules out all but a few in ten thousand pairs. What it leaves is computed again,
pair by pair, in double precision, which decides: the result is that of double precision throughout.

Blocks of markers are screened, on a CPU as many at a time as it has cores, and nothing is fetched
from the device meanwhile. Then, for all that wait at once: `leaving` finds the groups of markers
that can matter and their correlations in single precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.blocks import GROUP, MarkerBlock, Tile
from lmmlite_jax.mapping.effects import Effects, effects_of_sums
from lmmlite_jax.mapping.leaving import Left, Maxima, Waiting, leaving, maxima_of_block
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.share_tests import PAIRS_AT_ONCE, least_share
from lmmlite_jax.mapping.statistics import Pairs, PairsFound, tests_of_effects
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.programs import OLDER_LOOPS
from lmmlite_jax.model.tested_traits import Traits
from lmmlite_jax.model.threads import Workers, on_all_cores
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["ScreenedBest", "ScreenedHits"]


class _Tested(NamedTuple):
    """Pairs in double precision: number of the marker, place of the trait in its block."""

    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]
    effects: Effects


class _Begun(NamedTuple):
    """A block of markers that is screened for some blocks of traits, and what waits for that."""

    markers: MarkerBlock
    waiting: list[Waiting]
    found: Callable[[], list[Maxima]]


class _Screen(ABC):
    """Screens tiles, some of them before the first is looked into, and tests what is left."""

    best_alone: bool
    """Whether the best pair of each trait matters alone."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._waiting: dict[int, Waiting] = {}  # by block of traits
        self._blocks: dict[int, int] = {}  # of markers, with their genotypes
        self._maxima = 0
        self._tiles: list[Tile] = []  # of one block of markers
        self._begun: list[_Begun] = []
        self._workers = Workers()

    def add(self, tile: Tile) -> None:
        """Screen a tile, together with those of the same markers."""
        own, size = id(tile.marker_block), tile.marker_block.stored.size
        maxima = tile.marker_block.stored.shape[1] // GROUP * tile.block.traits.size
        genotypes = sum((self._blocks | {own: size}).values())
        limits = at_once()
        if genotypes > limits.waiting or self._maxima + maxima > limits.maxima:
            self._look()
        self._blocks[own] = size
        self._maxima += maxima
        block = tile.block
        if id(block) not in self._waiting:
            self._waiting[id(block)] = Waiting(block, block.for_screen.wants_double)
            _ = block.individuals.screen_rotation  # made before several threads want it
        if self._tiles and self._tiles[0].marker_block is not tile.marker_block:
            self._screen()
        self._tiles.append(tile)

    def _screen(self) -> None:
        """Begin with the screen of a block of markers."""
        tiles, self._tiles = self._tiles, []
        if not tiles:
            return
        markers = tiles[0].marker_block
        waiting = [self._waiting[id(tile.block)] for tile in tiles]
        found = self._workers.begin(partial(maxima_of_block, markers), waiting)
        self._begun.append(_Begun(markers, waiting, found))

    def _look(self) -> None:
        """Test the pairs that can matter of all tiles that wait."""
        self._screen()
        for markers, of_blocks, found in self._begun:
            for one, maxima in zip(of_blocks, found(), strict=True):
                one.add(markers, maxima)
        self._begun.clear()
        waiting, self._waiting, self._blocks, self._maxima = self._waiting, {}, {}, 0
        every = [*waiting.values()]
        for of_block, tested in zip(every, on_all_cores(self._tested, every), strict=True):
            if tested is not None:
                self._decide(of_block.block, tested)

    def _tested(self, waiting: Waiting) -> _Tested | None:
        """Pairs that can matter for a block of traits, in double precision."""
        block = waiting.block
        left = leaving(waiting, self._least(block), best_alone=self.best_alone)
        if not left.marker.size:
            return None
        return _Tested(left.numbers[left.marker], left.trait, _effects(block, left))

    @abstractmethod
    def _least(self, block: TraitBlock) -> Float[np.ndarray, " T"]:
        """Correlation from which a pair with a trait matters, as far as is known."""

    @abstractmethod
    def _decide(self, block: TraitBlock, tested: _Tested) -> None:
        """Take pairs tested in double precision."""


class ScreenedBest(_Screen):
    """The best marker of each trait, h² fixed."""

    best_alone = True

    def __init__(self, m: int, method: Method) -> None:
        super().__init__(method)
        nothing = np.full((m, 1), np.nan)
        self.effects = Effects(nothing, nothing.copy(), np.full(m, np.nan), np.zeros(m, dtype=int))
        self.marker = np.full(m, -1)
        self.dof, self.n = np.full((2, m), 2.0)

    def _least(self, block: TraitBlock) -> Float[np.ndarray, " T"]:
        return np.sqrt(np.nan_to_num(self.effects.share[block.traits]))

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
        self._workers.close()
        return tests_of_effects(self.effects, self.dof, self.n, self.method), self.marker, None


class ScreenedHits(_Screen):
    """Pairs of -log10 p at least a threshold, h² fixed."""

    best_alone = False

    def __init__(self, threshold: float, method: Method) -> None:
        super().__init__(method)
        self.threshold = threshold
        self.found = PairsFound(method)

    def _least(self, block: TraitBlock) -> Float[np.ndarray, " T"]:
        share = least_share(self.threshold, float(block.n), float(block.dof), self.method)
        return np.full(block.traits.size, np.sqrt(share))

    def _decide(self, block: TraitBlock, tested: _Tested) -> None:
        pairs = _tests(tested.effects, float(block.dof), float(block.n), self.method)
        over = np.asarray(pairs.log10p) >= self.threshold
        traits = block.traits[tested.trait[over]]
        self.found.add(tested.marker[over], traits, pairs.map(lambda values: values[over]))

    def pairs(self) -> tuple[Pairs, Int[np.ndarray, " hits"], Int[np.ndarray, " hits"]]:
        """Shapes (hits,), by marker and trait."""
        self._look()
        self._workers.close()
        return self.found.in_order()


def _effects(block: TraitBlock, left: Left) -> Effects:
    """Effects of pairs of markers and the traits of a block, in double precision."""
    marker, trait, together = left.marker, left.trait, at_once().decided
    parts, order = [], np.argsort(marker, kind="stable")
    for start in range(0, left.dosages.shape[1], together):
        some = left.dosages[:, start : start + together]
        some = np.pad(some, ((0, 0), (0, together - some.shape[1])))
        rotated = block.individuals.rotate_markers(some.T[None])
        first, last = np.searchsorted(marker[order], [start, start + together])
        for at in range(first, last, PAIRS_AT_ONCE):
            pairs = order[at : min(at + PAIRS_AT_ONCE, last)]
            padding = (0, PAIRS_AT_ONCE - pairs.size)
            own = np.pad(marker[pairs] - start, padding), np.pad(trait[pairs], padding)
            found = _effects_of_pairs(rotated, block.at_null, block.for_screen.exact, *own)
            parts.append([np.asarray(values)[: pairs.size] for values in found])
    back = np.argsort(order, kind="stable")
    return Effects(*(np.concatenate(of_parts)[back] for of_parts in zip(*parts, strict=True)))


@partial(jax.jit, compiler_options=OLDER_LOOPS)
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
