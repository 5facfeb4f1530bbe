"""Names and columns of tables, tensorQTL's, for results of arrays and of files alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from lmmlite_jax.model.inputs import ArrayOrFrame

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BEST_COLUMNS",
    "TRANS_COLUMNS",
    "Places",
    "best_table",
    "like",
    "names_at",
    "pairs_table",
]

BEST_COLUMNS = (
    "num_var",
    "beta_shape1",
    "beta_shape2",
    "true_df",
    "pval_true_df",
    "ma_samples",
    "ma_count",
    "af",
    "pval_nominal",
    "slope",
    "slope_se",
    "pval_perm",
    "pval_beta",
    "group_size",
    "log10p",
    "lod",
    "hsq",
    "n",
)
"""Columns of tables of best markers, tensorQTL's before our own."""

TRANS_COLUMNS = ("pval", "b", "b_se", "af", "log10p", "lod", "hsq", "n")
"""Columns of tables of pairs over a threshold."""

_BEFORE_PLACES = 5  # of them stand before the marker and its distances

Names = Sequence[str] | None


class Places(NamedTuple):
    """Names of genes and markers, and where they are on the genome, as far as is known.

    traits, markers (m,), (M,): names; position (M,) of the markers; start, end (m,) of the genes;
    groups (m,): names of the genes' groups.
    """

    traits: Names = None
    markers: Names = None
    position: ArrayOrFrame | None = None
    start: ArrayOrFrame | None = None
    end: ArrayOrFrame | None = None
    groups: Names = None

    def variants(
        self, gene: Int[np.ndarray, " rows"], marker: Int[np.ndarray, " rows"]
    ) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Names of markers, and the base pairs from both ends of a gene to them where known."""
        columns = {"variant_id": names_at(self.markers, marker)}
        for name, places in (("start_distance", self.start), ("end_distance", self.end)):
            if places is not None:
                columns[name] = np.asarray(self.position)[marker] - np.asarray(places)[gene]
        return columns


def names_at(names: Names, numbers: Int[np.ndarray, " rows"]) -> Shaped[np.ndarray, " rows"]:
    """Names where there are any, numbers otherwise; None at -1."""
    return numbers if names is None else np.asarray([*names, None], dtype=object)[numbers]


def best_table(
    columns: Mapping[str, Shaped[np.ndarray, " rows"]],
    gene: Int[np.ndarray, " rows"],
    marker: Int[np.ndarray, " rows"],
    places: Places,
) -> pd.DataFrame:
    """Best markers of genes, the genes in the index; of groups, the best gene of each."""
    import pandas as pd

    before, after = BEST_COLUMNS[:_BEFORE_PLACES], BEST_COLUMNS[_BEFORE_PLACES:]
    table = {name: columns[name] for name in before}
    table |= places.variants(gene, marker)
    for name in after:
        if name == "group_size":
            if places.groups is None:
                continue
            table["group_id"] = names_at(places.groups, gene)
        table[name] = columns[name]
    index = pd.Index(names_at(places.traits, gene), name="phenotype_id")
    return pd.DataFrame({name: np.asarray(values) for name, values in table.items()}, index=index)


def pairs_table(
    columns: Mapping[str, Shaped[np.ndarray, " rows"]],
    gene: Int[np.ndarray, " rows"],
    marker: Int[np.ndarray, " rows"],
    places: Places,
) -> pd.DataFrame:
    """Pairs of genes and markers near them, with these columns after the names and distances."""
    import pandas as pd

    names = {"phenotype_id": names_at(places.traits, gene)}
    return pd.DataFrame(names | places.variants(gene, marker) | dict(columns))


def like(given: ArrayOrFrame, values: Float[np.ndarray, "n m"]) -> ArrayOrFrame:
    """Values with the names of rows and columns of what was given, if it has any."""
    if not hasattr(given, "columns"):
        return np.asarray(values)
    return type(given)(values, index=given.index, columns=given.columns)
