"""The best variant near each feature, with p-values by permutation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.cis.best_marker import as_permutations
from lmmlite_jax.mapping.cis.groups import BestOfGroups, best_markers
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.mapping.multiple_testing import nominal_thresholds, null_proportion, q_values
from lmmlite_jax.mapping.tables import BEST_COLUMNS, best_table
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.pipeline.run import Run, Table, insert_before

__all__ = [
    "BEST",
    "best_of_features",
    "find_best",
    "keep_best",
    "map_best",
    "named",
    "table_of_best",
]

BEST = "feature"
"""Stage of the work."""

_OF_THE_APPROXIMATION = ("beta_shape1", "beta_shape2", "true_df", "pval_true_df", "pval_beta")


def map_best(run: Run) -> Iterator[Table]:
    """Do what is left of the best variants, and make their table."""
    find_best(run)
    if run.parts.gather(BEST):
        yield Table("cis_qtl.txt.gz", best_of_features(run))


def find_best(run: Run) -> None:
    """Do what is left of the best variants."""
    settings, null = run.settings, run.null
    genotypes = as_dosages(run.inputs.dosages, null)
    windows = as_windows(run.windows, null.m, genotypes.markers)
    left, mappable = run.left(BEST, run.groups), windows[:, 1] > windows[:, 0]
    work = best_markers(
        null,
        genotypes,
        windows,
        run.groups,
        run.chromosome,
        as_permutations(settings.permutations, settings.seed, "float32"),
        settings.maf_threshold,
        left,
    )
    keep_best(run, work, left, mappable)


def keep_best(
    run: Run,
    work: Iterator[BestOfGroups],
    left: Bool[np.ndarray, " m"],
    mappable: Bool[np.ndarray, " m"],
) -> None:
    """Take the best variants of features that are left, as they come."""
    total, done = int(mappable.sum()), int((mappable & ~left).sum())
    with run.progress("features mapped", total, done) as advance:
        for best in each_in_float64(work):
            frame = pd.DataFrame({"gene": best.genes, "marker": best.marker, **best.columns})
            frame = frame[left[best.genes]]  # neighbours may be another process's
            fitted = zip(best.finished.tolist(), best.status.tolist(), strict=True)
            facts: dict[tuple[int, ...], int] = {
                (gene,): int(code) for gene, code in fitted if left[gene]
            }
            run.parts.add("best", frame, BEST, facts)
            advance(best.finished.size)


def best_of_features(run: Run) -> pd.DataFrame:
    """Rows of all features or groups, mapped or found finished, with q-values."""
    status = run.status_of_counts()
    for (gene,), code in run.parts.done(BEST).items():
        status[gene] = code
    run.note_features(status)
    return table_of_best(run)


def table_of_best(run: Run) -> pd.DataFrame:
    """Rows of all features or groups that have a test, with q-values."""
    found = run.found("best").sort_values("gene", ignore_index=True)
    run.facts["tested"] = len(found)
    return _with_qvalues(run, named(run, found))


def named(run: Run, found: pd.DataFrame) -> pd.DataFrame:
    """Columns of tensorQTL for rows of best variants."""
    columns = {name: found[name].to_numpy() for name in BEST_COLUMNS}
    return best_table(columns, found["gene"].to_numpy(), found["marker"].to_numpy(), run.places)


def _with_qvalues(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    fdr, permuted = run.settings.fdr, run.settings.disable_beta_approx
    if permuted:
        table[[*_OF_THE_APPROXIMATION]] = np.nan
    pvalues = table["pval_perm" if permuted else "pval_beta"].to_numpy()
    try:
        pi0 = null_proportion(pvalues, run.settings.qvalue_lambda)
    except ValueError as error:
        # Few features: said, and Benjamini and Hochberg's q-values are larger, never smaller.
        reason = str(error).removesuffix(".")
        run.log(f"{reason}: q-values are Benjamini and Hochberg's adjusted p-values")
        pi0 = 1.0
    qvalue, proportion = q_values(pvalues, pi0)
    significant = int(np.sum(qvalue <= fdr))
    run.facts |= {"pi0": float(proportion), "significant": significant}
    what = "feature" if run.inputs.groups is None else "group"
    run.log(
        f"{significant} of {counted(len(table), what)} at a false discovery rate of {fdr:g} "
        f"(proportion of true null hypotheses {proportion:.3g})"
    )
    insert_before(table, "log10p", "qval", qvalue)
    if not permuted:
        shape1, shape2 = (table[name].to_numpy() for name in ("beta_shape1", "beta_shape2"))
        thresholds = nominal_thresholds(pvalues, shape1, shape2, fdr, pi0)
        insert_before(table, "log10p", "pval_nominal_threshold", thresholds)
    return table
