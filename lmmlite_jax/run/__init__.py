"""Runs from files to files: inputs matched, a mode of mapping, tables written, a summary."""

from lmmlite_jax.run.files import map_files
from lmmlite_jax.run.inputs import Inputs, read_inputs

__all__ = ["Inputs", "map_files", "read_inputs"]
