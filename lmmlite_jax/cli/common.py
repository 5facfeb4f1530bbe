"""What commands share: their app's class of command, options, log, bar and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperOption

from lmmlite_jax.cli.words import for_commands
from lmmlite_jax.compilation_cache import VARIABLE
from lmmlite_jax.interrupts import interruptible

__all__ = [
    "ClipKinship",
    "Command",
    "CompilationCache",
    "Genotypes",
    "Mode",
    "Quiet",
    "ScaleKinship",
    "fitted_summary",
    "mode_of",
    "one_sentence_errors",
    "progress_bar",
    "standard_error",
    "with_hyphens",
]


class Mode(StrEnum):
    """What `lmmlite_jax.pipeline.map_files` maps."""

    cis = "cis"
    cis_nominal = "cis_nominal"
    cis_independent = "cis_independent"
    cis_susie = "cis_susie"
    trans = "trans"
    trans_susie = "trans_susie"


def with_hyphens(token: str) -> str:
    """Spell options with underscores, which are tensorQTL's, as ours."""
    return token.replace("_", "-")


class Command(TyperCommand):
    """A command whose help says in which range a number must lie."""

    # Of click's types, which some versions of typer have from click and others of their own.
    def format_help(self, *context_and_formatter: Any) -> None:
        """Write the help, with the ranges that the pipeline checks."""
        from lmmlite_jax.pipeline.options import RANGES

        for option in self.params:
            if option.name in RANGES and isinstance(option, TyperOption):
                option.help = f"{option.help}; {RANGES[option.name]}."
        super().format_help(*context_and_formatter)


def mode_of(text: str) -> Mode:
    """Mode of that name, its words separated by underscores or hyphens."""
    try:
        return Mode(text.replace("-", "_"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(Mode)}.") from error


Genotypes = Annotated[
    Path,
    typer.Argument(
        help="Genotype file: PLINK 1 or 2 (the prefix is enough), VCF, BCF, BGEN, Parquet or "
        "an R/qtl2 zip."
    ),
]
ClipKinship = Annotated[
    bool,
    typer.Option("--clip-kinship", help="Set negative eigenvalues of the kinship matrix to 0."),
]
ScaleKinship = Annotated[
    bool, typer.Option("--scale-kinship", help="Divide the kinship matrix by its mean diagonal.")
]
CompilationCache = Annotated[
    str | None,
    typer.Option(
        envvar=VARIABLE,
        metavar="FOLDER|off",
        help="Folder in which compiled programs are kept for later runs, or off to keep none. By "
        "default it is in the platform's cache folder, or JAX_COMPILATION_CACHE_DIR if that is "
        "set.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Report only errors.")]


def standard_error(*, quiet: bool = False) -> Console:
    """Console of the log, whose lines are as long as they are."""
    return Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(log: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
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
def one_sentence_errors() -> Iterator[None]:
    """Say what is wrong with the input in one sentence on stderr, and exit with status 2."""
    try:
        with interruptible():
            yield
    except (ValueError, OSError, MemoryError, ModuleNotFoundError) as error:
        typer.echo(f"Error: {for_commands(str(error))}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(130) from error


def fitted_summary(traits: Sequence[str], reasons: Sequence[str]) -> str:
    """Say how many traits were fitted, and for what reason others were not."""
    from lmmlite_jax.data._names import counted, few

    not_fitted: dict[str, list[str]] = {}
    for trait, reason in zip(traits, reasons, strict=True):
        if reason:
            not_fitted.setdefault(reason, []).append(trait)
    count = sum(map(len, not_fitted.values()))
    if count == 0:
        return "the trait is fitted" if len(traits) == 1 else f"all {len(traits)} traits fitted"
    lines = [f"{len(names)}: {reason} ({few(names)})" for reason, names in not_fitted.items()]
    return "\n  ".join(
        [f"{count} of {counted(len(traits), 'trait')} without a regular fit", *lines]
    )
