"""Tables of pairs of a gene and a marker near it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from lmmlite_jax.mapping.alleles import allele_statistics
from lmmlite_jax.mapping.cis.near import Neighbourhood
from lmmlite_jax.mapping.tables import Places, pairs_table
from lmmlite_jax.model.inputs import ArrayOrFrame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NearbyPairs", "identity_of"]


@dataclass(frozen=True)
class NearbyPairs:
    """What results of pairs have in common.

    Attributes
    ----------
    genes : (genes,)
        Numbers of the genes (columns of Y) that were mapped.
    gene, marker : (pairs,)
        Numbers of the gene and the marker.
    af, ma_samples, ma_count : (pairs,)
        Of the marker among the individuals observed: frequency of the counted allele, carriers of
        the minor allele, and its copies.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    genes: Int[np.ndarray, " genes"]
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
        beside = {"genes", "gene", "marker", "markers", "traits"}
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
        "gene": near.block.traits[gene],
        "marker": near.first + marker,
        **{name: values[marker] for name, values in alleles._asdict().items()},
    }
