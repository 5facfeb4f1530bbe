"""The command ``herit``: heritabilities of a table of phenotypes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import lmmlite_jax as lmm
from lmmlite_jax.cli.common import (
    ClipKinship,
    CompilationCache,
    Quiet,
    ScaleKinship,
    fitted_summary,
    one_sentence_errors,
    progress_bar,
    standard_error,
)
from lmmlite_jax.compilation_cache import kept_programs

__all__ = ["herit"]


def herit(
    pheno: Annotated[
        Path,
        typer.Option(
            help="File of the phenotypes: a table with samples in rows or in columns, a BED file, "
            "or an R/qtl2 zip."
        ),
    ],
    kinship: Annotated[
        str,
        typer.Option(
            help="File of the kinship matrix: a table, .grm.bin, .cXX.txt, .npy or .npz; or auto "
            "to compute it from --genotypes."
        ),
    ],
    covar: Annotated[
        Path | None,
        typer.Option(
            help="File of the covariates: a table with samples in rows or in columns, or an R/qtl2 "
            "zip. An intercept is added if none of them is constant."
        ),
    ] = None,
    genotypes: Annotated[
        Path | None, typer.Option(help="Genotypes from which --kinship auto is computed.")
    ] = None,
    samples_map: Annotated[
        Path | None,
        typer.Option(
            help="File of two columns without a header: a sample's id in the kinship or the "
            "genotypes, and its id in the phenotypes."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output file: .parquet, .csv or .tsv; standard output by default."),
    ] = None,
    ml: Annotated[
        bool, typer.Option("--ml", help="Fit by maximum likelihood instead of REML.")
    ] = False,
    se: Annotated[
        bool, typer.Option("--se", help="Compute standard errors of all estimates.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(help="Confidence level of the intervals of the heritabilities, such as 0.95"),
    ] = None,
    simulate_pvalue: Annotated[
        bool,
        typer.Option(
            "--simulate-pvalue",
            help="Compute the p-value of zero heritability from the simulated distribution of its "
            "statistic.",
        ),
    ] = False,
    clip_kinship: ClipKinship = False,
    scale_kinship: ScaleKinship = False,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Estimate the heritability of every phenotype in a table."""
    from lmmlite_jax.data import write_table
    from lmmlite_jax.data._names import counted
    from lmmlite_jax.data.tables import check_writable
    from lmmlite_jax.pipeline.herit_inputs import read_herit
    from lmmlite_jax.pipeline.inputs import with_intercept
    from lmmlite_jax.pipeline.options import check_ranges

    log = standard_error(quiet=quiet)
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_ranges(interval=interval)
        if interval is not None and ml:
            raise ValueError(
                "--interval inverts the restricted likelihood-ratio test: leave --ml out."
            )
        if out is not None:
            check_writable(out)
        matched = read_herit(
            pheno,
            kinship,
            covar,
            genotypes=genotypes,
            samples_map=samples_map,
            log=log.print,
            bar=partial(progress_bar, log),
        )
        log.print(str(matched.report))
        with log.status(f"fitting {counted(matched.pheno.shape[1], 'trait')}"):
            fit = lmm.fit_traits(
                matched.kinship,
                matched.pheno,
                None if matched.covar is None else with_intercept(matched.covar),
                reml=not ml,
                compute_se=se,
                interval=interval,
                simulate_pvalue=simulate_pvalue,
                clip_negative=clip_kinship,
                scale_kinship=scale_kinship,
            )
            results = fit.to_pandas()
        if out is not None:
            write_table(results, out)
    if out is None:
        results.to_csv(sys.stdout, sep="\t", na_rep="NA", lineterminator="\n")
    log.print(fitted_summary(tuple(matched.pheno.columns), fit.reasons))
