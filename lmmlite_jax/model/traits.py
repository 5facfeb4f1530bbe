"""Fits of many traits with missing values, straight from a kinship matrix.

Traits observed in the same individuals share one decomposition. Patterns of missing values are
padded to a few sizes (a removed individual becomes a row of the identity in K and a zero in y and
X, which changes no likelihood) and go through one compiled program a size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np

from lmmlite_jax.model.engine import Group, make_engine
from lmmlite_jax.model.estimate import NO_PRIOR, Options, Prior, check_options
from lmmlite_jax.model.inputs import ArrayOrFrame, check_dtype
from lmmlite_jax.model.known_kinship import decompose_known, fit_known
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
        each pattern of missing values: about a second each at 10,000 simulations.
    simulations, seed : int
        How often, and the seed of the random numbers.
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
        _check_interval(interval, simulations, reml, prior)
    study = as_study(K, Y, X, weights, clip_negative=clip_negative, scale_kinship=scale_kinship)
    fit = fit_study(
        study,
        ALL_CHROMOSOMES,
        Options(reml, check_boundary, compute_se),
        tol=tol,
        prior=prior,
        dtype=dtype,
        law=None if interval is None else (interval, simulations, seed),
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
    law: tuple[float, int, int] | None = None,
    blup: bool = False,
) -> LMMFit:
    """Fit every trait with one of the kinships, inside a trace or outside."""
    sample, Y = study.sample(label), study.phenotypes
    traced = is_traced(sample, Y)
    if traced and law is not None:
        raise ValueError("interval is simulated outside of traces: leave it out under jit.")
    if traced and not is_traced(sample.K, sample.weights):
        known = decompose_known(sample)
        return fit_known(known, Y, sample.X, options, tol=tol, prior=prior, blup=blup)
    engine = make_engine(sample, options, tol=tol, prior=prior, dtype=dtype, law=law, blup=blup)
    if not traced:
        p = study.covariates.shape[1]
        enough = np.flatnonzero(study.counts >= p + 2)
        return collected(engine.groups(np.asarray(Y), enough), study.counts, p)
    everyone = engine.decompose(np.arange(len(Y))[None])
    _, block = engine.fit(everyone, None, np.zeros(1, int), Y[None])
    return jax.tree.map(lambda a: a[..., 0, :], block)


def _check_interval(level: float, simulations: int, reml: bool, prior: Prior) -> None:
    if not 0.5 <= level < 1:
        raise ValueError(f"interval must be a confidence level such as 0.95, got {level}.")
    if not reml:
        raise ValueError("interval inverts the restricted likelihood-ratio test: use reml=True.")
    if prior.size > 0:
        raise ValueError("interval knows no prior: leave prior_sample_size at 0 or ask for no one.")
    if simulations < 10 / (1 - level):
        raise ValueError(
            f"simulations must be at least {np.ceil(10 / (1 - level)):.0f} for an interval of "
            f"level {level}, got {simulations}."
        )


def collected(groups: Iterator[Group], counts: np.ndarray, p: int) -> LMMFit:
    """Fits of groups of traits in the order of the traits, with ``counts`` (m,) individuals."""
    m = len(counts)
    columns: dict[str, np.ndarray] = {"n": counts, "status": status_of_counts(counts, p)}
    for group in groups:
        _collect(columns, m, group.traits, group.fit)
    if "hsq" not in columns:
        nothing = np.full(m, np.nan)
        names = ("sigmasq", "hsq", "sigmasq_g", "sigmasq_e", "loglik", "lrt", "lrt_pvalue")
        columns |= {"beta": np.full((p, m), np.nan)} | dict.fromkeys(names, nothing)
    arrays: dict[str, Any] = {name: jax.device_put(values) for name, values in columns.items()}
    return LMMFit(**arrays)


def _collect(columns: dict[str, np.ndarray], m: int, traits: np.ndarray, block: LMMFit) -> None:
    """Put the results of blocks of traits where they belong among all m."""
    used = traits >= 0
    for item in fields(LMMFit):
        values = getattr(block, item.name)
        if values is None:
            continue
        values = np.asarray(values)
        if item.name not in columns:
            columns[item.name] = np.full((*values.shape[: -traits.ndim], m), np.nan)
        columns[item.name][..., traits[used]] = values[..., used]
