"""What a scan keeps of its pairs: all of them, each trait's best, or those over a threshold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Int, Shaped

from lmmlite_jax.mapping.blocks import Tile
from lmmlite_jax.mapping.effects import (
    BestOfBlock,
    best_of_block,
    effects_of_best,
    ranks_of_block,
)
from lmmlite_jax.mapping.genotypes import as_run
from lmmlite_jax.mapping.joined import JoinedTraits, are_joined
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.refit_keep import SCREENED_TRAITS, TIE, BestRefit, RefitHits
from lmmlite_jax.mapping.screen import ScreenedBest, ScreenedHits
from lmmlite_jax.mapping.share_law import share_law
from lmmlite_jax.mapping.share_tests import least_share
from lmmlite_jax.mapping.statistics import (
    Pairs,
    PairsFound,
    empty_pairs,
    every_test,
    pair_statistics,
    tests_of_effects,
    unset_pairs,
)
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.threads import Workers
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = [
    "All",
    "Best",
    "BestOfEvery",
    "Hits",
    "Keeper",
    "Numbers",
    "joined_pairs",
    "keeper",
    "keepers",
    "traits_at_once",
]

REFIT_TRAITS = 32
"""Traits whose pairs with markers of several columns have their likelihoods maximised together."""

PAIRS_ALL_REFITTED = 2**17
"""Pairs of which all are fitted, whatever is kept: a bound that spares most of them has programs of
its own to compile."""

TRAITS_LOOKED_INTO = 32
"""Traits of which all pairs are tested together, where the best of each is over a threshold."""

TRAITS_TO_SCREEN, MARKERS_TO_SCREEN = 16, 2**14
"""Traits with the same individuals, or markers, from which a screen saves more than it costs."""

Numbers = Int[AnyArray, " kept"] | None


@runtime_checkable
class Keeper(Protocol):
    """Takes tiles one after the other, and keeps what was asked for."""

    def add(self, tile: Tile) -> None:
        """Test the pairs of a tile."""

    def pairs(self) -> tuple[Pairs, Numbers, Numbers]:
        """Pairs kept, with the numbers of their markers and their traits where they need them."""


def keeper(keep: str | float, M: int, null: NullModel, method: Method) -> Keeper:
    """What keeps all pairs, the best of each trait, or those with -log10 p of at least a number."""
    m, best = null.m, keep == "best"
    if keep == "all":
        return All(M, m, method)
    if method.variance == "refit":
        if method.columns > 1 or m * M <= PAIRS_ALL_REFITTED:
            return BestOfEvery(m, method) if best else Hits(float(keep), method)
        return BestRefit(m, method) if best else RefitHits(float(keep), method)
    enough = m >= TRAITS_TO_SCREEN * null.patterns or M >= MARKERS_TO_SCREEN
    if enough and method.columns == 1 and method.dtype == "float64":
        return ScreenedBest(m, method) if best else ScreenedHits(float(keep), method)
    return Best(m, method) if best else Hits(float(keep), method)


def keepers(count: int, keep: str | float, M: int, null: NullModel, method: Method) -> list[Keeper]:
    """So many of them, for markers of their own each; of all pairs they fill the same arrays."""
    first = keeper(keep, M, null, method)
    if isinstance(first, All):
        return [first, *(All(M, null.m, method, first) for _ in range(count - 1))]
    return [first, *(keeper(keep, M, null, method) for _ in range(count - 1))]


def joined_pairs(
    found: Sequence[tuple[Pairs, Numbers, Numbers]], keep: str | float, method: Method
) -> tuple[Pairs, Numbers, Numbers]:
    """What one keeper would have kept of the markers that several have seen."""
    if len(found) == 1 or keep == "all":
        return found[0]
    every, markers, traits = zip(*found, strict=True)
    if keep == "best":
        marker = np.stack(markers)
        score = np.where(marker < 0, -1.0, np.nan_to_num(np.stack([x.log10p for x in every])))
        tie = TIE if method.variance == "refit" else 0.0
        first = np.where(score >= score.max(axis=0) * (1 - tie), marker, np.iinfo(int).max)
        which, own = np.argmin(first, axis=0), np.arange(marker.shape[1])
        pairs = jax.tree.map(lambda *some: np.stack(some)[which, own], *every)
        return pairs, marker[which, own], None
    marker, trait = np.concatenate(markers), np.concatenate(traits)
    order = np.lexsort((trait, marker))
    pairs = jax.tree.map(lambda *some: np.concatenate(some)[order], *every)
    return pairs, marker[order], trait[order]


def traits_at_once(method: Method) -> int:
    """Traits worked on together."""
    if method.variance == "null":
        return at_once().traits
    return SCREENED_TRAITS if method.columns == 1 else REFIT_TRAITS


class _Begun(NamedTuple):
    """Tests of markers with traits, for which one may have to wait."""

    numbers: Int[np.ndarray, " B"]
    traits: Int[np.ndarray, " T"]
    pairs: Callable[[], Pairs]


class All:
    """Every pair."""

    def __init__(self, M: int, m: int, method: Method, first: All | None = None) -> None:
        self.method = method
        if first is None:
            # To clear it all would take as long as fitting the traits.
            self.kept, self._seen = unset_pairs((M, m), method), np.zeros(M, bool)
        else:
            self.kept, self._seen = first.kept, first._seen
        self._waiting: list[Tile] = []
        self._new = np.zeros(0, int)
        self._begun: deque[_Begun] = deque()
        # A program of refits keeps little more than one core busy; others keep all.
        self._workers = Workers(several=method.variance == "refit")
        self._joined: JoinedTraits | None = None

    def add(self, tile: Tile) -> None:
        """Test all pairs of a tile, together with those that share a rotation with it."""
        if self._waiting and self._waiting[0].widest is not tile.widest:
            self._test()
        if not self._waiting:
            self._new = tile.numbers[~self._seen[tile.numbers]]
            self._seen[self._new] = True
        self._waiting.append(tile)

    def _test(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._clear_others(waiting)
        joined = [tile.block for tile in waiting if are_joined(tile.block)]
        if self.method.variance == "null" and any(block.individuals.wider for block in joined):
            if self._joined is None or not self._joined.are_of(joined):
                self._joined = JoinedTraits(joined)
            done = np.array([-1])
            for traits, pairs in self._joined.tests(waiting[0].widest.rotated, self.method):
                self._keep(waiting[0].numbers, traits, lambda pairs=pairs: pairs)  # type: ignore[misc]
                done = np.union1d(done, traits)
            waiting = [tile for tile in waiting if np.setdiff1d(tile.block.traits, done).size]
        for tile in waiting:
            self._keep(tile.numbers, tile.block.traits, self._begin(tile))

    def _clear_others(self, waiting: Sequence[Tile]) -> None:
        """Clear what markers that came for the first time have of other traits than these."""
        others = np.ones(self.kept.lod.shape[1], bool)
        for tile in waiting:
            others[tile.block.traits[tile.block.traits >= 0]] = False
        self._clear(self._new, np.flatnonzero(others))

    def _clear(self, markers: Int[np.ndarray, " B"], traits: Int[np.ndarray, " T"]) -> None:
        if markers.size == 0 or traits.size == 0:
            return
        for kept in self.kept:
            if kept is not None:
                nothing = np.broadcast_to(np.nan, (markers.size, traits.size, *kept.shape[2:]))
                _put(np.asarray(kept), as_run(markers), as_run(traits), nothing)

    def _begin(self, tile: Tile) -> Callable[[], Pairs]:
        """Begin with the tests of a tile, and return what waits for them."""
        if self.method.variance == "refit":
            _ = tile.markers, tile.block.for_refit  # made before several threads want them
        return self._workers.begin(self._tests, tile)

    def _tests(self, tile: Tile) -> Pairs:
        block, method = tile.block, self.method
        if method.variance == "refit":
            return pair_statistics(tile.markers, block, method)
        law = share_law(float(block.dof), float(block.n), method)
        return every_test(tile.markers, block.at_null, law, method)

    def _keep(self, numbers: np.ndarray, traits: np.ndarray, pairs: Callable[[], Pairs]) -> None:
        """Write what was begun before, while this is computed."""
        self._begun.append(_Begun(numbers, traits, pairs))
        if len(self._begun) > self._workers.together:
            self._write(*self._begun.popleft())

    def _write(self, numbers: np.ndarray, traits: np.ndarray, pairs: Callable[[], Pairs]) -> None:
        places = np.flatnonzero(traits >= 0)
        if places.size == 0:
            return
        rows, columns, own = as_run(numbers), as_run(traits[places]), as_run(places)
        for kept, values in zip(self.kept, pairs(), strict=True):
            if kept is not None:
                used = np.asarray(values)[: numbers.size, own]
                _put(np.asarray(kept), rows, columns, used)

    def pairs(self) -> tuple[Pairs, None, None]:
        """Shapes (M, m)."""
        self._test()
        for begun in self._begun:
            self._write(*begun)
        self._begun.clear()
        self._workers.close()
        self._clear(np.flatnonzero(~self._seen), np.arange(self.kept.lod.shape[1]))
        return self.kept, None, None


class Best:
    """The best marker of each trait, h² fixed: effects and tests are for the last ones standing.

    Of several columns, the best of each rank stands until then: a smaller share of fewer columns
    can be more significant.
    """

    def __init__(self, m: int, method: Method) -> None:
        k = method.columns
        self.m, self.method = m, method
        self.best = BestOfBlock(
            share=np.full(k * m, -1.0),
            marker=np.full(k * m, -1),
            b=np.ones((k, k * m), method.dtype),
            d=np.ones((k, k, k * m), method.dtype),
            varies=np.zeros((k, k * m), bool),
            rss=np.ones(k * m),
        )
        self.dof, self.n = np.ones((2, k * m))

    def add(self, tile: Tile) -> None:
        """Compare the best of a tile with the best before."""
        if self.method.columns == 1:
            self._compare(tile, 1)
            return
        ranks = np.asarray(ranks_of_block(tile.markers))
        found = np.unique(ranks[ranks > 0])
        for rank in found:
            self._compare(tile, int(rank), ranks == rank if found.size > 1 else None)

    def _compare(self, tile: Tile, rank: int, among: Bool[np.ndarray, " B"] | None = None) -> None:
        """Compare the best markers of one rank."""
        block, numbers = tile.block, tile.numbers
        best = BestOfBlock(*map(np.asarray, best_of_block(tile.markers, block.at_null, among)))
        used = (block.traits >= 0) & (best.marker < numbers.size)
        place = np.where(used, block.traits + (rank - 1) * self.m, 0)
        better = used & (best.share > self.best.share[place])
        to = place[better]
        self.dof[to], self.n[to] = block.dof, block.n
        best = best._replace(marker=numbers[np.where(used, best.marker, 0)])
        for kept, values in zip(self.best, best, strict=True):
            kept[..., to] = values[..., better]

    def pairs(self) -> tuple[Pairs, Numbers, None]:
        """Shapes (m,)."""
        found = effects_of_best(self.best, self.dof)
        tests = tests_of_effects(found, self.dof, self.n, self.method)
        score = np.where(self.best.marker < 0, -1.0, np.nan_to_num(np.asarray(tests.log10p)))
        rank = np.argmax(score.reshape(self.method.columns, self.m), axis=0)
        own = rank * self.m + np.arange(self.m)
        return tests.map(lambda values: np.asarray(values)[own]), self.best.marker[own], None


class BestOfEvery:
    """The best marker of each trait, all pairs of every tile being tested."""

    def __init__(self, m: int, method: Method) -> None:
        self.method = method
        self.best = empty_pairs((m,), method)
        self.marker = np.full(m, -1)

    def add(self, tile: Tile) -> None:
        """Compare the best of a tile with the best before: of a tie the first marker."""
        block, size = tile.block, tile.numbers.size
        used = np.flatnonzero(block.traits >= 0)
        traits = block.traits[used]
        every = pair_statistics(tile.markers, block, self.method)
        every = every.map(lambda values: np.asarray(values)[:size, used])
        score, before = (
            np.where(np.isnan(found.log10p), -1.0, found.log10p)
            for found in (every, self.best.map(lambda values: values[traits]))
        )
        top = score.max(axis=0)
        first = np.argmax(score >= top * (1 - TIE), axis=0)
        better = np.flatnonzero((top >= 0) & (top > before * (1 + TIE)))
        to, first = traits[better], first[better]
        self.marker[to] = tile.numbers[first]
        for kept, values in zip(self.best, every, strict=True):
            if kept is not None and values is not None:
                np.asarray(kept)[to] = values[first, better]

    def pairs(self) -> tuple[Pairs, Numbers, None]:
        """Shapes (m,)."""
        return self.best, self.marker, None


class Hits:
    """Pairs of -log10 p at least a threshold."""

    def __init__(self, threshold: float, method: Method) -> None:
        self.threshold, self.method = threshold, method
        self.found = PairsFound(method)

    def add(self, tile: Tile) -> None:
        """Test all pairs of the traits whose best marker is over the threshold."""
        for some in self._promising(tile):
            every = pair_statistics(tile.markers, some, self.method)
            log10p = np.asarray(every.log10p)[: tile.numbers.size]
            rows, columns = np.nonzero((log10p >= self.threshold) & (some.traits >= 0))
            pairs = every.map(lambda values: np.asarray(values)[rows, columns])  # noqa: B023
            self.found.add(tile.numbers[rows], some.traits[columns], pairs)

    def _promising(self, tile: Tile) -> Iterator[TraitBlock]:
        """Parts of a block with all its traits that can have a hit."""
        block = tile.block
        # With several columns a smaller share can be more significant: of one column, say. With an
        # h² of every pair the share is not that under the null.
        if self.method.columns > 1 or self.method.variance == "refit":
            yield block
            return
        least = least_share(self.threshold, float(block.n), float(block.dof), self.method)
        share = np.asarray(best_of_block(tile.markers, block.at_null).share)
        over = np.flatnonzero(share >= least)
        width = min(TRAITS_LOOKED_INTO, block.traits.size)
        for start in range(0, over.size, width):
            part = over[start : start + width]
            yield block.part(np.pad(part, (0, width - part.size), constant_values=-1))

    def pairs(self) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Shapes (hits,), by marker and trait."""
        return self.found.in_order()


def _put(
    into: Shaped[np.ndarray, "M m *columns"],
    rows: Int[np.ndarray, " B"] | slice,
    columns: Int[np.ndarray, " T"] | slice,
    values: Shaped[np.ndarray, "B T *columns"],
) -> None:
    """Write where rows and columns cross."""
    if isinstance(rows, slice) or isinstance(columns, slice):
        into[rows, columns] = values
    else:
        into[np.ix_(rows, columns)] = values
