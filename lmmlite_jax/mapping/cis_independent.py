"""Several signals near one gene, each given the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import numpy as np

from lmmlite_jax.mapping.cis import (
    COLUMNS,
    BestMarkers,
    CisResult,
    Names,
    best_nearby,
    check_permutations,
    cis_data,
)
from lmmlite_jax.mapping.collect import Method
from lmmlite_jax.mapping.scan import ScanData
from lmmlite_jax.mapping.windows import as_windows, engines, neighbourhoods
from lmmlite_jax.model.engine import Engine
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.pattern import Sample, decompose, shared_skeleton
from lmmlite_jax.model.precision import AnyArray, in_float64
from lmmlite_jax.model.rotation import Extremes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CisIndependent", "Signal", "map_cis_independent", "signals_of_genes"]

Signal: TypeAlias = dict[str, Any]
"""One row of the result: a marker, and the columns of `BestMarkers`."""

Search: TypeAlias = Callable[[int, list[int]], Signal | None]
"""The best marker near a gene given others, if any is left to test."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CisIndependent(BestMarkers):
    """Independent signals: the fields of `BestMarkers`, of shape (signals,), and these.

    Attributes
    ----------
    gene : (signals,)
        Number of the gene (column of Y), ascending.
    rank : (signals,)
        When the signal was found, from 1.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    gene: AnyArray
    rank: AnyArray
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    def to_pandas(
        self, *, position: Any = None, start: Any = None, end: Any = None
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a signal (needs pandas).

        Parameters
        ----------
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        genes, names = np.asarray(self.gene), Names(self.traits, self.markers)
        table = self.table(genes, np.arange(genes.size), names, position, start, end)
        return table.assign(rank=np.asarray(self.rank)).reset_index()


@in_float64
def map_cis_independent(
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    window: Any,
    cis: CisResult,
    threshold: float,
    permutations: int = 10_000,
    seed: int = 0,
    maf_threshold: float = 0.0,
    chromosome: Any = None,
    weights: Any = None,
    reml: bool = True,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    dtype: str = "float32",
) -> CisIndependent:
    """Find independent signals of significant genes (tensorQTL's ``cis_independent``).

    Stepwise regression, forward and backward. Forward, the best marker so far joins the covariates
    and the gene is mapped again, until no ``pval_beta`` is as small as the threshold. Backward,
    each signal is looked for again given all others, and kept if it still is significant and no
    other led to the same marker. The heritability is estimated anew at each step.

    Parameters
    ----------
    K, Y, G, X, window, permutations, seed, maf_threshold, chromosome, weights, reml, \
clip_negative, scale_kinship, tol, dtype
        As in `map_cis`.
    cis : CisResult
        What `map_cis` found for the same genes.
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
    >>> data, window = (cohort.kinship, Y, G, cohort.covar), np.array([[0, 40]])
    >>> cis = lmm.map_cis(*data, window=window, permutations=100)
    >>> found = lmm.map_cis_independent(
    ...     *data, window=window, cis=cis, threshold=0.01, permutations=100
    ... )
    >>> print(found.marker, found.rank)
    [ 7 30] [1 2]
    """
    check_permutations(permutations, dtype)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}.")
    data = cis_data(K, Y, G, X, weights, chromosome, clip_negative, scale_kinship)
    check_options(tol, NO_PRIOR)
    m = len(data.counts)
    windows = as_windows(window, m, data.genotypes.markers)
    best = np.asarray(cis.marker)
    if best.size != m:
        raise ValueError(f"cis is the result of {best.size} genes, and Y has {m}.")
    signals: list[Signal] = []
    for _, of_gene in signals_of_genes(
        data, windows, cis, threshold, reml, permutations, seed, maf_threshold, dtype, tol
    ):
        signals += of_gene
    signals.sort(key=lambda signal: (signal["gene"], signal["rank"]))
    return CisIndependent(
        **{
            name: np.array([signal[name] for signal in signals])
            for name in ("marker", *COLUMNS, "gene", "rank")
        },
        markers=data.genotypes.names,
        traits=data.traits,
    )


def signals_of_genes(
    data: ScanData,
    windows: np.ndarray,
    cis: BestMarkers,
    threshold: float,
    reml: bool,
    permutations: int,
    seed: int,
    maf_threshold: float,
    dtype: str,
    tol: float,
    wanted: np.ndarray | None = None,
) -> Iterator[tuple[int, list[Signal]]]:
    """Signals of one significant (and ``wanted``) gene after the other, as in its table."""
    best = np.asarray(cis.marker)
    significant = (best >= 0) & (np.asarray(cis.pval_beta) <= threshold)
    outside = significant & ((best < windows[:, 0]) | (best >= windows[:, 1]))
    if outside.any():
        raise ValueError(
            f"cis is not of these windows: the best marker of gene {np.flatnonzero(outside)[0]} "
            "lies outside its window."
        )
    chosen = significant if wanted is None else significant & wanted
    for engine, sample, genes in engines(data, windows, Options(reml=reml), tol):
        _, whole = shared_skeleton(sample, reml)
        search = _Search(
            data, windows, engine, sample, whole, reml, permutations, seed, maf_threshold, dtype
        )
        for gene in genes[chosen[genes]]:
            first = {name: np.asarray(getattr(cis, name))[gene] for name in ("marker", *COLUMNS)}
            found = _independent(int(gene), first, search.best, threshold)
            yield (
                int(gene),
                [{**signal, "gene": int(gene), "n": data.counts[gene]} for signal in found],
            )


class _Search(NamedTuple):
    """Search near genes that share a kinship, with further markers among the covariates."""

    data: ScanData
    windows: np.ndarray
    engine: Engine
    sample: Sample
    whole: Extremes
    reml: bool
    permutations: int
    seed: int
    maf_threshold: float
    dtype: str

    def best(self, gene: int, given: list[int]) -> Signal | None:
        """Best marker near a gene given others, if any is left to test."""
        dosages = [self.data.genotypes.block(np.array([j]), 1)[:, 0] for j in given]
        design = np.column_stack([self.data.design, *dosages])
        if self.data.counts[gene] < design.shape[1] + 2:
            return None
        engine = self.engine._replace(
            decompose=partial(
                decompose,
                self.sample._replace(X=design),
                skeleton=self.engine.skeleton,
                whole=self.whole,
                reml=self.reml,
                effects=False,
            )
        )
        method = Method("null", "wald", 1, "float64", self.engine.tol)
        (group,) = engine.groups(self.data.values, np.array([gene]))
        (near,) = neighbourhoods(
            self.data, self.windows, group, method, maf_threshold=self.maf_threshold
        )
        found = best_nearby(near, method, self.permutations, self.seed, self.dtype)
        if found.genes.size == 0:
            return None
        columns = {name: values[0] for name, values in found.columns.items()}
        hsq = float(np.asarray(near.block.hsq)[near.genes >= 0][0])
        return columns | {"marker": int(found.marker[0]), "hsq": hsq}


def _independent(gene: int, first: Signal, search: Search, threshold: float) -> list[Signal]:
    """Signals of a gene, forward from its first and then backward."""
    chosen = [int(first["marker"])]
    while True:
        found = search(gene, chosen)
        if found is None or not found["pval_beta"] <= threshold:
            break
        chosen.append(found["marker"])
    if len(chosen) == 1:
        return [{**first, "rank": 1}]
    kept: dict[int, Signal] = {}
    for rank, marker in enumerate(chosen, 1):
        found = search(gene, [j for j in chosen if j != marker])
        if found is not None and found["pval_beta"] <= threshold:
            kept.setdefault(found["marker"], {**found, "rank": rank})
    return list(kept.values())
