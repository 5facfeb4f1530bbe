"""The best marker of each trait on the whole genome, and how often chance does as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lmmlite_jax.mapping.blocks import Tile, every, markers_of_kinships, tiles
from lmmlite_jax.mapping.cis.best_marker import (
    Candidates,
    Permutations,
    as_permutations,
    candidates_of,
)
from lmmlite_jax.mapping.cis.best_result import TransResult, over_all
from lmmlite_jax.mapping.cis.groups import BestOfGroups, Strongest, finished_of
from lmmlite_jax.mapping.cis.near import (
    Neighbourhood,
    as_windows,
    neighbourhood_of,
    padded_size,
)
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_dosages
from lmmlite_jax.mapping.permuted_block import PermutedBlock, traits_at_once
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["best_in_trans", "map_trans_best"]

MARKERS_AT_ONCE = 512
"""Markers that are multiplied by all permutations of a trait together."""


@in_float64
def map_trans_best(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    *,
    windows: ArrayOrFrame | None = None,
    permutations: int = 1000,
    seed: int = 0,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
    permutation_dtype: str = "float32",
) -> TransResult:
    """Find the best marker of each trait among all but those near it, with p-values by permutation.

    What `map_cis` does near genes, on the whole genome: ``pval_beta`` is the probability that the
    best of all markers does as well by chance, corrected for all of them. `q_values` of these says
    which traits have a trans effect, and `nominal_thresholds` which of their pairs are significant.

    Parameters
    ----------
    null, G, permutations, seed, maf_threshold, chromosome, permutation_dtype
        As in `map_cis`. With a kinship for each chromosome, the same permutation serves all of
        them.
    windows : (m, 2) array of int, optional
        For each trait the first marker and the one after the last that are left out as near it, as
        in `map_trans`.

    Returns
    -------
    TransResult

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Every trait has permutations of its own residuals, whose heritabilities are estimated anew, as
    in `permutation_threshold`: that is a test of each trait, permutation and marker. Some hundred
    permutations are enough for a beta law. `map_cis` leaves permutations the heritability of their
    gene, which makes little difference among the few markers of a window.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=3, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 90)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7, 40, 80]]
    >>> near = np.array([[0, 10], [0, 10], [0, 10]])
    >>> null = lmm.NullModel(cohort.kinship, Y)
    >>> found = lmm.map_trans_best(null, G, windows=near, permutations=100)
    >>> print(found.marker[1:], found.num_var, found.pval_beta < 1e-4)
    [40 80] [80 80 80] [False  True  True]
    """
    chance = as_permutations(permutations, seed, permutation_dtype)
    genotypes = as_dosages(G, null)
    near = None if windows is None else as_windows(windows, null.m, genotypes.markers)
    work = best_in_trans(null, genotypes, near, chromosome, chance, maf_threshold)
    found, reasons = over_all(null, work)
    return TransResult(**found, reasons=tuple(reasons), markers=genotypes.names, traits=null.traits)


def best_in_trans(
    null: NullModel,
    genotypes: Genotypes,
    near: Int[np.ndarray, "m 2"] | None,
    chromosome: ArrayOrFrame | None,
    chance: Permutations,
    maf_threshold: float,
    wanted: Bool[np.ndarray, " m"] | None = None,
) -> Iterator[BestOfGroups]:
    """Best markers of some traits after the others, of whom any is ``wanted``."""
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    fitted, most = null.fitted, traits_at_once(chance.number, null.n)
    search = _Search(null, genotypes, served, near, chance, maf_threshold, most)
    parts = (fitted[i : i + most] for i in range(0, fitted.size, most))
    return (search.best(traits) for traits in parts if wanted is None or wanted[traits].any())


class _Search(NamedTuple):
    """What is looked for, and among what."""

    null: NullModel
    genotypes: Genotypes
    served: Sequence[tuple[str, Int[np.ndarray, " _"]]]
    near: Int[np.ndarray, "m 2"] | None
    chance: Permutations
    maf_threshold: float
    most: int

    def best(self, traits: Int[np.ndarray, " some"]) -> BestOfGroups:
        """Best markers of some traits among all."""
        strongest = {trait: Strongest() for trait in traits.tolist()}
        tested = dict.fromkeys(strongest, 0)
        found = None
        for tile, permuted in self._tiles(traits, strongest):
            found = self._candidates(tile, permuted)
            for place, trait in enumerate(found.genes.tolist()):
                row = {name: values[place] for name, values in found.columns.items()}
                row |= {"gene": trait, "marker": tile.numbers[found.marker[place]]}
                tested[trait] += int(row["num_var"])
                share, by_chance = float(found.share[place]), found.permuted[place]
                strongest[trait].join(share, by_chance, found.df, row)
        if found is None:
            raise ValueError("G has no marker: there is nothing to test.")
        for trait, one in strongest.items():
            one.size = min(one.size, 1)  # a trait is on its own
            one.row["num_var"] = tested[trait]
        return finished_of(list(strongest.values()), found, self.most)

    def _tiles(
        self, traits: Int[np.ndarray, " some"], strongest: dict[int, Strongest]
    ) -> Iterator[tuple[Tile, PermutedBlock]]:
        """All markers with these traits and their permutations; their fits are noted."""
        for label, markers in self.served:
            width = min(padded_size(int(markers.size)), MARKERS_AT_ONCE)
            for blocks in self.null.batches(label, traits):
                found = (_part(block, traits, self.most) for block in blocks)
                parts = [part for part in found if part is not None]
                for part in parts:
                    fits = zip(part.traits, part.status, part.hsq, strict=True)
                    for trait, status, hsq in fits:
                        if trait >= 0:
                            strongest[int(trait)].fits = [(int(trait), int(status), float(hsq))]
                permuted = {id(part): PermutedBlock(part, *self.chance) for part in parts}
                for tile in tiles(self.genotypes, every(parts, markers, width)):
                    yield tile, permuted[id(tile.block)]
                permuted.clear()

    def _candidates(self, tile: Tile, permuted: PermutedBlock) -> Candidates:
        """Best markers of a tile; numbers of markers are places in it."""
        block, size = tile.block, tile.numbers.size
        there = block.traits >= 0
        own = np.column_stack([np.zeros(there.size, int), np.where(there, size, 0)])
        area = neighbourhood_of(tile, self.genotypes, 0, own, self.maf_threshold)
        left_out = None
        if self.near is not None:
            first, after = self.near[block.traits].T
            left_out = np.zeros((area.kept.size, there.size), dtype=bool)
            numbers = tile.numbers[:, None]
            left_out[:size] = (numbers >= first) & (numbers < after)

        def shares(near: Neighbourhood, tested: Bool[np.ndarray, "S T"]) -> np.ndarray:
            found = np.full((there.size, self.chance.number), np.nan)
            found[permuted.places] = permuted.largest_shares(near.markers, tested)
            return found

        return candidates_of(area, shares, left_out)


def _part(block: TraitBlock, traits: Int[np.ndarray, " some"], most: int) -> TraitBlock | None:
    """Those of some traits that are in a block, in a part of one size."""
    places = np.flatnonzero(np.isin(block.traits, traits))
    if places.size == 0:
        return None
    width = min(most, block.traits.size)
    return block.part(np.concatenate([places, np.full(width - places.size, -1)]))
