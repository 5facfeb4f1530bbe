"""Effects of markers on all traits that depend on a covariate, but for the markers near a gene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from lmmlite_jax.mapping.blocks import Piece, Tile, collect, markers_of_kinships
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes
from lmmlite_jax.mapping.interactions import (
    Interacting,
    OfInteractions,
    as_interacting,
    coefficient_columns,
    coefficient_tests,
    coefficients,
    common_in_halves,
    named_by_terms,
    products,
)
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.share_tests import PAIRS_AT_ONCE, least_share
from lmmlite_jax.mapping.trans_search import (
    DistantPairs,
    Found,
    TransSearch,
    TransUnit,
    as_least,
    as_near,
)
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, each_in_float64
from lmmlite_jax.model.tested_traits import Traits
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["TransInteractions", "map_trans_interaction"]

_COLUMNS = (
    "pval_g",
    "pval_i",
    "pval_gi",
    "af",
    "b_g",
    "b_g_se",
    "b_i",
    "b_i_se",
    "b_gi",
    "b_gi_se",
    "log10p_gi",
    "lod_gi",
    "hsq",
    "n",
)
"""Columns of the table, tensorQTL's before our own."""


@dataclass(frozen=True)
class TransInteractions(OfInteractions, DistantPairs):
    """Pairs whose interaction is over the threshold, by marker and trait; names are tensorQTL's.

    Attributes
    ----------
    marker, trait, af, n, unit, tested_markers, missing, tested_traits, status, markers, traits
        As in `TransPairs`.
    pval_g, b_g, b_g_se, pval_i, b_i, b_i_se, pval_gi, b_gi, b_gi_se : (pairs,)
        As in `CisInteractions`: p-value, effect and standard error of the marker g, the interacting
        covariate i and their product, all in one model; of several covariates (pairs, terms).
    log10p_gi, lod_gi : (pairs,)
        -log10 p and LOD score of the product, or (pairs, terms).
    hsq : (pairs,)
        The trait's heritability without marker.
    terms : tuple of str
        Names of several interacting covariates; empty for one.
    """

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table; of several covariates named by them: x and g-x in place of i, gi.

        ``ValueError`` if a covariate has a name by which two columns would be the same.
        """
        return named_by_terms({name: getattr(self, name) for name in _COLUMNS}, self.terms)


def map_trans_interaction(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    interaction: ArrayOrFrame,
    *,
    threshold: float = 1e-5,
    windows: ArrayOrFrame | None = None,
    maf_threshold_interaction: float = 0.05,
    chromosome: ArrayOrFrame | None = None,
    wanted: Callable[[TransUnit], bool] | None = None,
) -> Iterator[TransInteractions]:
    """Test whether effects of all markers on all traits depend on a covariate (``--interaction``).

    The model and its tests are those of `map_cis_interaction`. As in `map_trans`, some thousand
    markers are read at a time and only pairs over a threshold are kept: memory does not grow with
    the markers.

    Parameters
    ----------
    null, G, windows, chromosome, wanted
        As in `map_trans`.
    interaction : (n,) or (n, terms)
        The interacting covariates, which are among the covariates of the null model.
    threshold : float
        Largest p-value of a product that is kept; of several the smallest counts.
    maf_threshold_interaction : float
        Markers whose minor allele is rarer in either half of the individuals observed, below or
        above the median of an interacting covariate, are left out.

    Yields
    ------
    TransInteractions
        The pairs of some markers, as from `map_trans`.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Heritabilities are the null model's: with i among the covariates and without marker.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=2, seed=1)
    >>> rng = np.random.default_rng(1)
    >>> G, e = rng.binomial(2, 0.3, (200, 90)).astype(float), rng.standard_normal(200)
    >>> Y = cohort.pheno + 30 * G[:, [7, 40]] * e[:, None]
    >>> null = lmm.NullModel(cohort.kinship, Y, np.column_stack([np.ones(200), e]))
    >>> (pairs,) = lmm.map_trans_interaction(null, G, e, threshold=1e-12)
    >>> print(pairs.marker, pairs.trait, pairs.b_gi.round())
    [ 7 40] [0 1] [30. 30.]
    """
    interacting = as_interacting(null, G, interaction)
    genotypes = interacting.genotypes
    near, least = as_near(windows, null, genotypes), as_least(threshold)
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    search = _Products(null, genotypes, near, least, maf_threshold_interaction, interacting)
    terms, found = interacting.terms, search.units(served, wanted)
    return each_in_float64(TransInteractions(**fields, terms=terms) for fields in found)


@dataclass(frozen=True)
class _Products(TransSearch):
    """Pairs of a trait and a marker's product with a covariate."""

    interacting: Interacting

    @property
    def traits_at_once(self) -> int:
        return at_once().traits

    def fitted(self, label: str) -> Iterator[list[TraitBlock]]:
        null = self.null
        return null.without_covariates(self.interacting.covariates, label, null.fitted)

    def frequent(
        self, dosages: Float[np.ndarray, "n B"], individuals: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " B"]:
        return common_in_halves(dosages, self.interacting.e[individuals], self.maf_threshold)

    def found(self, part: Genotypes, pieces: Iterable[Piece], hsq: np.ndarray) -> Found:
        kept = _Hits(self.least)
        missing = collect(kept, part, pieces)
        marker, trait, tests = kept.pairs(part.columns)
        columns = coefficient_columns(tests, self.interacting.terms)
        return Found({**columns, "hsq": hsq[trait]}, marker, trait, missing)


