"""The command ``prepare``: expression ready to be mapped, from counts of reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmmlite_jax.cli.common import Quiet, one_sentence_errors, standard_error
from lmmlite_jax.cli.map import Normalize

__all__ = ["prepare"]


def prepare(
    counts: Annotated[
        Path,
        typer.Argument(help="Counts of reads: a table with genes in rows, samples in columns."),
    ],
    genes: Annotated[Path, typer.Argument(help="Annotation of the genes: GTF, or GTF in gzip.")],
    out: Annotated[
        Path, typer.Argument(help="Output file, for map: .bed, .bed.gz or .bed.parquet.")
    ],
    tpm: Annotated[
        Path | None,
        typer.Option(help="Table of transcripts per million, to choose genes by them too."),
    ] = None,
    count_threshold: Annotated[
        float, typer.Option(help="Smallest count of a gene in enough samples")
    ] = 6.0,
    tpm_threshold: Annotated[
        float, typer.Option(help="Smallest number of transcripts per million in enough samples")
    ] = 0.1,
    sample_fraction: Annotated[
        float, typer.Option(help="Share of the samples that are enough")
    ] = 0.2,
    normalize: Annotated[
        Normalize,
        typer.Option(
            help="Bring each gene to normal quantiles by its ranks, or write log2 of counts per "
            "million."
        ),
    ] = Normalize.inverse_normal,
    quiet: Quiet = False,
) -> None:
    """Prepare expression for map: counts scaled by TMM, expressed genes, normal quantiles."""
    log = standard_error(quiet=quiet)
    with one_sentence_errors():
        from lmmlite_jax.pipeline import prepare_expression

        prepare_expression(
            counts,
            genes,
            out,
            tpm=tpm,
            count_threshold=count_threshold,
            tpm_threshold=tpm_threshold,
            sample_fraction=sample_fraction,
            normalize=normalize.value,
            log=log.print,
        )
