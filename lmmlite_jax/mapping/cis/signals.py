"""Independent signals near genes: what their search gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Int

from lmmlite_jax.mapping.cis.best_marker import BestMarkers
from lmmlite_jax.mapping.tables import Places, best_table
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import AnyArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CisIndependent"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CisIndependent(BestMarkers):
    """Independent signals: the fields of `BestMarkers`, of shape (signals,), and these.

    Attributes
    ----------
    gene : (signals,)
        Number of the gene (column of Y), ascending; of groups, the signals of one follow one
        another.
    rank : (signals,)
        When the signal was found, from 1.
    groups : tuple of str or None
        Name of each gene's group.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    gene: Int[AnyArray, " R"]
    rank: Int[AnyArray, " R"]
    groups: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    def to_pandas(
        self,
        *,
        position: ArrayOrFrame | None = None,
        start: ArrayOrFrame | None = None,
        end: ArrayOrFrame | None = None,
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a signal (needs pandas).

        Parameters
        ----------
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        gene, rows = np.asarray(self.gene), np.arange(len(self.gene))
        places = Places(self.traits, self.markers, position, start, end, self.groups)
        table = best_table(self.columns(rows), gene, np.asarray(self.marker), places)
        return table.assign(rank=np.asarray(self.rank)).reset_index()
