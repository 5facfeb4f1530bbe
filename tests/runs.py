"""Runs of ``lmmlite-jax map`` in processes of their own, and what they write."""

import sys

from lmmlite_jax.pipeline import Files

# Results are written at once, and pieces of the work are small.
PROGRAM = """
from lmmlite_jax.cli import app
from lmmlite_jax.mapping import trans_search
from lmmlite_jax.pipeline.parts import Parts
Parts.seconds = 0
trans_search._MOST_MARKERS = 512
app()
"""


INTERACTION = "trans with an interaction"


def command(cohort, prefix, run, *more):
    mode = "trans" if run == INTERACTION else run
    options = ["--kinship", "auto", "--mode", mode, "--window", "60000", "--permutations", "100"]
    files = [str(cohort / "g"), str(cohort / "y.bed"), str(prefix)]
    limit = ["--pval-threshold", "1e-3"]
    own = {
        "trans": ["--trans-permutations", "20"],
        "cis_independent": ["--conditional-pairs"],
        "trans_susie": ["--susie-loci", str(cohort / "loci.tsv")],
        INTERACTION: ["--interaction", str(cohort / "e.tsv")],
    }
    of_mode = [*limit, *own.get(run, [])]
    return [sys.executable, "-c", PROGRAM, "map", *files, *options, *of_mode, *more]


def files_of(cohort, **others):
    """Files of the cohort, and others."""
    return Files(genotypes=cohort / "g", phenotypes=cohort / "y.bed", **others)


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.endswith(".summary.json")
    }
