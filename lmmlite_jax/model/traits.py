"""Fits of many traits with missing values, straight from a kinship matrix.

Traits observed in the same individuals share one decomposition. Patterns of missing values are
padded to a few sizes (a removed individual becomes a row of the identity in K and a zero in y and
X, which changes no likelihood) and go through one compiled program a size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Int

from lmmlite_jax.model.engine import Engine, Group, make_engine
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.known_kinship import decompose_known, fit_known
from lmmlite_jax.model.options import (
    NO_PRIOR,
    Options,
    Prior,
    check_dtype,
    check_interval,
    check_options,
    check_simulation,
)
from lmmlite_jax.model.precision import in_float64, is_traced
from lmmlite_jax.model.result import LMMFit, status_of_counts
from lmmlite_jax.model.study import ALL_CHROMOSOMES, Study, as_study

__all__ = ["collected", "fit_study", "fit_traits"]


@in_float64
def fit_traits(
    K: ArrayOrFrame,
    Y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    *,
    reml: bool = True,
    check_boundary: bool = True,
    tol: float = 1e-8,
    compute_se: bool = False,
    interval: float | None = None,
    simulate_pvalue: bool = False,
    simulations: int = 10_000,
    seed: int = 0,
    blup: bool = False,
    weights: ArrayOrFrame | None = None,
    prior_variance: float = 0.0,
    prior_sample_size: float = 0.0,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    dtype: str = "float64",
) -> LMMFit:
    """Fit a linear mixed model to each of many traits.

    Parameters
    ----------
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite.
    Y : (n, m) array or data frame
        Phenotypes; NaN where missing. Each trait is fitted to the individuals observed for it.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    check_boundary, tol, compute_se
        As in `fit_lmm`.
    interval : float, optional
        Confidence level, such as 0.95, of intervals for h². They, and the p-value of h² = 0 that
        comes with them, invert the restricted likelihood-ratio test, whose law is simulated for
        each pattern of missing values: half a second (n = 200) to a second (n = 500) of a core
        each at 10,000 simulations, and some seven seconds more in the first call, which compiles.
    simulate_pvalue : bool
        Whether to give that p-value alone, `LMMFit.lrt_pvalue_simulated`, at a small part of the
        time. ``lrt_pvalue`` is too large, up to about twice, where individuals form few groups or
        are correlated smoothly, as in space.
    simulations, seed : int
        Number of simulations, and the seed of the random numbers. No simulated p-value is smaller
        than 1/(simulations + 1).
    blup : bool
        Whether to predict the genetic values g, of individuals without a phenotype as well.
    weights : (n,), optional
        Weights of the individuals' residuals, whose variance is σe² / weight: animals behind a
        strain mean, for example.
    prior_variance, prior_sample_size : float
        As in `fit_lmm`.
    clip_negative : bool
        Set negative eigenvalues of K to zero instead of refusing them: once, before individuals
        are left out for missing phenotypes.
    scale_kinship : bool
        Divide K by its mean diagonal first, so that h² is a heritability.
    dtype : "float64" or "float32"
        Precision of the rotation and of the sums over individuals; everything else is in float64.

    Returns
    -------
    LMMFit
        Fields of shape (m,), ``beta`` of shape (p, m). A trait without a fit has NaN and a reason
        (``reasons``); it does not touch its neighbours.

    Raises
    ------
    ValueError
        If K, Y or X cannot be used at all, as in `eigen_rotation`.

    Notes
    -----
    Restricted likelihood in the complement of the covariates; Kang et al. 2008.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=100, m=20, missing=0.1, seed=1)
    >>> fit = lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar)
    >>> fit.hsq.shape, fit.beta.shape
    ((20,), (3, 20))
    """
    check_dtype(dtype)
    prior = Prior(prior_variance, prior_sample_size)
    check_options(tol, prior)
    if interval is not None:
        check_interval(interval, simulations)
    asked = "interval" if interval is not None else "simulate_pvalue"
    simulated = interval is not None or simulate_pvalue
    if simulated:
        check_simulation(asked, simulations, reml, prior)
    study = as_study(K, Y, X, weights, clip_negative=clip_negative, scale_kinship=scale_kinship)
    if simulated and study.is_traced:
        raise ValueError(f"{asked} is simulated outside of traces: leave it out under jit.")
    fit = fit_study(
        study,
        ALL_CHROMOSOMES,
        Options(reml, check_boundary, compute_se),
        tol=tol,
        prior=prior,
        dtype=dtype,
        law=(interval, simulations, seed) if simulated else None,
        blup=blup,
    )
    return replace(fit, traits=study.trait_names, covariates=study.covariate_names)


def fit_study(
    study: Study,
    label: str,
    options: Options,
    *,
    tol: float,
    prior: Prior = NO_PRIOR,
    dtype: str = "float64",
    law: tuple[float | None, int, int] | None = None,
    blup: bool = False,
) -> LMMFit:
    """Fit every trait with one of the kinships, inside a trace or outside."""
    sample, Y = study.sample(label), study.phenotypes
    traced = is_traced(sample, Y)
    if traced and not is_traced(sample.K, sample.weights):
        known = decompose_known(sample)
        return fit_known(known, Y, sample.X, options, tol=tol, prior=prior, blup=blup)
    engine = make_engine(
        sample,
        options,
        tol=tol,
        prior=prior,
        dtype=dtype,
        law=law,
        blup=blup,
        complete=study.complete,
    )
    if not traced:
        enough = np.flatnonzero(study.counts >= study.covariates.shape[1] + 2)
        status = status_of_counts(study.counts, len(study.covariates.T))
        groups = engine.groups(np.asarray(Y), enough, finish=True)
        return collected(engine, groups, study.counts, status)
    everyone = engine.decompose(np.arange(len(Y))[None])
    _, block = engine.fit(everyone, Y[None])
    return jax.tree.map(lambda a: a[..., 0, :], block)


def collected(
    engine: Engine,
    groups: Iterator[Group],
    counts: Int[np.ndarray, " m"],
    status: Int[np.ndarray, " m"],
) -> LMMFit:
    """Fits of groups of traits in the order of the traits.

    ``counts`` are the individuals observed, and ``status`` those before any fit. Effects are of the
    engine's covariates, not of one that a trait has of its own.
    """
    n, p = engine.sample.X.shape
    shapes = _shapes_of_fits(engine, n, p, counts.size)
    columns: dict[str, np.ndarray] = {name: np.full(of, np.nan) for name, of in shapes.items()}
    columns |= {"n": counts.copy(), "status": status}
    for group in groups:
        traits = group.traits.ravel()
        (places,) = np.nonzero(traits >= 0)
        to, used = _run(traits[places]), _run(places)
        fit = engine.fit_of(group)
        for name, values in columns.items():
            of_group = np.asarray(getattr(fit, name))
            of_group = of_group.reshape(*of_group.shape[:-2], -1)
            of_group = of_group[: len(values)] if values.ndim == 2 else of_group
            values[..., to] = of_group[..., used]
    arrays = {name: jax.device_put(values) for name, values in columns.items()}
    return LMMFit(**arrays)


def _run(places: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"] | slice:
    """Places that follow one another as a slice, which NumPy copies many times faster."""
    if places.size and np.all(np.diff(places) == 1):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _shapes_of_fits(engine: Engine, n: int, p: int, m: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the fields that fits of m traits have, whether any trait can be fitted or not."""
    names = ["sigmasq", "hsq", "sigmasq_g", "sigmasq_e", "loglik", "lrt", "lrt_pvalue"]
    if engine.options.compute_se:
        names += ["hsq_se", "sigmasq_g_se", "sigmasq_e_se"]
    if engine.laws is not None:
        names.append("lrt_pvalue_simulated")
    if engine.interval:
        names += ["hsq_low", "hsq_high"]
    shapes: dict[str, tuple[int, ...]] = {"beta": (p, m), **dict.fromkeys(names, (m,))}
    if engine.options.compute_se:
        shapes["beta_se"] = (p, m)
    if engine.predict is not None:
        shapes["blup"] = (n, m)
    return shapes
