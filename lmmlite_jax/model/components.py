"""Several variance components: one kinship for each source of resemblance.

Var(y) = Σ_c σ_c² K_c + σe² I with every σ² ≥ 0: additive and dominance effects, genotype by
environment, cell by donor. No rotation makes several kinships diagonal together, so that every
step of a trait factorises its variance matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.estimate import boundary_pvalue, constant_status
from lmmlite_jax.model.inputs import (
    as_covariates,
    as_kinship,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.options import check_tolerance
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.result import Status, reasons_of
from lmmlite_jax.model.rotation import check_spectrum
from lmmlite_jax.model.variance import Pieces, factorise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComponentsFit", "fit_components"]

DEPENDENT = 1e-10
"""Part of a kinship, in squares, left beside the others below which it counts as their sum."""

SINGULAR = 1e-13
"""Part of the mean eigenvalue below which an eigenvalue of the variance matrix is zero."""

SPIKE = 1e-6
"""In ML, a variance matrix this close to singular at the maximum has followed the ML spike."""

ROUNDING = 1e-10
"""A step may lower a log likelihood by this part of it, which is its rounding."""

SHORTEST_STEP = 1e-9

DOMINANT = 0.8
"""Share of the variance that one component has in the starting points that try it."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ComponentsFit:
    """Variance components of one trait, or of m traits.

    Attributes
    ----------
    sigmasq : (C,) or (C, m)
        Variance σ_c² of each kinship, with the residual squares over n - p in both likelihoods, as
        in `LMMFit`: after ML n/(n - p) times the variances of greatest likelihood.
    sigmasq_e : () or (m,)
        Residual variance σe², likewise.
    proportion : (C,) or (C, m)
        σ_c² / (Σσ² + σe²): for one kinship, h².
    beta : (p,) or (p, m)
        Fixed effects.
    loglik : () or (m,)
        Log likelihood in the convention of `LMMFit`.
    lrt, lrt_pvalue : (C,) or (C, m), or None
        Likelihood-ratio statistic of σ_c² = 0 with all others estimated anew, and its p-value by
        the half-half mixture of zero and χ² with one degree of freedom; where the statistic is 0,
        p is 1. Where another component is at zero too, the p-value is approximate.
    sigmasq_se, sigmasq_e_se, proportion_se, beta_se
        Standard errors from the observed information, like their estimates in shape; NaN where
        that is not positive definite. At zero they are no guide to uncertainty.
    n : () or (m,)
        Individuals observed.
    steps : () or (m,)
        Steps to the maximum.
    status : () or (m,)
        A `Status`, zero for a regular fit. NaN in all fields where it is not.
    kinships, traits, covariates : tuple of str or None
        Names, where a dictionary of kinships or data frames came in.
    """

    sigmasq: Float[AnyArray, "..."]
    sigmasq_e: Float[AnyArray, "..."]
    proportion: Float[AnyArray, "..."]
    beta: Float[AnyArray, "..."]
    loglik: Float[AnyArray, "..."]
    lrt: Float[AnyArray, "..."] | None
    lrt_pvalue: Float[AnyArray, "..."] | None
    sigmasq_se: Float[AnyArray, "..."]
    sigmasq_e_se: Float[AnyArray, "..."]
    proportion_se: Float[AnyArray, "..."]
    beta_se: Float[AnyArray, "..."]
    n: Int[AnyArray, "..."]
    steps: Int[AnyArray, "..."]
    status: Int[AnyArray, "..."]
    kinships: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    covariates: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    def reasons(self) -> tuple[str, ...]:
        """One string a trait: why it has no regular fit, empty where it has."""
        return reasons_of(self.status, self.covariates)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row for each trait (needs pandas, in the extra ``io``)."""
        import pandas as pd

        m = np.size(self.loglik)
        kinships = self.kinships or tuple(str(c) for c in range(len(self.sigmasq)))
        covariates = self.covariates or tuple(str(i) for i in range(len(self.beta)))
        columns: dict[str, Any] = {"n": np.atleast_1d(self.n)}
        for name in ("sigmasq", "sigmasq_se", "proportion", "proportion_se", "lrt", "lrt_pvalue"):
            if getattr(self, name) is not None:
                rows = np.reshape(getattr(self, name), (len(kinships), m))
                columns |= {f"{name}_{k}": row for k, row in zip(kinships, rows, strict=True)}
        for name in ("sigmasq_e", "sigmasq_e_se", "loglik"):
            columns[name] = np.atleast_1d(getattr(self, name))
        for name in ("beta", "beta_se"):
            rows = np.reshape(getattr(self, name), (len(covariates), m))
            columns |= {f"{name}_{x}": row for x, row in zip(covariates, rows, strict=True)}
        columns["reason"] = list(self.reasons)
        return pd.DataFrame(columns, index=pd.Index(self.traits or range(m), name="trait"))


@in_float64
def fit_components(
    kinships: Sequence[Any] | Mapping[str, Any],
    y: Any,
    X: Any = None,
    reml: bool = True,
    *,
    tests: bool = True,
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

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, hsq=0.5, seed=1)
    >>> house = np.kron(np.eye(40), np.ones((3, 3)))
    >>> fit = lmm.fit_components({"kin": cohort.kinship, "house": house}, cohort.pheno)
    >>> print(fit.proportion.round(2))
    [[0.21 0.44]
     [0.   0.07]]
    """
    names = tuple(kinships) if isinstance(kinships, Mapping) else None
    given = list(kinships.values()) if isinstance(kinships, Mapping) else list(kinships)
    if not given:
        raise ValueError("kinships is empty: give at least one kinship matrix.")
    check_tolerance(tol)
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
            check_spectrum(np.linalg.eigvalsh(table.values), clip_negative=False)
    traits, covariates = as_traits("y", y, n, missing=True), as_covariates(X, n)
    check_same_individuals(**dict(zip(called, tables, strict=True)), y=traits, X=covariates)
    stack = [table.values for table in tables]
    if not is_traced(*stack, covariates.values):
        _refuse_dependent(called, stack, covariates.values)

    values = traits.values if np.ndim(traits.values) == 2 else traits.values[:, None]
    fit = _fit_traits(
        jnp.stack([jnp.asarray(K) for K in stack]),
        jnp.asarray(values),
        jnp.asarray(covariates.values),
        tol,
        max_steps,
        reml=reml,
        tests=tests,
    )
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


