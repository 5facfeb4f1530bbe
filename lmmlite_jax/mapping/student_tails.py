"""-log10 p of Student's t for many pairs, each with degrees of freedom of its own.

With w = log(1 + t²/ν), the two-sided p-value of t at ν degrees of freedom is that of a standard
normal deviate z with

    z² = w (ν + F(w, 1/ν)),

where F, between -0.5 and -0.45, is so smooth that a polynomial of few terms gives -log10 p to
twelve digits wherever w is at most 1 and ν at least 20. The other pairs are left to `log10p_f`,
which has two series for every pair.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.logarithm import log1p
from lmmlite_jax.mapping.polynomials import Tail, polynomial, tail_at
from lmmlite_jax.mapping.some import replaced
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.precision import AnyArray

__all__ = ["log10p_t"]

OTHERS_AT_ONCE = 4096
"""Pairs that are left to `log10p_f` together."""

_LARGEST_W, _FEWEST_DOF, _LARGEST_Z = 1.0, 20.0, 40.0

# F as a polynomial in 2w - 1, a row a power, and in 40/ν - 1: interpolated at Chebyshev's points
# between values of 50 digits, without the terms below 1e-14.
# fmt: off
_DIFFERENCE = (
    (-0.47606751235438083, 0.00317408786677372, 3.089629794301e-05, -8.3050717582e-07,
     -2.354632634e-08, 1.08992348e-09, 3.480164e-11, -2.99518e-12),
    (0.02066799727659238, -4.203322301713e-05, -6.11533580736e-06, -5.731701117e-08, 8.19880453e-09,
     1.0651686e-10, -2.179984e-11),
    (-0.00014311585176656, -1.456635027751e-05, 7.499388909e-08, 2.83615459e-08, -2.564074e-11,
     -8.465442e-11, 6.6091e-13),
    (-4.128260887032e-05, 4.8402976523e-07, 5.760349243e-08, -8.7852084e-10, -2.0248382e-10,
     4.21009e-12),
    (9.1751567482e-07, 8.192679477e-08, -2.52533195e-09, -3.4200748e-10, 1.213719e-11, 1.75477e-12),
    (1.5188740775e-07, -4.3501759e-09, -4.3467101e-10, 2.270589e-11, 2.51023e-12),
    (-5.79464882e-09, -4.4807701e-10, 3.099061e-11, 2.86478e-12),
    (-6.3591348e-10, 3.376103e-11, 2.71823e-12),
    (3.517985e-11, 2.24642e-12),
    (2.7007e-12,),
)

# What `fitted_tail` gives for both tails of a normal deviate, `log10p_chi2` of its square.
_NORMAL = Tail(
    np.array([
        0.10154680020118971, 0.07258830587387138, 0.010174884080692332, -0.0033601561192821783,
        0.0010323843471061799, -8.880977600042361e-05, -0.00013260549155314687,
        0.0001230779735500458, -5.544449552014545e-05, 1.0218674983507495e-05,
        8.389646784942452e-06, -9.093842268018278e-06, 4.731000150138913e-06,
        -8.702448681608206e-07, -6.466646096530133e-07, 8.383644596139683e-07,
        -5.159490303621159e-07, 1.0405388460691351e-07, 1.5350362615596777e-07,
        -1.0480183426330126e-07, 3.799413045350183e-09, 1.0019552806914442e-08,
        -2.9021359784696943e-09, 3.156004564791906e-09,
    ]),
    *map(np.asarray, (8.0, 1.4, 19.2)),
)
# fmt: on


def log10p_t(ratio: Float[AnyArray, " P"], dof: Float[AnyArray, " P"]) -> Float[Array, " P"]:
    """As ``log10p_f(ratio, 1, dof)``, t² being ``ratio`` times ``dof``, for many pairs.

    To 1e-12 of itself or 1e-14, like that.
    """
    ratio, dof = jnp.asarray(ratio), jnp.asarray(dof)
    w = log1p(ratio)
    square = w * (dof + _difference(2 * w / _LARGEST_W - 1, 2 * _FEWEST_DOF / dof - 1))
    known = (w >= 0) & (w <= _LARGEST_W) & (dof >= _FEWEST_DOF) & (square < _LARGEST_Z**2)
    square = lax.optimization_barrier(jnp.where(known, square, jnp.nan))  # not to be repeated
    log10p = tail_at(_NORMAL, jnp.sqrt(square))

    def of_others(pairs: Int[Array, " some"]) -> Array:
        return jnp.asarray(log10p_f(ratio[pairs], 1, dof[pairs]))

    others = jnp.isnan(square) & ~jnp.isnan(ratio)
    return replaced(log10p, others, OTHERS_AT_ONCE, of_others)


def _difference(x: Float[AnyArray, " P"], y: Float[AnyArray, " P"]) -> Float[AnyArray, " P"]:
    """F, of numbers from -1 to 1."""
    return polynomial([polynomial(terms, y) for terms in _DIFFERENCE], x)
