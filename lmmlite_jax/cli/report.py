"""The command ``report``: one HTML file of what ``map`` or ``herit`` has written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmmlite_jax.cli.common import one_sentence_errors

__all__ = ["report"]


def report(
    prefix: Annotated[
        Path,
        typer.Argument(
            help="Prefix of the files that map has written, or the table that herit has written."
        ),
    ],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder of the run's files.")
    ] = Path("."),
    rows: Annotated[
        int, typer.Option(min=1, help="Most rows of each table, the best first.")
    ] = 1000,
) -> None:
    """Write the results of map or herit to one HTML file: summary, pictures and tables."""
    from lmmlite_jax.report import write_report

    with one_sentence_errors():
        typer.echo(str(write_report(output_dir / prefix, rows=rows)))
