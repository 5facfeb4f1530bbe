"""Sections of a report on what ``lmmlite-jax map`` has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.peaks import genomic_inflation
from lmmlite_jax.plot.results import RunResults
from lmmlite_jax.plot.run import draw_results
from lmmlite_jax.report.section import Section, as_picture, as_rows, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["section_of_run"]

_WHAT = {
    "cis": "the best variant near each feature",
    "cis_nominal": "every pair of a feature and a variant near it",
    "cis_independent": "independent signals near each feature, each given the others",
    "cis_susie": "fine-mapping near each feature",
    "trans": "all pairs of a feature and a variant that is not near it",
    "trans_susie": "fine-mapping of loci that were named",
}
# Columns of the files that few readers of a report miss.
_LEFT_OUT = (
    *("beta_shape1", "beta_shape2", "true_df", "pval_true_df", "pval_nominal_threshold"),
    *("ma_samples", "ma_count", "end_distance", "coverage", "prior_variance"),
    *("mean_abs_corr", "median_abs_corr"),
)
_FACTS = {
    "tested": "features tested",
    "signals": "independent signals",
    "pairs": "pairs",
    "significant_pairs": "significant pairs",
    "credible_sets": "credible sets",
    "with_sets": "features with a set",
}
"""Facts of a summary, in the order in which they are shown, and what they are called."""
_REMARKS = {
    "without_variants": "without a variant near",
    "not_converged": "not converged, and without credible sets",
}
"""Facts that are mentioned where there are such features."""
_NOT_KEPT = {"trans": ("Other pairs were not kept, so that the inflation λ is not known.",)}


def section_of_run(run: RunResults, rows: int) -> Section:
    """Summarise a run, with pictures and the best of its rows."""
    results = run.summary["results"]
    numbers = {name: as_text(run.summary[name]) for name in ("variants", "features")}
    numbers = {"samples": as_text(run.summary["samples"]["kept"]), **numbers}
    numbers |= {name: as_text(results[key]) for key, name in _FACTS.items() if key in results}
    numbers |= _statistics(run)
    irregular = {what: results.get(key, 0) for key, what in _REMARKS.items()}
    irregular |= results.get("irregular", {})
    notes = [f"{counted(n, 'feature')}: {why}" for why, n in irregular.items() if n]
    best = _best(run)
    shown = best.drop(columns=[name for name in _LEFT_OUT if name in best])[:rows]
    caption = counted(len(best), "row")
    if len(shown) < len(best):
        caption = f"the best {len(shown):,} of {caption}"
    return Section(
        run.mode,
        _WHAT[run.mode],
        numbers,
        [*notes, *_NOT_KEPT.get(run.mode, ())],
        as_rows(shown, caption),
        [] if run.pairs.empty else [as_picture(axes) for axes in draw_results(run).values()],
        _made(run),
        run.summary["log"],
    )


def _statistics(run: RunResults) -> dict[str, str]:
    """What the tables say beside the facts of the summary."""
    results, found = run.summary["results"], {}
    if "significant" in results:
        found[f"significant at FDR {run.command['fdr']:.0%}"] = as_text(results["significant"])
        found["π₀"] = as_text(float(results["pi0"]))
    every_pair = run.mode == "cis_nominal" and not run.command["best_only"]
    if every_pair and run.log10p.notna().any():
        found["λ of all pairs"] = f"{genomic_inflation(run.log10p):.2f}"
    elif run.mode == "cis":
        log10p = -np.log10(run.pairs[run.of_permutations])
        found["λ of the features' p"] = f"{genomic_inflation(log10p):.2f}"
    if run.mode in ("trans", "cis_independent"):
        found["features with a pair"] = as_text(run.pairs["phenotype_id"].nunique())
    if "hsq" in run.pairs and run.pairs["hsq"].notna().any():
        found["median h²"] = f"{run.pairs.groupby('phenotype_id')['hsq'].median().median():.2f}"
    return found


def _best(run: RunResults) -> pd.DataFrame:
    """Rows of a run with places of their variants, the best first."""
    if run.mode in ("cis_susie", "trans_susie"):
        table = run.table("SuSiE_sets.txt.gz").sort_values("lbf", ascending=False)
    elif run.mode == "cis":
        by = ["qval", run.of_permutations, "log10p"]
        table = run.pairs.sort_values(by, ascending=[True, True, False])
    else:
        table = run.pairs.loc[run.log10p.sort_values(ascending=False, kind="stable").index]
    at = run.place(table["variant_id"])
    places = {"chrom": at["chrom"].to_numpy(), "pos": at["pos"].to_numpy()}
    first = ["phenotype_id", "variant_id"]
    rest = [name for name in table if name not in first]
    return table.assign(**places)[[*first, *places, *rest]]


def _made(run: RunResults) -> dict[str, dict[str, str]]:
    """With which options, from which files, and by which programs a run was made."""
    summary = run.summary
    seconds = {f"seconds, {name}": as_text(value) for name, value in summary["seconds"].items()}
    return {
        "Options": {name: str(value) for name, value in run.command.items()},
        "Covariates": {"": ", ".join(summary["covariates"])},
        "Files": {
            Path(one["path"]).name: f"{one['bytes']:,} bytes, SHA-256 {one['sha256']}"
            for one in summary["inputs"]
        },
        "Programs": {**summary["versions"], **summary["machine"], **seconds},
    }
