"""The modes of a run: each does what is left to do, and then makes its tables."""

from collections.abc import Callable, Iterator

from lmmlite_jax.pipeline.modes.cis import map_best
from lmmlite_jax.pipeline.modes.cis_independent import map_independent
from lmmlite_jax.pipeline.modes.cis_nominal import map_nominal
from lmmlite_jax.pipeline.modes.cis_susie import fine_map_near
from lmmlite_jax.pipeline.modes.trans import map_pairs
from lmmlite_jax.pipeline.modes.trans_susie import fine_map_loci
from lmmlite_jax.pipeline.run import Run, Table

__all__ = ["MODES", "Mode"]

Mode = Callable[[Run], Iterator[Table]]

MODES: dict[str, Mode] = {
    "cis": map_best,
    "cis_nominal": map_nominal,
    "cis_independent": map_independent,
    "cis_susie": fine_map_near,
    "trans": map_pairs,
    "trans_susie": fine_map_loci,
}
"""By the name that users give."""
