"""The command ``map``: QTL from files to files."""

from __future__ import annotations

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmmlite_jax.cli.common import (
    ClipKinship,
    CompilationCache,
    Genotypes,
    Mode,
    Quiet,
    ScaleKinship,
    one_sentence_errors,
    progress_bar,
    standard_error,
)
from lmmlite_jax.compilation_cache import kept_programs

if TYPE_CHECKING:
    from lmmlite_jax.pipeline import Share

__all__ = ["Variance", "map_qtl"]


class Variance(StrEnum):
    """When `lmmlite_jax.scan` estimates heritabilities."""

    null = "null"
    refit = "refit"


def map_qtl(
    genotypes: Genotypes,
    phenotypes: Annotated[
        Path, typer.Argument(help="BED, a table of features × samples, or R/qtl2's zip.")
    ],
    prefix: Annotated[Path, typer.Argument(help="Of the names of the files written.")],
    kinship: Annotated[
        str,
        typer.Option(
            help="A file; auto or loco to compute it from the genotypes, of all variants or for "
            "each chromosome of those on all others; or none for ordinary regression. With auto "
            "the variants tested are part of it, and their p-values too large."
        ),
    ],
    mode: Annotated[Mode, typer.Option(help="What is mapped.")] = Mode.cis,
    covariates: Annotated[
        Path | None, typer.Option(help="Covariates, samples in rows or columns.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(help="Base pairs around a feature: 1000000, or 5000000 left out by trans"),
    ] = None,
    maf_threshold: Annotated[float, typer.Option(help="Least frequency of a minor allele")] = 0.0,
    permutations: Annotated[int, typer.Option(help="Permutations of cis modes")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the permutations")] = 0,
    interaction: Annotated[
        Path | None, typer.Option(help="A covariate whose product with variants is tested.")
    ] = None,
    maf_threshold_interaction: Annotated[
        float,
        typer.Option(help="Least frequency in either half of the samples by it"),
    ] = 0.05,
    pval_threshold: Annotated[float, typer.Option(help="Largest p-value that trans writes")] = 1e-5,
    fdr: Annotated[float, typer.Option(help="False discovery rate of features")] = 0.05,
    qvalue_lambda: Annotated[
        float | None,
        typer.Option(help="p-value above which null hypotheses are counted for q-values"),
    ] = None,
    disable_beta_approx: Annotated[
        bool,
        typer.Option("--disable-beta-approx", help="Permutations alone decide in the mode cis."),
    ] = False,
    best_only: Annotated[
        bool, typer.Option("--best-only", help="Of an interaction the best pairs alone.")
    ] = False,
    cis_output: Annotated[
        Path | None,
        typer.Option(
            help="What cis has written: cis_susie maps its significant features, cis_nominal "
            "writes their significant pairs too."
        ),
    ] = None,
    samples_map: Annotated[
        Path | None, typer.Option(help="Ids in the genotypes and in the phenotypes.")
    ] = None,
    annotation: Annotated[
        Path | None, typer.Option(help="Places of features: feature_id, chromosome, start, end.")
    ] = None,
    variance: Annotated[
        Variance, typer.Option(help="Heritability without variants, or again for every pair.")
    ] = Variance.null,
    asymptotic: Annotated[
        bool, typer.Option("--asymptotic", help="GEMMA's p-values, with the variance refit.")
    ] = False,
    max_effects: Annotated[
        int, typer.Option(help="Most effects of a feature that susie modes look for")
    ] = 10,
    coverage: Annotated[float, typer.Option(help="Coverage of their credible sets")] = 0.95,
    min_abs_corr: Annotated[
        float, typer.Option(help="Least correlation of two variants of a credible set")
    ] = 0.5,
    susie_loci: Annotated[
        Path | None,
        typer.Option(help="Loci for trans_susie: phenotype_id, chr, and pos or start and end."),
    ] = None,
    clip_kinship: ClipKinship = False,
    scale_kinship: ScaleKinship = False,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder of the files written.")
    ] = Path("."),
    output_text: Annotated[
        bool, typer.Option("--output-text", help="Text in place of Parquet from trans.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command was interrupted.")
    ] = False,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed", help="Share the work with the other processes of srun or mpirun."
        ),
    ] = False,
    num_processes: Annotated[
        int | None, typer.Option(help="Processes that share the work, each started by hand")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(help="Number of this one of them, from 0")
    ] = None,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Map QTL from files: cis, cis_nominal, cis_independent, trans, cis_susie or trans_susie."""
    from lmmlite_jax.pipeline import map_files

    log = standard_error(quiet=quiet)
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        map_files(
            genotypes,
            phenotypes,
            output_dir / prefix,
            mode=mode.value,
            kinship=kinship,
            covariates=covariates,
            interaction=interaction,
            samples_map=samples_map,
            annotation=annotation,
            window=window,
            maf_threshold=maf_threshold,
            maf_threshold_interaction=maf_threshold_interaction,
            permutations=permutations,
            seed=seed,
            pval_threshold=pval_threshold,
            fdr=fdr,
            qvalue_lambda=qvalue_lambda,
            disable_beta_approx=disable_beta_approx,
            best_only=best_only,
            cis_output=cis_output,
            variance=variance.value,
            asymptotic=asymptotic,
            max_effects=max_effects,
            coverage=coverage,
            min_abs_corr=min_abs_corr,
            susie_loci=susie_loci,
            clip_kinship=clip_kinship,
            scale_kinship=scale_kinship,
            output_text=output_text,
            resume=resume,
            share=_share(distributed, num_processes, process_id),
            log=log.print,
            bar=partial(progress_bar, log),
        )


def _share(distributed: bool, count: int | None, index: int | None) -> Share:
    """Part of the work that is this process's."""
    from lmmlite_jax.pipeline import ALONE, Share, share_of_environment

    if (count is None) != (index is None):
        raise ValueError("--num-processes and --process-id go together: give both, or neither.")
    if count is not None and index is not None:
        return Share(index, count)
    return share_of_environment(os.environ) if distributed else ALONE
