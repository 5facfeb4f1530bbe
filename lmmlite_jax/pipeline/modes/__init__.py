"""The modes of a run: each does what is left to do, and then makes its tables."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import cast

from lmmlite_jax.pipeline.run import Run, Table

__all__ = ["MODES", "Mode", "mode_of"]

Mode = Callable[[Run], Iterator[Table]]

MODES = {
    "cis": "cis.map_best",
    "cis_nominal": "cis_nominal.map_nominal",
    "cis_independent": "cis_independent.map_independent",
    "cis_susie": "cis_susie.fine_map_near",
    "trans": "trans.map_pairs",
    "trans_susie": "trans_susie.fine_map_loci",
}
"""Module and function of each, by the name that users give."""


def mode_of(name: str) -> Mode:
    """The function of a mode. A user waits for imports: the others' modules are left alone."""
    module, _, function = MODES[name].partition(".")
    return cast(Mode, getattr(import_module(f"{__name__}.{module}"), function))
