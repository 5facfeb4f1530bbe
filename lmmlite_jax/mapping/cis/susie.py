"""Fine-mapping of the markers near genes, by the sum of single effects."""

from __future__ import annotations

import numpy as np

from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.susie.fine_map import (
    NO_MARKER,
    FineMapped,
    as_search,
    each_fine_mapped,
    reason_of,
)
from lmmlite_jax.mapping.susie.result import FineMapping, credible_sets_of
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64
from lmmlite_jax.model.result import reasons_of

__all__ = ["map_cis_susie"]


@in_float64
def map_cis_susie(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    *,
    max_effects: int = 10,
    coverage: float = 0.95,
    min_abs_corr: float = 0.5,
    tol: float = 1e-3,
    max_iter: int = 200,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
) -> FineMapping:
    """Fine-map the markers near each gene among relatives (tensorQTL's ``cis_susie``).

    Traits and genotypes are whitened at the gene's h² under the null model, its covariates taken
    out. On what is left the sum of single effects is the ordinary one: up to ``max_effects``
    markers have an effect, and for each there is a posterior over the markers of the window.

    Parameters
    ----------
    null, G, windows, chromosome
        As in `map_cis`; G with one column a marker.
    max_effects : int
        Largest number of effects L of a gene.
    coverage : float
        Probability that a credible set holds the marker of its effect.
    min_abs_corr : float
        Sets with two markers less correlated than this, after whitening, are left out.
    tol : float
        The search ends when a step raises the evidence lower bound by less.
    max_iter : int
        Largest number of steps. A gene that needs more has no credible set, and its reason.
    maf_threshold : float
        Markers whose minor allele is rarer among the individuals observed are left out.

    Returns
    -------
    FineMapping

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Wang et al. 2020 (Journal of the Royal Statistical Society B 82:1273). Prior variances and σ²
    are estimated. Whitened markers are scaled to equal sums of squares; susieR divides by standard
    deviations about a mean, and a mean of whitened values would depend on the basis of
    eigenvectors. All markers of a window have the same prior probability.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (200, 60)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7, 40]] + 20 * G[:, [21, 40]]
    >>> null = lmm.NullModel(cohort.kinship, Y, cohort.covar)
    >>> found = lmm.map_cis_susie(null, G, np.array([[0, 30], [30, 60]]))
    >>> print(found.to_pandas()[["phenotype_id", "variant_id", "cs_id"]])
       phenotype_id  variant_id  cs_id
    0             0          21      1
    1             0           7      2
    2             1          40      1
    """
    search = as_search(max_effects, coverage, min_abs_corr, tol, max_iter)
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    status, hsq = null.status_of_counts(), np.full(null.m, np.nan)
    found: list[FineMapped] = []
    work = each_fine_mapped(null, genotypes, of_genes, chromosome, search, maf_threshold)
    for near, fine_mapped in work:
        here = near.block.traits >= 0
        status[near.genes], hsq[near.genes] = near.block.status[here], near.block.hsq[here]
        found += fine_mapped
    found.sort(key=lambda one: one.gene)
    return _collected(null, genotypes.names, found, search.max_effects, status, hsq)


def _collected(
    null: NullModel,
    names: tuple[str, ...] | None,
    found: list[FineMapped],
    most: int,
    status: np.ndarray,
    hsq: np.ndarray,
) -> FineMapping:
    """Results of genes in arrays, and reasons for those without."""
    reasons = list(reasons_of(status, null.covariates, null.p))
    per_gene = {
        "num_var": np.zeros(null.m, dtype=int),
        "sigmasq": np.full(null.m, np.nan),
        "elbo": np.full(null.m, np.nan),
        "iterations": np.zeros(null.m, dtype=int),
        "converged": np.zeros(null.m, dtype=bool),
    }
    per_effect = {name: np.full((null.m, most), np.nan) for name in ("prior_variance", "lbf")}
    for gene in np.setdiff1d(np.arange(null.m), [one.gene for one in found]):
        reasons[gene] = reasons[gene] or NO_MARKER
    for one in found:
        reasons[one.gene] = reason_of(one)
        per_gene["num_var"][one.gene] = one.marker.size
        for name in ("sigmasq", "elbo", "iterations", "converged"):
            per_gene[name][one.gene] = getattr(one, name)
        for name, values in per_effect.items():
            values[one.gene] = getattr(one, name)
    sizes = [one.marker.size for one in found]
    return FineMapping(
        gene=np.repeat(np.array([one.gene for one in found], dtype=int), sizes),
        marker=np.concatenate([np.zeros(0, dtype=int), *(one.marker for one in found)]),
        pip=np.concatenate([np.zeros(0), *(one.pip for one in found)]),
        af=np.concatenate([np.zeros(0), *(one.af for one in found)]),
        log_bf=np.concatenate([np.zeros((0, most)), *(one.log_bf.T for one in found)]),
        sets=credible_sets_of(found),
        **per_effect,
        **per_gene,
        hsq=hsq,
        n=null.counts,
        reasons=tuple(reasons),
        markers=names,
        traits=null.traits,
    )
