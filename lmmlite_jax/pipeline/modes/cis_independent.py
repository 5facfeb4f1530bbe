"""Several signals near one feature, each given the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby

import numpy as np
import pandas as pd

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.cis.best_marker import BestMarkers, as_permutations
from lmmlite_jax.mapping.cis.conditional import Signals, each_conditional
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.cis.stepwise import Search, signals_of_genes
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.mapping.tables import names_at, pairs_table
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.pipeline.modes.cis import BEST, best_of_features, find_best, named
from lmmlite_jax.pipeline.run import Run, Table, insert_before

__all__ = ["map_independent"]

STAGE, CONDITIONAL = "signals", "conditional"


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
    conditional = settings.conditional_pairs
    if not run.parts.gather(STAGE, last=not conditional):
        return
    signals = run.parts.frame("signals")
    signals = best[:0].assign(rank=0) if signals is None else signals
    group = run.groups[signals["gene"].to_numpy()]
    signals = signals.assign(group=group).sort_values(["group", "rank"], ignore_index=True)
    if conditional:
        _find_conditional(run, signals)
        if not run.parts.gather(CONDITIONAL):
            return
    yield Table("cis_qtl.txt.gz", table)
    run.facts["signals"] = len(signals)
    what = "feature" if run.inputs.groups is None else "group"
    having = counted(signals["group"].nunique(), what)
    run.log(f"{counted(len(signals), 'independent signal')} of {having}")
    independent = named(run, signals)
    insert_before(independent, "log10p", "rank", signals["rank"].to_numpy())
    yield Table("cis_independent_qtl.txt.gz", independent.reset_index())
    if conditional:
        yield from _conditional_tables(run)


def _find_conditional(run: Run, signals: pd.DataFrame) -> None:
    """Do what is left of all pairs of each signal, the others given."""
    null, left = run.null, run.left(CONDITIONAL)
    genotypes, chrom = as_dosages(run.inputs.dosages, null), run.inputs.chromosome()
    gene, marker, rank = (signals[name].to_numpy() for name in ("gene", "marker", "rank"))
    work = each_conditional(
        null,
        genotypes,
        as_windows(run.windows, null.m, genotypes.markers),
        Signals(gene, marker, rank, run.groups),
        run.chromosome,
        run.settings.maf_threshold,
        left,
    )
    done = int((~left[gene]).sum())
    with run.progress("signals given the others", len(signals), done) as advance:
        for one, of_gene in groupby(each_in_float64(work), key=lambda pairs: int(pairs.gene[0])):
            found = list(of_gene)
            frame = pd.concat(
                pd.DataFrame({"gene": pairs.gene, "marker": pairs.marker, **pairs.columns()})
                for pairs in found
            ).assign(chrom=chrom[found[0].marker[0]])
            run.parts.add("conditional", frame, CONDITIONAL, {(one,): 0})
            advance(len(found))


def _conditional_tables(run: Run) -> Iterator[Table]:
    for name in dict.fromkeys(run.inputs.variants["chrom"]):
        found = run.parts.frame("conditional", chrom=name)
        if found is None or found.empty:
            continue
        found = found.sort_values(["gene", "rank", "marker"], ignore_index=True)
        beside = {"gene", "marker", "chrom", "signal"}
        columns = {str(name): found[name].to_numpy() for name in found if name not in beside}
        columns["signal_id"] = names_at(run.places.markers, found["signal"].to_numpy())
        gene, marker = found["gene"].to_numpy(), found["marker"].to_numpy()
        table = pairs_table(columns, gene, marker, run.places)
        yield Table(f"cis_independent_pairs.{name}.parquet", table)


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
