"""Ways to look at results: plots, and the command line in `lmmlite_jax.faces.cli`."""

from lmmlite_jax.faces.plots import plot_hsq_estimates, plot_loglik_profiles

__all__ = ["plot_hsq_estimates", "plot_loglik_profiles"]
