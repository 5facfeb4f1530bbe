"""-log10 p of the share of variance that a marker explains, h² fixed.

A p-value of a share r² with known degrees of freedom is a smooth function of one number,
v = (-log(1 - r²))^(1/2). For all pairs of many markers it is a polynomial, or polynomials in
pieces of equal length where one does not suffice: as exact as the function itself.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.piecewise import interpolated, points_of_pieces, value_in_pieces
from lmmlite_jax.mapping.polynomials import Tail, fitted_tail, tail_at
from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f
from lmmlite_jax.model.precision import AnyArray

__all__ = ["Number", "ShareLaw", "log10p_by_law", "log10p_of_ratio", "share_law"]

Number: TypeAlias = AnyArray | float

_LARGEST_ROOT = 6.1  # of v: 1 - r² is 1e-16 there, the last number below 1

_BEND, _TERMS = 32.0, 44

_MOST_OF_A_TAIL = 2000.0  # degrees of freedom: 1e-12 of -log10 p up to there

_TERMS_OF_PIECE = 6

_FEWEST_PIECES = 4096


class ShareLaw(NamedTuple):
    """-log10 p as a function of v, of traits with some degrees of freedom and individuals.

    As a tail, or as coefficients of the powers of a number that goes from -1 to 1 in each of S
    pieces of v; those of the k ranks of a marker of k columns follow one another.
    """

    of_root: Tail | Float[AnyArray, "terms k*S"]
    n: Float[AnyArray, ""]


def log10p_of_ratio(
    log_ratio: AnyArray, df: int, dof: Number, n: Number, method: Method
) -> AnyArray:
    """-log10 p of markers of ``df`` independent columns, log(rss0 / rss1) being v²."""
    if method.asymptotic and method.test == "lrt":
        return log10p_chi2(n * log_ratio, df)
    if method.asymptotic and method.test == "score":
        return log10p_f(-n * jnp.expm1(-log_ratio) / (dof - df), df, dof - df)
    return log10p_f(jnp.expm1(log_ratio), df, dof - df)


@lru_cache(maxsize=256)
def share_law(dof: float, n: float, method: Method) -> ShareLaw:
    """The law of markers on traits with these degrees of freedom.

    It varies over 1/dof^(1/2) in v, asymptotic ones over 1/n^(1/2); with several columns it bends
    more. The score's asymptotic law is no tail in v.
    """
    left = n if method.asymptotic and method.test != "wald" else max(dof - 1, 1.0)
    one = method.columns == 1 and not _is_asymptotic_score(method)
    if one and left <= _MOST_OF_A_TAIL:
        tail = fitted_tail(
            lambda v: _of_ranks(v**2, dof, n, method)[0],
            _LARGEST_ROOT,
            _BEND / np.sqrt(left),
            _TERMS,
        )
        return ShareLaw(tail, np.asarray(n))
    needed = (96 if method.columns == 1 else 200) * np.sqrt(left)
    pieces = max(_FEWEST_PIECES, 1 << int(np.ceil(np.log2(needed))))
    v = points_of_pieces(pieces, _TERMS_OF_PIECE) * (_LARGEST_ROOT / pieces)
    values = np.asarray(_of_ranks(v**2, dof, n, method))
    return ShareLaw(interpolated(values), np.asarray(n))


def _is_asymptotic_score(method: Method) -> bool:
    """Whether -log10 p is finite where a marker explains all that there is."""
    return method.asymptotic and method.test == "score"


@partial(jax.jit, static_argnames="method")
def _of_ranks(
    log_ratio: Float[AnyArray, "*points"], dof: Number, n: Number, method: Method
) -> Float[Array, "k *points"]:
    ranks = range(1, method.columns + 1)
    return jnp.stack([log10p_of_ratio(log_ratio, df, dof, n, method) for df in ranks])


def log10p_by_law(
    law: ShareLaw,
    log_ratio: Float[AnyArray, "*pairs"],
    rank: Int[AnyArray, "*pairs"],
    method: Method,
) -> Float[Array, "*pairs"]:
    """As `log10p_of_ratio`, to 1e-12 of -log10 p or 1e-14, of ratios that are numbers."""
    v = jnp.sqrt(log_ratio)
    if isinstance(law.of_root, Tail):
        log10p = tail_at(law.of_root, v)
    else:
        pieces = law.of_root.shape[1] // method.columns
        of_fewer = 0 if method.columns == 1 else pieces * jnp.maximum(rank - 1, 0)
        at = jnp.minimum(v, _LARGEST_ROOT) * (pieces / _LARGEST_ROOT)
        log10p = value_in_pieces(law.of_root, at, pieces, of_fewer)
        log10p = jnp.where(log_ratio > 0, log10p, 0.0)
    if _is_asymptotic_score(method):
        return log10p
    return jnp.where(log_ratio < jnp.inf, log10p, jnp.inf)
