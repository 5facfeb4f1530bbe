"""Genome-wide thresholds by permutation, for related individuals.

Phenotypes of relatives are not exchangeable. What is: the residuals of the null model, rotated and
divided by their standard deviations, n - p independent numbers of one variance. Those are
permuted, against markers divided in the same way.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.blocks import (
    Tile,
    batches,
    block_width,
    collect,
    every,
    markers_of_kinships,
)
from lmmlite_jax.mapping.effects import best_of_block
from lmmlite_jax.mapping.genotypes import DosageReader, as_genotypes
from lmmlite_jax.mapping.orders import permuted
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, in_float64
from lmmlite_jax.model.tested_traits import Traits, Whitened

__all__ = ["permutation_threshold"]

COLUMNS_AT_ONCE = 1024
"""Permuted traits that are scanned together."""


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
        largest = _Largest(null.m, permutations, seed)
        for batch in batches(null.batches, served):
            collect(largest, genotypes, every(batch.blocks, batch.markers, width))
        return largest.lod

    lod = halved_if_full(search)
    rank = int(np.ceil((1 - level) * (permutations + 1))) - 1
    return jax.device_put(np.sort(lod, axis=1)[:, min(rank, permutations - 1)])


class _Largest:
    """The largest LOD score of all markers, for each trait and permutation: ``lod`` (m, P)."""

    def __init__(self, m: int, permutations: int, seed: int) -> None:
        self.lod = np.full((m, permutations), np.nan)
        self._orders = cache(lambda real, size: permuted(real, size, permutations, seed).T)

    def add(self, tile: Tile) -> None:
        """Compare the markers of a tile with those before."""
        block, whitened = tile.block, tile.block.whitened
        orders = self._orders(block.dof, len(whitened.residuals))
        used = np.flatnonzero(block.traits >= 0)
        pairs = np.indices((used.size, orders.shape[1])).reshape(2, -1)
        columns = min(COLUMNS_AT_ONCE, pairs.shape[1])
        for start in range(0, pairs.shape[1], columns):
            t, i = pairs[:, start : start + columns]
            padded = np.pad(np.stack([used[t], i]), ((0, 0), (0, columns - t.size)))
            share = _largest_share(tile.markers, block.at_null, whitened, orders, *padded)
            lod = -block.n / 2 / LN10 * np.log1p(-np.asarray(share)[: t.size])
            where = block.traits[used[t]], i
            self.lod[where] = np.fmax(self.lod[where], lod)


@jax.jit
def _largest_share(
    markers: Markers,
    traits: Traits,
    whitened: Whitened,
    orders: Int[Array, "q P"],
    trait: Int[Array, " columns"],
    order: Int[Array, " columns"],
) -> Float[Array, " columns"]:
    """Largest share of some traits, each in one order of its whitened residuals."""
    residuals = jnp.take_along_axis(whitened.residuals[:, trait], orders[:, order], axis=0)
    weighted = residuals / whitened.deviation[:, trait]
    permuted = Traits(
        weighted.astype(traits.weighted.dtype),
        traits.weights[:, trait],
        traits.rss[trait],
        traits.dof,
    )
    return best_of_block(markers, permuted).share
