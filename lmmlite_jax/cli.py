"""The command line: ``lmmlite-jax`` with ``demo``, ``herit``, ``kinship``, ``map`` and ``plot``.

Each command imports what it needs when it is called, so that the list of commands, the version and
usage errors come at once. It does so before it reads anything, where an interrupt may end the
process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperOption

import lmmlite_jax as lmm
from lmmlite_jax.compilation_cache import VARIABLE, kept_programs
from lmmlite_jax.interrupts import interruptible

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from lmmlite_jax.data.cohort import Cohort
    from lmmlite_jax.pipeline import Share

__all__ = ["app"]

_DEMO_INDIVIDUALS = 500
_DEMO_TRAITS = 2000
# Each pattern of missing values costs an eigendecomposition: about one trait in twenty has one.
_DEMO_MISSING = 1e-4
_DEMO_PROFILES = 8


class KinshipMethod(StrEnum):
    """How `lmmlite_jax.kinship` averages over variants."""

    standardized = "standardized"
    centered = "centered"
    allele_probs = "allele_probs"


class Mode(StrEnum):
    """What `lmmlite_jax.pipeline.map_files` maps."""

    cis = "cis"
    cis_nominal = "cis_nominal"
    cis_independent = "cis_independent"
    cis_susie = "cis_susie"
    trans = "trans"
    trans_susie = "trans_susie"


class Suffix(StrEnum):
    """What `plot` writes."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


class Variance(StrEnum):
    """When `lmmlite_jax.scan` estimates heritabilities."""

    null = "null"
    refit = "refit"


def _with_hyphens(token: str) -> str:
    """Spell options with underscores, which are tensorQTL's, as ours."""
    return token.replace("_", "-")


class _Command(TyperCommand):
    """A command whose help says in which range a number must lie."""

    # Of click's types, which some versions of typer have from click and others of their own.
    def format_help(self, *context_and_formatter: Any) -> None:
        from lmmlite_jax.pipeline.options import RANGES

        for option in self.params:
            if option.name in RANGES and isinstance(option, TyperOption):
                option.help = f"{option.help}; {RANGES[option.name]}."
        super().format_help(*context_and_formatter)


Genotypes = Annotated[
    Path,
    typer.Argument(
        help="PLINK 1 or 2 (their prefix will do), VCF, BCF, BGEN, Parquet or R/qtl2's zip."
    ),
]
ClipKinship = Annotated[
    bool, typer.Option("--clip-kinship", help="Set negative eigenvalues of the kinship to 0.")
]
ScaleKinship = Annotated[
    bool, typer.Option("--scale-kinship", help="Divide the kinship by its mean diagonal.")
]
CompilationCache = Annotated[
    str | None,
    typer.Option(
        envvar=VARIABLE,
        metavar="FOLDER|off",
        help="Where compiled programs are kept for later runs: by default in the platform's cache "
        "folder, or in JAX_COMPILATION_CACHE_DIR where that is set.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Report errors only.")]


