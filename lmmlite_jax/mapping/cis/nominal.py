"""Every pair of a gene and a marker near it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lmmlite_jax.mapping.cis.near import as_windows, each_neighbourhood
from lmmlite_jax.mapping.cis.pairs import CisPairs, pairs_of
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.method import Method, check_choices
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64

__all__ = ["map_cis_nominal"]


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
    check_choices(variance, test, "all")
    method = Method(variance, test, 1, null.dtype, null.tol, asymptotic)
    null = null.with_likelihood(reml=method.reml(null.reml))
    work = partial(pairs_of, method=method, markers=genotypes.names, traits=null.traits)
    nearby = each_neighbourhood(
        null, genotypes, of_genes, chromosome, work, maf_threshold=maf_threshold, wanted=wanted
    )
    return each_in_float64(pairs for _, pairs in nearby)
