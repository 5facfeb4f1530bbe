"""Genome-wide thresholds by permutation, for related individuals.

Phenotypes of relatives are not exchangeable. What is: the residuals of the null model, rotated and
divided by their standard deviations, n - p independent numbers of one variance. Those are
permuted, against markers divided in the same way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lmmlite_jax.mapping.association import Markers, Traits, best_of_block
from lmmlite_jax.mapping.collect import LN10, Method
from lmmlite_jax.mapping.scan import blocks_of_patterns, null_models, rotated_markers, scan_data
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.precision import AnyArray, in_float64

__all__ = ["permutation_threshold", "permuted"]

COLUMNS_AT_ONCE = 1024
"""Permuted traits that are scanned together."""


@in_float64
def permutation_threshold(
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    permutations: int = 1000,
    level: float = 0.05,
    seed: int = 0,
    reml: bool = True,
    chromosome: Any = None,
    weights: Any = None,
    interaction: Any = None,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    dtype: str = "float64",
) -> AnyArray:
    """LOD score that the largest of all markers exceeds by chance with probability ``level``.

    Parameters
    ----------
    K, Y, G, X, chromosome, weights, interaction, clip_negative, scale_kinship, tol, dtype
        As in `scan`. With a kinship for each chromosome, the same permutation serves all of them.
    permutations : int
        How many.
    level : float
        Genome-wide error rate.
    seed : int
        Seed of the permutations, which all traits share.
    reml : bool
        Likelihood that estimates the heritabilities.

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
    >>> limits = lmm.permutation_threshold(cohort.kinship, cohort.pheno, G, permutations=200)
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
    check_options(tol, NO_PRIOR)
    data = scan_data(Y, G, X, weights, interaction, K, chromosome, clip_negative, scale_kinship)
    m, p = len(data.counts), data.design.shape[1]
    method = Method("null", "wald", data.genotypes.columns, dtype, tol)
    orders_of = cache(lambda real, size: permuted(real, size, permutations, seed).T)
    largest, width = np.full((m, permutations), np.nan), data.block_width()
    for chosen, batches in null_models(data, Options(reml=reml), tol, dtype):
        for groups in batches:
            skeleton = groups[0].rotated.profile.skeleton
            patterns, blocks = zip(*blocks_of_patterns(groups, method), strict=True)
            for _, k, markers in rotated_markers(
                data.genotypes, chosen, width, patterns, skeleton, dtype
            ):
                Kva = patterns[k].projection.Kva[0]
                orders = orders_of(int(patterns[k].n[0]) - p, Kva.size)
                for block in blocks[k]:
                    used = np.flatnonzero(block.numbers >= 0)
                    pairs = np.indices((used.size, permutations)).reshape(2, -1)
                    columns = min(COLUMNS_AT_ONCE, pairs.shape[1])
                    for start in range(0, pairs.shape[1], columns):
                        t, i = pairs[:, start : start + columns]
                        padded = np.pad(np.stack([used[t], i]), ((0, 0), (0, columns - t.size)))
                        share = _largest_share(
                            markers, block.traits, Kva, block.hsq, orders, *padded
                        )
                        lod = -block.n / 2 / LN10 * np.log1p(-np.asarray(share)[: t.size])
                        where = block.numbers[used[t]], i
                        largest[where] = np.fmax(largest[where], lod)
    rank = int(np.ceil((1 - level) * (permutations + 1))) - 1
    return jax.device_put(np.sort(largest, axis=1)[:, min(rank, permutations - 1)])


def permuted(real: int, size: int, permutations: int, seed: int) -> np.ndarray:
    """Permutations (P, size) of the first ``real`` elements: the others are padding."""
    rng = np.random.default_rng(seed)
    first = rng.permuted(np.tile(np.arange(real, dtype=np.int32), (permutations, 1)), axis=1)
    rest = np.broadcast_to(np.arange(real, size, dtype=np.int32), (permutations, size - real))
    return np.concatenate([first, rest], axis=1)


@jax.jit
def _largest_share(
    markers: Markers,
    traits: Traits,
    Kva: Array,
    hsq: Array,
    orders: Array,
    trait: Array,
    order: Array,
) -> Array:
    """Largest share of some traits, each in one order of its whitened residuals."""
    h = jnp.where(jnp.isnan(hsq), 0.0, hsq)[trait]
    deviation = jnp.sqrt(h * Kva[:, None] + (1 - h))
    residuals = traits.weighted[:, trait] * deviation
    weighted = jnp.take_along_axis(residuals, orders[:, order], axis=0) / deviation
    permuted = Traits(
        weighted.astype(traits.weighted.dtype),
        traits.weights[:, trait],
        traits.rss[trait],
        traits.dof,
    )
    return best_of_block(markers, permuted).share
