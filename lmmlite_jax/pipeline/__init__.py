"""Runs from files to files: inputs matched, a mode of mapping, tables written, a summary."""

from lmmlite_jax._optional import require

require("pandas", "io")

from lmmlite_jax.pipeline.kinship import genotype_kinship  # noqa: E402
from lmmlite_jax.pipeline.map_files import map_files  # noqa: E402
from lmmlite_jax.pipeline.prepare import prepare_expression  # noqa: E402
from lmmlite_jax.pipeline.processes import ALONE, Share, share_of_environment  # noqa: E402
from lmmlite_jax.pipeline.settings import Files, Settings  # noqa: E402

__all__ = [
    "ALONE",
    "Files",
    "Settings",
    "Share",
    "genotype_kinship",
    "map_files",
    "prepare_expression",
    "share_of_environment",
]