class _Data(NamedTuple):
    """One trait: kinships (C + 1, n, n), the residual's identity last, y (n,), X (n, p).

    Individuals not observed are zero everywhere, and ``absent`` on the diagonal of V.
    """

    kinships: Array
    y: Array
    X: Array
    absent: Array
    dof: Array


class _Point(NamedTuple):
    """Variances (C + 1,), scaled so that σ² is at its best, with their log likelihood.

    ``information`` is the average information.
    """

    variances: Array
    value: Array
    score: Array
    information: Array


class _Search(NamedTuple):
    point: _Point
    share: Array
    steps: Array
    done: Array


@partial(jax.jit, static_argnames=("reml", "tests"))
def _fit_traits(
    kinships: Array, Y: Array, X: Array, tol: Any, max_steps: Any, *, reml: bool, tests: bool
) -> dict[str, Any]:
    kinships = (kinships + jnp.swapaxes(kinships, 1, 2)) / 2
    scales = jnp.trace(kinships, axis1=1, axis2=2) / Y.shape[0]
    fit_one = partial(_fit_trait, kinships / scales[:, None, None], X, tol, max_steps, reml, tests)
    # One after the other: batches of LAPACK calls gain nothing, and have been seen to hang.
    fit = lax.map(lambda y: fit_one(y, scales), Y.T)
    return {name: None if a is None else jnp.moveaxis(a, 0, -1) for name, a in fit.items()}


