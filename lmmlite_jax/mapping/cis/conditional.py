"""Every pair of a gene and a marker near it, for one of its signals given the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lmmlite_jax.mapping.cis.groups import as_groups
from lmmlite_jax.mapping.cis.near import as_windows, genes_of_kinships, neighbourhoods
from lmmlite_jax.mapping.cis.pairs import CisPairs, pairs_of
from lmmlite_jax.mapping.cis.signals import CisIndependent
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_dosages
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConditionalPairs", "Signals", "each_conditional", "map_cis_conditional"]


@dataclass(frozen=True)
class ConditionalPairs(CisPairs):
    """Pairs of a gene and the markers near it, for one signal: fields of `CisPairs`, and these.

    Attributes
    ----------
    signal : (pairs,)
        Number of the signal's marker.
    rank : (pairs,)
        When the signal was found, from 1.
    """

    signal: Int[np.ndarray, " pairs"]
    rank: Int[np.ndarray, " pairs"]

    def to_pandas(
        self,
        *,
        position: ArrayOrFrame | None = None,
        start: ArrayOrFrame | None = None,
        end: ArrayOrFrame | None = None,
    ) -> pd.DataFrame:
        """Return a table like that of `CisPairs`, and the signal (needs pandas)."""
        table = super().to_pandas(position=position, start=start, end=end)
        table["signal_id"] = names_at(self.markers, table.pop("signal").to_numpy())
        return table


class Signals(NamedTuple):
    """Signals (S,): the gene, the marker and the rank of each, and the group (m,) of each gene."""

    gene: Int[np.ndarray, " S"]
    marker: Int[np.ndarray, " S"]
    rank: Int[np.ndarray, " S"]
    groups: Int[np.ndarray, " m"]


def map_cis_conditional(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    signals: CisIndependent,
    *,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
) -> Iterator[ConditionalPairs]:
    """Test every marker near a gene for each of its signals, given the gene's other signals.

    What colocalisation needs where a gene has several signals: the statistics of one of them, the
    markers of all others among the covariates. The heritability is estimated given those.

    Parameters
    ----------
    null, G, windows, maf_threshold, chromosome
        As in `map_cis_nominal`.
    signals : CisIndependent
        What `map_cis_independent` found for the same genes. Other signals are those of the same
        group, where it is of groups.

    Yields
    ------
    ConditionalPairs
        The pairs of one signal. NaN for the markers of the other signals, which are covariates.

    Raises
    ------
    ValueError
        If an argument cannot be used.

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
    >>> for pairs in lmm.map_cis_conditional(null, G, windows, found):
    ...     print(pairs.signal[0], np.nanargmax(pairs.log10p), np.isnan(pairs.slope).argmax())
    7 7 30
    30 30 7
    """
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    gene, marker, rank = (
        np.asarray(getattr(signals, name), dtype=np.int64) for name in ("gene", "marker", "rank")
    )
    if gene.size and gene.max() >= null.m:
        raise ValueError(f"signals has a gene {gene.max()}, and Y has {null.m} traits.")
    found = Signals(gene, marker, rank, as_groups(signals.groups, of_genes))
    return each_in_float64(
        each_conditional(null, genotypes, of_genes, found, chromosome, maf_threshold)
    )


def each_conditional(
    null: NullModel,
    genotypes: Genotypes,
    windows: Int[np.ndarray, "m 2"],
    signals: Signals,
    chromosome: ArrayOrFrame | None,
    maf_threshold: float,
    wanted: Bool[np.ndarray, " m"] | None = None,
) -> Iterator[ConditionalPairs]:
    """Pairs of one signal after the other, of genes that are ``wanted``."""
    method = Method("null", "wald", 1, null.dtype, null.tol, False)
    of_group = signals.groups[signals.gene]
    for label, genes in genes_of_kinships(null, genotypes, windows, chromosome):
        chosen = np.isin(signals.gene, genes)
        for one in np.flatnonzero(chosen if wanted is None else chosen & wanted[signals.gene]):
            gene = int(signals.gene[one])
            others = signals.marker[(of_group == of_group[one]) & (np.arange(len(chosen)) != one)]
            block = null.given(gene, genotypes.dosages_of(others), label)
            if block is None:
                raise ValueError(
                    f"signals of gene {gene} are more than its {null.counts[gene]} individuals "
                    "allow as covariates."
                )
            for _, pairs in neighbourhoods(
                [[block]],
                genotypes,
                windows,
                np.array([gene]),
                partial(pairs_of, method=method, markers=genotypes.names, traits=null.traits),
                maf_threshold=maf_threshold,
            ):
                size = pairs.gene.size
                yield ConditionalPairs(
                    **{item.name: getattr(pairs, item.name) for item in fields(pairs)},
                    signal=np.full(size, signals.marker[one]),
                    rank=np.full(size, signals.rank[one]),
                )
