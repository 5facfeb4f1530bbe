"""A logarithm that takes a quarter of the time of XLA's, and is more exact."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.mapping.polynomials import polynomial
from lmmlite_jax.model.precision import AnyArray

__all__ = ["log1p"]

_BITS_OF_FRACTION = 52

_BITS_OF_ROOT_HALF = np.float64(0.5**0.5).view(np.int64)

_ARTANH_TERMS = 9  # of z² up to 0.0295: the next is 2e-17


def log1p(x: Float[AnyArray, "*pairs"]) -> Float[Array, "*pairs"]:
    """log(1 + x) of numbers from -1 up, to 4e-16 of it; NaN for NaN and below -1.

    XLA's is wrong by up to 3e-14 near x = -0.4.

    1 + x is 2^k m, m between √½ and √2, and log m = 2 artanh z, z = (m-1)/(m+1).
    """
    bits = lax.bitcast_convert_type(1 + x, jnp.int64)
    k = (bits - _BITS_OF_ROOT_HALF) >> _BITS_OF_FRACTION
    m = lax.bitcast_convert_type(bits - (k << _BITS_OF_FRACTION), jnp.float64)
    change = jnp.where(k == 0, x, m - 1)
    z = change / (2 + change)
    square = z * z
    series = square * polynomial([1 / (2 * power + 3) for power in range(_ARTANH_TERMS)], square)
    found = 2 * (z + z * series) + k.astype(jnp.int32) * np.log(2)
    found = jnp.where(x < jnp.inf, found, x)
    return jnp.where(x > -1, found, jnp.where(x == -1, -jnp.inf, jnp.nan))
