"""Log likelihood of rotated data at given heritabilities, summed over all individuals."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from lmmlite_jax.model.inputs import ArrayOrFrame, as_covariates, as_heritability, as_traits
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.rotation import Extremes, check_spectrum, clean_spectrum, zero_eigenvalue

__all__ = [
    "MLSolution",
    "NullDirections",
    "calc_ll",
    "get_ml_soln",
    "null_directions",
    "rotated_data",
]

EXACT_TOLERANCE = 1e-20
"""Part of a trait's squares in the null space of K that counts as rounding."""


class MLSolution(NamedTuple):
    """Generalised least squares at a given heritability.

    Attributes
    ----------
    beta : hsq shape + (p,) + trait shape
        Fixed effects.
    sigmasq : hsq shape + trait shape
        Total variance σ² = rss / (n - p).
    rss : hsq shape + trait shape
        Weighted residual sum of squares.
    logdet_XSX : hsq shape
        log |X'WX|; None for ``reml=False``.
    """

    # The shapes of hsq and of the traits are on either side of p: jaxtyping has one at most.
    beta: Float[AnyArray, "..."]
    sigmasq: Float[AnyArray, "*hm"]
    rss: Float[AnyArray, "*hm"]
    logdet_XSX: Float[AnyArray, "*h"] | None


class NullDirections(NamedTuple):
    """Directions of the covariates Q (n, p) by what they leave of the null space of K.

    A covariate that leaves the range of K by little takes a zero eigenvalue away and puts a small
    positive one, λ, into its complement. Columns of ``basis`` (p, p) are combinations of Q such
    that A basis = λ B basis, A = Q'Q in the null space and B = Q'K⁻¹Q in the range of K. Where λ
    counts as zero, the direction is not ``pinned`` (p,). ``lengths`` (p,) are those of Q basis in
    the null space. All are constants for derivatives.
    """

    basis: Float[Array, "p p"]
    lengths: Float[Array, " p"]
    eigenvalues: Float[Array, " p"]
    pinned: Bool[Array, " p"]


def null_directions(Kva: Float[Array, " n"], Q: Float[Array, "n p"]) -> NullDirections:
    """Directions of an orthonormal basis Q (n, p) of covariates rotated like K."""
    Kva, Q = lax.stop_gradient((Kva, Q))
    zero = zero_eigenvalue(Extremes(jnp.min(Kva), jnp.max(Kva)))
    null = Kva == 0
    in_null = jnp.where(null[:, None], Q, 0.0)
    in_range = jnp.sqrt(jnp.where(null, 0.0, zero / jnp.where(null, 1.0, Kva)))[:, None] * Q
    # With A + zero·B = R'R the eigenvalues of R'⁻¹AR⁻¹ are λ / (λ + zero): none is badly scaled.
    R = jnp.linalg.qr(jnp.concatenate([in_null, in_range]), "r")
    inverse = jax.scipy.linalg.solve_triangular(R, jnp.eye(len(R)))
    whitened = in_null @ inverse
    shares, vectors = jnp.linalg.eigh(whitened.T @ whitened)
    shares = jnp.clip(shares, 0.0, 1.0)
    pinned = shares > 0.5
    return NullDirections(
        basis=inverse @ vectors,
        lengths=jnp.sqrt(shares),
        eigenvalues=jnp.asarray(zero) * shares / jnp.maximum(1 - shares, jnp.finfo(Q.dtype).eps),
        pinned=pinned,
    )


class _LeastSquares(NamedTuple):
    """One heritability, all traits: what `get_ml_soln` and `calc_ll` are made of."""

    beta: Float[Array, "*h p m"]
    rss: Float[Array, "*h m"]
    logdet_XWX: Float[Array, "*h"]
    ml: Float[Array, "*h m"]
    reml: Float[Array, "*h m"]


