"""The command ``kinship``: the kinship of the samples of a genotype file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmmlite_jax.cli.common import (
    CompilationCache,
    Genotypes,
    Quiet,
    one_sentence_errors,
    progress_bar,
    standard_error,
)
from lmmlite_jax.compilation_cache import kept_programs

__all__ = ["KinshipMethod", "kinship"]


class KinshipMethod(StrEnum):
    """How `lmmlite_jax.kinship` averages over variants."""

    standardized = "standardized"
    centered = "centered"
    allele_probs = "allele_probs"


def kinship(
    genotypes: Genotypes,
    out: Annotated[
        Path, typer.Option(help="Output file: .npz, or without --loco .parquet, .csv or .tsv.")
    ],
    loco: Annotated[
        bool,
        typer.Option("--loco", help="Compute one kinship for each chromosome, from the others."),
    ] = False,
    method: Annotated[
        KinshipMethod, typer.Option(help="How genotypes are scaled before they are averaged.")
    ] = KinshipMethod.standardized,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Compute the kinship matrix of the samples of a genotype file."""
    from lmmlite_jax.data import open_genotypes, write_kinship
    from lmmlite_jax.data.kinship_files import check_kinship_writable
    from lmmlite_jax.pipeline import genotype_kinship
    from lmmlite_jax.pipeline.inputs import opened_genotypes

    log = standard_error(quiet=quiet)
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_kinship_writable(out, loco=loco)
        with open_genotypes(genotypes) as file:
            for line in opened_genotypes(file):
                log.print(line)
            with progress_bar(log, "variants read", len(file.variants)) as advance:
                result = genotype_kinship(file, method.value, loco=loco, progress=advance)
        write_kinship(result, out)
    matrices = f"{len(result)} matrices, one without each chromosome" if loco else "one matrix"
    log.print(f"{out}: {matrices}")
