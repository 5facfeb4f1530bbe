"""Several variance components: one kinship for each source of resemblance.

Var(y) = Σ_c σ_c² K_c + σe² I with every σ² ≥ 0: additive and dominance effects, genotype by
environment, cell by donor. No rotation makes several kinships diagonal together, so that every
step of a trait factorises its variance matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.average_information import (
    Point,
    TraitData,
    best_start,
    differentiable,
    likelihood_ratios,
    maximise,
    pieces_at,
    smallest_eigenvalue,
    variance_of_estimates,
)
from lmmlite_jax.model.components_result import ComponentsFit
from lmmlite_jax.model.derivatives import differentiable_times
from lmmlite_jax.model.estimate import boundary_pvalue, constant_status
from lmmlite_jax.model.inputs import (
    COLLINEAR_TOLERANCE,
    ArrayOrFrame,
    as_covariates,
    as_kinship,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.options import check_level, check_tolerance
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.rotation import check_spectrum
from lmmlite_jax.model.share_interval import share_limits
from lmmlite_jax.model.threads import cores, few_blas_threads, on_cpu, side_by_side
from lmmlite_jax.model.variance import Pieces

__all__ = ["fit_components"]

DEPENDENT = 1e-10
"""Part of a kinship, in squares, left beside the others below which it counts as their sum."""

REFUSAL = (
    "fit_components has first derivatives only: differentiate log_likelihood, of the sum of the "
    "kinships, for higher ones."
)

SPIKE = 1e-6
"""In ML, a variance matrix this close to singular at the maximum has followed the ML spike."""


@in_float64
def fit_components(
    kinships: Sequence[ArrayOrFrame] | Mapping[str, ArrayOrFrame],
    y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    reml: bool = True,
    *,
    tests: bool = True,
    interval: float | None = None,
    tol: float = 1e-8,
    max_steps: int = 200,
) -> ComponentsFit:
    """Fit a mixed model with several kinship matrices, for one trait or many.

    Parameters
    ----------
    kinships : sequence or dict of (n, n) arrays or data frames
        Kinship matrices K_c: symmetric, positive semidefinite, none a combination of the others
        and the identity. A dict names the components.
    y : (n,) or (n, m) array or data frame
        Phenotypes; NaN where missing. Each trait is fitted to the individuals observed for it.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    reml : bool
        Restricted likelihood (default) or full likelihood (ML), whose variances come in the same
        convention: (n - p)/n times them are lme4's.
    tests : bool
        Whether to test each component, which takes one more fit for each.
    interval : float, optional
        Confidence level, such as 0.95, of intervals for the proportions: all values that the
        restricted likelihood-ratio test does not reject, its critical value being larger where a
        kinship has few contrasts. They take two to five times as long as the rest.
    tol : float
        Largest last step in any component, as a part of the trait's variance.
    max_steps : int
        Steps after which a trait is given up, with its reason.

    Returns
    -------
    ComponentsFit

    Raises
    ------
    ValueError
        If a kinship matrix, y or X cannot be used, or a kinship is a combination of the others and
        the identity among the complement of the covariates.

    Notes
    -----
    Average-information steps (Gilmour, Thompson and Cullis 1995) projected on σ² ≥ 0, shortened
    until the likelihood grows, from the best of C + 2 divisions of the variance. The likelihood of
    several components may have several maxima; this is the one reached from there. With one
    kinship the estimates are those of `fit_lmm`. A step costs O((C + n) n²) a trait.

    All numbers have first derivatives in the kinships, y and X, by the implicit function theorem;
    zero for a component at zero. They need JAX's 64-bit types.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, hsq=0.5, seed=1)
    >>> house = np.kron(np.eye(40), np.ones((3, 3)))
    >>> kinships = {"kin": cohort.kinship, "house": house}
    >>> fit = lmm.fit_components(kinships, cohort.pheno, interval=0.95)
    >>> print(fit.proportion.round(2))
    [[0.17 0.34]
     [0.   0.  ]]
    >>> print(fit.proportion_high.round(2))
    [[0.6  0.66]
     [0.19 0.17]]
    """
    names = tuple(kinships) if isinstance(kinships, Mapping) else None
    given = list(kinships.values()) if isinstance(kinships, Mapping) else list(kinships)
    if not given:
        raise ValueError("kinships is empty: give at least one kinship matrix.")
    check_tolerance(tol)
    if interval is not None:
        check_level(interval)
        if not reml:
            raise ValueError("interval is for the restricted likelihood-ratio test: use reml=True.")
    tables = [as_kinship(K) for K in given]
    n = np.shape(tables[0].values)[0]
    called = [f"kinships[{c!r}]" for c in names or range(len(tables))]
    for name, table in zip(called, tables, strict=True):
        if np.shape(table.values) != (n, n):
            raise ValueError(
                f"kinships must be of the same individuals: {called[0]} has shape ({n}, {n}), "
                f"{name} has {np.shape(table.values)}."
            )
        if not is_traced(table.values):
            with few_blas_threads(n):
                check_spectrum(np.linalg.eigvalsh(table.values), clip_negative=False)
    traits, covariates = as_traits("y", y, n, missing=True), as_covariates(X, n)
    check_same_individuals(**dict(zip(called, tables, strict=True)), y=traits, X=covariates)
    stack = [table.values for table in tables]
    if interval is not None and is_traced(*stack, traits.values, covariates.values):
        raise ValueError("interval has no derivatives: leave it out under jit and grad.")
    if not is_traced(*stack, covariates.values):
        _refuse_dependent(called, stack, covariates.values)

    values = traits.values if np.ndim(traits.values) == 2 else traits.values[:, None]
    K, X = jnp.stack([jnp.asarray(K) for K in stack]), jnp.asarray(covariates.values)

    def run(Y: Float[AnyArray, "n m"]) -> dict[str, Any]:
        at = K, jnp.asarray(Y), X, tol, max_steps, interval
        return _fit_traits(*at, reml=reml, tests=tests)

    fit = run(values) if is_traced(K, values, X) else _on_all_cores(run, values)
    one = np.ndim(traits.values) == 1
    fit = {name: a[..., 0] if one and a is not None else a for name, a in fit.items()}
    return ComponentsFit(
        **fit, kinships=names, traits=traits.columns, covariates=covariates.columns
    )


def _refuse_dependent(called: list[str], kinships: list[np.ndarray], X: np.ndarray) -> None:
    """Refuse a kinship that others and the identity add up to, where covariates leave anything."""
    Q = np.linalg.qr(X)[0]
    columns = []
    for K in [np.eye(len(X)), *kinships]:
        half = K @ Q - Q @ (Q.T @ K @ Q) / 2
        columns.append((K - Q @ half.T - half @ Q.T).ravel())
    norms = [np.linalg.norm(K) for K in [np.eye(len(X)), *kinships]]
    gram = np.array([[a @ b for b in columns] for a in columns]) / np.outer(norms, norms)
    root = np.linalg.cholesky(gram + 1e-14 * np.eye(len(gram)))
    left = np.diag(root) ** 2
    if np.any(left <= DEPENDENT):
        culprit = called[int(np.flatnonzero(left <= DEPENDENT)[0]) - 1]
        raise ValueError(
            f"{culprit} is a combination of the identity and the kinships before it, beside the "
            "covariates: their variances cannot be told apart; leave it out."
        )


def _on_all_cores(
    run: Callable[[np.ndarray], dict[str, Any]], Y: Float[AnyArray, "n m"]
) -> dict[str, Any]:
    """Fits of equal parts of the traits, each on a thread of its own that BLAS's do not disturb."""
    n, m = np.shape(Y)
    count = max(1, min(cores(), m) if on_cpu() else 1)
    size = -(-m // count)
    padded = np.full((n, count * size), np.nan)
    padded[:, :m] = Y
    with few_blas_threads(n if count == 1 else 1):
        fits = side_by_side(run, np.split(padded, count, axis=1))
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), *fits)
    return {name: None if a is None else a[..., :m] for name, a in joined.items()}