def _fit_trait(
    kinships: Array,
    X: Array,
    tol: Array,
    max_steps: Array,
    reml: bool,
    tests: bool,
    y: Array,
    scales: Array,
) -> dict[str, Any]:
    """One trait, its variance and the kinships' mean diagonals scaled to 1 on the way."""
    observed = jnp.isfinite(y)
    count, p = jnp.sum(observed), X.shape[1]
    both = jnp.where(observed[:, None] & observed, 1.0, 0.0)
    present = jnp.where(observed, 1.0, 0.0)
    X = X * present[:, None]
    y = jnp.where(observed, y, 0.0)
    Q, R = jnp.linalg.qr(X)
    left = y - Q @ (Q.T @ y)
    few = count < p + 2
    collinear = jnp.abs(jnp.diagonal(R)) <= 1e-10 * jnp.linalg.norm(X, axis=0)
    status = constant_status(jnp.sum(left**2), jnp.sum(y**2))
    status = jnp.where(
        jnp.any(collinear), Status.COLLINEAR + lax.argmax(collinear, 0, jnp.int32), status
    )
    status = jnp.where(few, jnp.where(count == 0, Status.ALL_MISSING, Status.TOO_FEW), status)
    usable = status == Status.OK
    unit = jnp.where(usable, jnp.sum(left**2) / jnp.maximum(count - p, 1), 1.0)

    data = _Data(
        kinships=jnp.concatenate([kinships * both, jnp.diag(present)[None]]),
        y=left / jnp.sqrt(unit),
        X=X,
        absent=1 - present,
        dof=(count - p if reml else count).astype(y.dtype),
    )
    everything = jnp.ones(len(kinships) + 1, bool)
    start = _start(data, reml)
    found, steps, converged = _maximise(data, start, everything, tol, max_steps, reml)
    pieces = _pieces(data, found.variances, reml)
    spike = (not reml) & (_smallest(pieces) < SPIKE * jnp.sum(found.variances))
    for happens, reason in (
        (~jnp.isfinite(found.value), Status.NOT_FINITE),
        (spike, Status.ML_UNBOUNDED),
        (~converged, Status.NOT_CONVERGED),
    ):
        status = jnp.where((status == Status.OK) & happens, reason, status)

    lrt = None
    if tests:
        lrt = _likelihood_ratios(data, found, tol, max_steps, reml)
    # In R/lmmlite's convention σ² is rss / (n - p) in ML too.
    unbiased = data.dof / (count - p)
    errors = _standard_errors(data, pieces)
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
    variance_se = jnp.sqrt(jnp.diagonal(errors)) * sizes
    result: dict[str, Any] = {
        "sigmasq": found.variances[:-1] * sizes[:-1],
        "sigmasq_e": found.variances[-1] * sizes[-1],
        "proportion": proportion[:-1],
        "beta": jax.scipy.linalg.solve_triangular(R, Q.T @ y)
        + pieces.C.T @ data.y * jnp.sqrt(unit),
        "loglik": value,
        "lrt": lrt,
        "lrt_pvalue": None if lrt is None else boundary_pvalue(lrt),
        "sigmasq_se": variance_se[:-1],
        "sigmasq_e_se": variance_se[-1],
        "proportion_se": spread[:-1],
        "beta_se": jnp.sqrt(jnp.diagonal(pieces.B) * unit * unbiased),
    }
    known = status == Status.OK
    result = {
        name: None if a is None else jnp.where(known, a, jnp.nan) for name, a in result.items()
    }
    return result | {"n": count, "steps": steps, "status": status}


def _variance(data: _Data, variances: Array) -> Array:
    return jnp.tensordot(variances, data.kinships, 1) + jnp.diag(data.absent)


def _pieces(data: _Data, variances: Array, reml: bool) -> Pieces:
    return factorise(reml, _variance(data, variances), jnp.asarray(SINGULAR), data.X)


def _smallest(pieces: Pieces) -> Array:
    """Smallest eigenvalue of the variance matrix (ML), within a factor of n."""
    return 1 / jnp.max(jnp.diagonal(pieces.slope))


def _evaluate(data: _Data, variances: Array, reml: bool) -> _Point:
    """Log likelihood with its derivatives, at the best multiple of ``variances``."""
    pieces = _pieces(data, variances, reml)
    weighted = pieces.P @ data.y
    squares = data.y @ weighted
    value = -0.5 * (pieces.logdet + data.dof * jnp.log(squares))
    # P scales like one over the variances.
    scale = squares / data.dof
    along = data.kinships @ weighted
    traces = jnp.sum(data.kinships * pieces.slope, axis=(1, 2))
    return _Point(
        variances * scale,
        value,
        score=0.5 * (along @ weighted / scale - traces) / scale,
        information=0.5 * along @ (pieces.P @ along.T) / scale**3,
    )


