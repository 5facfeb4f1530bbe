"""Tables of pairs of a gene and a marker near it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from lmmlite_jax.mapping.alleles import allele_statistics
from lmmlite_jax.mapping.cis.near import Neighbourhood, pairs_nearby
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.tables import Places, pairs_table
from lmmlite_jax.model.inputs import ArrayOrFrame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CisPairs", "NearbyPairs", "identity_of", "pairs_of"]


@dataclass(frozen=True)
class NearbyPairs:
    """What results of pairs have in common.

    Attributes
    ----------
    genes : (genes,)
        Numbers of the genes (columns of Y) that were mapped.
    status : (genes,)
        Their `Status` without marker.
    gene, marker : (pairs,)
        Numbers of the gene and the marker.
    af, ma_samples, ma_count : (pairs,)
        Of the marker among the individuals observed: frequency of the counted allele, carriers of
        the minor allele, and its copies.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    genes: Int[np.ndarray, " genes"]
    status: Int[np.ndarray, " genes"]
    gene: Int[np.ndarray, " pairs"]
    marker: Int[np.ndarray, " pairs"]
    af: Float[np.ndarray, " pairs"]
    ma_samples: Int[np.ndarray, " pairs"]
    ma_count: Int[np.ndarray, " pairs"]
    markers: tuple[str, ...] | None
    traits: tuple[str, ...] | None

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table, but for the names."""
        names = [item.name for item in fields(self)]
        beside = {"genes", "status", "gene", "marker", "markers", "traits"}
        return {name: getattr(self, name) for name in names if name not in beside}

    def to_pandas(
        self,
        *,
        position: ArrayOrFrame | None = None,
        start: ArrayOrFrame | None = None,
        end: ArrayOrFrame | None = None,
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a pair (needs pandas).

        Parameters
        ----------
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        places = Places(self.traits, self.markers, position, start, end)
        return pairs_table(self.columns(), self.gene, self.marker, places)


def identity_of(
    near: Neighbourhood, gene: Int[np.ndarray, " pairs"], marker: Int[np.ndarray, " pairs"]
) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """First fields of `NearbyPairs` for some places of genes and markers of a neighbourhood."""
    alleles = allele_statistics(near.dosages)
    return {
        "genes": near.genes,
        "status": near.block.status[near.block.traits >= 0],
        "gene": near.block.traits[gene],
        "marker": near.first + marker,
        **{name: values[marker] for name, values in alleles._asdict().items()},
    }


@dataclass(frozen=True)
class CisPairs(NearbyPairs):
    """Pairs of genes and markers near them, by gene and marker; names are tensorQTL's.

    Attributes
    ----------
    genes, status, gene, marker, af, ma_samples, ma_count, markers, traits
        As in `NearbyPairs`: numbers of the genes mapped, and their `Status`; of the gene and the
        marker of each pair; allele frequency, carriers and copies of the minor allele; names.
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


def pairs_of(
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