@partial(jax.jit, static_argnames=("reml", "tests"))
def _fit_traits(
    kinships: Float[Array, "C n n"],
    Y: Float[Array, "n m"],
    X: Float[Array, "n p"],
    tol: Array,
    max_steps: Array,
    level: Array | None,
    *,
    reml: bool,
    tests: bool,
) -> dict[str, Array | None]:
    kinships, Y, X = differentiable_times(1, REFUSAL, kinships, Y, X)
    kinships = (kinships + jnp.swapaxes(kinships, 1, 2)) / 2
    scales = jnp.trace(kinships, axis1=1, axis2=2) / Y.shape[0]
    kinships = kinships / scales[:, None, None]
    fit_one = partial(_fit_trait, kinships, X, tol, max_steps, level, reml, tests)
    # One after the other: batches of LAPACK calls gain nothing, and have been seen to hang.
    fit = lax.map(lambda y: fit_one(y, scales), Y.T)
    return {name: None if a is None else jnp.moveaxis(a, 0, -1) for name, a in fit.items()}


def _fit_trait(
    kinships: Float[Array, "C n n"],
    X: Float[Array, "n p"],
    tol: Array,
    max_steps: Array,
    level: Array | None,
    reml: bool,
    tests: bool,
    y: Float[Array, " n"],
    scales: Float[Array, " C"],
) -> dict[str, Array | None]:
    """One trait, its variance and the kinships' mean diagonals scaled to 1 on the way."""
    prepared = _prepared(kinships, X, y, reml)
    data, status = prepared.data, prepared.status
    everything = jnp.ones(len(kinships) + 1, bool)
    constant = lax.stop_gradient(data)
    start = best_start(constant, reml)
    found, steps, converged = maximise(constant, start, everything, tol, max_steps, reml)
    found = differentiable(data, found, reml)
    pieces = pieces_at(data, found.variances, reml)
    spike = (not reml) & (smallest_eigenvalue(pieces) < SPIKE * jnp.sum(found.variances))
    for happens, reason in (
        (~jnp.isfinite(found.value), Status.NOT_FINITE),
        (spike, Status.ML_UNBOUNDED),
        (~converged, Status.NOT_CONVERGED),
    ):
        status = jnp.where((status == Status.OK) & happens, reason, status)
    lrt = likelihood_ratios(data, found, tol, max_steps, reml) if tests else None
    low = high = None
    if level is not None:
        low, high = share_limits(data, found, jnp.append(1 / scales, 1.0), level, tol, max_steps)
    result = _in_units(prepared, found, pieces, scales, reml) | {
        "lrt": lrt,
        "lrt_pvalue": None if lrt is None else boundary_pvalue(lrt),
        "proportion_low": low,
        "proportion_high": high,
    }
    known = status == Status.OK
    result = {
        name: None if a is None else jnp.where(known, a, jnp.nan) for name, a in result.items()
    }
    return result | {"n": prepared.observed, "steps": steps, "status": status}


