"""Several signals near one gene, each given the others."""

from __future__ import annotations

import numpy as np

from lmmlite_jax.mapping.cis.best_marker import BestMarkers, as_permutations
from lmmlite_jax.mapping.cis.groups import as_groups, group_names
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.cis.signals import CisIndependent
from lmmlite_jax.mapping.cis.stepwise import Search, Signal, signals_of_genes
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.tables import BEST_COLUMNS
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64

__all__ = ["map_cis_independent"]


@in_float64
def map_cis_independent(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    cis: BestMarkers,
    *,
    threshold: float,
    groups: ArrayOrFrame | None = None,
    permutations: int = 10_000,
    seed: int = 0,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
    permutation_dtype: str = "float32",
) -> CisIndependent:
    """Find independent signals of significant genes (tensorQTL's ``cis_independent``).

    Stepwise regression, forward and backward. Forward, the best marker so far joins the covariates
    and the gene is mapped again, until no ``pval_beta`` is as small as the threshold. Backward,
    each signal is looked for again given all others, and kept if it still is significant and no
    other led to the same marker. The heritability is estimated anew at each step.

    Parameters
    ----------
    null, G, windows, groups, permutations, seed, maf_threshold, chromosome, permutation_dtype
        As in `map_cis`.
    cis : CisResult
        What `map_cis` found for the same genes and groups. A signal of a group is that of its gene
        with the strongest association.
    threshold : float
        Largest ``pval_beta`` of a signal. tensorQTL takes the largest of all genes whose q-value
        is below the false discovery rate.

    Returns
    -------
    CisIndependent
        Signals by gene and rank. A gene with one signal has the row of ``cis``.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    GTEx Consortium 2017 (Nature 550:204), after Ongen et al. 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=150, m=1, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (150, 40)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7]] - 15 * G[:, [30]]
    >>> null, windows = lmm.NullModel(cohort.kinship, Y, cohort.covar), np.array([[0, 40]])
    >>> cis = lmm.map_cis(null, G, windows, permutations=100)
    >>> found = lmm.map_cis_independent(null, G, windows, cis, threshold=0.01, permutations=100)
    >>> print(found.marker, found.rank)
    [ 7 30] [1 2]
    """
    chance = as_permutations(permutations, seed, permutation_dtype)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}.")
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    if len(cis.marker) != null.m:
        raise ValueError(f"cis is the result of {len(cis.marker)} genes, and Y has {null.m}.")
    numbers = as_groups(groups, of_genes)
    search = Search(null, genotypes, of_genes, numbers, chance, maf_threshold)
    signals: list[Signal] = []
    for _, of_gene in signals_of_genes(search, chromosome, cis, threshold):
        signals += of_gene
    signals.sort(key=lambda signal: (numbers[signal["gene"]], signal["rank"]))
    # Those of the first searches, where no gene has a signal and there is nothing to see it from.
    dtypes = {name: np.asarray(getattr(cis, name)).dtype for name in ("marker", *BEST_COLUMNS)}
    dtypes |= dict.fromkeys(("gene", "rank"), np.dtype(np.int64))
    return CisIndependent(
        **{
            name: np.array([signal[name] for signal in signals], dtype)
            for name, dtype in dtypes.items()
        },
        groups=group_names(groups),
        markers=genotypes.names,
        traits=null.traits,
    )
