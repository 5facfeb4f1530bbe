"""The best of the markers near each gene, and how often chance does as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from lmmlite_jax.mapping.alleles import allele_statistics
from lmmlite_jax.mapping.cis.beta_approximation import FEWEST_PERMUTATIONS
from lmmlite_jax.mapping.cis.near import FEWEST_MARKERS, Neighbourhood
from lmmlite_jax.mapping.effects import effects_of_block
from lmmlite_jax.mapping.orders import orders_in_parts
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.mapping.tables import BEST_COLUMNS
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.options import check_dtype
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.tested_traits import Traits, Whitened

__all__ = [
    "BestMarkers",
    "Candidates",
    "Permutations",
    "as_permutations",
    "candidates_of",
    "permuted_shares",
]

PermutedShares = Callable[[Neighbourhood, Bool[np.ndarray, "S T"]], Float[np.ndarray, "T P"]]
"""Largest share of the pairs that are tested, in each permutation of each gene."""


@dataclass(frozen=True)
class BestMarkers:
    """The best marker in each of R searches near a gene; names are tensorQTL's.

    Attributes
    ----------
    marker : (R,)
        Best marker, -1 without one.
    num_var : (R,)
        Markers tested: those in the window that are frequent enough and vary beside the
        covariates.
    slope, slope_se : (R,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    pval_nominal, log10p : (R,)
        p-value of the F test of the best marker, and its -log10, which does not underflow.
    lod : (R,)
        n/2 log10(rss₀/rss₁) of the best marker.
    pval_perm : (R,)
        Share of permutations in which the best marker does as well, the data counted in.
    pval_beta : (R,)
        The same by the beta approximation, which resolves small ones.
    group_size : (R,)
        Genes of the group that have a test; 1 where genes are mapped each on its own.
    beta_shape1, beta_shape2, true_df, pval_true_df : (R,)
        Shapes and degrees of freedom of the approximation, and the best marker's p-value with
        these degrees of freedom.
    af, ma_samples, ma_count : (R,)
        Of the best marker among the individuals observed: frequency of the counted allele,
        carriers of the minor allele, and its copies.
    hsq : (R,)
        Heritability without the marker; NaN without kinship.
    n : (R,)
        Individuals observed.
    """

    marker: Int[AnyArray, " R"]
    num_var: Int[AnyArray, " R"]
    slope: Float[AnyArray, " R"]
    slope_se: Float[AnyArray, " R"]
    pval_nominal: Float[AnyArray, " R"]
    log10p: Float[AnyArray, " R"]
    lod: Float[AnyArray, " R"]
    pval_perm: Float[AnyArray, " R"]
    pval_beta: Float[AnyArray, " R"]
    group_size: Int[AnyArray, " R"]
    beta_shape1: Float[AnyArray, " R"]
    beta_shape2: Float[AnyArray, " R"]
    true_df: Float[AnyArray, " R"]
    pval_true_df: Float[AnyArray, " R"]
    af: Float[AnyArray, " R"]
    ma_samples: Int[AnyArray, " R"]
    ma_count: Int[AnyArray, " R"]
    hsq: Float[AnyArray, " R"]
    n: Int[AnyArray, " R"]

    def columns(self, rows: Int[np.ndarray, " rows"]) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Columns of some searches, but for the marker."""
        return {name: np.asarray(getattr(self, name))[rows] for name in BEST_COLUMNS}


class Permutations(NamedTuple):
    """How many, the seed of their orders, and the precision of their products."""

    number: int
    seed: int
    dtype: str


def as_permutations(permutations: int, seed: int, dtype: str) -> Permutations:
    """Refuse too few permutations and a precision that there is not."""
    if permutations < FEWEST_PERMUTATIONS:
        raise ValueError(
            f"permutations must be at least {FEWEST_PERMUTATIONS}, got {permutations}."
        )
    check_dtype(dtype)
    return Permutations(permutations, seed, dtype)


class Candidates(NamedTuple):
    """Genes that have a test, each with its best marker: all that a p-value comes from.

    Attributes
    ----------
    genes, marker : (genes,)
        Their numbers, and those of their best markers.
    share : (genes,)
        Share of residual variance that the best marker explains.
    permuted : (genes, P)
        Largest share in each permutation.
    df : float
        Residual degrees of freedom of the tests.
    columns : dict
        Columns of `BestMarkers` that need no permutation.
    """

    genes: Int[np.ndarray, " genes"]
    marker: Int[np.ndarray, " genes"]
    share: Float[np.ndarray, " genes"]
    permuted: Float[np.ndarray, "genes P"]
    df: float
    columns: dict[str, Shaped[np.ndarray, " genes"]]


def candidates_of(
    near: Neighbourhood,
    permuted: PermutedShares,
    left_out: Bool[np.ndarray, "S T"] | None = None,
) -> Candidates:
    """Best markers of some genes, but for pairs left out, in the data and in permutations."""
    wanted = near.inside() if left_out is None else near.inside() & ~left_out
    tested, of_genes = _best_of(near.markers, near.block.at_null, wanted)
    count, top, slope, slope_se, best = map(np.asarray, of_genes)
    genes = np.flatnonzero(count)
    top, slope, slope_se, best = (of[genes] for of in (top, slope, slope_se, best))
    seen = near.of_everyone[np.ix_(near.block.individuals.numbers, top)]
    alleles = allele_statistics(seen)
    columns = {
        **alleles._asdict(),
        "num_var": count[genes].astype(np.int64),
        "slope": slope,
        "slope_se": slope_se,
        "lod": -near.block.n / (2 * LN10) * np.log1p(-best),
        "hsq": near.block.hsq[genes],
        "n": np.full(genes.size, near.block.n),
    }
    return Candidates(
        near.block.traits[genes],
        near.first + top,
        best,
        permuted(near, np.asarray(tested))[genes],
        float(near.block.dof) - 1,
        columns,
    )


@jax.jit
def _best_of(
    markers: Markers, traits: Traits, wanted: Bool[Array, "S T"]
) -> tuple[Bool[Array, "S T"], tuple[Array, ...]]:
    """Pairs that have a test, and of each gene how many, and the place and effect of the best.

    Its effect is the slope, the standard error of that and the share of residual variance.
    """
    effects = effects_of_block(markers, traits)
    tested = wanted & (effects.share < 1)
    top = jnp.argmax(jnp.where(tested, effects.share, -1.0), axis=0)
    best = (
        jnp.take_along_axis(values, top[None], axis=0)[0]
        for values in (effects.beta[..., 0], effects.se[..., 0], effects.share)
    )
    return tested, (jnp.sum(tested, axis=0), top, *best)


def permuted_shares(
    near: Neighbourhood,
    tested: Bool[np.ndarray, "S T"],
    *,
    chance: Permutations,
) -> Float[np.ndarray, "T P"]:
    """Largest share of residual variance that any marker explains in each permutation (T, P).

    ``tested`` (S, T) says which pairs count. All permutations of a gene have its heritability:
    what an estimate anew changes grows with the number of markers, and near a gene they are few.
    """
    block, whitened = near.block, near.block.whitened
    standardised = _standardised(near.markers, block.at_null, whitened, tested, dtype=chance.dtype)
    some = tested.any(axis=0)
    start, stop = (np.where(some, x, 0) for x in (near.start, near.stop))
    found = [
        np.asarray(_largest_shares(*standardised, orders, start, stop))
        for orders in orders_in_parts(
            block.dof, len(whitened.residuals), chance.number, chance.seed
        )
    ]
    return np.concatenate(found, axis=1)[:, : chance.number].astype(np.float64)


@partial(jax.jit, static_argnames="dtype")
def _standardised(
    markers: Markers,
    traits: Traits,
    whitened: Whitened,
    tested: Bool[Array, "S T"],
    *,
    dtype: str,
) -> tuple[Float[Array, "S q"], Float[Array, "S T"], Float[Array, "T q"], Float[Array, "T q"]]:
    """What permutations need, in any precision.

    The markers (S, q); 1/d of each pair (S, T), zero where there is no test; and for each gene
    (T, q) its whitened residuals, scaled to squares that sum to 1, and the square roots of the
    weights.
    """
    d = markers.squares[0, 0] @ traits.weights
    inverse = jnp.where(tested, 1 / jnp.where(tested, d, 1.0), 0.0)
    residuals = whitened.residuals / jnp.sqrt(traits.rss)
    roots = 1 / whitened.deviation
    values = markers.values[0].astype(dtype)
    return values, inverse.astype(dtype), residuals.T.astype(dtype), roots.T.astype(dtype)


@jax.jit
def _largest_shares(
    values: Float[Array, "S q"],
    inverse: Float[Array, "S T"],
    residuals: Float[Array, "T q"],
    roots: Float[Array, "T q"],
    orders: Int[Array, "P q"],
    start: Int[Array, " T"],
    stop: Int[Array, " T"],
) -> Float[Array, "T P"]:
    """Largest share (T, P) of genes in orders (P, q) of their residuals.

    Blocks of the markers (S, q) of a gene's window are multiplied by all permutations of the gene,
    and only the maxima of their products kept.
    """
    S, q = values.shape
    width = min(FEWEST_MARKERS, S)

    def of_gene(gene: Array) -> Array:
        permuted = residuals[gene][orders] * roots[gene]
        own = inverse[:, gene]

        def add(k: Array, largest: Array) -> Array:
            begin = jnp.minimum(start[gene] + k * width, S - width)
            block = lax.dynamic_slice(values, (begin, 0), (width, q))
            scale = lax.dynamic_slice(own, (begin,), (width,))
            product = jnp.matmul(permuted, block.T, precision=lax.Precision.HIGHEST)
            return jnp.maximum(largest, jnp.max(product**2 * scale, axis=1))

        blocks = -(-(stop[gene] - start[gene]) // width)
        return lax.fori_loop(0, blocks, add, jnp.zeros(len(orders), values.dtype))

    return lax.map(of_gene, jnp.arange(start.size))