class _Prepared(NamedTuple):
    """A trait beside its covariates, over the root of its variance ``unit``.

    ``least_squares`` (p,) are the effects that were removed from it; ``status`` says whether it can
    be fitted, and ``observed`` in how many individuals it was seen.
    """

    data: TraitData
    unit: Float[Array, ""]
    least_squares: Float[Array, " p"]
    observed: Int[Array, ""]
    status: Int[Array, ""]


def _prepared(
    kinships: Float[Array, "C n n"], X: Float[Array, "n p"], y: Float[Array, " n"], reml: bool
) -> _Prepared:
    observed = jnp.isfinite(y)
    count, p = jnp.sum(observed), X.shape[1]
    both = jnp.where(observed[:, None] & observed, 1.0, 0.0)
    present = jnp.where(observed, 1.0, 0.0)
    X = X * present[:, None]
    y = jnp.where(observed, y, 0.0)
    Q, R = jnp.linalg.qr(X)
    left = y - Q @ (Q.T @ y)
    few = count < p + 2
    collinear = jnp.abs(jnp.diagonal(R)) <= COLLINEAR_TOLERANCE * jnp.linalg.norm(X, axis=0)
    status = constant_status(jnp.sum(left**2), jnp.sum(y**2))
    status = jnp.where(
        jnp.any(collinear), Status.COLLINEAR + lax.argmax(collinear, 0, jnp.int32), status
    )
    status = jnp.where(few, jnp.where(count == 0, Status.ALL_MISSING, Status.TOO_FEW), status)
    usable = status == Status.OK
    unit = jnp.where(usable, jnp.sum(left**2) / jnp.maximum(count - p, 1), 1.0)
    data = TraitData(
        kinships=jnp.concatenate([kinships * both, jnp.diag(present)[None]]),
        y=left / jnp.sqrt(unit),
        X=X,
        absent=1 - present,
        dof=(count - p if reml else count).astype(y.dtype),
    )
    return _Prepared(data, unit, jax.scipy.linalg.solve_triangular(R, Q.T @ y), count, status)


def _in_units(
    prepared: _Prepared, found: Point, pieces: Pieces, scales: Float[Array, " C"], reml: bool
) -> dict[str, Array | None]:
    """Estimates and their errors in the units of the trait and of the kinships as they came."""
    data, unit, p = prepared.data, prepared.unit, prepared.data.X.shape[1]
    # In R/lmmlite's convention σ² is rss / (n - p) in ML too.
    unbiased = data.dof / (prepared.observed - p)
    errors, regular = variance_of_estimates(data, pieces)
    total = jnp.sum(found.variances[:-1] / scales) + found.variances[-1]
    to_units = jnp.append(1 / scales, 1.0)
    proportion = found.variances * to_units / total
    # d proportion = to_units (d variance - proportion · d total)
    jacobian = (jnp.diag(to_units) - jnp.outer(proportion, to_units)) / total
    spread = jnp.sqrt(jnp.diagonal(jacobian @ errors @ jacobian.T))
    sizes = unit * unbiased * to_units
    value = found.value - 0.5 * data.dof * jnp.log(unit)
    if reml:
        value = value + 0.5 * p * jnp.log(2 * jnp.pi / data.dof)
    variance_se = jnp.where(regular, jnp.sqrt(jnp.diagonal(errors)) * sizes, jnp.nan)
    return {
        "sigmasq": found.variances[:-1] * sizes[:-1],
        "sigmasq_e": found.variances[-1] * sizes[-1],
        "proportion": proportion[:-1],
        "beta": prepared.least_squares + pieces.C.T @ data.y * jnp.sqrt(unit),
        "loglik": value,
        "sigmasq_se": variance_se[:-1],
        "sigmasq_e_se": variance_se[-1],
        "proportion_se": jnp.where(regular, spread[:-1], jnp.nan),
        "beta_se": jnp.sqrt(jnp.diagonal(pieces.B) * unit * unbiased),
    }
