"""Which variants have effects of their own on a feature, at loci that are named."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from lmmlite_jax.data import match_chromosomes
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.mapping.cis.windows import cis_windows
from lmmlite_jax.pipeline.modes.cis_susie import STAGE, fine_map, fine_mapping_tables
from lmmlite_jax.pipeline.run import Run, Table

__all__ = ["fine_map_loci"]


def fine_map_loci(run: Run) -> Iterator[Table]:
    """Do what is left of fine-mapping at each feature's loci, and make its tables."""
    rounds = _rounds(run)
    for number, windows in enumerate(rounds, 1):
        fine_map(run, number, windows)
    if not run.parts.gather(STAGE):
        return
    run.note_reasons(run.status_of_counts())
    yield from fine_mapping_tables(run, rounds, loci=True)


def _rounds(run: Run) -> list[Int[np.ndarray, "m 2"]]:
    """Windows of the first locus of each feature, of the second, and so on; empty without one."""
    inputs = run.inputs
    assert inputs.loci is not None
    loci, notes = match_chromosomes(inputs.variants["chrom"].unique(), inputs.loci)
    for note in notes:
        run.log(note.replace("feature is", "locus is").replace("features", "loci"))
    numbers = {name: number for number, name in enumerate(inputs.features)}
    known = loci["phenotype_id"].isin(numbers)
    if not known.all():
        lost = loci["phenotype_id"][~known].unique()
        some = counted(int((~known).sum()), "locus is of a feature", "loci are of features")
        run.log(f"{some} without a phenotype and left out ({few(lost)})")
    loci = loci[known]
    if loci.empty:
        raise ValueError("No locus is of a feature that has a phenotype: give the same ids.")
    windows = cis_windows(
        inputs.chromosome(),
        inputs.variants["pos"].to_numpy(),
        loci["chrom"].to_numpy(dtype=object),
        loci["start"].to_numpy(),
        loci["end"].to_numpy(),
        distance=run.settings.distance,
    )
    empty = windows[:, 0] == windows[:, 1]
    if empty.any():
        some = counted(int(empty.sum()), "locus has", "loci have")
        run.log(f"{some} no variant within {run.settings.distance:,} base pairs")
    gene = loci["phenotype_id"].map(numbers).to_numpy()
    rank = loci.groupby("phenotype_id").cumcount().to_numpy()
    rounds = np.zeros((rank.max() + 1, len(numbers), 2), dtype=np.int64)
    rounds[rank, gene] = windows
    if empty.all():
        raise ValueError(
            f"None of the {counted(len(loci), 'locus', 'loci')} has a variant within "
            f"{run.settings.distance:,} base pairs: "
            "see that positions are of the same genome build, or widen the window."
        )
    return list(rounds)
