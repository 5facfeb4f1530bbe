"""Maximum likelihood fit of rotated data, one trait or many."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.design import (
    Shared,
    TraitSums,
    counts_as_zero,
    design_at_nodes,
    sums_of_traits,
)
from lmmlite_jax.model.estimate import Components, estimate, where_fitted
from lmmlite_jax.model.inputs import ArrayOrFrame, check_enough
from lmmlite_jax.model.likelihood import NullDirections, null_directions, rotated_data
from lmmlite_jax.model.options import Options, Prior, check_options
from lmmlite_jax.model.precision import AnyArray, Scalar, in_float64, is_traced
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.skeleton import RANK_TOLERANCE, Skeleton, interval_skeleton
from lmmlite_jax.model.threads import few_blas_threads

__all__ = ["ABSORBED_TOLERANCE", "fit_lmm"]

ABSORBED_TOLERANCE = 1e-6
"""Part of K's largest eigenvalue below which its variance along the covariates counts as zero in
ML: a kinship matrix that was centred and then printed has that much rounding."""


@in_float64
def fit_lmm(
    Kva: ArrayOrFrame,
    y: ArrayOrFrame,
    X: ArrayOrFrame,
    reml: bool = True,
    check_boundary: bool = True,
    tol: float = 1e-8,
    compute_se: bool = False,
    *,
    prior_variance: float = 0.0,
    prior_sample_size: float = 0.0,
) -> LMMFit:
    """Fit a linear mixed model to rotated data, for one trait or many.

    The maximum is the global one over h² in [0, 1]: every local maximum of a grid is bracketed and
    refined by Newton's method, and the boundaries are compared.

    Parameters
    ----------
    Kva, y, X : (n,), (n,) or (n, m), (n, p)
        Rotated data of `eigen_rotation`.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    check_boundary : bool
        Compare h² = 0 and h² = 1 explicitly. Without, the search stays in [tol, 1 - tol].
    tol : float
        Largest last step in h², relative to h²(1 - h²).
    compute_se : bool
        Whether to give standard errors of β, h², σg² and σe².
    prior_variance, prior_sample_size : float
        Scaled inverse χ² prior on σ²: its scale, in the trait's units squared, and its degrees of
        freedom. No prior by default.

    Returns
    -------
    LMMFit
        ``beta`` (p,) or (p, m); all else of the shape of a trait axis.

    Raises
    ------
    ValueError
        If shapes do not fit, values are missing, or n < p + 2.

    Notes
    -----
    R/lmmlite's ``fitLMM``, without its limit of 1e-4 on the precision of h². The prior is
    BulkLMM's: σ² = (rss + prior_sample_size · prior_variance) / (n - p + prior_sample_size).

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=1, hsq=0.6, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    >>> fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    >>> bool(abs(fit.hsq - 0.6) < 0.3), fit.beta.shape
    (True, (3,))
    """
    spectrum, traits, covariates = rotated_data(Kva, y, X)
    n, p = covariates.shape
    check_enough(n, p)
    options = Options(reml, check_boundary, compute_se)
    prior = Prior(prior_variance, prior_sample_size)
    check_options(tol, prior)
    # All of LAPACK's matrices here are of p columns, and what follows is XLA's alone.
    with few_blas_threads(p):
        if not reml:
            spectrum = _without_absorbed(spectrum, covariates)
        ratio, largest, rounded = _interval(spectrum, covariates)
        skeleton = interval_skeleton(ratio, largest)
        design = jax.block_until_ready(
            design_at_nodes(spectrum, covariates, skeleton, reml=reml, rounded=rounded)
        )

    def fit(block: Float[AnyArray, "n _"]) -> LMMFit:
        # Only the first of these programs depends on n: a loop over cohorts of many sizes would
        # otherwise compile everything for each of them.
        sums = sums_of_traits(block, design, skeleton)
        shared = design.shared
        components = estimate(
            Profile(skeleton, sums.rss, sums.zero_rss, shared.logdet, shared.zeros),
            n=np.array([n]),
            p=p,
            free_zeros=shared.free_zeros,
            status=sums.status,
            tol=tol,
            prior=prior,
            options=options,
        )
        return _with_effects(components, sums, shared, skeleton)

    if traits.ndim == 1:
        return jax.tree.map(lambda a: a[..., 0], fit(traits[:, None]))
    return _in_blocks(fit, traits)


def _in_blocks(
    fit: Callable[[Float[AnyArray, "n _"]], LMMFit], y: Float[AnyArray, "n m"]
) -> LMMFit:
    """Fit blocks of traits of one width; the last overlaps the one before rather than be padded."""
    m, most = y.shape[1], at_once().traits
    if m <= most or is_traced(y):
        return fit(y)
    starts = [*range(0, m - most, most), m - most]
    stops = [*starts[1:], m]
    fits = [
        jax.tree.map(
            lambda a, width=stop - start: np.asarray(a)[..., :width],
            fit(y[:, start : start + most]),
        )
        for start, stop in zip(starts, stops, strict=True)
    ]
    return jax.tree.map(lambda *parts: jax.device_put(np.concatenate(parts, axis=-1)), *fits)


@jax.jit
def _without_absorbed(Kva: Float[Array, " n"], X: Float[Array, "n p"]) -> Float[Array, " n"]:
    """Eigenvalues for ML: zero where they are almost zero and the covariates span the direction."""
    almost_zero = Kva <= ABSORBED_TOLERANCE * jnp.max(Kva)
    leverage = jnp.sum(jnp.linalg.qr(X)[0] ** 2, axis=1)
    return jnp.where(almost_zero & (leverage > 1 - ABSORBED_TOLERANCE), 0.0, Kva)


def _interval(Kva: Float[AnyArray, " n"], X: Float[Array, "n p"]) -> tuple[float, Scalar, bool]:
    """Smallest over largest positive eigenvalue that any projection of K on X's complement has.

    And the largest, and whether positive ones beside X may have to count as zero.
    """
    if is_traced(Kva, X):
        return RANK_TOLERANCE, Kva.max(), True
    values = np.asarray(Kva)
    smallest, rounded = float(values[values > 0].min()), False
    if (values == 0).any():
        found = jax.device_get(_null_directions(Kva, X))
        partly = found.eigenvalues[found.pinned].min(initial=np.inf)
        # Half their harmonic mean is a bound: B of `NullDirections` at λ has 1/(Kva - λ).
        smallest = smallest / (1 + smallest / partly)
        rounded = bool(counts_as_zero(found).any())
    return smallest / float(values.max()), values.max(), rounded


@jax.jit
def _null_directions(Kva: Float[Array, " n"], X: Float[Array, "n p"]) -> NullDirections:
    return null_directions(Kva, jnp.linalg.qr(X)[0])


@jax.jit
def _with_effects(
    components: Components, sums: TraitSums, shared: Shared, skeleton: Skeleton
) -> LMMFit:
    """Add the fixed effects."""
    hsq = jnp.where(jnp.isnan(components.hsq), 0.0, components.hsq)
    # shifts / h is a sum of weights w(h), the shifts are not.
    nodes = skeleton.interpolation(hsq) / skeleton.hsq[:, None]
    shift = hsq * jnp.sum(nodes[:, None] * sums.shifts, axis=0)
    beta = shared.to_beta @ (sums.least_squares + shift)
    beta_se = None
    if components.hsq_se is not None:
        variance = components.sigmasq * shared.effect_variance(skeleton, hsq)
        beta_se = where_fitted(components.status, jnp.sqrt(variance))
    return LMMFit(
        beta=where_fitted(components.status, beta), beta_se=beta_se, **components._asdict()
    )
