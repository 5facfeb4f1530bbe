"""The command ``plot``: pictures of what ``map`` has written."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmmlite_jax.cli.common import Mode, mode_of, one_sentence_errors

__all__ = ["Suffix", "plot"]


class Suffix(StrEnum):
    """What `plot` writes."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


def plot(
    prefix: Annotated[Path, typer.Argument(help="Prefix of the files that map has written.")],
    mode: Annotated[
        Mode,
        typer.Option(
            parser=mode_of,
            metavar="MODE",
            help="Mode of map whose results are drawn.",
        ),
    ] = Mode.cis,
    feature: Annotated[
        str | None,
        typer.Option(
            help="Feature whose locus is drawn, in cis_nominal, cis_susie and trans_susie; by "
            "default that of the smallest p-value or the best credible set."
        ),
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder of the run's files.")
    ] = Path("."),
    suffix: Annotated[Suffix, typer.Option(help="Format of the pictures.")] = Suffix.png,
) -> None:
    """Draw the results of map: Manhattan, QQ, eQTL map, locus, credible sets, heritabilities."""
    from lmmlite_jax.plot import plot_run

    whole = output_dir / prefix
    with one_sentence_errors():
        for name, axes in plot_run(whole, mode.value, feature).items():
            path = whole.with_name(f"{whole.name}.{mode.value}.{name}.{suffix.value}")
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.savefig(path, dpi=200, bbox_inches="tight")
            typer.echo(str(path))
