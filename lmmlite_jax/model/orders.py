"""How often a function may be differentiated, where another order would come out wrong."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array

__all__ = ["differentiable_times"]


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
