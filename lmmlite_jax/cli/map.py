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
    mode_of,
    one_sentence_errors,
    progress_bar,
    standard_error,
)
from lmmlite_jax.compilation_cache import kept_programs

if TYPE_CHECKING:
    from lmmlite_jax.pipeline import Share

__all__ = ["Normalize", "Variance", "map_qtl"]


class Variance(StrEnum):
    """When `lmmlite_jax.scan` estimates heritabilities."""

    null = "null"
    refit = "refit"


class Normalize(StrEnum):
    """What `lmmlite_jax.inverse_normal` does."""

    none = "none"
    inverse_normal = "inverse-normal"


def map_qtl(
    genotypes: Genotypes,
    phenotypes: Annotated[
        Path,
        typer.Argument(
            help="Phenotype file: BED, a table with samples in columns or rows, or an R/qtl2 zip."
        ),
    ],
    prefix: Annotated[Path, typer.Argument(help="Prefix of the output files.")],
    kinship: Annotated[
        str,
        typer.Option(
            help="Kinship matrix: a file; loco to compute one for each chromosome from the "
            "variants on all others; auto to compute one from all variants; or none for ordinary "
            "regression. With auto the kinship contains the variants that are tested, which makes "
            "their p-values too large."
        ),
    ],
    mode: Annotated[
        Mode,
        typer.Option(
            parser=mode_of,
            metavar="MODE",
            help="What to map: cis, the best variant near a feature; cis_nominal, all pairs near; "
            "cis_independent, several signals of a feature; cis_susie, credible sets near; trans, "
            "all other pairs; trans_susie, credible sets at --susie-loci.",
        ),
    ] = Mode.cis,
    covariates: Annotated[
        Path | None,
        typer.Option(help="File of the covariates, with samples in rows or in columns."),
    ] = None,
    paired_covariate: Annotated[
        Path | None,
        typer.Option(
            help="File of one more covariate for each of some features, as of phenotypes, for the "
            "modes that begin with cis."
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Largest distance in base pairs at which a variant is near a feature: 1000000 by "
            "default, or 5000000 in trans, which leaves such pairs out"
        ),
    ] = None,
    maf_threshold: Annotated[
        float, typer.Option(help="Smallest minor allele frequency of the variants tested")
    ] = 0.0,
    permutations: Annotated[
        int, typer.Option(help="Number of permutations in cis and cis_independent")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the permutations")] = 0,
    interaction: Annotated[
        Path | None,
        typer.Option(
            help="File of a covariate whose interaction with each variant cis_nominal and trans "
            "test."
        ),
    ] = None,
    maf_threshold_interaction: Annotated[
        float,
        typer.Option(
            help="Smallest minor allele frequency in each half of the samples by that covariate"
        ),
    ] = 0.05,
    trans_permutations: Annotated[
        int | None,
        typer.Option(
            help="Number of permutations in trans, for the best variant of each feature and its "
            "p-value among all variants"
        ),
    ] = None,
    pval_threshold: Annotated[
        float, typer.Option(help="Largest p-value that trans reports")
    ] = 1e-5,
    fdr: Annotated[
        float, typer.Option(help="False discovery rate at which features are significant")
    ] = 0.05,
    qvalue_lambda: Annotated[
        float | None,
        typer.Option(help="p-value above which features are taken as null, to estimate q-values"),
    ] = None,
    disable_beta_approx: Annotated[
        bool,
        typer.Option(
            "--disable-beta-approx",
            help="Take the p-values of cis from the permutations alone, without a beta law.",
        ),
    ] = False,
    best_only: Annotated[
        bool,
        typer.Option("--best-only", help="With --interaction, write the best pairs only."),
    ] = False,
    conditional_pairs: Annotated[
        bool,
        typer.Option(
            "--conditional-pairs",
            help="In cis_independent, write every pair of each signal too, given the others.",
        ),
    ] = False,
    cis_output: Annotated[
        Path | None,
        typer.Option(
            help="Table that cis has written. cis_susie then maps its significant features alone, "
            "and cis_nominal also writes their significant pairs."
        ),
    ] = None,
    normalize: Annotated[
        Normalize,
        typer.Option(help="Bring each phenotype to normal quantiles by its ranks, or not."),
    ] = Normalize.none,
    phenotype_pcs: Annotated[
        int,
        typer.Option(help="Number of principal components of the phenotypes among the covariates"),
    ] = 0,
    phenotype_groups: Annotated[
        Path | None,
        typer.Option(
            help="File of two columns without a header, a feature and its group: cis and "
            "cis_independent map groups, by the strongest association of their features."
        ),
    ] = None,
    samples_map: Annotated[
        Path | None,
        typer.Option(
            help="File of two columns without a header: a sample's id in the genotypes, and its "
            "id in the phenotypes."
        ),
    ] = None,
    annotation: Annotated[
        Path | None,
        typer.Option(
            help="File of the features' positions, with the columns feature_id, chromosome, start "
            "and end."
        ),
    ] = None,
    variance: Annotated[
        Variance,
        typer.Option(
            help="When heritabilities are estimated: once for each feature, without variants "
            "(null), or again for every pair (refit)."
        ),
    ] = Variance.null,
    asymptotic: Annotated[
        bool, typer.Option("--asymptotic", help="Report GEMMA's p-values, with --variance refit.")
    ] = False,
    max_effects: Annotated[
        int,
        typer.Option(help="Largest number of effects of a feature in cis_susie and trans_susie"),
    ] = 10,
    coverage: Annotated[float, typer.Option(help="Coverage of the credible sets")] = 0.95,
    min_abs_corr: Annotated[
        float, typer.Option(help="Smallest absolute correlation of two variants of a credible set")
    ] = 0.5,
    susie_loci: Annotated[
        Path | None,
        typer.Option(
            help="File of the loci for trans_susie, with the columns phenotype_id, chr and pos, "
            "or start and end in place of pos."
        ),
    ] = None,
    clip_kinship: ClipKinship = False,
    scale_kinship: ScaleKinship = False,
    output_dir: Annotated[
        Path,
        typer.Option(
            "--output-dir", "-o", help="Folder of the output files, made where there is none."
        ),
    ] = Path("."),
    output_text: Annotated[
        bool, typer.Option("--output-text", help="Write text instead of Parquet in the mode trans.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where the same command was interrupted.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the input, do the first pieces of the work, say what all of it needs and "
            "how long it takes, and write nothing.",
        ),
    ] = False,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="Share the work with the other processes that srun or mpirun has started.",
        ),
    ] = False,
    num_processes: Annotated[
        int | None,
        typer.Option(help="Number of processes that share the work, each started by hand."),
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(help="Number of this process, counted from 0.")
    ] = None,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Map QTL: read genotypes and phenotypes, and write tables of associations."""
    from lmmlite_jax.pipeline import Files, Settings, map_files

    files = Files(
        genotypes=genotypes,
        phenotypes=phenotypes,
        kinship=kinship,
        annotation=annotation,
        covariates=covariates,
        interaction=interaction,
        samples_map=samples_map,
        paired_covariate=paired_covariate,
        phenotype_groups=phenotype_groups,
        cis_output=cis_output,
        susie_loci=susie_loci,
    )
    settings = Settings(
        mode=mode.value,
        normalize=normalize.value,
        phenotype_pcs=phenotype_pcs,
        window=window,
        maf_threshold=maf_threshold,
        maf_threshold_interaction=maf_threshold_interaction,
        permutations=permutations,
        seed=seed,
        trans_permutations=trans_permutations,
        pval_threshold=pval_threshold,
        fdr=fdr,
        qvalue_lambda=qvalue_lambda,
        disable_beta_approx=disable_beta_approx,
        best_only=best_only,
        conditional_pairs=conditional_pairs,
        variance=variance.value,
        asymptotic=asymptotic,
        max_effects=max_effects,
        coverage=coverage,
        min_abs_corr=min_abs_corr,
        clip_kinship=clip_kinship,
        scale_kinship=scale_kinship,
    )
    log = standard_error(quiet=quiet)
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        map_files(
            files,
            output_dir / prefix,
            settings,
            output_text=output_text,
            resume=resume,
            dry_run=dry_run,
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
