"""Best markers and hits where h² is estimated for every pair, of which few need the estimate.

Tiles wait until their genotypes are many. Of those of a block of traits, the pairs that the bounds
of `share_bound` do not rule out are fitted, as many at a time as `REFITS_AT_ONCE`; for the best
marker, each trait's most promising pair first, then in order of the bounds, as long as these are
not below what was found. What is kept is what fitting every pair would keep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.blocks import MarkerBlock, Tile
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.pair_bounds import (
    PairsInCells,
    largest_shares,
    pair_cells,
)
from lmmlite_jax.mapping.refit import Refit, refit_pairs
from lmmlite_jax.mapping.share_bound import could_matter, most_promising
from lmmlite_jax.mapping.share_tests import least_share
from lmmlite_jax.mapping.statistics import (
    REFITS_AT_ONCE,
    Pairs,
    PairsFound,
    empty_pairs,
    how_to_refit,
    refit_scores,
    share_of_score,
    tests_of_refits,
)
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.threads import cores, on_all_cores, on_cpu
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["SCREENED_TRAITS", "BestRefit", "RefitHits"]

SCREENED_TRAITS = 256
"""Traits whose pairs with a block of markers are screened together."""

TIE = 1e-10
"""Part by which scores may differ for rounding alone: the first marker wins."""

Numbers = Int[AnyArray, " kept"] | None


class _Some(NamedTuple):
    """Some pairs: number of the block of markers, places there and in the block of traits.

    ``most`` is a bound of the share that a pair explains.
    """

    block: Int[np.ndarray, " pairs"]
    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]
    most: Float[np.ndarray, " pairs"]

    def at(self, places: np.ndarray | slice) -> _Some:
        """Pairs in some places."""
        return _Some(*(values[places] for values in self))


class _Waiting:
    """Blocks of markers that wait for a block of traits."""

    def __init__(self, block: TraitBlock, method: Method) -> None:
        self.block, self.method = block, method
        self.markers: list[MarkerBlock] = []
        self._dof, self._restricted = np.asarray(float(block.dof)), method.test == "wald"
        self._fine = pair_cells(block.individuals.fine_cells)
        self._traits = block.in_cells(restricted=self._restricted)
        self.used = (block.traits >= 0) & np.asarray(block.for_refit.fitted)

    def most_promising(self) -> _Some:
        """One pair of each trait."""
        block, cells = self.block, self.block.individuals.cells
        top, found = np.zeros(block.traits.size), np.full((2, block.traits.size), -1)
        for number, markers in enumerate(self.markers):
            cosine, place = map(
                np.asarray, most_promising(markers.in_cells.usual, self._traits, cells)
            )
            better = self.used & (cosine > top) & (place < markers.numbers.size)
            top[better], found[0, better], found[1, better] = cosine[better], number, place[better]
        (trait,) = np.nonzero(found[0] >= 0)
        return _Some(found[0, trait], found[1, trait], trait, np.ones(trait.size))

    def survivors(self, share: Float[np.ndarray, " T"]) -> _Some:
        """Pairs that may explain a share, as `share_of_score` has it."""
        numbers = range(len(self.markers))
        parts = on_all_cores(lambda number: self._survivors(number, share), numbers)
        return _Some(*(np.concatenate(of_parts) for of_parts in zip(*parts, strict=True)))

    def _survivors(self, number: int, share: Float[np.ndarray, " T"]) -> _Some:
        block, markers = self.block, self.markers[number]
        found, mask = could_matter(
            markers.in_cells.usual,
            self._traits,
            block.individuals.cells,
            share,
            self._dof,
            restricted=self._restricted,
        )
        mask = np.asarray(mask)[:, : markers.numbers.size] & self.used[:, None]
        trait, marker = np.divmod(np.flatnonzero(mask), mask.shape[1])
        known = PairsInCells(self._fine, markers.in_cells.fine, self._traits.fine)
        most = largest_shares(found, marker, trait, known, restricted=self._restricted)
        every = _Some(np.full(trait.size, number), marker, trait, most)
        return every.at(~(most < share[trait]))

    def fit(self, pairs: _Some) -> Iterator[tuple[_Some, Refit]]:
        """Fit pairs, some at a time."""
        parts = [
            pairs.at(slice(start, start + REFITS_AT_ONCE))
            for start in range(0, pairs.trait.size, REFITS_AT_ONCE)
        ]
        how, traits = how_to_refit(self.block, self.method), self.block.for_refit

        def fit_some(some: _Some) -> Refit:
            markers, trait = self._rotated(some), _padded(some.trait, REFITS_AT_ONCE)
            every = np.arange(REFITS_AT_ONCE)
            return refit_pairs(markers, traits, every, trait, self.method.tol, how=how)

        return zip(parts, on_all_cores(fit_some, parts), strict=True)

    def numbers(self, pairs: _Some) -> Int[np.ndarray, " pairs"]:
        """Of their markers in the scan."""
        of_block = zip(pairs.block, pairs.marker, strict=True)
        return np.array([self.markers[k].numbers[place] for k, place in of_block], dtype=int)

    def _rotated(self, pairs: _Some) -> Markers:
        """The marker of each pair, rotated."""
        first = self.markers[0].rotated
        values, squares, varies = (
            np.zeros((REFITS_AT_ONCE, *like.shape[axes:]), like.dtype)
            for like, axes in ((first.values, 2), (first.squares, 3), (first.varies, 2))
        )
        for number in np.unique(pairs.block):
            (own,) = np.nonzero(pairs.block == number)
            markers, places = self.markers[number].rotated, pairs.marker[own]
            if not on_cpu():  # there these arrays are NumPy's as well
                size = 1 << (own.size - 1).bit_length()
                markers, places = _taken(markers, _padded(places, size)), np.arange(own.size)
            values[own] = np.asarray(markers.values)[0, places]
            squares[own] = np.asarray(markers.squares)[0, 0, places]
            varies[own] = np.asarray(markers.varies)[0, places]
        of_pairs = values[None], squares[None, None], varies[None]
        return Markers(*jax.device_put(of_pairs))  # which compiles nothing


@jax.jit
def _taken(markers: Markers, places: Int[Array, " some"]) -> Markers:
    return markers.at(places)


def _padded(places: Int[np.ndarray, " some"], size: int) -> Int[np.ndarray, " size"]:
    return np.pad(places, (0, size - places.size))


class _Refits(ABC):
    """Lets tiles wait, and fits the pairs of many that can matter."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._waiting: dict[int, _Waiting] = {}  # by block of traits
        self._blocks: dict[int, MarkerBlock] = {}  # of markers

    def add(self, tile: Tile) -> None:
        """Let a tile wait."""
        own = id(tile.marker_block)
        if own not in self._blocks:
            sizes = (one.stored.size for one in self._blocks.values())
            if self._blocks and sum(sizes) + tile.marker_block.stored.size > at_once().waiting:
                self._look()
            self._blocks[own] = tile.marker_block
        block = tile.block
        if id(block) not in self._waiting:
            self._waiting[id(block)] = _Waiting(block, self.method)
        self._waiting[id(block)].markers.append(tile.marker_block)

    def _look(self) -> None:
        """Fit the pairs that can matter of all tiles that wait."""
        waiting, self._waiting, self._blocks = self._waiting, {}, {}
        for of_block in waiting.values():
            self._fit_what_matters(of_block)

    @abstractmethod
    def _fit_what_matters(self, waiting: _Waiting) -> None:
        """Fit the pairs of a block of traits."""


