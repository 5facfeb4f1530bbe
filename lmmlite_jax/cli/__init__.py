"""The command line ``lmmlite-jax``.

Each command imports what it needs when it is called, so that the list of commands, the version and
usage errors come at once. It does so before it reads anything, where an interrupt may end the
process.
"""

from __future__ import annotations

from typing import Annotated

import typer

import lmmlite_jax as lmm
from lmmlite_jax.cli import demo, herit, kinship, map, plot, prepare, report
from lmmlite_jax.cli.common import Command, with_hyphens

__all__ = ["app"]

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


# tensorQTL writes options with underscores.
_AS_TENSORQTL = {"token_normalize_func": with_hyphens}

app.command("herit", cls=Command)(herit.herit)
app.command("kinship", cls=Command)(kinship.kinship)
app.command("prepare", cls=Command)(prepare.prepare)
app.command("map", cls=Command, context_settings=_AS_TENSORQTL)(map.map_qtl)
app.command("plot", cls=Command, context_settings=_AS_TENSORQTL)(plot.plot)
app.command("report", cls=Command, context_settings=_AS_TENSORQTL)(report.report)
app.command("demo", cls=Command)(demo.demo)
