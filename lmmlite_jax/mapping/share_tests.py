"""LOD scores and p-values of the share of variance that a marker explains, h² fixed.

A p-value of a share r² with known degrees of freedom is a smooth function of one number,
v = (-log(1 - r²))^(1/2). Where all pairs of many markers are kept it is tabulated: pieces of
polynomials of degree 5, as exact as the function itself and four times as fast.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.logarithm import log1p
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.piecewise import interpolated, points_of_pieces, value_in_pieces
from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f
from lmmlite_jax.model.precision import AnyArray

__all__ = [
    "LN10",
    "PAIRS_AT_ONCE",
    "Number",
    "Tabulated",
    "least_share",
    "share_tests",
    "tabulated",
    "tabulated_share_tests",
]

Number: TypeAlias = AnyArray | float

LN10 = float(np.log(10))

PAIRS_AT_ONCE = 512
"""Pairs that are tested together, where they are few."""

_ROUNDING = 1e-5  # of single precision, with room

_ROUNDS = 6  # each leaves a part in PAIRS_AT_ONCE of the interval

_NODES = 6  # of a piece

_LARGEST_ROOT = 6.1  # of v: 1 - r² is 1e-16 there, the last number below 1

_FEWEST_PIECES = 4096


@partial(jax.jit, static_argnames="method")
def share_tests(
    share: AnyArray, rank: AnyArray, dof: Number, n: Number, method: Method
) -> tuple[AnyArray, AnyArray]:
    """LOD score and -log10 p where a marker explains a share of the residual sum of squares.

    Given h² the share is Beta(df/2, (dof - df)/2) under the null. Wald's F, the score and the
    likelihood ratio are functions of it that grow with it: referred to their own laws they have one
    p-value. The asymptotic laws are GEMMA's.
    """
    none, log_ratio = _log_ratio(share)
    log10p = jnp.zeros_like(log_ratio)
    for df in range(1, method.columns + 1):
        log10p = lax.cond(
            jnp.any(rank == df),
            lambda log10p, df=df: jnp.where(
                rank == df, _log10p(log_ratio, df, dof, n, method), log10p
            ),
            lambda log10p: log10p,
            log10p,
        )
    return (
        jnp.where(none, jnp.nan, n / 2 * log_ratio / LN10),
        jnp.where(none | (rank == 0), jnp.nan, log10p),
    )


def _log_ratio(share: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Whether there is no share, and log(rss0 / rss1)."""
    none, share = _checked(share)
    return none, -jnp.log1p(-share)


def _checked(share: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Whether there is no share, and a share from 0 to 1."""
    share = jnp.minimum(jnp.asarray(share, dtype=float), 1.0)
    none = ~(share >= 0)
    return none, jnp.where(none, 0.5, share)


def _log10p(log_ratio: AnyArray, df: int, dof: Number, n: Number, method: Method) -> AnyArray:
    """-log10 p of markers of ``df`` independent columns."""
    if method.asymptotic and method.test == "lrt":
        return log10p_chi2(n * log_ratio, df)
    if method.asymptotic and method.test == "score":
        return log10p_f(-n * jnp.expm1(-log_ratio) / (dof - df), df, dof - df)
    return log10p_f(jnp.expm1(log_ratio), df, dof - df)


class Tabulated(NamedTuple):
    """-log10 p as a function of v: a polynomial in each of S pieces of equal length.

    ``coefficients`` are of the powers of a number that goes from -1 to 1 in a piece; the pieces of
    the k ranks of a marker of k columns follow one another.
    """

    coefficients: Float[AnyArray, "nodes k*S"]
    dof: Float[AnyArray, ""]
    n: Float[AnyArray, ""]


@lru_cache(maxsize=256)
def tabulated(dof: float, n: float, method: Method) -> Tabulated:
    """Table of the p-values of markers on traits with these degrees of freedom.

    The law varies over 1/dof^(1/2) in v; with several degrees of freedom it bends more.
    """
    needed = (96 if method.columns == 1 else 200) * np.sqrt(dof)
    pieces = max(_FEWEST_PIECES, 1 << int(np.ceil(np.log2(needed))))
    v = points_of_pieces(pieces, _NODES) * (_LARGEST_ROOT / pieces)
    values = np.asarray(_log10p_of_ranks(v**2, dof, n, method))
    return Tabulated(interpolated(values), np.asarray(dof), np.asarray(n))


@partial(jax.jit, static_argnames="method")
def _log10p_of_ranks(
    log_ratio: Float[AnyArray, "S nodes"], dof: Number, n: Number, method: Method
) -> Float[Array, "k S nodes"]:
    ranks = range(1, method.columns + 1)
    return jnp.stack([_log10p(log_ratio, df, dof, n, method) for df in ranks])


@partial(jax.jit, static_argnames="method")
def tabulated_share_tests(
    share: Float[AnyArray, "*pairs"],
    rank: Int[AnyArray, "*pairs"],
    table: Tabulated,
    method: Method,
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """As `share_tests`, to 1e-12 of a p-value's logarithm or 1e-14."""
    none, share = _checked(share)
    lod = jnp.where(none, jnp.nan, -table.n / 2 * log1p(-share) / LN10)
    lod = lax.optimization_barrier(lod)  # what follows needs nothing else
    log_ratio = jnp.where(lod >= 0, lod * (2 * LN10 / table.n), 0.0)
    pieces = table.coefficients.shape[1] // method.columns
    at = jnp.sqrt(log_ratio) * (pieces / _LARGEST_ROOT)
    of_fewer = 0 if method.columns == 1 else pieces * jnp.maximum(rank - 1, 0)
    log10p = value_in_pieces(table.coefficients, at, pieces, of_fewer)
    log10p = jnp.where(log_ratio > 0, log10p, 0.0)
    log10p = jnp.where(log_ratio < jnp.inf, log10p, jnp.inf)
    return lod, jnp.where(jnp.isnan(lod) | (rank == 0), jnp.nan, log10p)


@lru_cache(maxsize=1024)
def least_share(threshold: float, n: float, dof: float, method: Method) -> float:
    """Share of the residual sum of squares just below that with this -log10 p; infinite if none.

    Sought among as many shares as pairs are tested together, by the program that tests them.
    """
    low, high, rank = 0.0, 1.0, np.ones(PAIRS_AT_ONCE, dtype=int)
    for _ in range(_ROUNDS):
        shares = np.linspace(low, high, PAIRS_AT_ONCE)
        _, log10p = share_tests(shares, rank, dof, n, method)
        over = np.flatnonzero(np.asarray(log10p) >= threshold)
        if over.size == 0:  # an asymptotic p-value of all that there is to explain
            return np.inf
        low, high = float(shares[max(over[0] - 1, 0)]), float(shares[over[0]])
    return low * (1 - _ROUNDING)
