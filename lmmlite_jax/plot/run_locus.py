"""One locus of a finished run: p-values, or the probabilities that fine-mapping gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax.plot._axes import panels
from lmmlite_jax.plot.credible_sets import plot_credible_sets
from lmmlite_jax.plot.locus import plot_locus
from lmmlite_jax.plot.results import RunResults, modes_of, read_results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["OF_A_FEATURE", "draw_fine_mapped", "draw_locus"]

OF_A_FEATURE = ("cis_nominal", "cis_susie", "trans_susie")
"""Modes that have a locus to draw."""


def draw_locus(run: RunResults, feature: str | None) -> Axes:
    """Draw p-values of the variants near a feature, that of the smallest by default."""
    if feature is None:
        feature = str(run.pairs["phenotype_id"].iloc[int(np.nanargmax(run.log10p))])
    pairs = _of_feature(run.pairs, feature, "pair")
    at = run.place(pairs["variant_id"])
    start, end = _gene(run, feature, str(at["chrom"].iloc[0]))
    return plot_locus(
        run.log10p[pairs.index].to_numpy(), at["pos"].to_numpy(), start, end, _titled(feature, at)
    )


def draw_fine_mapped(run: RunResults, feature: str | None) -> Axes:
    """Draw probabilities of a feature's variants, below p-values where there are any.

    Of several loci of a feature that of the best credible set is drawn, and by default of the
    feature of the best set of all.
    """
    sets = run.table("SuSiE_sets.txt.gz")
    if feature is not None:
        sets = _of_feature(sets, feature, "credible set")
    best = sets.iloc[int(np.argmax(sets["lbf"]))]
    of_locus = {name: best[name] for name in ("phenotype_id", "locus") if name in sets}
    pairs, members = run.pairs, run.table("SuSiE_summary.parquet")
    for name, value in of_locus.items():
        pairs, members = pairs[pairs[name] == value], members[members[name] == value]
    pip = pairs.drop_duplicates("variant_id").set_index("variant_id")["pip"]
    number = members.groupby("variant_id")["cs_id"].min().reindex(pip.index, fill_value=0)
    at = run.place(pip.index.to_series())
    feature, position = str(best["phenotype_id"]), at["pos"].to_numpy()
    start, end = _gene(run, feature, str(at["chrom"].iloc[0]))
    above = _nominal(run, feature)
    if above is None:
        return plot_credible_sets(pip, position, number, start, end, _titled(feature, at))
    _, (upper, lower) = panels(2, 7.0, 5.6)
    plot_credible_sets(pip, position, number, start, end, ax=lower)
    nominal = above.set_index("variant_id")["log10p"].reindex(pip.index)
    plot_locus(nominal, position, start, end, _titled(feature, at), upper, credible_set=number)
    upper.set_xlabel("")
    if (legend := upper.get_legend()) is not None:  # it is that of the panel below
        legend.remove()
    return upper


def _of_feature(table: pd.DataFrame, feature: str, what: str) -> pd.DataFrame:
    chosen = table[table["phenotype_id"].astype(str) == feature]
    if chosen.empty:
        raise ValueError(f"The run has no {what} of the feature {feature!r}.")
    return chosen


def _nominal(run: RunResults, feature: str) -> pd.DataFrame | None:
    """Pairs of a feature in the mode cis_nominal, if that was run with this prefix."""
    if run.mode != "cis_susie" or "cis_nominal" not in modes_of(run.prefix):
        return None
    nominal = read_results(run.prefix, "cis_nominal")
    if "log10p" not in nominal.pairs:  # of an interaction
        return None
    pairs = nominal.pairs[nominal.pairs["phenotype_id"] == feature]
    return None if pairs["log10p"].isna().all() else pairs


def _gene(run: RunResults, feature: str, chromosome: str) -> tuple[float, float]:
    """Start and end of a feature that lies on a chromosome, NaN otherwise."""
    if run.features is None or feature not in run.features.index:
        return np.nan, np.nan
    own = run.features.loc[feature].to_dict()
    here = str(own["chrom"]) == chromosome
    return (float(own["start"]), float(own["end"])) if here else (np.nan, np.nan)


def _titled(feature: str, at: pd.DataFrame) -> str:
    return f"{feature}, chromosome {at['chrom'].iloc[0]}"
