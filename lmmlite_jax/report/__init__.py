"""One HTML file of the results of a command."""

from lmmlite_jax.report.write import write_report

__all__ = ["write_report"]
