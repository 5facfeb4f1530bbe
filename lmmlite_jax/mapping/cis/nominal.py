"""Every pair of a gene and a marker near it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.cis.near import (
    Neighbourhood,
    as_windows,
    each_neighbourhood,
    pairs_nearby,
)
from lmmlite_jax.mapping.cis.pairs import NearbyPairs, identity_of
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.method import Method, check_choices
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64

__all__ = ["CisPairs", "map_cis_nominal"]


@dataclass(frozen=True)
class CisPairs(NearbyPairs):
    """Pairs of genes and markers near them, by gene and marker; names are tensorQTL's.

    Attributes
    ----------
    genes, gene, marker, af, ma_samples, ma_count, markers, traits
        As in `NearbyPairs`: numbers of the genes mapped; of the gene and the marker of each pair;
        allele frequency, carriers and copies of the minor allele; names.
    pval_nominal, log10p : (pairs,)
        p-value of the test, and its -log10, which does not underflow. NaN, like the effects, for a
        marker that is monomorphic or in the span of the covariates.
    slope, slope_se : (pairs,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    lod : (pairs,)
        LOD score.
    hsq : (pairs,)
        Heritability: the gene's without marker, or with ``variance="refit"`` the pair's.
    n : (pairs,)
        Individuals observed.
    """

    pval_nominal: Float[np.ndarray, " pairs"]
    slope: Float[np.ndarray, " pairs"]
    slope_se: Float[np.ndarray, " pairs"]
    log10p: Float[np.ndarray, " pairs"]
    lod: Float[np.ndarray, " pairs"]
    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]


def map_cis_nominal(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    *,
    variance: str = "null",
    test: str = "wald",
    asymptotic: bool = False,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
    wanted: ArrayOrFrame | None = None,
) -> Iterator[CisPairs]:
    """Test every gene with every marker near it (tensorQTL's ``cis_nominal``).

    Parameters
    ----------
    null, G, windows, chromosome
        As in `map_cis`.
    variance, test, asymptotic
        As in `scan`: heritability estimated without markers, or again for every pair.
    maf_threshold : float
        Pairs with a marker whose minor allele is rarer among the individuals observed are left
        out.
    wanted : (m,) array of bool, optional
        Genes that are still to be mapped; all by default. What is computed for them is the same.

    Yields
    ------
    CisPairs
        The pairs of some genes, whose numbers and order follow from the windows and the pattern of
        missing values. Each gene comes once, unless it has no marker or too few individuals.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 5)).astype(float)
    >>> windows = np.array([[0, 3], [2, 5]])
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno)
    >>> for pairs in lmm.map_cis_nominal(null, G, windows):
    ...     print(pairs.to_pandas()[["phenotype_id", "variant_id", "slope", "n"]].round(2))
       phenotype_id  variant_id  slope    n
    ...
    """
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    check_choices(variance, test, "all", 1)
    method = Method(variance, test, 1, null.dtype, null.tol, asymptotic)
    null = null.with_likelihood(reml=method.reml(null.reml))
    work = partial(_pairs_of, method=method, markers=genotypes.names, traits=null.traits)
    nearby = each_neighbourhood(
        null, genotypes, of_genes, chromosome, work, maf_threshold=maf_threshold, wanted=wanted
    )
    return each_in_float64(pairs for _, pairs in nearby)


def _pairs_of(
    near: Neighbourhood,
    method: Method,
    markers: tuple[str, ...] | None,
    traits: tuple[str, ...] | None,
) -> CisPairs:
    """Statistics of the pairs in some windows."""
    gene, marker = np.nonzero(near.inside().T)
    pairs = pairs_nearby(near, method).map(lambda values: np.asarray(values)[marker, gene])
    return CisPairs(
        **identity_of(near, gene, marker),
        markers=markers,
        traits=traits,
        pval_nominal=10 ** -np.asarray(pairs.log10p),
        slope=np.asarray(pairs.beta),
        slope_se=np.asarray(pairs.se),
        log10p=np.asarray(pairs.log10p),
        lod=np.asarray(pairs.lod),
        hsq=near.block.hsq[gene] if pairs.hsq is None else np.asarray(pairs.hsq),
        n=np.full(gene.size, near.block.n),
    )
