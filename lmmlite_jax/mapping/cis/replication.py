"""Pairs that another study has found, tested again."""

from __future__ import annotations

import numpy as np

from lmmlite_jax.mapping.cis.pairs_again import Replication, as_pairs, pairs_again
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64

__all__ = ["replication"]


@in_float64
def replication(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    trait: ArrayOrFrame,
    marker: ArrayOrFrame,
    *,
    chromosome: ArrayOrFrame | None = None,
) -> Replication:
    """Test pairs that were found elsewhere (tensorQTL's ``calculate_replication``).

    Parameters
    ----------
    null, G, chromosome
        As in `map_cis`: the study in which the pairs are to be replicated.
    trait, marker : (pairs,) arrays of int
        Number of the trait (column of Y) and of the marker (column of G) of each pair; a trait may
        have several.

    Returns
    -------
    Replication

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    The share π₁ of the pairs that are associated here is ``1 - q_values(found.pval_nominal).pi0``
    (Nica et al. 2011, PLoS Genetics 7:e1002003).

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 50)).astype(float)
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno + 20 * G[:, [7, 40]])
    >>> found = lmm.replication(null, G, trait=[1, 0, 0], marker=[40, 7, 30])
    >>> print(found.pval_nominal < 1e-5)
    [ True  True False]
    """
    genotypes = as_dosages(G, null)
    traits, markers = as_pairs(null, genotypes, trait, marker)
    return pairs_again(null, genotypes, traits, markers, chromosome, np.arange(traits.size))
