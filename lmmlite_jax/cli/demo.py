"""The command ``demo``: a simulated cohort, fitted and compared with the truth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lmmlite_jax as lmm
from lmmlite_jax.cli.common import (
    CompilationCache,
    fitted_summary,
    one_sentence_errors,
    standard_error,
)
from lmmlite_jax.compilation_cache import kept_programs

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from lmmlite_jax.data.cohort import Cohort

__all__ = ["demo"]

_DEMO_INDIVIDUALS = 500
_DEMO_TRAITS = 2000
# Each pattern of missing values costs an eigendecomposition: about one trait in twenty has one.
_DEMO_MISSING = 1e-4
_DEMO_PROFILES = 8


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder of the results, made where there is none.")
    ] = Path("lmmlite_demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulation")] = 0,
    compilation_cache: CompilationCache = None,
) -> None:
    """Simulate families, fit 2,000 traits, and compare estimates with the truth."""
    import jax
    import numpy as np

    from lmmlite_jax.data import simulate_cohort, write_table
    from lmmlite_jax.pipeline.options import check_ranges
    from lmmlite_jax.plot import plot_hsq_estimates

    log = standard_error()
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_ranges(seed=seed)
        out.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with log.status("simulating"):
            cohort = simulate_cohort(
                _DEMO_INDIVIDUALS, _DEMO_TRAITS, missing=_DEMO_MISSING, seed=seed
            )
        simulated = time.perf_counter()
        with log.status(f"fitting {_DEMO_TRAITS} traits"):
            tables = cohort.to_pandas()
            fit = lmm.fit_traits(tables.kinship, tables.pheno, tables.covar)
            hsq = np.asarray(fit.hsq)
        fitted = time.perf_counter()
        with log.status("writing"):
            results = fit.to_pandas()
            write_table(results, out / "demo_fits.parquet")
            write_table(results, out / "demo_fits.tsv")
            _demo_profiles(cohort, hsq).savefig(out / "loglik_profiles.png", dpi=150)
            truth = np.asarray(cohort.hsq)
            plot_hsq_estimates(truth, hsq).savefig(out / "hsq_estimates.png", dpi=150)
    incomplete = int(np.isnan(cohort.pheno).any(axis=0).sum())
    device = jax.devices()[0]
    facts = {
        "individuals": f"{len(cohort.individuals)} in families",
        "traits": f"{len(cohort.phenotypes)}, {incomplete} with missing values",
        "device": f"{device} ({device.device_kind})",
        "simulated in": f"{simulated - started:.1f} s",
        "fitted in": f"{fitted - simulated:.1f} s, compilation included",
        **_accuracy(truth, hsq),
        "written to": str(out),
    }
    for name, value in facts.items():
        typer.echo(f"{name:<14}{value}")
    typer.echo(fitted_summary(cohort.phenotypes, fit.reasons))


def _demo_profiles(cohort: Cohort, hsq: np.ndarray) -> Figure:
    import numpy as np

    from lmmlite_jax.plot import plot_loglik_profiles

    pheno = np.asarray(cohort.pheno)
    complete = ~np.isnan(pheno).any(axis=0)
    shown = np.flatnonzero(complete & np.isfinite(hsq))[:_DEMO_PROFILES]
    rotated = lmm.eigen_rotation(cohort.kinship, pheno[:, shown], cohort.covar)
    grid = np.linspace(0, 1, 201)
    loglik = np.asarray(lmm.calc_ll(grid, rotated.Kva, rotated.y, rotated.X, reml=True))
    names = [cohort.phenotypes[trait] for trait in shown]
    return plot_loglik_profiles(grid, loglik, names, fits=hsq[shown])


def _accuracy(true_hsq: np.ndarray, hsq: np.ndarray) -> dict[str, str]:
    import numpy as np

    fitted = np.isfinite(hsq)
    truth, error = true_hsq[fitted], hsq[fitted] - true_hsq[fitted]
    return {
        "correlation": f"{np.corrcoef(truth, hsq[fitted])[0, 1]:.3f} of estimated and true h²",
        "mean bias": f"{error.mean():+.3f}",
        "RMSE": f"{np.sqrt(np.mean(error**2)):.3f}",
    }
