"""Cohorts and files: genotypes, phenotypes, covariates and kinship in, tables of results out."""

from lmmlite_jax.data.chromosomes import match_chromosomes
from lmmlite_jax.data.cohort import Cohort
from lmmlite_jax.data.covariates import read_covariates, read_interaction, read_samples_map
from lmmlite_jax.data.genes import read_genes
from lmmlite_jax.data.genotypes import Block, FileDosages, GenotypeFile, open_genotypes
from lmmlite_jax.data.kinship_files import (
    read_kinship,
    read_loco_kinship,
    write_kinship,
)
from lmmlite_jax.data.loci import read_loci
from lmmlite_jax.data.phenotype_groups import read_phenotype_groups
from lmmlite_jax.data.phenotypes import (
    Phenotypes,
    read_annotation,
    read_phenotypes,
)
from lmmlite_jax.data.recla import load_recla
from lmmlite_jax.data.samples import (
    Dropped,
    Matched,
    MatchedIds,
    MatchReport,
    match_ids,
    match_samples,
)
from lmmlite_jax.data.simulate import simulate_cohort
from lmmlite_jax.data.tables import read_table, write_table

__all__ = [
    "Block",
    "Cohort",
    "Dropped",
    "FileDosages",
    "GenotypeFile",
    "MatchReport",
    "Matched",
    "MatchedIds",
    "Phenotypes",
    "load_recla",
    "match_chromosomes",
    "match_ids",
    "match_samples",
    "open_genotypes",
    "read_annotation",
    "read_covariates",
    "read_genes",
    "read_interaction",
    "read_kinship",
    "read_loci",
    "read_loco_kinship",
    "read_phenotype_groups",
    "read_phenotypes",
    "read_samples_map",
    "read_table",
    "simulate_cohort",
    "write_kinship",
    "write_table",
]
