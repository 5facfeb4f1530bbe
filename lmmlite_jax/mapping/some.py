"""More work for some of many numbers, which are known inside of a program alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

__all__ = ["replaced"]

TOGETHER = 64
"""Neighbours that are counted first: finding one in all of them takes longer."""

A = TypeVar("A")


def replaced(
    found: A, needed: Bool[Array, " N"], size: int, work: Callable[[Int[Array, " some"]], A]
) -> A:
    """Results (N,), of which those that need it are replaced by ``work`` at their places.

    ``size`` at a time; those of the last that are too many are of a place of no need.
    """
    N = needed.size
    size = min(size, N)
    rows = jnp.pad(needed, (0, -N % TOGETHER)).reshape(-1, TOGETHER)
    counts = jnp.sum(rows, axis=1, dtype=int)
    ends = jnp.cumsum(counts)

    def replace(state: tuple[Array, A]) -> tuple[Array, A]:
        done, found = state
        number = done + jnp.arange(size)
        row = jnp.minimum(jnp.searchsorted(ends, number, side="right"), len(rows) - 1)
        before = (ends - counts)[row]
        within = jnp.cumsum(rows[row], axis=1) > (number - before)[:, None]
        place = jnp.minimum(row * TOGETHER + jnp.argmax(within, axis=1), N - 1)
        own = jnp.where(number < ends[-1], place, N)
        better = work(place)
        at_places = jax.tree.map(lambda x, y: x.at[own].set(y, mode="drop"), found, better)
        return done + size, at_places

    start = jnp.zeros((), ends.dtype), found
    return lax.while_loop(lambda state: state[0] < ends[-1], replace, start)[1]