app = typer.Typer(
    help="Linear mixed models for thousands of traits at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"lmmlite-jax {lmm.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command(cls=_Command)
def herit(
    pheno: Annotated[Path, typer.Option(help="Phenotypes: one row a sample, id first.")],
    kinship: Annotated[
        Path, typer.Option(help="Kinship: table, .grm.bin, .cXX.txt, .npy or .npz.")
    ],
    covar: Annotated[
        Path | None, typer.Option(help="Covariates; an intercept is added if there is none.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Results: .parquet, .csv or .tsv; to standard output if left out."),
    ] = None,
    ml: Annotated[bool, typer.Option("--ml", help="Maximum likelihood, not REML.")] = False,
    se: Annotated[bool, typer.Option("--se", help="Standard errors of all estimates.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(help="Confidence level, such as 0.95, of limits of heritabilities"),
    ] = None,
    simulate_pvalue: Annotated[
        bool,
        typer.Option(
            "--simulate-pvalue", help="p-value of no heritability from its simulated law."
        ),
    ] = False,
    clip_kinship: ClipKinship = False,
    scale_kinship: ScaleKinship = False,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Estimate the heritability of every phenotype in a table."""
    from lmmlite_jax.data import match_samples, read_kinship, read_table, write_table
    from lmmlite_jax.data.tables import check_writable
    from lmmlite_jax.pipeline.inputs import with_intercept
    from lmmlite_jax.pipeline.options import check_ranges

    log = Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)
    with _one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_ranges(interval=interval)
        if interval is not None and ml:
            raise ValueError("interval inverts the restricted likelihood-ratio test: leave ml out.")
        if out is not None:
            check_writable(out)
        matched = match_samples(
            read_table(pheno),
            read_kinship(kinship),
            None if covar is None else read_table(covar),
        )
        log.print(str(matched.report))
        with log.status(f"fitting {matched.pheno.shape[1]} traits"):
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
    log.print(_fitted_summary(tuple(matched.pheno.columns), fit.reasons))


@app.command(cls=_Command)
def kinship(
    genotypes: Genotypes,
    out: Annotated[
        Path, typer.Option(help="Kinship: .npz, or .parquet, .csv or .tsv without --loco.")
    ],
    loco: Annotated[
        bool, typer.Option("--loco", help="One kinship for each chromosome, from all others.")
    ] = False,
    method: Annotated[
        KinshipMethod, typer.Option(help="What is averaged over the variants.")
    ] = KinshipMethod.standardized,
    compilation_cache: CompilationCache = None,
    quiet: Quiet = False,
) -> None:
    """Compute the kinship of samples from their genotypes."""
    from lmmlite_jax.data import open_genotypes, write_kinship
    from lmmlite_jax.data.kinship_files import check_kinship_writable
    from lmmlite_jax.pipeline import genotype_kinship

    log = Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)
    with _one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_kinship_writable(out, loco=loco)
        with open_genotypes(genotypes) as file:
            log.print(f"{genotypes}: {len(file.samples)} samples, {len(file.variants)} variants")
            for note in file.notes:
                log.print(f"  {note}")
            with _bar(log, "variants", len(file.variants)) as advance:
                result = genotype_kinship(file, method.value, loco=loco, progress=advance)
        write_kinship(result, out)
    matrices = f"{len(result)} matrices, one without each chromosome" if loco else "one matrix"
    log.print(f"{out}: {matrices}")


@app.command(name="map", cls=_Command, context_settings={"token_normalize_func": _with_hyphens})
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

    log = Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)
    with _one_sentence_errors(), kept_programs(compilation_cache, log.print):
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
            bar=partial(_bar, log),
        )


def _share(distributed: bool, count: int | None, index: int | None) -> Share:
    """Part of the work that is this process's."""
    from lmmlite_jax.pipeline import ALONE, Share, share_of_environment

    if (count is None) != (index is None):
        raise ValueError("--num-processes and --process-id go together: give both, or neither.")
    if count is not None and index is not None:
        return Share(index, count)
    return share_of_environment(os.environ) if distributed else ALONE


@app.command(cls=_Command, context_settings={"token_normalize_func": _with_hyphens})
def plot(
    prefix: Annotated[Path, typer.Argument(help="Of the files that map has written.")],
    mode: Annotated[Mode, typer.Option(help="What was mapped.")] = Mode.cis,
    feature: Annotated[
        str | None,
        typer.Option(help="Whose locus cis_nominal shows: of the smallest p-value if left out."),
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder of the run's files.")
    ] = Path("."),
    suffix: Annotated[Suffix, typer.Option(help="Format of the pictures.")] = Suffix.png,
) -> None:
    """Draw the results of map: QQ, Manhattan, eQTL map, locus and heritabilities."""
    from lmmlite_jax.plot import plot_run

    whole = output_dir / prefix
    with _one_sentence_errors():
        if feature is not None and mode is not Mode.cis_nominal:
            raise ValueError(f"A feature is for the mode cis_nominal, not {mode.value}.")
        for name, axes in plot_run(whole, mode.value, feature).items():
            path = whole.with_name(f"{whole.name}.{mode.value}.{name}.{suffix.value}")
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.savefig(path, dpi=200, bbox_inches="tight")
            typer.echo(str(path))


@app.command(cls=_Command)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("lmmlite_demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulation")] = 0,
    compilation_cache: CompilationCache = None,
) -> None:
    """Simulate families, fit 2,000 traits, and compare estimates with the truth."""
    import jax
    import numpy as np

    from lmmlite_jax.data import simulate_cohort, write_table
    from lmmlite_jax.pipeline.options import check_ranges
    from lmmlite_jax.plot import plot_hsq_estimates

    log = Console(stderr=True, markup=False, highlight=False)
    with _one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_ranges(seed=seed)
        out.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with log.status("simulating"):
            cohort = simulate_cohort(
                _DEMO_INDIVIDUALS, _DEMO_TRAITS, missing=_DEMO_MISSING, seed=seed
            )
        simulated = time.perf_counter()
        with log.status(f"fitting {_DEMO_TRAITS} traits"):
            tables = cohort.to_pandas()
            fit = lmm.fit_traits(tables.kinship, tables.pheno, tables.covar)
            hsq = np.asarray(fit.hsq)
        fitted = time.perf_counter()
        with log.status("writing"):
            results = fit.to_pandas()
            write_table(results, out / "demo_fits.parquet")
            write_table(results, out / "demo_fits.tsv")
            _demo_profiles(cohort, hsq).savefig(out / "loglik_profiles.png", dpi=150)
            truth = np.asarray(cohort.hsq)
            plot_hsq_estimates(truth, hsq).savefig(out / "hsq_estimates.png", dpi=150)
    incomplete = int(np.isnan(cohort.pheno).any(axis=0).sum())
    device = jax.devices()[0]
    facts = {
        "individuals": f"{len(cohort.individuals)} in families",
        "traits": f"{len(cohort.phenotypes)}, {incomplete} with missing values",
        "device": f"{device} ({device.device_kind})",
        "simulated in": f"{simulated - started:.1f} s",
        "fitted in": f"{fitted - simulated:.1f} s, compilation included",
        **_accuracy(truth, hsq),
        "written to": str(out),
    }
    for name, value in facts.items():
        typer.echo(f"{name:<14}{value}")
    typer.echo(_fitted_summary(cohort.phenotypes, fit.reasons))


@contextmanager
def _bar(log: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left, and give the function that moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as bar:
        task = bar.add_task(what, total=total, rate="")
        started = time.perf_counter()

        def advance(count: int) -> None:
            bar.advance(task, count)
            rate = bar.tasks[task].completed / (time.perf_counter() - started)
            bar.update(task, rate=f"{rate:,.0f}/s")

        yield advance


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    """Say what is wrong with the input in one sentence on stderr, and exit with status 2."""
    try:
        with interruptible():
            yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sentence = str(error).replace("clip_negative=True", "--clip-kinship")
        typer.echo(f"Error: {sentence}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(130) from error


def _fitted_summary(traits: Sequence[str], reasons: Sequence[str]) -> str:
    from lmmlite_jax.data._names import few

    not_fitted: dict[str, list[str]] = {}
    for trait, reason in zip(traits, reasons, strict=True):
        if reason:
            not_fitted.setdefault(reason, []).append(trait)
    count = sum(map(len, not_fitted.values()))
    if count == 0:
        return f"all {len(traits)} traits fitted"
    lines = [f"{len(names)}: {reason} ({few(names)})" for reason, names in not_fitted.items()]
    return "\n  ".join([f"{count} of {len(traits)} traits without a regular fit", *lines])


def _demo_profiles(cohort: Cohort, hsq: np.ndarray) -> Figure:
    import numpy as np

    from lmmlite_jax.plot import plot_loglik_profiles

    pheno = np.asarray(cohort.pheno)
    complete = ~np.isnan(pheno).any(axis=0)
    shown = np.flatnonzero(complete & np.isfinite(hsq))[:_DEMO_PROFILES]
    rotated = lmm.eigen_rotation(cohort.kinship, pheno[:, shown], cohort.covar)
    grid = np.linspace(0, 1, 201)
    loglik = np.asarray(lmm.calc_ll(grid, rotated.Kva, rotated.y, rotated.X, reml=True))
    names = [cohort.phenotypes[trait] for trait in shown]
    return plot_loglik_profiles(grid, loglik, names, fits=hsq[shown])


def _accuracy(true_hsq: np.ndarray, hsq: np.ndarray) -> dict[str, str]:
    import numpy as np

    fitted = np.isfinite(hsq)
    truth, error = true_hsq[fitted], hsq[fitted] - true_hsq[fitted]
    return {
        "correlation": f"{np.corrcoef(truth, hsq[fitted])[0, 1]:.3f} of estimated and true h²",
        "mean bias": f"{error.mean():+.3f}",
        "RMSE": f"{np.sqrt(np.mean(error**2)):.3f}",
    }
