"""Genome-wide thresholds by permutation, for related individuals."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from lmmlite_jax.mapping.blocks import batches, block_width, every, markers_of_kinships, tiles
from lmmlite_jax.mapping.genotypes import DosageReader, as_genotypes
from lmmlite_jax.mapping.permuted_block import PermutedBlock, traits_at_once
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, in_float64

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

    def search() -> Float[np.ndarray, "m P"]:
        width = block_width(null, genotypes.columns, [markers.size for _, markers in served])
        lod = np.full((null.m, permutations), np.nan)
        for batch in batches(null.batches, served, traits_at_once(permutations)):
            for block in batch.blocks:
                permuted = PermutedBlock(block, permutations, seed, null.dtype)
                for tile in tiles(genotypes, every([block], batch.markers, width)):
                    share = permuted.largest_shares(tile.markers)
                    own = block.traits[permuted.places]
                    lod[own] = np.fmax(lod[own], -block.n / 2 / LN10 * np.log1p(-share))
        return lod

    lod = halved_if_full(search)
    rank = int(np.ceil((1 - level) * (permutations + 1))) - 1
    return jax.device_put(np.sort(lod, axis=1)[:, min(rank, permutations - 1)])