class BestRefit(_Refits):
    """The best marker of each trait."""

    def __init__(self, m: int, method: Method) -> None:
        super().__init__(method)
        self.best = empty_pairs((m,), method)
        self.marker = np.full(m, -1)
        self.score = np.full(m, -1.0)

    def _fit_what_matters(self, waiting: _Waiting) -> None:
        self._fit(waiting, waiting.most_promising())
        left = waiting.survivors(self._share(waiting.block))
        left = left.at(np.lexsort((-left.most, left.trait)))
        rank = np.arange(left.trait.size) - np.searchsorted(left.trait, left.trait)
        left = left.at(np.argsort(rank, kind="stable"))
        together = REFITS_AT_ONCE * (cores() if on_cpu() else 1)
        while left.trait.size:
            self._fit(waiting, left.at(slice(together)))
            left = left.at(slice(together, None))
            left = left.at(~(left.most < self._share(waiting.block)[left.trait]))

    def _share(self, block: TraitBlock) -> Float[np.ndarray, " T"]:
        """Least share that matters for each trait of a block."""
        score = np.where(block.traits >= 0, self.score[block.traits], 0.0)
        return share_of_score(score, float(block.dof), float(block.n), self.method)

    def _fit(self, waiting: _Waiting, pairs: _Some) -> None:
        block = waiting.block
        for some, found in waiting.fit(pairs):
            found = jax.tree.map(np.asarray, found)
            tests = tests_of_refits(found, float(block.dof), float(block.n), self.method)
            scores = np.asarray(refit_scores(found, tests, self.method))[: some.trait.size]
            self._compare(block.traits[some.trait], waiting.numbers(some), scores, tests)

    def _compare(
        self,
        trait: Int[np.ndarray, " pairs"],
        marker: Int[np.ndarray, " pairs"],
        score: Float[np.ndarray, " pairs"],
        tests: Pairs,
    ) -> None:
        """Compare pairs with the best before: of a tie the first marker."""
        score = np.where(score >= 0, score, -1.0)
        top = self.score.copy()
        np.maximum.at(top, trait, score)
        best, before = top[trait], self.score[trait]
        wins = (score >= 0) & (score >= best * (1 - TIE))
        wins &= (before < best * (1 - TIE)) | (marker < self.marker[trait])
        (winners,) = np.nonzero(wins)
        winners = winners[np.lexsort((marker[winners], trait[winners]))]
        first = np.append(True, np.diff(trait[winners]) > 0)[: winners.size]
        winners = winners[first]
        to = trait[winners]
        self.score[to], self.marker[to] = score[winners], marker[winners]
        for kept, values in zip(self.best, tests, strict=True):
            np.asarray(kept)[to] = np.asarray(values)[winners]

    def pairs(self) -> tuple[Pairs, Numbers, None]:
        """Shapes (m,)."""
        self._look()
        return self.best, self.marker, None


class RefitHits(_Refits):
    """Pairs of -log10 p at least a threshold."""

    def __init__(self, threshold: float, method: Method) -> None:
        super().__init__(method)
        self.threshold = threshold
        self.found = PairsFound(method)

    def _fit_what_matters(self, waiting: _Waiting) -> None:
        block = waiting.block
        n, dof = float(block.n), float(block.dof)
        least = least_share(self.threshold, n, dof, self.method)
        if least > 1:
            return
        for some, fits in waiting.fit(waiting.survivors(np.full(block.traits.size, least))):
            every = tests_of_refits(fits, dof, n, self.method)
            log10p = np.asarray(every.log10p)[: some.trait.size]
            (over,) = np.nonzero(log10p >= self.threshold)
            pairs = every.map(lambda values: np.asarray(values)[over])  # noqa: B023
            kept = some.at(over)
            self.found.add(waiting.numbers(kept), block.traits[kept.trait], pairs)

    def pairs(self) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Shapes (hits,), by marker and trait."""
        self._look()
        return self.found.in_order()
