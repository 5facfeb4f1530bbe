"""Log likelihood and heritability straight from a kinship matrix, with derivatives in all of it.

Derivatives of eigenvectors are never taken: they do not exist where eigenvalues are equal, as
those of twins, families and strains are. With V = hK + (1-h)I, B = (X'V⁻¹X)⁻¹, C = V⁻¹XB and
P = V⁻¹ - CB⁻¹C', all that a likelihood is made of closes under differentiation:

    dP = -P dV P - P dX C' - C dX' P,
    dC = -P dV C + P dX B - C dX' C,
    dB =  C' dV C - C' dX B - B dX' C,

products of what is there already. They hold in any order, and where eigenvalues are equal or zero.
The estimated heritability follows by the implicit function theorem.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.model.decomposition import Sample
from lmmlite_jax.model.engine import make_engine
from lmmlite_jax.model.estimate import Options
from lmmlite_jax.model.inputs import (
    as_covariates,
    as_heritability,
    as_kinship,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.rotation import NEGATIVE_TOLERANCE, check_scale, check_spectrum
from lmmlite_jax.model.skeleton import RANK_TOLERANCE
from lmmlite_jax.model.traits import fit_traits
from lmmlite_jax.model.variance import Pieces, factorise

__all__ = ["heritability", "log_likelihood"]

SINGULAR = 1e-13
"""A variance matrix with an eigenvalue below this part of their mean is singular, at h < 1."""


FLAT_SPECTRUM = 1e-10
"""Eigenvalues this close to each other are one: K is proportional to the identity."""

NEAR = 1e-6
"""More than the error of a heritability that a skeleton of many decades leaves."""


def log_likelihood(
    hsq: Any, K: Any, y: Any, X: Any = None, reml: bool = True
) -> Float[AnyArray, "..."]:
    """Log likelihood straight from a kinship matrix, differentiable in all its arguments.

    β and σ² are at their best for each heritability. Derivatives of every order, forward and
    reverse, come from products with the inverse of the variance matrix: they are right where
    eigenvalues of K are equal or zero.

    Parameters
    ----------
    hsq : scalar or array
        Heritabilities in [0, 1].
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite. Its symmetric part is what counts, so
        that the derivative with respect to K is symmetric.
    y : (n,) or (n, m) array or data frame
        Phenotypes, none missing.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    reml : bool
        Restricted likelihood (default) or full likelihood.

    Returns
    -------
    loglik : hsq shape + trait shape
        The number that `calc_ll` gives after `eigen_rotation`. NaN for a trait that the covariates
        explain, and at hsq = 1 where the variance matrix is singular: `calc_ll` has the limit.
        Inside a trace it has JAX's default precision; it is computed in double precision always.

    Raises
    ------
    ValueError
        If hsq is outside [0, 1], or K, y or X cannot be used, as in `eigen_rotation`. Inside a
        trace, where values are not known, the result is NaN instead.

    Notes
    -----
    With P as in `Projection`, r = Py and q = y'Py, the restricted likelihood has
    ∂/∂V = -½ [P - (n-p) rr'/q], ∂/∂y = -(n-p) r/q, and
    ∂/∂X = (n-p) rβ'/q - V⁻¹X(X'V⁻¹X)⁻¹ + X(X'X)⁻¹ (docs/method.md).

    Examples
    --------
    >>> import jax
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=1, hsq=0.5, seed=1)
    >>> print(lmm.log_likelihood(0.5, cohort.kinship, cohort.pheno[:, 0], cohort.covar).round(4))
    -125.9006
    >>> with jax.enable_x64(True):
    ...     of_kinship = jax.grad(lmm.log_likelihood, argnums=1)
    ...     of_kinship(0.5, cohort.kinship, cohort.pheno[:, 0], cohort.covar).shape
    (60, 60)
    """
    values = _checked(K, y, X)
    if not is_traced(hsq):
        hsq = as_heritability(hsq)
    # Under vmap everything of one heritability is there for all of them; without, one is enough.
    together = is_traced(hsq, *values)
    return _in_working_precision(partial(_log_likelihoods, reml, together), hsq, *values)


def heritability(K: Any, y: Any, X: Any = None, reml: bool = True) -> Float[AnyArray, "..."]:
    """Estimated heritability ĥ², differentiable in the kinship, the phenotypes and the covariates.

    The derivative is that of the implicit function theorem, forward and reverse, and costs about
    what the fit does, for thousands of traits at once.

    Parameters
    ----------
    K, y, X, reml
        As in `log_likelihood`.

    Returns
    -------
    hsq : () or (m,)
        The global maximum over [0, 1], as in `fit_traits`; NaN where there is none. Its derivative
        is zero where the maximum is at 0 or 1 and stays there when the data change a little, and
        for a trait without a fit, whose NaN does not spread to what other traits say of K.

    Raises
    ------
    ValueError
        If K, y or X cannot be used at all, as in `eigen_rotation`.
    NotImplementedError
        If second derivatives are asked for: `log_likelihood` has them.

    Notes
    -----
    dĥ² = -(∂²ll/∂h²)⁻¹ ∂²ll/∂h∂θ dθ (docs/method.md).

    Examples
    --------
    >>> import jax
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=100, m=3, hsq=[0.0, 0.4, 0.8], seed=4)
    >>> print(lmm.heritability(cohort.kinship, cohort.pheno, cohort.covar).round(3))
    [0.    0.346 0.71 ]
    >>> with jax.enable_x64(True):
    ...     total = lambda K: lmm.heritability(K, cohort.pheno, cohort.covar).sum()
    ...     print(jax.grad(total)(cohort.kinship).shape)
    (100, 100)
    """
    values = _checked(K, y, X)
    if not is_traced(*values):
        kinship, traits, covariates = values
        hsq = fit_traits(kinship, traits, covariates, reml=reml).hsq
        return hsq if traits.ndim == 2 else hsq[0]
    return _in_working_precision(partial(_heritabilities, reml), *values)


def _checked(K: Any, y: Any, X: Any) -> tuple[Any, Any, Any]:
    """Kinship, phenotypes and covariates as arrays; traced ones as they came."""
    with jax.enable_x64(True):
        kinship = as_kinship(K)
        n = np.shape(kinship.values)[0]
        traits, covariates = as_traits("y", y, n), as_covariates(X, n)
    check_same_individuals(K=kinship, y=traits, X=covariates)
    if not is_traced(K):
        _check_semidefinite(kinship.values)
    p = np.shape(covariates.values)[1]
    if n <= p:
        raise ValueError(f"X has {p} columns for {n} individuals: a likelihood needs more than p.")
    pairs = zip((K, y, X), (kinship, traits, covariates), strict=True)
    K, y, X = (given if is_traced(given) else table.values for given, table in pairs)
    return K, y, X if np.ndim(X) == 2 else X[:, None]


def _check_semidefinite(K: np.ndarray) -> None:
    """Refuse negative eigenvalues; a Cholesky factor of a little more than K tells it has none."""
    try:
        np.linalg.cholesky(K + NEGATIVE_TOLERANCE * np.max(np.abs(K)) * np.eye(len(K)))
    except np.linalg.LinAlgError:
        check_spectrum(np.linalg.eigvalsh((K + K.T) / 2), clip_negative=False)
    check_scale(float(np.trace(K)) / len(K))


def _in_working_precision(function: Callable[..., Any], *arrays: Any) -> Any:
    """Call with arrays of double precision; inside a trace, of JAX's default precision.

    Under JAX's default setting a caller's derivative can be passed on in single precision only.
    What needs double precision has it inside: see `_in_double`.
    """
    if is_traced(*arrays):
        dtype = jnp.result_type(float)
        return function(*(jnp.asarray(a, dtype) for a in arrays))
    return in_float64(lambda: function(*(jnp.asarray(a, jnp.float64) for a in arrays)))()


def _in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in double precision what has no derivative of its own, and return the caller's.

    Under ``vmap`` one after the other: batches of LAPACK calls in one program have been seen to
    hang (jaxlib 0.10.2).
    """

    @jax.custom_batching.sequential_vmap
    @wraps(function)
    def wrapped(*arrays: Any) -> Any:
        dtype = arrays[0].dtype
        with jax.enable_x64(True):
            results = function(*(jnp.asarray(a, jnp.float64) for a in arrays))
            return jax.tree.map(lambda a: jnp.asarray(a, dtype), results)

    return wrapped


