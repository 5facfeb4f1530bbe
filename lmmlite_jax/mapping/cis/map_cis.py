"""The best marker near each gene."""

from __future__ import annotations

import numpy as np

from lmmlite_jax.mapping.cis.best_marker import as_permutations
from lmmlite_jax.mapping.cis.best_result import CisResult, over_all
from lmmlite_jax.mapping.cis.groups import NOT_BEST, as_groups, best_markers, group_names
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64

__all__ = ["map_cis"]


@in_float64
def map_cis(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    *,
    groups: ArrayOrFrame | None = None,
    permutations: int = 10_000,
    seed: int = 0,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
    permutation_dtype: str = "float32",
) -> CisResult:
    """Find the best marker near each gene, with p-values by permutation (tensorQTL's ``cis``).

    Parameters
    ----------
    null, G, chromosome
        As in `scan`; G with one column a marker. Genes are the traits of the null model. A kinship
        that leaves the gene's chromosome out comes as a dict, as in `NullModel`.
    windows : (m, 2) array of int
        For each gene its first marker and the one after its last, as `cis_windows` makes them.
        Genes in the order of their places share more work.
    groups : (m,) array of str, optional
        Names of the groups of genes that are mapped together, such as the transcripts or introns
        of a gene, all with the same window (tensorQTL's ``--phenotype_groups``). A group has the
        strongest association of its genes, and permutations the largest of all its genes. Genes
        observed in the same individuals are permuted alike; those of others independently, which
        takes a group's genes for less correlated than they are.
    permutations : int
        Number of permutations. The order of the individuals in each depends on ``seed`` and the
        number observed alone, so that genes may be mapped a chromosome at a time.
    seed : int
        Seed of the permutations.
    maf_threshold : float
        Markers whose minor allele is rarer among the individuals observed are left out.
    permutation_dtype : "float32" or "float64"
        Precision of the products with permuted residuals; all else has that of the null model.

    Returns
    -------
    CisResult

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Phenotypes of relatives are not exchangeable. What is permuted are the n - p residuals of the
    null model, rotated and divided by their standard deviations at the gene's own h². FastQTL's
    beta approximation is Ongen et al. 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=3, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 90)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7, 40, 80]]
    >>> windows = np.array([[0, 30], [30, 60], [50, 90]])
    >>> null = lmm.NullModel(cohort.kinship, Y, cohort.covar)
    >>> result = lmm.map_cis(null, G, windows, permutations=100)
    >>> print(result.marker, result.num_var, result.pval_perm.round(4))
    [ 7 40 80] [30 30 40] [0.0099 0.0099 0.0099]
    """
    chance = as_permutations(permutations, seed, permutation_dtype)
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    numbers = as_groups(groups, of_genes)
    work = best_markers(null, genotypes, of_genes, numbers, chromosome, chance, maf_threshold)
    found, reasons = over_all(null, work)
    tested = found["marker"] >= 0
    for gene in np.flatnonzero(np.isin(numbers, numbers[tested]) & ~tested):
        reasons[gene] = reasons[gene] or NOT_BEST
    return CisResult(
        **found,
        reasons=tuple(reasons),
        groups=group_names(groups),
        markers=genotypes.names,
        traits=null.traits,
    )
