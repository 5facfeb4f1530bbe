"""The best marker of each gene: what mapping near genes and on the whole genome give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lmmlite_jax.mapping.cis.best_marker import BestMarkers
from lmmlite_jax.mapping.cis.groups import BestOfGroups
from lmmlite_jax.mapping.tables import BEST_COLUMNS, Places, best_table
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.result import Status, reasons_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CisResult", "TransResult", "over_all"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CisResult(BestMarkers):
    """The best marker near each of m genes: the fields of `BestMarkers`, of shape (m,), and these.

    Attributes
    ----------
    reasons : tuple of str
        Why a gene has no test; empty where it has, or where no marker is near.
    groups : tuple of str or None
        Name of each gene's group. A group's row is that of the gene with the strongest
        association; the others have none.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    reasons: tuple[str, ...] = field(metadata={"static": True})
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
        """Return tensorQTL's table, one row a gene or group that has a test (needs pandas).

        Parameters
        ----------
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        tested = np.flatnonzero(np.asarray(self.marker) >= 0)
        places = Places(self.traits, self.markers, position, start, end, self.groups)
        marker = np.asarray(self.marker)[tested]
        return best_table(self.columns(tested), tested, marker, places)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TransResult(CisResult):
    """The best marker of each of m traits but for those near it: the fields of `CisResult`."""


def over_all(null: NullModel, work: Iterable[BestOfGroups]) -> tuple[dict[str, Any], list[str]]:
    """Fields of `BestMarkers` over all genes, and the reason of each that has no fit."""
    status = null.status_of_counts()
    found = {name: np.full(null.m, np.nan) for name in BEST_COLUMNS}
    for name in ("num_var", "ma_samples", "ma_count", "group_size"):
        found[name] = np.zeros(null.m, dtype=np.int64)
    found["marker"], found["n"] = np.full(null.m, -1), null.counts
    for best in work:
        status[best.finished], found["hsq"][best.finished] = best.status, best.hsq
        found["marker"][best.genes] = best.marker
        for name, values in best.columns.items():
            found[name][best.genes] = values
    status[found["marker"] >= 0] = Status.OK  # tested, even where K identifies no heritability
    return found, list(reasons_of(status, null.covariates, null.p))
