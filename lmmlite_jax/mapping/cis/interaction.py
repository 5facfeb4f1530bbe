"""Effects of markers near genes that depend on a covariate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from lmmlite_jax.mapping.cis.near import (
    Neighbourhood,
    as_windows,
    each_neighbourhood,
)
from lmmlite_jax.mapping.cis.pairs import NearbyPairs, identity_of
from lmmlite_jax.mapping.genotypes import DosageReader
from lmmlite_jax.mapping.interactions import (
    OfInteractions,
    as_interacting,
    coefficient_columns,
    coefficient_tests,
    coefficients,
    common_in_halves,
    named_by_terms,
)
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.tested_traits import Traits

__all__ = ["CisInteractions", "map_cis_interaction"]


@dataclass(frozen=True)
class CisInteractions(OfInteractions, NearbyPairs):
    """Pairs of genes and markers near them, tested for an interaction; names are tensorQTL's.

    Attributes
    ----------
    genes, status, gene, marker, af, ma_samples, ma_count, markers, traits
        As in `CisPairs`.
    pval_g, b_g, b_g_se, pval_i, b_i, b_i_se, pval_gi, b_gi, b_gi_se : (pairs,)
        p-value, effect and standard error of the marker g, the interacting covariate i and their
        product g·i, all in one model. With several covariates those of i and g·i are (pairs,
        terms).
    log10p_gi, lod_gi : (pairs,)
        -log10 p and LOD score of the product, or (pairs, terms).
    hsq : (pairs,)
        The gene's heritability without marker.
    n : (pairs,)
        Individuals observed.
    terms : tuple of str
        Names of several interacting covariates; empty for one.
    """

    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table; of several covariates named by them: x and g-x in place of i, gi.

        ``ValueError`` if a covariate has a name by which two columns would be the same.
        """
        whole = super().columns()
        whole.pop("terms")
        return named_by_terms(whole, self.terms)


def map_cis_interaction(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    interaction: ArrayOrFrame,
    *,
    maf_threshold_interaction: float = 0.05,
    chromosome: ArrayOrFrame | None = None,
    wanted: ArrayOrFrame | None = None,
) -> Iterator[CisInteractions]:
    """Test whether effects of markers near a gene depend on a covariate (``--interaction``).

    The model has the covariates, one of which is the interacting covariate i, the marker g and
    their product g·i; each of the three gets a t test with n - p - 2 degrees of freedom. Several
    interacting covariates are in one model, with a product for each.

    Parameters
    ----------
    null, G, windows, chromosome
        As in `map_cis`.
    interaction : (n,) or (n, terms)
        The interacting covariates, which are among the covariates of the null model.
    maf_threshold_interaction : float
        Markers whose minor allele is rarer in either half of the individuals observed, below or
        above the median of an interacting covariate, are left out.
    wanted : (m,) array of bool, optional
        Genes that are still to be mapped, as in `map_cis_nominal`.

    Yields
    ------
    CisInteractions
        The pairs of some genes, as from `map_cis_nominal`.

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
    >>> cohort = lmm.simulate_cohort(n=200, m=1, seed=1)
    >>> rng = np.random.default_rng(1)
    >>> G, e = rng.binomial(2, 0.3, (200, 4)).astype(float), rng.standard_normal(200)
    >>> Y = cohort.pheno + 30 * G[:, [2]] * e[:, None]
    >>> null = lmm.NullModel(cohort.kinship, Y, np.column_stack([np.ones(200), e]))
    >>> (pairs,) = lmm.map_cis_interaction(null, G, np.array([[0, 4]]), e)
    >>> print(pairs.log10p_gi.argmax(), pairs.b_gi[2].round())
    2 30.0
    """
    genotypes, e, columns, terms = as_interacting(null, G, interaction)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    # The markers' columns include i; the heritability is that of the model with i.

    def work(near: Neighbourhood) -> CisInteractions:
        kept, own = np.zeros_like(near.kept), e[near.block.individuals.numbers]
        kept[: near.size] = common_in_halves(near.dosages, own, maf_threshold_interaction)
        varying = near._replace(kept=kept)
        return _interactions_of(varying, terms, genotypes.names, null.traits)

    nearby = each_neighbourhood(
        null,
        genotypes,
        of_genes,
        chromosome,
        work,
        wanted=wanted,
        batches=partial(null.without_covariates, columns),
    )
    return each_in_float64(pairs for _, pairs in nearby)


def _interactions_of(
    near: Neighbourhood,
    terms: tuple[str, ...],
    markers: tuple[str, ...] | None,
    traits: tuple[str, ...] | None,
) -> CisInteractions:
    """Statistics of the pairs in some windows."""
    inside = near.inside()
    gene, marker = np.nonzero(inside.T)
    tests = np.full((4, *inside.shape, 1 + 2 * max(1, len(terms))), np.nan)
    for some, markers_here in near.parts():
        tests[:, some] = _each_coefficient(markers_here, near.block.at_null, float(near.block.n))
    return CisInteractions(
        **identity_of(near, gene, marker),
        markers=markers,
        traits=traits,
        **coefficient_columns(tests[:, marker, gene], terms),
        hsq=near.block.hsq[gene],
        n=np.full(gene.size, near.block.n),
        terms=terms,
    )


@jax.jit
def _each_coefficient(markers: Markers, traits: Traits, n: Array) -> Float[Array, "4 B T k"]:
    """Effects, standard errors, -log10 p and LOD of each of k columns, (4, B, T, k)."""
    return coefficient_tests(coefficients(markers, traits), traits.dof - len(markers.values), n)
