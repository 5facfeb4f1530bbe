"""Genotype files: one module a format, and one function that opens any of them."""

from lmmlite_jax.data.genotypes.base import Block, GenotypeFile
from lmmlite_jax.data.genotypes.opening import open_genotypes
from lmmlite_jax.data.genotypes.reader import FileDosages

__all__ = ["Block", "FileDosages", "GenotypeFile", "open_genotypes"]
