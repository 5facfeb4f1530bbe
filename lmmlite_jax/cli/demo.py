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
_DEMO_PROFILES = 7
_DEMO_GENES = 300
_DEMO_MARKERS = 200  # on each of five chromosomes
_OWN_FILES = "lmmlite-jax map GENOTYPES EXPRESSION.bed PREFIX --kinship loco"


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder of the results, made where there is none.")
    ] = Path("lmmlite_demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulation")] = 0,
    compilation_cache: CompilationCache = None,
) -> None:
    """Simulate families, fit 2,000 traits, and map eQTL with and without kinship."""
    import numpy as np

    from lmmlite_jax.cli import demo_eqtl
    from lmmlite_jax.data import simulate_cohort
    from lmmlite_jax.pipeline.options import check_ranges

    log = standard_error()
    with one_sentence_errors(), kept_programs(compilation_cache, log.print):
        check_ranges(seed=seed)
        out.mkdir(parents=True, exist_ok=True)
        clock = [time.perf_counter()]
        with log.status("simulating"):
            cohort = simulate_cohort(
                _DEMO_INDIVIDUALS, _DEMO_TRAITS, missing=_DEMO_MISSING, seed=seed
            )
        clock.append(time.perf_counter())
        with log.status(f"fitting {_DEMO_TRAITS} traits"):
            tables = cohort.to_pandas()
            fit = lmm.fit_traits(tables.kinship, tables.pheno, tables.covar)
            hsq = np.asarray(fit.hsq)
        clock.append(time.perf_counter())
        with log.status(f"mapping eQTL of {_DEMO_GENES} genes, without and with kinship"):
            study = demo_eqtl.simulate_study(cohort, _DEMO_GENES, _DEMO_MARKERS, seed)
            scans = demo_eqtl.scan_both(study, cohort)
        clock.append(time.perf_counter())
        with log.status("writing"):
            _write_fits(cohort, fit, out)
            demo_eqtl.write_pictures(study, scans, out)
    simulating, fitting, mapping = np.diff(clock)
    facts = {
        **_of_cohort(cohort),
        "simulated in": f"{simulating:.1f} s",
        "fitted in": f"{fitting:.1f} s, compilation included",
        **_accuracy(np.asarray(cohort.hsq), hsq),
        "eQTL": f"{study.Y.shape[1]} genes × {study.G.shape[1]} markers, mapped twice in "
        f"{mapping:.1f} s, compilation included",
        **{name: demo_eqtl.in_words(log10p) for name, log10p in scans.items()},
        "written to": str(out),
    }
    for name, value in facts.items():
        typer.echo(f"{name:<17}{value}")
    typer.echo(fitted_summary(cohort.phenotypes, fit.reasons))
    typer.echo(f"{'your own files':<17}{_OWN_FILES}")


def _of_cohort(cohort: Cohort) -> dict[str, str]:
    import jax
    import numpy as np

    incomplete = int(np.isnan(cohort.pheno).any(axis=0).sum())
    device = jax.devices()[0]
    return {
        "individuals": f"{len(cohort.individuals)} in families",
        "traits": f"{len(cohort.phenotypes)}, {incomplete} with missing values",
        "device": f"{device} ({device.device_kind})",
    }


def _write_fits(cohort: Cohort, fit: lmm.LMMFit, out: Path) -> None:
    """Write a table of all fits, and pictures of what they say."""
    import numpy as np

    from lmmlite_jax.data import write_table
    from lmmlite_jax.plot import plot_hsq_estimates

    results, hsq = fit.to_pandas(), np.asarray(fit.hsq)
    write_table(results, out / "demo_fits.parquet")
    write_table(results, out / "demo_fits.tsv")
    truth = np.asarray(cohort.hsq)
    pictures = {
        "loglik_profiles": (_demo_profiles(cohort, hsq), f"{_DEMO_PROFILES} of {hsq.size} traits"),
        "hsq_estimates": (plot_hsq_estimates(truth, hsq), f"{hsq.size} traits"),
    }
    for name, (figure, what) in pictures.items():
        figure.axes[0].set_title(f"demo: {what}", loc="left", fontsize="medium")
        figure.savefig(out / f"{name}.png", dpi=150)


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
