"""Pictures of results: genome scans, likelihoods, heritabilities, and whole runs."""

from lmmlite_jax.plot.credible_sets import plot_credible_sets
from lmmlite_jax.plot.eqtl_map import plot_eqtl_map
from lmmlite_jax.plot.heritability import (
    plot_hsq_estimates,
    plot_hsq_histogram,
    plot_loglik_profiles,
)
from lmmlite_jax.plot.locus import plot_locus
from lmmlite_jax.plot.lod import plot_lod
from lmmlite_jax.plot.manhattan import plot_manhattan
from lmmlite_jax.plot.qq import plot_qq
from lmmlite_jax.plot.run import plot_run

__all__ = [
    "plot_credible_sets",
    "plot_eqtl_map",
    "plot_hsq_estimates",
    "plot_hsq_histogram",
    "plot_locus",
    "plot_lod",
    "plot_loglik_profiles",
    "plot_manhattan",
    "plot_qq",
    "plot_run",
]
