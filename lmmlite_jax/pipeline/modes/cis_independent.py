"""Several signals near one feature, each given the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pandas as pd

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.cis.best_marker import BestMarkers, as_permutations
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.cis.stepwise import Search, signals_of_genes
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.pipeline.modes.cis import BEST, best_of_features, find_best, named
from lmmlite_jax.pipeline.run import Run, Table, insert_before

__all__ = ["map_independent"]

STAGE = "signals"


def map_independent(run: Run) -> Iterator[Table]:
    """Do what is left of best variants and of independent signals, and make their tables."""
    find_best(run)
    run.parts.gather(BEST, last=False)
    table = best_of_features(run)
    settings, null = run.settings, run.null
    best = run.found("best")
    cis = _over_all(best, null.m)
    significant = table.loc[table["qval"] <= settings.fdr, "pval_beta"]
    if len(significant):
        threshold = float(significant.max())
        run.log(f"signals have pval_beta of at most {threshold:.6g}")
        genotypes, left = as_dosages(run.inputs.dosages, null), run.left(STAGE, run.groups)
        search = Search(
            null,
            genotypes,
            as_windows(run.windows, null.m, genotypes.markers),
            run.groups,
            as_permutations(settings.permutations, settings.seed, "float32"),
            settings.maf_threshold,
        )
        work = signals_of_genes(search, run.chromosome, cis, threshold, left)
        total = int(np.sum(cis.pval_beta <= threshold))
        with run.progress("features with signals", total, int((~left).sum())) as advance:
            for gene, of_gene in each_in_float64(work):
                run.parts.add("signals", pd.DataFrame(of_gene), STAGE, {(gene,): 0})
                advance(1)
    if not run.parts.gather(STAGE):
        return
    yield Table("cis_qtl.txt.gz", table)
    signals = run.parts.frame("signals")
    if signals is None:
        signals = best[:0].assign(rank=0)
    group = run.groups[signals["gene"].to_numpy()]
    signals = signals.assign(group=group).sort_values(["group", "rank"], ignore_index=True)
    run.facts["signals"] = len(signals)
    what = "feature" if run.inputs.groups is None else "group"
    having = counted(signals["group"].nunique(), what)
    run.log(f"{counted(len(signals), 'independent signal')} of {having}")
    independent = named(run, signals)
    insert_before(independent, "log10p", "rank", signals["rank"].to_numpy())
    yield Table("cis_independent_qtl.txt.gz", independent.reset_index())


def _over_all(found: pd.DataFrame, m: int) -> BestMarkers:
    """Arrays over all features from rows of those that have a test."""
    genes = found["gene"].to_numpy()
    columns = {}
    for item in fields(BestMarkers):
        known = found[item.name].to_numpy()
        missing = -1 if item.name == "marker" else 0 if known.dtype.kind in "iu" else np.nan
        columns[item.name] = np.full(m, missing, known.dtype)
        columns[item.name][genes] = known
    return BestMarkers(**columns)
