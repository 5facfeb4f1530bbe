"""Polynomials, and tails of distributions that are made of them, for very many pairs.

A tail is a probability that falls from 1 at v = 0, like exp(-v²) in the end. -log10 of it, divided
by v (v + b), hardly varies, and is a polynomial in 1/(v + b) of few terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from lmmlite_jax.model.precision import AnyArray

__all__ = ["Tail", "fitted_tail", "polynomial", "tail_at"]

Terms: TypeAlias = AnyArray | Sequence[AnyArray | float]


def polynomial(coefficients: Terms, x: Float[AnyArray, "*pairs"]) -> Array:
    """Sum of coefficients times 0, 1, 2, … powers of x.

    By Estrin's scheme: neighbours are joined side by side, where in Horner's every step waits for
    the one before.
    """
    terms, power = [jnp.asarray(one) for one in coefficients], jnp.asarray(x)
    while len(terms) > 1:
        joined = [low + high * power for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = joined + terms[2 * len(joined) :]
        power = power * power
    return terms[0]


class Tail(NamedTuple):
    """-log10 of a tail at v: v (v + b) times a polynomial in a number from -1 to 1.

    Attributes
    ----------
    coefficients : (terms,)
        Of 0, 1, 2, … powers.
    bend : ()
        b: about where the function ceases to be linear.
    middle, span : ()
        The number is ``middle`` less ``span`` / (v + b).
    """

    coefficients: Float[AnyArray, " terms"]
    bend: Float[AnyArray, ""]
    middle: Float[AnyArray, ""]
    span: Float[AnyArray, ""]


def fitted_tail(
    tail: Callable[[Float[np.ndarray, " terms"]], AnyArray],
    largest: float,
    bend: float,
    terms: int,
) -> Tail:
    """Tail with the values of a function at Chebyshev's points between 0 and the largest v."""
    first, last = 1 / bend, 1 / (largest + bend)
    middle, span = (first + last) / (first - last), 2 / (first - last)
    x = chebyshev.chebpts1(terms)
    v = span / (middle - x) - bend
    quotient = np.asarray(tail(v)) / (v * (v + bend))
    series = np.linalg.solve(chebyshev.chebvander(x, terms - 1), quotient)
    return Tail(chebyshev.cheb2poly(series), *map(np.asarray, (bend, middle, span)))


def tail_at(tail: Tail, v: Float[AnyArray, "*pairs"]) -> Array:
    """-log10 of the tail at numbers from 0 to the largest."""
    shifted = v + tail.bend
    of_shifted = polynomial(tail.coefficients, tail.middle - tail.span / shifted)
    return jnp.asarray(v * shifted * of_shifted)
