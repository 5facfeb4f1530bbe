"""Inverse and determinant of a variance matrix, with and without its covariates."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Pieces", "factorise"]


class Pieces(NamedTuple):
    """What the likelihood of a variance matrix V with covariates X is made of.

    Attributes
    ----------
    P : (n, n)
        V⁻¹ - CB⁻¹C'.
    C : (n, p)
        V⁻¹XB, so that C'y are the fixed effects.
    B : (p, p)
        (X'V⁻¹X)⁻¹.
    slope : (n, n)
        Derivative of ``logdet`` with respect to V: P for REML, V⁻¹ for ML.
    logdet : ()
        log|V| for ML; for REML log|N'VN|, N an orthonormal basis of the complement of X.
    """

    P: Float[Array, "n n"]
    C: Float[Array, "n p"]
    B: Float[Array, "p p"]
    slope: Float[Array, "n n"]
    logdet: Float[Array, ""]


def factorise(
    reml: bool, V: Float[Array, "n n"], zero: Float[Array, ""], X: Float[Array, "n p"]
) -> Pieces:
    """Cholesky factors of V in the complement of X, and for ML of V itself.

    The complement is not formed: the directions of X are given the mean eigenvalue instead. NaN
    where an eigenvalue is below ``zero`` times the mean.
    """
    n, p = X.shape
    mean = jnp.trace(V) / n
    Q, R = jnp.linalg.qr(X)
    VQ = V @ Q
    half = VQ - Q @ (Q.T @ VQ) / 2 - Q * (mean / 2)
    inverse, logdet = _invert(V - Q @ half.T - half @ Q.T, zero)
    P = inverse - Q @ Q.T / mean
    C = jax.scipy.linalg.solve_triangular(R, Q.T - VQ.T @ P).T
    if reml:
        return Pieces(P, C, C.T @ V @ C, P, logdet - p * jnp.log(mean))
    inverse, logdet = _invert(V, zero)
    return Pieces(P, C, C.T @ V @ C, inverse, logdet)


def _invert(
    V: Float[Array, "n n"], zero: Float[Array, ""]
) -> tuple[Float[Array, "n n"], Float[Array, ""]]:
    """Inverse and log determinant.

    The largest diagonal element of the inverse is, within a factor of n, one over the smallest
    eigenvalue.
    """
    root = jnp.linalg.cholesky(V)
    inverse = jax.scipy.linalg.cho_solve((root, True), jnp.eye(len(V)))
    inverse = (inverse + inverse.T) / 2
    regular = jnp.max(jnp.diagonal(inverse)) * zero * jnp.trace(V) / len(V) < 1
    logdet = 2 * jnp.sum(jnp.log(jnp.diagonal(root)))
    return jnp.where(regular, inverse, jnp.nan), jnp.where(regular, logdet, jnp.nan)
