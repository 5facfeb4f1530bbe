"""All pairs over a threshold but for those near."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.cis.best_marker import as_permutations
from lmmlite_jax.mapping.cis.beta_approximation import beta_pvalue
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.mapping.trans import map_trans
from lmmlite_jax.mapping.trans_best import best_in_trans
from lmmlite_jax.mapping.trans_interaction import map_trans_interaction
from lmmlite_jax.mapping.trans_search import DistantPairs, TransUnit
from lmmlite_jax.model.result import Status
from lmmlite_jax.pipeline.modes.cis import BEST, keep_best, table_of_best
from lmmlite_jax.pipeline.run import Run, Table

__all__ = ["UnitFact", "map_pairs"]

STAGE = "unit"


class UnitFact(TypedDict):
    """Of a finished piece of the work: what was tested, what was missing, and failures."""

    tested: int
    pairs: int
    gaps: int
    missing: int
    irregular: dict[str, int]


def map_pairs(run: Run) -> Iterator[Table]:
    """Do what is left of all pairs over the threshold, and make one table."""
    settings, inputs = run.settings, run.inputs
    windows = None
    if inputs.positions is None:
        run.log("the features have no positions: no pair is left out as cis")
    else:
        windows = inputs.windows(settings.distance)
        run.log(f"pairs within {settings.distance:,} base pairs are left out as cis")
    permuted = settings.trans_permutations is not None
    if permuted:  # before all else: what it takes is what the run takes
        _find_best(run, windows)
        run.parts.gather(BEST, last=False)
    begun, own = run.parts.begun(STAGE), run.share.in_turn()
    units: set[tuple[int, ...]] = set()

    def wanted(unit: TransUnit) -> bool:
        units.add(tuple(unit))
        return tuple(unit) not in begun and own()

    work = _pairs(run, windows, wanted)
    fitted = run.null.fitted.size
    done: Mapping[tuple[int, ...], UnitFact] = run.parts.done(STAGE)
    before = sum(fact["pairs"] for unit, fact in done.items() if unit in begun)
    total = before + (len(inputs.variants) * fitted - before) // run.share.count
    with run.progress("pairs tested", total, before) as advance:
        for pairs in work:
            frame = pd.DataFrame({"marker": pairs.marker, "gene": pairs.trait, **pairs.columns()})
            fact = _fact(pairs)
            run.parts.add("pairs", frame, STAGE, {tuple(pairs.unit): fact})
            advance(fact["pairs"])
    if not run.parts.gather(STAGE):
        return
    if lacking := len(units - run.parts.done(STAGE).keys()):
        raise ValueError(
            f"{counted(lacking, 'piece')} of the work of all processes did not come: start again "
            "with --resume."
        )
    found = run.parts.frame("pairs")
    if found is None:
        raise ValueError("No feature could be tested: too few samples are left.")
    _note(run, run.parts.done(STAGE), len(found))
    found = found.sort_values(["marker", "gene"], ignore_index=True)
    table = found.drop(columns=["marker", "gene"])
    places = run.places
    for name, names, numbers in (
        ("phenotype_id", places.traits, found["gene"]),
        ("variant_id", places.markers, found["marker"]),
    ):
        table.insert(0, name, pd.Series(names_at(names, numbers.to_numpy()), dtype="str"))
    if permuted:
        best = table_of_best(run)
        _add_significance(table, best)
        yield Table("trans_qtl.txt.gz", best)
    yield Table("trans_qtl_pairs.parquet", table)


def _pairs(
    run: Run, windows: Int[np.ndarray, "m 2"] | None, wanted: Callable[[TransUnit], bool]
) -> Iterator[DistantPairs]:
    settings, interaction = run.settings, run.inputs.interaction
    if interaction is None:
        return map_trans(
            run.null,
            run.inputs.dosages,
            threshold=settings.pval_threshold,
            windows=windows,
            variance=settings.variance,
            asymptotic=settings.asymptotic,
            maf_threshold=settings.maf_threshold,
            chromosome=run.chromosome,
            wanted=wanted,
        )
    return map_trans_interaction(
        run.null,
        run.inputs.dosages,
        interaction,
        threshold=settings.pval_threshold,
        windows=windows,
        maf_threshold_interaction=settings.maf_threshold_interaction,
        chromosome=run.chromosome,
        wanted=wanted,
    )


def _find_best(run: Run, windows: Int[np.ndarray, "m 2"] | None) -> None:
    """Do what is left of the best variant of each feature, with p-values by permutation."""
    settings, null, left = run.settings, run.null, run.left(BEST)
    assert settings.trans_permutations is not None
    work = best_in_trans(
        null,
        as_dosages(run.inputs.dosages, null),
        windows,
        run.chromosome,
        as_permutations(settings.trans_permutations, settings.seed, "float32"),
        settings.maf_threshold,
        left,
    )
    keep_best(run, work, left, run.status_of_counts() == Status.OK)


def _add_significance(pairs: pd.DataFrame, best: pd.DataFrame) -> None:
    """p-values of pairs among all variants, by the feature's beta law, and its q-value."""
    of_feature = best.reindex(pairs["phenotype_id"])
    share = -np.expm1(-2 * np.log(10) * pairs["lod"] / pairs["n"])
    law = (of_feature[name].to_numpy() for name in ("true_df", "beta_shape1", "beta_shape2"))
    pairs["pval_beta"] = beta_pvalue(share.to_numpy(), *law)
    pairs["qval"] = of_feature["qval"].to_numpy()


def _fact(pairs: DistantPairs) -> UnitFact:
    status = zip(pairs.tested_traits.tolist(), pairs.status.tolist(), strict=True)
    return {
        "tested": pairs.tested_markers.size,
        "pairs": pairs.tested_markers.size * pairs.tested_traits.size,
        "gaps": int((pairs.missing > 0).sum()),
        "missing": int(pairs.missing.sum()),
        "irregular": {str(trait): int(code) for trait, code in status if code != Status.OK},
    }


def _counts(unit: tuple[int, ...]) -> bool:
    """Whether variants of a piece of the work are counted: each is in one for every batch."""
    return TransUnit(*unit).batch == 0


def _note(run: Run, units: Mapping[tuple[int, ...], UnitFact], pairs: int) -> None:
    """Say what was found, and what was missing."""
    status = run.status_of_counts()
    for fact in units.values():
        for trait, code in fact["irregular"].items():
            status[int(trait)] = code
    run.note_reasons(status)
    first = [fact for unit, fact in units.items() if _counts(unit)]
    missing = sum(fact["missing"] for fact in first)
    run.facts |= {"pairs": pairs, "missing_genotypes": missing}
    if missing:
        gaps = sum(fact["gaps"] for fact in first)
        some = counted(missing, "missing genotype")
        verb = "is" if missing == 1 else "are"
        run.log(f"{some} of {counted(gaps, 'variant')} {verb} replaced by the mean")
    run.log(f"{counted(pairs, 'pair')} with p of at most {run.settings.pval_threshold:g}")
