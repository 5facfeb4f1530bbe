"""Best markers and hits where h² is estimated for every pair, of which few need the estimate.

The pairs of a tile that the bound of `share_bound` does not rule out are fitted, as many at a time
as `PAIRS_AT_ONCE`. What is kept is what fitting every pair would keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.blocks import Tile
from lmmlite_jax.mapping.refit import Refit, refit_pairs
from lmmlite_jax.mapping.share_bound import (
    MarkersInCells,
    could_matter,
    markers_in_cells,
    products,
    share_of_score,
)
from lmmlite_jax.mapping.statistics import (
    Method,
    Pairs,
    PairsFound,
    how_to_refit,
    least_share,
    refit_scores,
    tests_of_refits,
)
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.threads import cores, on_cpu, side_by_side
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["SCREENED_TRAITS", "BestRefit", "RefitHits"]

SCREENED_TRAITS = 256
"""Traits whose pairs with a block of markers are screened together."""

PAIRS_AT_ONCE = 1024
"""Pairs that are fitted together."""

FEW = 2
"""Survivors a trait up to which all are fitted at once, and not the most promising ones first."""

TIE = 1e-10
"""Part by which scores may differ for rounding alone: the first marker wins."""

Numbers = Int[AnyArray, " kept"] | None


class _Some(NamedTuple):
    """Places of pairs in a tile."""

    trait: Int[np.ndarray, " pairs"]
    marker: Int[np.ndarray, " pairs"]


class _Screen:
    """Bounds of the pairs of one tile after the other."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._of: Markers | None = None
        self._markers: MarkersInCells | None = None
        self._compiled = False

    def look_at(self, tile: Tile) -> None:
        """Take the products of a tile."""
        self.tile, cells = tile, tile.block.individuals.cells
        if self._of is not tile.markers or self._markers is None:
            self._of, self._markers = tile.markers, markers_in_cells(tile.markers, cells)
        self._found, self._top = products(self._markers, tile.block.in_cells, cells)
        self._used = (tile.block.traits >= 0) & np.asarray(tile.block.for_refit.fitted)

    def most_promising(self) -> _Some:
        """One pair of each trait."""
        marker = np.asarray(self._top, dtype=int)
        (trait,) = np.nonzero(self._used & (marker < self.tile.numbers.size))
        return _Some(trait, marker[trait])

    def survivors(self, share: Float[np.ndarray, " T"]) -> _Some:
        """Pairs that may explain a share, as `share_of_score` has it."""
        block = self.tile.block
        assert self._markers is not None
        mask = could_matter(
            self._found,
            self._markers,
            block.in_cells,
            block.individuals.cells,
            share,
            jnp.asarray(float(block.dof)),
            restricted=self.method.test == "wald",
        )
        mask = np.asarray(mask)[:, : self.tile.numbers.size] & self._used[:, None]
        return _Some(*np.nonzero(mask))

    def fit(self, pairs: _Some) -> Iterator[tuple[_Some, Refit]]:
        """Fit pairs, some at a time."""
        tile = self.tile
        size = min(PAIRS_AT_ONCE, self._found[0].size)
        how, traits = how_to_refit(tile.block, self.method), tile.block.for_refit

        def fit_some(some: _Some) -> Refit:
            padded = [np.pad(places, (0, size - places.size)) for places in some]
            marker, trait = padded[1], padded[0]
            return refit_pairs(tile.markers, traits, marker, trait, self.method.tol, how=how)

        parts = [
            _Some(*(places[start : start + size] for places in pairs))
            for start in range(0, pairs.trait.size, size)
        ]
        # A program of so few numbers keeps one core busy.
        together = cores() if on_cpu() else 1
        while parts:
            # The first alone: several threads would each compile the program.
            some = parts[: together if self._compiled else 1]
            parts, self._compiled = parts[len(some) :], True
            yield from zip(some, side_by_side(fit_some, some), strict=True)


class BestRefit:
    """The best marker of each trait."""

    def __init__(self, m: int, method: Method) -> None:
        self.method = method
        self.best = Refit(*np.full((len(Refit._fields), m), np.nan))
        self.marker = np.full(m, -1)
        self.score = np.full(m, -1.0)
        self.dof, self.n = np.full((2, m), 2.0)
        self._screen = _Screen(method)

    def add(self, tile: Tile) -> None:
        """Compare the best of a tile with the best before."""
        screen = self._screen
        screen.look_at(tile)
        left = screen.survivors(self._share(tile.block))
        if left.trait.size > FEW * tile.block.traits.size:
            self._fit(screen.most_promising())
            left = screen.survivors(self._share(tile.block))
        self._fit(left)

    def _share(self, block: TraitBlock) -> Float[np.ndarray, " T"]:
        """Least share that matters for each trait of a block."""
        score = np.where(block.traits >= 0, self.score[block.traits], 0.0)
        return share_of_score(score, block.in_cells, float(block.dof), self.method)

    def _fit(self, pairs: _Some) -> None:
        tile, dof = self._screen.tile, float(self._screen.tile.block.dof)
        for some, found in self._screen.fit(pairs):
            scores = np.asarray(refit_scores(found, dof, self.method))[: some.trait.size]
            self._compare(
                tile.block, tile.block.traits[some.trait], tile.numbers[some.marker], scores, found
            )

    def _compare(
        self,
        block: TraitBlock,
        trait: Int[np.ndarray, " pairs"],
        marker: Int[np.ndarray, " pairs"],
        score: Float[np.ndarray, " pairs"],
        found: Refit,
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
        self.dof[to], self.n[to] = block.dof, block.n
        for kept, values in zip(self.best, found, strict=True):
            kept[to] = np.asarray(values)[winners]

    def pairs(self) -> tuple[Pairs, Numbers, None]:
        """Shapes (m,)."""
        return tests_of_refits(self.best, self.dof, self.n, self.method), self.marker, None


class RefitHits:
    """Pairs of -log10 p at least a threshold."""

    def __init__(self, threshold: float, method: Method) -> None:
        self.threshold, self.method = threshold, method
        self.found = PairsFound(method)
        self._screen = _Screen(method)

    def add(self, tile: Tile) -> None:
        """Test the pairs of a tile that may be over the threshold."""
        block = tile.block
        least = least_share(self.threshold, float(block.n), float(block.dof), self.method)
        if least > 1:
            return
        self._screen.look_at(tile)
        for some, fits in self._screen.fit(
            self._screen.survivors(np.full(block.traits.size, least))
        ):
            every = tests_of_refits(fits, float(block.dof), float(block.n), self.method)
            log10p = np.asarray(every.log10p)[: some.trait.size]
            (over,) = np.nonzero(log10p >= self.threshold)
            pairs = every.map(lambda values: np.asarray(values)[over])  # noqa: B023
            self.found.add(tile.numbers[some.marker[over]], block.traits[some.trait[over]], pairs)

    def pairs(self) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Shapes (hits,), by marker and trait."""
        return self.found.in_order()