def _start(data: _Data, reml: bool) -> Array:
    """Best of equal shares and of those that give one component most of the variance."""
    size = len(data.kinships)
    shares = jnp.full((size, size), (1 - DOMINANT) / max(size - 1, 1))
    shares = jnp.where(jnp.eye(size, dtype=bool), DOMINANT, shares)
    shares = jnp.concatenate([jnp.full((1, size), 1 / size), shares])
    values = lax.map(lambda share: _evaluate(data, share, reml).value, shares)
    return shares[jnp.nanargmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]


def _maximise(
    data: _Data, start: Array, allowed: Array, tol: Array, max_steps: Array, reml: bool
) -> tuple[_Point, Array, Array]:
    """Projected steps of the average information, halved until the likelihood grows.

    A component at zero that the score would push below it rests; those not ``allowed`` are zero.
    """

    def proposal(point: _Point, share: Array) -> Array:
        free = allowed & ((point.variances > 0) | (point.score > 0))
        information = jnp.where(free[:, None] & free, point.information, 0.0)
        ridge = 1e-12 * jnp.max(jnp.diagonal(information)) + jnp.where(free, 0.0, 1.0)
        step = jnp.linalg.solve(information + jnp.diag(ridge), jnp.where(free, point.score, 0.0))
        return jnp.maximum(point.variances + share * step, 0.0)

    def advance(search: _Search) -> _Search:
        point = search.point
        target = proposal(point, search.share)
        candidate = _evaluate(data, target, reml)
        slack = ROUNDING * (1 + jnp.abs(point.value))
        accepted = candidate.value >= point.value - slack
        moved = jnp.max(jnp.abs(target - point.variances))
        finished = accepted & (search.share == 1) & (moved <= tol * jnp.sum(point.variances))
        chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), candidate, point)
        return _Search(
            chosen,
            jnp.where(accepted, 1.0, search.share / 2),
            search.steps + 1,
            finished,
        )

    def unfinished(search: _Search) -> Array:
        possible = (search.share >= SHORTEST_STEP) & (search.steps < max_steps)
        return ~search.done & possible & jnp.isfinite(search.point.value)

    first = _evaluate(data, jnp.where(allowed, start, 0.0), reml)
    search = lax.while_loop(
        unfinished,
        advance,
        _Search(first, jnp.ones(()), jnp.zeros((), int), jnp.zeros((), bool)),
    )
    return search.point, search.steps, search.done


def _likelihood_ratios(
    data: _Data, found: _Point, tol: Array, max_steps: Array, reml: bool
) -> Array:
    """Twice the loss of log likelihood without each of the C components; NaN if not found."""
    size = len(data.kinships)

    def without(c: Array) -> Array:
        allowed = jnp.arange(size) != c
        spread = jnp.where(found.variances > 0, found.variances, 0.01 * jnp.sum(found.variances))
        point, _, converged = _maximise(data, spread, allowed, tol, max_steps, reml)
        ratio = jnp.where(converged, 2 * (found.value - point.value), jnp.nan)
        return jnp.where(found.variances[c] > 0, jnp.maximum(ratio, 0.0), 0.0)

    return lax.map(without, jnp.arange(size - 1))


def _standard_errors(data: _Data, pieces: Pieces) -> Array:
    """Variance matrix of the estimates, by the observed information; NaN where not regular."""
    weighted = pieces.P @ data.y
    along = data.kinships @ weighted
    products = lax.map(lambda K: pieces.slope @ K, data.kinships)
    traces = lax.map(
        lambda left: jnp.sum(left * jnp.swapaxes(products, 1, 2), axis=(1, 2)), products
    )
    information = along @ (pieces.P @ along.T) - 0.5 * traces
    root = jnp.linalg.cholesky(information)
    return jax.scipy.linalg.cho_solve((root, True), jnp.eye(len(data.kinships)))
