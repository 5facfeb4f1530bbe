"""Genotype files: one module a format, and one function that opens any of them."""

from lmmlite_jax.data.genotypes.base import Block, GenotypeFile
from lmmlite_jax.data.genotypes.opening import open_genotypes

__all__ = ["Block", "GenotypeFile", "open_genotypes"]
