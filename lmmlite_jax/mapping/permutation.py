"""Genome-wide thresholds by permutation, for related individuals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.blocks import (
    Piece,
    batches,
    block_width,
    every,
    markers_of_kinships,
    tiles,
)
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_genotypes
from lmmlite_jax.mapping.permuted_block import PermutedBlock, traits_at_once
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, in_float64
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["permutation_threshold"]


@in_float64
def permutation_threshold(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    *,
    permutations: int = 1000,
    level: float = 0.05,
    seed: int = 0,
    chromosome: ArrayOrFrame | None = None,
    interaction: ArrayOrFrame | None = None,
) -> Float[AnyArray, " m"]:
    """LOD score that the largest of all markers exceeds by chance with probability ``level``.

    Parameters
    ----------
    null, G, chromosome, interaction
        As in `scan`. With a kinship for each chromosome, the same permutation serves all of them.
    permutations : int
        How many.
    level : float
        Genome-wide error rate.
    seed : int
        Seed of the permutations, which all traits share. Coordinates along eigenvectors are
        permuted, whose signs are the library's choice: on another device, or with another LAPACK,
        the same seed draws another sample.

    Returns
    -------
    (m,) array
        The threshold of each trait; NaN without a fit.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Phenotypes of relatives are not exchangeable. What is permuted are the n - p residuals of the
    null model, rotated and divided by their standard deviations; multiplied by these again they are
    traits, whose heritabilities are estimated anew.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=80, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (80, 60)).astype(float)
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno)
    >>> limits = lmm.permutation_threshold(null, G, permutations=200)
    >>> limits.shape, bool(np.all((limits > 1.5) & (limits < 4)))
    ((2,), True)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}.")
    if permutations < 1 / level:
        raise ValueError(
            f"permutations must be at least {np.ceil(1 / level):.0f} for a level of {level}, got "
            f"{permutations}."
        )
    genotypes = as_genotypes(G, null, interaction).independent(null.design)
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    chance = permutations, seed, null.dtype

    def search() -> Float[np.ndarray, "m P"]:
        width = block_width(null, genotypes.columns, [markers.size for _, markers in served])
        most = traits_at_once(permutations, null.n)
        lod = np.full((null.m, permutations), np.nan)
        for batch in batches(null.batches, served, most):
            for blocks in _together(batch.blocks, most):
                pieces = every(blocks, batch.markers, width)
                for traits, found in _largest_lods(genotypes, blocks, pieces, chance):
                    lod[traits] = np.fmax(lod[traits], found)
        return lod

    lod = halved_if_full(search)
    rank = int(np.ceil((1 - level) * (permutations + 1))) - 1
    return jax.device_put(np.sort(lod, axis=1)[:, min(rank, permutations - 1)])


def _together(blocks: Sequence[TraitBlock], most: int) -> Iterator[list[TraitBlock]]:
    """Blocks whose permutations are held together: those of so many traits, or one block."""
    some: list[TraitBlock] = []
    for block in blocks:
        if some and sum(np.sum(of.traits >= 0) for of in [*some, block]) > most:
            yield some
            some = []
        some.append(block)
    yield some


def _largest_lods(
    genotypes: Genotypes,
    blocks: Sequence[TraitBlock],
    pieces: Iterable[Piece],
    chance: tuple[int, int, str],
) -> Iterator[tuple[Int[np.ndarray, " traits"], Float[np.ndarray, "traits P"]]]:
    """Traits of the blocks, and in each permutation the largest LOD score of some markers."""
    permuted = {id(block): PermutedBlock(block, *chance) for block in blocks}
    for tile in tiles(genotypes, pieces):
        block, of_block = tile.block, permuted[id(tile.block)]
        share = of_block.largest_shares(tile.markers)
        yield block.traits[of_block.places], -block.n / 2 / LN10 * np.log1p(-share)
