"""LOD scores and p-values of the share of variance that a marker explains, h² fixed."""

from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.logarithm import log1p
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.share_law import Number, ShareLaw, log10p_by_law, log10p_of_ratio
from lmmlite_jax.model.precision import AnyArray

__all__ = [
    "LN10",
    "PAIRS_AT_ONCE",
    "least_share",
    "share_tests",
    "share_tests_by_law",
]

LN10 = float(np.log(10))

PAIRS_AT_ONCE = 512
"""Pairs that are tested together, where they are few."""

_ROUNDING = 1e-5  # of single precision, with room

_ROUNDS = 6  # each leaves a part in PAIRS_AT_ONCE of the interval


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
                rank == df, log10p_of_ratio(log_ratio, df, dof, n, method), log10p
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


@partial(jax.jit, static_argnames="method")
def share_tests_by_law(
    share: Float[AnyArray, "*pairs"],
    rank: Int[AnyArray, "*pairs"],
    law: ShareLaw,
    method: Method,
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """As `share_tests`, to 1e-12 of a p-value's logarithm or 1e-14, for very many pairs."""
    none, share = _checked(share)
    lod = jnp.where(none, jnp.nan, -law.n / 2 * log1p(-share) / LN10)
    lod = lax.optimization_barrier(lod)  # what follows needs nothing else
    log_ratio = jnp.where(lod >= 0, lod * (2 * LN10 / law.n), 0.0)
    log10p = log10p_by_law(law, log_ratio, rank, method)
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
