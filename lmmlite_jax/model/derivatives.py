"""What a rule of differentiation may know: how often, along what, and which values are zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from lmmlite_jax.model.precision import AnyArray, whole_products

__all__ = ["derivative_along", "differentiable_times", "vanishing"]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def differentiable_times(times: int, refusal: str, *values: Array) -> tuple[Array, ...]:
    """Values as they are; ``NotImplementedError`` says ``refusal`` to one derivative more."""
    return values


@differentiable_times.defjvp
def _differentiable_jvp(
    times: int, refusal: str, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    if times == 0:
        raise NotImplementedError(refusal)
    return differentiable_times(times - 1, refusal, *primals), tangents


def derivative_along(
    function: Callable[..., Array], at: Sequence[AnyArray], along: Sequence[AnyArray | SymbolicZero]
) -> Array:
    """Directional derivative, without the work for arguments that stay where they are."""
    moving = [k for k, change in enumerate(along) if not isinstance(change, SymbolicZero)]

    def of_moving(*values: Array) -> Array:
        placed = dict(zip(moving, values, strict=True))
        return function(*(placed.get(k, value) for k, value in enumerate(at)))

    start, direction = (tuple(of_all[k] for k in moving) for of_all in (at, along))
    return jax.jvp(of_moving, start, direction)[1]


def vanishing(function: Callable[..., Array], *at: AnyArray) -> Array:
    """A function's value, known to be zero, and its derivatives of all orders.

    Expansions are made of what is zero where they are taken, and nobody should compute that.
    """

    @jax.custom_jvp
    def zero(*at: AnyArray) -> Array:
        known = jax.eval_shape(function, *at)
        return jnp.zeros(known.shape, known.dtype)

    @partial(zero.defjvp, symbolic_zeros=True)
    @whole_products()
    def derivative(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        return zero(*primals), derivative_along(function, primals, tangents)

    return zero(*at)
