"""Which variants near each feature have effects of their own, by the sum of single effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmmlite_jax.data._names import counted, few
from lmmlite_jax.mapping.cis.near import Neighbourhood, as_windows
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.mapping.susie.fine_map import (
    NO_MARKER,
    FineMapped,
    as_search,
    each_fine_mapped,
    reason_of,
)
from lmmlite_jax.mapping.susie.result import SET_COLUMNS, credible_sets_of
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.result import reasons_of
from lmmlite_jax.pipeline.cis_output import significant_features
from lmmlite_jax.pipeline.run import Run, Table

__all__ = ["LocusFact", "fine_map", "fine_map_near", "fine_mapping_tables"]

STAGE = "locus"
TOL, MOST_STEPS = 1e-3, 500  # tensorQTL's

FEATURE_COLUMNS = ("num_var", "sigmasq", "elbo", "iterations", "converged", "hsq")
NO_WINDOW = "no variant in the window"
NOT_SIGNIFICANT = "not significant in the cis output"


class LocusFact(TypedDict):
    """What is known of a feature at one locus beside its effects, and its credible sets."""

    status: int
    reason: str
    columns: dict[str, float]
    sets: list[list[float]]


def fine_map_near(run: Run) -> Iterator[Table]:
    """Do what is left of fine-mapping near features, and make its tables."""
    windows = run.windows.copy()
    inputs = run.inputs
    if inputs.cis_output is not None:
        kept = significant_features(
            inputs.cis_output, inputs.features, inputs.groups, run.settings.fdr
        )
        run.log(f"{kept.sum()} of {kept.size} features are significant, and are fine-mapped")
        windows[~kept] = 0
    fine_map(run, 1, windows)
    if not run.parts.gather(STAGE):
        return
    status = run.status_of_counts()
    for (_, gene), fact in run.parts.done(STAGE).items():
        status[gene] = fact["status"]
    run.note_features(status)
    yield from fine_mapping_tables(run, [windows])


def fine_map(run: Run, locus: int, windows: Int[np.ndarray, "m 2"]) -> None:
    """Do what is left of one locus a feature."""
    settings, null = run.settings, run.null
    genotypes = as_dosages(run.inputs.dosages, null)
    windows = as_windows(windows, null.m, genotypes.markers)
    left = np.ones(null.m, dtype=bool)
    left[[gene for number, gene in run.parts.begun(STAGE) if number == locus]] = False
    left = run.share.of(left)
    chrom = run.inputs.chromosome()
    search = as_search(
        settings.max_effects, settings.coverage, settings.min_abs_corr, TOL, MOST_STEPS
    )
    work = each_fine_mapped(
        null, genotypes, windows, run.chromosome, search, settings.maf_threshold, left
    )
    mappable = windows[:, 1] > windows[:, 0]
    total, done = int(mappable.sum()), int((mappable & ~left).sum())
    with run.progress("features fine-mapped", total, done) as advance:
        for near, genes in each_in_float64(work):
            # Neighbours may be another process's.
            own = [_effects(one, locus) for one in genes if left[one.gene]]
            frame = pd.concat([*own, _effects(_NOBODY, locus)])
            frame["chrom"] = chrom[near.first]
            facts: dict[tuple[int, ...], LocusFact] = {
                (locus, gene): fact for gene, fact in _facts(run, near, genes).items() if left[gene]
            }
            run.parts.add("effects", frame, STAGE, facts)
            advance(near.genes.size)


_NOBODY = FineMapped(
    gene=0,
    marker=np.zeros(0, dtype=int),
    pip=np.zeros(0),
    af=np.zeros(0),
    posterior=np.zeros((1, 0)),
    log_bf=np.zeros((1, 0)),
    prior_variance=np.zeros(1),
    lbf=np.zeros(1),
    sigmasq=0.0,
    elbo=0.0,
    iterations=0,
    converged=False,
    sets=[],
)
"""A feature without a set: its table has columns and no row."""


def _effects(one: FineMapped, locus: int) -> pd.DataFrame:
    """Rows of every variant for each effect that has a credible set."""
    effects = np.array([found.effect for found in one.sets], dtype=int)
    size, many = one.marker.size, effects.size
    member = np.zeros((many, size), dtype=bool)
    for row, found in zip(member, one.sets, strict=True):
        row[found.members] = True
    return pd.DataFrame(
        {
            "gene": np.full(many * size, one.gene),
            "locus": np.full(many * size, locus),
            "marker": np.tile(one.marker, many),
            "cs_id": np.repeat(effects, size),
            "member": member.ravel(),
            "pip": np.tile(one.pip, many),
            "af": np.tile(one.af, many),
            "posterior": one.posterior[effects - 1].ravel(),
            "lbf": one.log_bf[effects - 1].ravel(),
        }
    )


def _facts(run: Run, near: Neighbourhood, genes: Sequence[FineMapped]) -> dict[int, LocusFact]:
    """What is known of each feature of a neighbourhood."""
    here = near.block.traits >= 0
    codes = near.block.status[here]
    reasons = reasons_of(codes, run.null.covariates, run.null.p)
    found = {one.gene: one for one in genes}
    facts = {}
    for gene, code, reason, hsq in zip(
        near.genes.tolist(), codes.tolist(), reasons, near.block.hsq[here].tolist(), strict=True
    ):
        one = found.get(gene)
        if one is None:
            facts[gene] = LocusFact(
                status=code, reason=reason or NO_MARKER, columns={"hsq": hsq}, sets=[]
            )
            continue
        sets = credible_sets_of([one])
        columns = (sets.cs_id, sets.lead, *(getattr(sets, name) for name in SET_COLUMNS))
        facts[gene] = LocusFact(
            status=code,
            reason=reason_of(one),
            columns={
                "num_var": one.marker.size,
                "sigmasq": one.sigmasq,
                "elbo": one.elbo,
                "iterations": one.iterations,
                "converged": one.converged,
                "hsq": hsq,
            },
            sets=[list(row) for row in zip(*(values.tolist() for values in columns), strict=True)],
        )
    return facts


def fine_mapping_tables(
    run: Run, rounds: Sequence[Int[np.ndarray, "m 2"]], *, loci: bool = False
) -> Iterator[Table]:
    """Tables of all effects with a credible set, of the sets, and of the features.

    With ``loci`` they say which locus of the feature a row is of.
    """
    summaries = []
    for name in dict.fromkeys(run.inputs.variants["chrom"]):
        found = run.parts.frame("effects", chrom=name)
        if found is None or found.empty:
            continue
        found = found.sort_values(["gene", "locus", "cs_id", "marker"], ignore_index=True)
        names = _named(run, found, loci)
        members = found["member"].to_numpy()
        summary = names.assign(pip=found["pip"], af=found["af"], cs_id=found["cs_id"])
        summaries.append(summary[members])
        columns = ("cs_id", "pip", "posterior", "lbf")
        yield Table(f"SuSiE_lbf.{name}.parquet", names.assign(**{c: found[c] for c in columns}))
    if not summaries:
        run.found("effects")  # which there must be, though it may be empty
        nobody = _effects(_NOBODY, 1)
        summaries = [_named(run, nobody, loci).assign(pip=[], af=[], cs_id=nobody["cs_id"])]
    yield Table("SuSiE_summary.parquet", pd.concat(summaries, ignore_index=True))
    done = run.parts.done(STAGE)
    sets = _sets(run, done, loci)
    features = _features(run, done, rounds, loci)
    _note(run, sets, features)
    yield Table("SuSiE_sets.txt.gz", sets)
    yield Table("SuSiE_features.txt.gz", features)


def _named(run: Run, rows: pd.DataFrame, loci: bool) -> pd.DataFrame:
    """Names of features, of variants and perhaps of loci."""
    places = run.places
    table = pd.DataFrame(
        {
            "phenotype_id": pd.Series(
                names_at(places.traits, rows["gene"].to_numpy()), dtype="str"
            ),
            "variant_id": pd.Series(
                names_at(places.markers, rows["marker"].to_numpy()), dtype="str"
            ),
        }
    )
    if loci:
        locus = rows["locus"].to_numpy()
        table.insert(1, "locus", locus)
        table.insert(2, "locus_id", table["phenotype_id"] + "_" + pd.Series(locus).astype(str))
    return table


def _sets(run: Run, done: dict[tuple[int, ...], LocusFact], loci: bool) -> pd.DataFrame:
    """Rows of all credible sets."""
    rows = [
        (gene, locus, *row)
        for (locus, gene), fact in sorted(done.items(), key=lambda item: item[0][::-1])
        for row in fact["sets"]
    ]
    table = pd.DataFrame(rows, columns=["gene", "locus", "cs_id", "marker", *SET_COLUMNS])
    table = table.astype({"gene": int, "locus": int, "cs_id": int, "marker": int, "size": int})
    named = _named(run, table, loci)
    named.insert(len(named.columns) - 1, "cs_id", table["cs_id"])
    return named.assign(**{name: table[name] for name in SET_COLUMNS})


def _features(
    run: Run,
    done: dict[tuple[int, ...], LocusFact],
    rounds: Sequence[Int[np.ndarray, "m 2"]],
    loci: bool,
) -> pd.DataFrame:
    """One row a feature and locus, with the reason where it has no result."""
    unfitted = reasons_of(run.status_of_counts(), run.null.covariates, run.null.p)
    names, rows = run.inputs.features, []
    alone = np.ones(len(names), dtype=bool) if loci else run.windows[:, 0] == run.windows[:, 1]
    for gene, name in enumerate(names):
        for locus, windows in enumerate(rounds, 1):
            empty = bool(windows[gene, 0] == windows[gene, 1])
            if empty and loci:
                continue
            fact = done.get((locus, gene))
            columns = {} if fact is None else fact["columns"]
            left_out = NO_WINDOW if alone[gene] else NOT_SIGNIFICANT
            reason = fact["reason"] if fact else (left_out if empty else unfitted[gene])
            rows.append(
                {
                    "phenotype_id": name,
                    **({"locus": locus} if loci else {}),
                    "sets": len(fact["sets"]) if fact else 0,
                    **{
                        key: columns.get(key, 0 if key in _WHOLE else np.nan)
                        for key in FEATURE_COLUMNS
                    },
                    "n": int(run.null.counts[gene]),
                    "reason": reason,
                }
            )
    before = ["phenotype_id", *(["locus"] if loci else []), "sets"]
    table = pd.DataFrame(rows, columns=[*before, *FEATURE_COLUMNS, "n", "reason"])
    return table.astype(dict.fromkeys(_WHOLE[:2], int) | {"converged": bool})


_WHOLE = ("num_var", "iterations", "converged")


def _note(run: Run, sets: pd.DataFrame, features: pd.DataFrame) -> None:
    having = int((features["sets"] > 0).sum())
    short = features[(features["num_var"] > 0) & ~features["converged"]]
    run.facts |= {
        "credible_sets": len(sets),
        "with_sets": having,
        "not_converged": len(short),
    }
    found = counted(len(sets), "credible set")
    run.log(f"{found} of {having} of {counted(len(features), 'feature')}")
    if len(short):
        some = counted(len(short), "feature has", "features have")
        names = few(short["phenotype_id"])
        run.log(f"{some} not converged in {MOST_STEPS} steps, and no credible set ({names})")