class _Waiting(NamedTuple):
    """What a device computes of a tile: `coefficients`, and the strongest product's share."""

    tile: Tile
    coefficients: Float[Array, "3 B T k"]
    share: Float[Array, "B T"]


class _Hits:
    """Pairs of a product with -log10 p of at least a threshold."""

    def __init__(self, least: float) -> None:
        self.least = least
        self._waiting: _Waiting | None = None
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, tile: Tile) -> None:
        """Look into the tile before, while the device computes this one."""
        before = self._waiting
        self._waiting = _Waiting(tile, *_strongest(tile.markers, tile.block.at_null))
        if before is not None:
            self._look(before)

    def _look(self, at: _Waiting) -> None:
        """Test the pairs of a tile that can be over the threshold."""
        numbers, block = at.tile.numbers, at.tile.block
        df, n = float(block.dof) - at.coefficients.shape[-1], float(block.n)
        # A product has the law of a marker of one column.
        share = least_share(self.least, n, df + 1, Method("null", "wald", 1, "float64", 0.0))
        over = (np.asarray(at.share)[: numbers.size] >= share) & (block.traits >= 0)
        row, place = np.nonzero(over)
        for start in range(0, row.size, PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            marker, trait = row[some], place[some]
            padded = (np.resize(x, PAIRS_AT_ONCE) for x in (marker, trait))
            tests = np.asarray(_tests_of_pairs(at.coefficients, *padded, df, n))[:, : marker.size]
            kept = np.max(tests[2][:, products(tests.shape[2])], axis=1) >= self.least
            found = numbers[marker[kept]], block.traits[trait[kept]], tests[:, kept]
            self._parts.append(found)

    def pairs(
        self, columns: int
    ) -> tuple[Int[np.ndarray, " hits"], Int[np.ndarray, " hits"], Float[np.ndarray, "4 hits k"]]:
        """Markers and traits, in this order, and their tests of so many columns a marker."""
        if self._waiting is not None:
            self._look(self._waiting)
        nothing = np.zeros(0, dtype=int)
        parts = [(nothing, nothing, np.zeros((4, 0, columns))), *self._parts]
        marker, trait, tests = (
            np.concatenate(values, axis=axis)
            for values, axis in zip(zip(*parts, strict=True), (0, 0, 1), strict=True)
        )
        order = np.lexsort((trait, marker))
        return marker[order], trait[order], tests[:, order]


@jax.jit
def _strongest(
    markers: Markers, traits: Traits
) -> tuple[Float[Array, "3 B T k"], Float[Array, "B T"]]:
    """`coefficients`, and the largest share that a product explains of what the others leave."""
    found = coefficients(markers, traits)
    ratio = jnp.max(found[2][..., products(len(markers.values))], axis=-1)
    return found, ratio / (1 + ratio)


@jax.jit
def _tests_of_pairs(
    found: Float[Array, "3 B T k"],
    marker: Int[AnyArray, " P"],
    trait: Int[AnyArray, " P"],
    df: Float[AnyArray, ""],
    n: Float[AnyArray, ""],
) -> Float[Array, "4 P k"]:
    """`coefficient_tests` of some pairs."""
    return coefficient_tests(found[:, marker, trait], df, n)
