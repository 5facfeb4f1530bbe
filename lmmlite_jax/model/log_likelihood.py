"""Log likelihood straight from a kinship matrix, with derivatives in all of it.

Derivatives of eigenvectors are never taken: they do not exist where eigenvalues are equal, as
those of twins, families and strains are. With V = hK + (1-h)I, B = (X'V⁻¹X)⁻¹, C = V⁻¹XB and
P = V⁻¹ - CB⁻¹C', all that a likelihood is made of closes under differentiation:

    dP = -P dV P - P dX C' - C dX' P,
    dC = -P dV C + P dX B - C dX' C,
    dB =  C' dV C - C' dX B - B dX' C,

products of what is there already. They hold in any order, and where eigenvalues are equal or zero.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.model.inputs import ArrayOrFrame, as_heritability
from lmmlite_jax.model.precision import (
    AnyArray,
    in_double,
    in_working_precision,
    is_traced,
    whole_products,
)
from lmmlite_jax.model.skeleton import RANK_TOLERANCE
from lmmlite_jax.model.study import as_complete
from lmmlite_jax.model.variance import Pieces, factorise

__all__ = ["log_likelihood"]

SINGULAR = 1e-13
"""A variance matrix with an eigenvalue below this part of their mean is singular, at h < 1."""


def log_likelihood(
    hsq: ArrayOrFrame,
    K: ArrayOrFrame,
    y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    reml: bool = True,
) -> Float[AnyArray, "*hm"]:
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
    -139.701
    >>> with jax.enable_x64(True):
    ...     of_kinship = jax.grad(lmm.log_likelihood, argnums=1)
    ...     of_kinship(0.5, cohort.kinship, cohort.pheno[:, 0], cohort.covar).shape
    (60, 60)
    """
    values = as_complete(K, y, X)
    if not is_traced(hsq):
        hsq = as_heritability(hsq)
    # Under vmap everything of one heritability is there for all of them; without, one is enough.
    together = is_traced(hsq, *values)
    return in_working_precision(partial(_log_likelihoods, reml, together), hsq, *values)


@partial(jax.jit, static_argnums=(0, 1))
def _log_likelihoods(
    reml: bool,
    together: bool,
    hsq: Float[Array, "*h"],
    K: Float[Array, "n n"],
    y: Float[Array, "n *m"],
    X: Float[Array, "n p"],
) -> Float[Array, "*hm"]:
    K = (K + K.T) / 2
    hsq = jnp.where((hsq >= 0) & (hsq <= 1), hsq, jnp.nan)
    columns = y.reshape(len(y), -1)

    def of_one(h: Array) -> Array:
        return _log_likelihood(reml, h, K, columns, X)

    values = jax.vmap(of_one)(hsq.ravel()) if together else lax.map(of_one, hsq.ravel())
    return values.reshape(*hsq.shape, *y.shape[1:])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_likelihood(
    reml: bool,
    hsq: Float[Array, "*h"],
    K: Float[Array, "n n"],
    y: Float[Array, "n *m"],
    X: Float[Array, "n p"],
) -> Float[Array, "*hm"]:
    """One heritability, all traits (n, m)."""
    return _value_and_residuals(reml, _pieces(reml, *_variance(hsq, K), X), y, X)[0]


@_log_likelihood.defjvp
@whole_products()
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


def _variance(
    hsq: Float[Array, ""], K: Float[Array, "n n"]
) -> tuple[Float[Array, "n n"], Float[Array, ""]]:
    """V, and the part of its mean eigenvalue below which one counts as zero.

    The largest eigenvalue may be n times the mean.
    """
    V = hsq * K + (1 - hsq) * jnp.eye(len(K), dtype=K.dtype)
    return V, jnp.where(hsq < 1, SINGULAR, len(K) * RANK_TOLERANCE).astype(K.dtype)


def _value_and_residuals(
    reml: bool, pieces: Pieces, y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> tuple[Float[Array, " m"], Float[Array, "n m"], Float[Array, " m"]]:
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
def _pieces(
    reml: bool, V: Float[Array, "n n"], zero: Float[Array, ""], X: Float[Array, "n p"]
) -> Pieces:
    return in_double(partial(factorise, reml))(V, zero, X)


@_pieces.defjvp
@whole_products()
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


def _change_of_logdet(
    reml: bool,
    pieces: Pieces,
    dV: Float[Array, "n n"],
    X: Float[Array, "n p"],
    dX: Float[Array, "n p"],
) -> Float[Array, ""]:
    change = jnp.sum(pieces.slope * dV)
    if reml:
        change = change + 2 * jnp.sum((pieces.C - _least_squares(X)[0]) * dX)
    return change


@jax.custom_jvp
def _least_squares(X: Float[Array, "n p"]) -> tuple[Float[Array, "n p"], Float[Array, "p p"]]:
    """X(X'X)⁻¹ and (X'X)⁻¹: C and B of independent individuals."""

    def invert(X: Array) -> tuple[Array, Array]:
        Q, R = jnp.linalg.qr(X)
        inverse = jax.scipy.linalg.solve_triangular(R, jnp.eye(len(R)))
        return Q @ inverse.T, inverse @ inverse.T

    return in_double(invert)(X)


@_least_squares.defjvp
@whole_products()
def _least_squares_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (X,), (dX,) = primals, tangents
    C, B = _least_squares(X)
    inward = C.T @ dX
    along = dX - C @ (X.T @ dX)
    return (C, B), (along @ B - C @ inward.T, -inward @ B - B @ inward.T)
