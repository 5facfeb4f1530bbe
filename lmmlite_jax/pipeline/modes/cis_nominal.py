"""Every pair of a feature and a variant near it, or its interaction with a covariate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lmmlite_jax.mapping.cis.interaction import CisInteractions, map_cis_interaction
from lmmlite_jax.mapping.cis.nominal import map_cis_nominal
from lmmlite_jax.mapping.cis.pairs import CisPairs
from lmmlite_jax.mapping.cis.significant import significant_pairs
from lmmlite_jax.mapping.genotypes import without_gaps
from lmmlite_jax.mapping.multiple_testing import effective_tests, q_values
from lmmlite_jax.mapping.tables import pairs_table
from lmmlite_jax.model.result import Status
from lmmlite_jax.pipeline.run import Run, Table, insert_before

__all__ = ["map_nominal"]

STAGE = "feature"


def map_nominal(run: Run) -> Iterator[Table]:
    """Do what is left of all pairs, and make a table a chromosome."""
    status, windows = run.status_of_counts(), run.windows
    left = run.left(STAGE)
    mappable = (windows[:, 1] > windows[:, 0]) & (status == Status.OK)
    positions = run.inputs.positions
    assert positions is not None
    chrom = positions["chrom"].to_numpy(dtype=object)
    interacting = run.inputs.interaction is not None
    total, done = int(mappable.sum()), int((mappable & ~left).sum())
    with run.progress("features mapped", total, done) as advance:
        for pairs in _pairs(run, left):
            frame = pd.DataFrame(
                {"gene": pairs.gene, "marker": pairs.marker, **pairs.columns()}
            ).assign(chrom=chrom[pairs.gene])
            frame = frame[left[pairs.gene]]  # neighbours may be another process's
            tests = _effective_tests(run, pairs) if interacting else {}
            fitted = zip(pairs.genes.tolist(), pairs.status.tolist(), strict=True)
            facts: dict[tuple[int, ...], tuple[int, int | None]] = {
                (gene,): (int(code), tests.get(gene)) for gene, code in fitted if left[gene]
            }
            run.parts.add("pairs", frame, STAGE, facts)
            advance(pairs.genes.size)
    if not run.parts.gather(STAGE):
        return
    for (gene,), (code, _) in run.parts.done(STAGE).items():
        status[gene] = code
    run.note_features(status)
    yield from _tables(run, interacting)


def _pairs(run: Run, left: np.ndarray) -> Iterator[CisPairs | CisInteractions]:
    settings, interaction = run.settings, run.inputs.interaction
    arguments = (run.null, run.inputs.dosages, run.windows)
    if interaction is None:
        return map_cis_nominal(
            *arguments,
            variance=settings.variance,
            asymptotic=settings.asymptotic,
            maf_threshold=settings.maf_threshold,
            chromosome=run.chromosome,
            wanted=left,
        )
    return map_cis_interaction(
        *arguments,
        interaction,
        maf_threshold_interaction=settings.maf_threshold_interaction,
        chromosome=run.chromosome,
        wanted=left,
    )


def _tables(run: Run, interacting: bool) -> Iterator[Table]:
    total = without_test = 0
    tops, significant = [], []
    cis_output, groups = run.inputs.cis_output, run.inputs.groups
    group_of = None if groups is None else dict(zip(run.inputs.features, groups, strict=True))
    for name in dict.fromkeys(run.inputs.variants["chrom"]):
        found = run.parts.frame("pairs", chrom=name)
        if found is None or found.empty:
            continue
        found = found.sort_values(["gene", "marker"], ignore_index=True)
        beside = {"gene", "marker", "chrom"}
        columns = {str(name): found[name].to_numpy() for name in found if name not in beside}
        table = pairs_table(
            columns, found["gene"].to_numpy(), found["marker"].to_numpy(), run.places
        )
        total += len(table)
        without_test += int(table["pval_g" if interacting else "pval_nominal"].isna().sum())
        if interacting:
            tops.append(_top(run, found, table))
        if cis_output is not None:
            found_here = significant_pairs(table, cis_output, groups=group_of, fdr=run.settings.fdr)
            significant.append(found_here)
        if not run.settings.best_only:
            yield Table(f"cis_qtl_pairs.{name}.parquet", table)
    run.facts |= {"pairs": total, "without_test": without_test}
    if not total:
        raise ValueError("No pair is left: maf_threshold is too high.")
    if significant:
        both = pd.concat(significant, ignore_index=True)
        run.facts["significant_pairs"] = len(both)
        yield Table("cis_qtl.signif_pairs.parquet", both)
    if interacting:
        top = pd.concat(tops)
        products = _of_products(top)
        tests = top["tests_emt"] * len(products)
        best = 10 ** -top[products].max(axis=1)
        insert_before(top, products[0], "pval_emt", np.minimum(tests * best, 1))
        insert_before(top, products[0], "pval_adj_bh", q_values(top["pval_emt"], 1.0).qvalue)
        yield Table("cis_qtl_top_assoc.txt.gz", top)


def _effective_tests(run: Run, pairs: CisPairs | CisInteractions) -> dict[int, int]:
    """Number of independent tests near each feature."""
    tests = {}
    for gene in np.unique(pairs.gene):
        members = ~np.isnan(run.inputs.values[:, gene])
        dosages = run.inputs.dosages[:, pairs.marker[pairs.gene == gene]]
        tests[int(gene)] = effective_tests(without_gaps(dosages[members]))
    return tests


def _top(run: Run, found: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Best pair of each feature, and the number of independent tests."""
    products = _of_products(found)
    strongest = found[products].max(axis=1).dropna()
    rows = strongest.groupby(found["gene"].loc[strongest.index]).idxmax()
    of_genes = run.parts.done(STAGE)
    top = table.loc[rows].set_index("phenotype_id")
    insert_before(top, products[0], "tests_emt", [of_genes[(gene,)][1] for gene in rows.index])
    return top


def _of_products(table: pd.DataFrame) -> list[str]:
    """Names of the columns with -log10 p of a variant's products with covariates."""
    return [name for name in table.columns if name.startswith("log10p_g")]