@in_float64
def get_ml_soln(
    hsq: ArrayOrFrame, Kva: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame, reml: bool = True
) -> MLSolution:
    """Fixed effects and variance at given heritabilities.

    Parameters
    ----------
    hsq : scalar or array
        Heritabilities in [0, 1].
    Kva, y, X : (n,), (n,) or (n, m), (n, p)
        Rotated data of `eigen_rotation`.
    reml : bool
        Whether to give log |X'WX| too, which REML needs.

    Returns
    -------
    MLSolution
        ``beta``, ``sigmasq``, ``rss``, ``logdet_XSX``. At hsq = 1 with singular K, the limit:
        infinite ``rss`` and ``sigmasq`` for a trait with a component in the null space of K.

    Raises
    ------
    ValueError
        If hsq is outside [0, 1], or shapes do not fit.

    Notes
    -----
    R/lmmlite's ``getMLsoln``.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=1, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    >>> lmm.get_ml_soln(0.5, rot.Kva, rot.y, rot.X).beta.shape
    (3,)
    """
    h, n, p, fit = _evaluate(hsq, Kva, y, X)
    logdet = fit.logdet_XWX.reshape(h.shape) if reml else None
    return MLSolution(fit.beta, fit.rss / (n - p), fit.rss, logdet)


@in_float64
def calc_ll(
    hsq: ArrayOrFrame, Kva: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame, reml: bool = True
) -> Float[AnyArray, "*hm"]:
    """Log likelihood at given heritabilities, β and σ² at their best for each.

    Parameters
    ----------
    hsq : scalar or array
        Heritabilities in [0, 1].
    Kva, y, X : (n,), (n,) or (n, m), (n, p)
        Rotated data of `eigen_rotation`.
    reml : bool
        Restricted likelihood (default) or full likelihood.

    Returns
    -------
    loglik : hsq shape + trait shape
        In R/lmmlite's convention, constants dropped. At hsq = 1 with singular K, the limit:
        -inf for a trait with a component in the null space of K, +inf where the likelihood has
        no bound.

    Raises
    ------
    ValueError
        If hsq is outside [0, 1], or shapes do not fit.

    Notes
    -----
    R/lmmlite's ``calcLL``. ML: -½ [Σ log(hλ+1-h) + n log rss]; REML adds
    ½ [p log(2πσ̂²) + log|X'X| - log|X'WX|].

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=5, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno, cohort.covar)
    >>> lmm.calc_ll(np.linspace(0, 1, 101), rot.Kva, rot.y, rot.X).shape
    (101, 5)
    """
    _, _, _, fit = _evaluate(hsq, Kva, y, X)
    return fit.reml if reml else fit.ml


def _evaluate(
    hsq: ArrayOrFrame, Kva: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame
) -> tuple[Float[Array, "*h"], int, int, _LeastSquares]:
    """Check the arguments; every heritability against every trait, in the shapes of both."""
    h = jnp.asarray(as_heritability(hsq))
    spectrum, traits, covariates = rotated_data(Kva, y, X)
    n, p = np.shape(covariates)
    if n <= p:
        raise ValueError(f"X has {p} columns for {n} individuals: fit fewer covariates than that.")
    one_trait = jnp.ndim(traits) == 1
    fits = _fit_each(h.reshape(-1), spectrum, traits[:, None] if one_trait else traits, covariates)

    def shaped(values: Array) -> Array:
        values = values[..., 0] if one_trait else values
        return values.reshape(*h.shape, *values.shape[1:])

    shaped_fit = _LeastSquares(
        shaped(fits.beta), shaped(fits.rss), fits.logdet_XWX, shaped(fits.ml), shaped(fits.reml)
    )
    return h, n, p, shaped_fit


def rotated_data(
    Kva: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame
) -> tuple[Float[AnyArray, " n"], Float[AnyArray, "n *m"], Float[Array, "n p"]]:
    """Rotated data as float64 arrays, shapes checked against one another; y is not copied."""
    if np.ndim(Kva) != 1:
        raise ValueError(f"Kva must be the vector of eigenvalues (n,), got shape {np.shape(Kva)}.")
    n = np.shape(Kva)[0]
    # Checked first: under jit a JAX array made of known values becomes part of the trace.
    if not is_traced(Kva):
        Kva = np.asarray(Kva, dtype=np.float64)
        if np.isnan(Kva).any():
            raise ValueError("Kva has missing values: take it from eigen_rotation.")
    check_spectrum(Kva, clip_negative=False)
    spectrum = clean_spectrum(Kva, clip_negative=False)
    traits, covariates = as_traits("y", y, n).values, as_covariates(X, n).values
    return spectrum, traits, jnp.asarray(covariates)