@partial(jax.jit, static_argnums=(0, 1))
def _log_likelihoods(reml: bool, together: bool, hsq: Array, K: Array, y: Array, X: Array) -> Array:
    K = (K + K.T) / 2
    hsq = jnp.where((hsq >= 0) & (hsq <= 1), hsq, jnp.nan)
    columns = y.reshape(len(y), -1)

    def of_one(h: Array) -> Array:
        return _log_likelihood(reml, h, K, columns, X)

    values = jax.vmap(of_one)(hsq.ravel()) if together else lax.map(of_one, hsq.ravel())
    return values.reshape(*hsq.shape, *y.shape[1:])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_likelihood(reml: bool, hsq: Array, K: Array, y: Array, X: Array) -> Array:
    """One heritability, all traits (n, m)."""
    return _value_and_residuals(reml, _pieces(reml, *_variance(hsq, K), X), y, X)[0]


@_log_likelihood.defjvp
def _log_likelihood_jvp(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    (hsq, K, y, X), (dh, dK, dy, dX) = primals, tangents
    n, p = X.shape
    pieces = _pieces(reml, *_variance(hsq, K), X)
    value, residuals, squares = _value_and_residuals(reml, pieces, y, X)
    dV = dh * (K - jnp.eye(n, dtype=K.dtype)) + hsq * dK
    change = 2 * (dy - dX @ (pieces.C.T @ y)) - dV @ residuals
    dsquares = jnp.sum(residuals * change, axis=0)
    dlogdet = _change_of_logdet(reml, pieces, dV, X, dX)
    return value, -0.5 * (dlogdet + (n - p if reml else n) * dsquares / squares)


def _variance(hsq: Array, K: Array) -> tuple[Array, Array]:
    """V, and the part of its mean eigenvalue below which one counts as zero.

    The largest eigenvalue may be n times the mean.
    """
    V = hsq * K + (1 - hsq) * jnp.eye(len(K), dtype=K.dtype)
    return V, jnp.where(hsq < 1, SINGULAR, len(K) * RANK_TOLERANCE).astype(K.dtype)


def _value_and_residuals(
    reml: bool, pieces: Pieces, y: Array, X: Array
) -> tuple[Array, Array, Array]:
    """Log likelihood, P y, and y'P y; NaN for a trait of which X leaves nothing but rounding."""
    n, p = X.shape
    left = y - X @ (pieces.C.T @ y)
    residuals = pieces.P @ left
    squares = jnp.sum(left * residuals, axis=0)
    rounding = jnp.finfo(y.dtype).eps ** 1.5 * jnp.sum(y**2, axis=0)
    squares = jnp.where(jnp.sum(left**2, axis=0) > rounding, squares, jnp.nan)
    value = -0.5 * (pieces.logdet + (n - p if reml else n) * jnp.log(squares))
    if reml:
        value = value + 0.5 * p * jnp.log(2 * jnp.pi / (n - p))
    return value, residuals, squares


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pieces(reml: bool, V: Array, zero: Array, X: Array) -> Pieces:
    return _in_double(partial(factorise, reml))(V, zero, X)


@_pieces.defjvp
def _pieces_jvp(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Pieces, Pieces]:
    (V, zero, X), (dV, _, dX) = primals, tangents
    pieces = _pieces(reml, V, zero, X)
    P, C, B = pieces.P, pieces.C, pieces.B
    along = P @ dX
    inward = C.T @ dX
    dP = -P @ dV @ P - along @ C.T - C @ along.T
    return pieces, Pieces(
        P=dP,
        C=-P @ (dV @ C) + along @ B - C @ inward.T,
        B=C.T @ (dV @ C) - inward @ B - B @ inward.T,
        slope=dP if reml else -pieces.slope @ dV @ pieces.slope,
        logdet=_change_of_logdet(reml, pieces, dV, X, dX),
    )


def _change_of_logdet(reml: bool, pieces: Pieces, dV: Array, X: Array, dX: Array) -> Array:
    change = jnp.sum(pieces.slope * dV)
    if reml:
        change = change + 2 * jnp.sum((pieces.C - _least_squares(X)[0]) * dX)
    return change


@jax.custom_jvp
def _least_squares(X: Array) -> tuple[Array, Array]:
    """X(X'X)⁻¹ and (X'X)⁻¹: C and B of independent individuals."""

    def invert(X: Array) -> tuple[Array, Array]:
        Q, R = jnp.linalg.qr(X)
        inverse = jax.scipy.linalg.solve_triangular(R, jnp.eye(len(R)))
        return Q @ inverse.T, inverse @ inverse.T

    return _in_double(invert)(X)


@_least_squares.defjvp
def _least_squares_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (X,), (dX,) = primals, tangents
    C, B = _least_squares(X)
    inward = C.T @ dX
    along = dX - C @ (X.T @ dX)
    return (C, B), (along @ B - C @ inward.T, -inward @ B - B @ inward.T)


class _Fitted(NamedTuple):
    """Heritabilities (m,), and what their derivatives are made of.

    With E = U'dK U, T = U'dX R⁻¹ and dỹ = U'dy, U = ``basis.T`` (n, q) and R⁻¹ = ``to_beta``,

        dĥ = Σ_i spectral_i (E_ii - 2 Σ_j T_ij cross_ij)
             + Σ_i [outer_i (dỹ - T effects)_i + weighted_i (E inner)_i - curved_i (T drift)_i],

    of which ``spectral`` belongs to `full_basis` (n, n) and E alone in ML. All are zero for a trait
    without an interior maximum.
    """

    hsq: Array
    basis: Array
    to_beta: Array
    cross: Array
    full_basis: Array | None
    spectral: Array
    outer: Array
    weighted: Array
    inner: Array
    curved: Array
    effects: Array
    drift: Array


@partial(jax.jit, static_argnums=0)
def _heritabilities(reml: bool, K: Array, y: Array, X: Array) -> Array:
    return _heritability(reml, (K + K.T) / 2, y.reshape(len(y), -1), X).reshape(y.shape[1:])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heritability(reml: bool, K: Array, y: Array, X: Array) -> Array:
    return _fitted(reml, K, y, X).hsq


@_heritability.defjvp
def _heritability_jvp(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    dK, dy, dX = tangents
    fitted = _fitted(reml, *primals)
    E = fitted.basis @ dK @ fitted.basis.T
    T = fitted.basis @ dX @ fitted.to_beta
    if fitted.full_basis is None:
        levels = jnp.diagonal(E) - 2 * jnp.sum(T * fitted.cross, axis=1)
    else:
        levels = jnp.sum((fitted.full_basis @ dK) * fitted.full_basis, axis=1)
    change = fitted.outer * (fitted.basis @ dy - T @ fitted.effects)
    change = change + fitted.weighted * (E @ fitted.inner) - fitted.curved * (T @ fitted.drift)
    return fitted.hsq, levels @ fitted.spectral + jnp.sum(change, axis=0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fitted(reml: bool, K: Array, y: Array, X: Array) -> _Fitted:
    return _in_double(partial(_fit, reml))(K, y, X)


@_fitted.defjvp
def _fitted_jvp(reml: bool, primals: Any, tangents: Any) -> Any:
    raise NotImplementedError(
        "heritability has first derivatives only: differentiate log_likelihood for higher ones."
    )


def _fit(reml: bool, K: Array, y: Array, X: Array) -> _Fitted:
    """Fit as `fit_traits` does, and prepare the theorem's quotient from the spectrum itself."""
    n, p = X.shape
    engine = make_engine(Sample(K, X, None), Options(reml))
    everyone = engine.decompose(members=np.arange(n)[None])
    rotated, fit = engine.fit(everyone, None, np.zeros(1, int), y[None])
    projection = jax.tree.map(lambda a: a[0], everyone.projection)
    full_basis, spectrum = None, projection.Kva
    if not reml:
        spectrum, vectors = jnp.linalg.eigh(K)
        spectrum, full_basis = jnp.maximum(spectrum, 0), vectors.T
    moments = partial(
        _moments,
        projection.Kva[:, None],
        spectrum[:, None],
        rotated.values[0],
        n - p if reml else n,
    )
    found = _polished(moments, fit.hsq[0], jnp.min(spectrum))
    found = jnp.where(jnp.ptp(spectrum) <= FLAT_SPECTRUM * jnp.max(spectrum), jnp.nan, found)

    hsq = jnp.where((found > 0) & (found < 1), found, 0.5)
    at = moments(hsq)
    interior = (found > 0) & (found < 1) & (at.curvature < 0)
    scale = jnp.where(interior, 0.5 / jnp.where(interior, at.curvature, 1.0), 0.0)
    of_slope = -scale * at.dof / at.squares
    of_squares = -of_slope * at.slope
    cross = projection.cross
    return _Fitted(
        hsq=found,
        basis=projection.Kve_t,
        to_beta=everyone.to_beta[0],
        cross=cross,
        full_basis=full_basis,
        spectral=scale * at.levels**2,
        outer=2 * (of_slope * at.bent + of_squares * at.weighted),
        weighted=at.weighted,
        inner=(of_slope - of_squares * hsq) * at.weighted - 2 * of_slope * hsq * at.bent,
        curved=2 * of_slope * at.weighted,
        effects=projection.Q_t @ y - hsq * (cross.T @ at.weighted),
        drift=cross.T @ (at.weights * at.weighted),
    )


class _Moments(NamedTuple):
    """Log likelihood near one heritability a trait (m,).

    With D = K - I and r = Py: ``weights`` and ``levels`` are 1/(hλ + 1 - h) of N'KN and of K (the
    same in REML), ``weighted`` is U'r, ``bent`` U'PDr, ``squares`` y'Py, ``slope`` r'Dr over that;
    ``gradient`` and ``curvature`` are the log likelihood's, -½ [tr(PD) - dof · slope] (REML).
    """

    dof: int
    weights: Array
    levels: Array
    weighted: Array
    bent: Array
    squares: Array
    slope: Array
    gradient: Array
    curvature: Array


def _moments(Kva: Array, spectrum: Array, values: Array, dof: int, hsq: Array) -> _Moments:
    weights, levels = (1 / (hsq * of + (1 - hsq)) for of in (Kva, spectrum))
    weighted = weights * values
    bent = weights * (Kva - 1) * weighted
    squares = jnp.sum(weighted * values, axis=0)
    slope = jnp.sum((Kva - 1) * weighted**2, axis=0) / squares
    bend = jnp.sum((Kva - 1) * bent * weighted, axis=0) / squares
    traces = levels * (spectrum - 1)
    return _Moments(
        dof=dof,
        weights=weights,
        levels=levels,
        weighted=weighted,
        bent=bent,
        squares=squares,
        slope=slope,
        gradient=-0.5 * (jnp.sum(traces, axis=0) - dof * slope),
        curvature=0.5 * (jnp.sum(traces**2, axis=0) - dof * (2 * bend - slope**2)),
    )


def _polished(moments: Callable[[Array], _Moments], found: Array, smallest: Array) -> Array:
    """Maxima without the error of the skeleton: at a boundary exactly, or one more Newton step."""
    edge = jnp.round(found)
    at_edge = moments(jnp.where((edge == 1) & (smallest > 0), 1.0, 0.0))
    outwards = jnp.where(edge == 1, (at_edge.gradient >= 0) & (smallest > 0), at_edge.gradient <= 0)
    at = moments(jnp.where((found > 0) & (found < 1), found, 0.5))
    step = -at.gradient / jnp.where(at.curvature < 0, at.curvature, -jnp.inf)
    step = jnp.where((found > 0) & (found < 1) & (jnp.abs(step) < NEAR), step, 0.0)
    polished = jnp.clip(found + step, 0, 1)
    return jnp.where((jnp.abs(found - edge) < NEAR) & outwards, edge, polished)
