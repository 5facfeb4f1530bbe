"""Ways to look at results: plots, and the command line in `lmmlite_jax.faces.cli`."""

from lmmlite_jax.faces.plots import plot_hsq_estimates, plot_loglik_profiles
from lmmlite_jax.faces.run_plots import plot_run
from lmmlite_jax.faces.scan_plots import (
    plot_eqtl_map,
    plot_hsq_histogram,
    plot_locus,
    plot_lod,
    plot_manhattan,
    plot_qq,
)

__all__ = [
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