@jax.jit
def _fit_each(
    h: Float[Array, " h"],
    Kva: Float[Array, " n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
) -> _LeastSquares:
    return lax.map(lambda one: _fit_one(one, Kva, y, X), h)


def _fit_one(
    h: Float[Array, ""],
    Kva: Float[Array, " n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
) -> _LeastSquares:
    unbounded = (h == 1) & jnp.any(Kva == 0)
    return lax.cond(unbounded, _limit_at_one, _weighted_least_squares, h, Kva, y, X)


def _weighted_least_squares(
    h: Float[Array, ""],
    Kva: Float[Array, " n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
) -> _LeastSquares:
    n, p = X.shape
    variance = h * Kva + (1 - h)
    root = jnp.sqrt(1 / variance)[:, None]
    Q, R = jnp.linalg.qr(root * X)
    z = Q.T @ (root * y)
    beta = jax.scipy.linalg.solve_triangular(R, z)
    rss = jnp.sum((root * y - Q @ z) ** 2, axis=0)
    logdet_XWX = _logdet(R)
    ml = -0.5 * (jnp.sum(jnp.log(variance)) + n * jnp.log(rss))
    return _LeastSquares(
        beta, rss, logdet_XWX, ml, ml + _restriction(rss, n, p, _logdet_gram(X), logdet_XWX)
    )


def _limit_at_one(
    h: Float[Array, ""],
    Kva: Float[Array, " n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
) -> _LeastSquares:
    """H → 1 with singular K: individuals in its null space weigh infinitely more than the others.

    They determine ("pin") the fixed effects that they can, the others determine the rest.
    """
    n, p = X.shape
    null = (Kva == 0)[:, None]
    Q, R = jnp.linalg.qr(X)
    G, lengths, _, pinned = null_directions(Kva, Q)
    T = Q @ G
    squares = jnp.where(pinned, lengths**2, 1.0)
    pinned_effects = jnp.where(pinned[:, None], (T * null).T @ y, 0.0) / squares[:, None]
    left = y - T @ pinned_effects
    exact = jnp.sum((left * null) ** 2, axis=0) <= EXACT_TOLERANCE * jnp.sum(y**2, axis=0)

    root = jnp.where(null, 0.0, jnp.sqrt(1 / jnp.where(null, 1.0, Kva[:, None])))
    design = jnp.concatenate([root * T * ~pinned, jnp.diag(pinned.astype(y.dtype))])
    Qf, Rf = jnp.linalg.qr(design)
    response = jnp.concatenate([root * left, jnp.zeros((p, y.shape[1]))])
    z = Qf.T @ response
    effects = pinned_effects + jax.scipy.linalg.solve_triangular(Rf, z)
    rss = jnp.where(exact, jnp.sum((response - Qf @ z) ** 2, axis=0), jnp.inf)

    # Σ log(hλ+1-h) and log|X'WX| each have a term in log(1-h); they cancel where as many
    # directions are pinned as K has zero eigenvalues.
    zeros, pins = jnp.sum(null), jnp.sum(pinned)
    logdet = jnp.sum(jnp.log(jnp.where(null[:, 0], 1.0, Kva)))
    finite_XWX = _logdet(Rf) + _logdet(R) + jnp.sum(jnp.log(squares))
    finite_XWX = finite_XWX - 2 * jnp.linalg.slogdet(G)[1]
    safe = jnp.where(exact, rss, 1.0)
    ml = -0.5 * (logdet + n * jnp.log(safe))
    reml = ml + _restriction(safe, n, p, _logdet_gram(X), finite_XWX)
    return _LeastSquares(
        beta=jax.scipy.linalg.solve_triangular(R, G @ effects),
        rss=rss,
        logdet_XWX=jnp.where(pins > 0, jnp.inf, finite_XWX),
        ml=jnp.where(exact, jnp.inf, -jnp.inf),
        reml=jnp.where(exact, jnp.where(zeros > pins, jnp.inf, reml), -jnp.inf),
    )


def _restriction(rss: Array, n: int, p: int, logdet_XX: Array, logdet_XWX: Array) -> Array:
    """What REML adds to the ML log likelihood."""
    return 0.5 * (p * jnp.log(2 * jnp.pi * rss / (n - p)) + logdet_XX - logdet_XWX)


def _logdet_gram(X: Array) -> Array:
    return _logdet(jnp.linalg.qr(X, mode="r"))


def _logdet(R: Array) -> Array:
    return 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(R))))
