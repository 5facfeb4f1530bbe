"""Functions of one number that are polynomials of one degree in pieces of equal length."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.precision import AnyArray

__all__ = ["interpolated", "points_of_pieces", "value_in_pieces"]


def points_of_pieces(pieces: int, nodes: int) -> Float[np.ndarray, "S nodes"]:
    """Where a function of the numbers from 0 to S must be known for polynomials in S pieces."""
    return np.arange(pieces)[:, None] + (1 + _angles(nodes)) / 2


def interpolated(values: Float[np.ndarray, "*S nodes"]) -> Float[np.ndarray, "nodes kS"]:
    """Coefficients of the powers of a number that goes from -1 to 1 in each piece."""
    nodes = values.shape[-1]
    return np.linalg.solve(np.vander(_angles(nodes), increasing=True), values.reshape(-1, nodes).T)


def value_in_pieces(
    coefficients: Float[AnyArray, "nodes kS"],
    at: Float[AnyArray, "*pairs"],
    pieces: int,
    skipped: Int[AnyArray, "*pairs"] | int = 0,
) -> Float[Array, "*pairs"]:
    """Values at numbers from 0 to S, by S of the pieces: those after some that are skipped."""
    piece = jnp.minimum(at, pieces - 1.0).astype(jnp.int32)
    within, place = 2 * (at - piece) - 1, piece + skipped
    value = jnp.zeros_like(at)
    for coefficient in coefficients[::-1]:
        value = value * within + coefficient.at[place].get(mode="promise_in_bounds")
    return value


def _angles(nodes: int) -> Float[np.ndarray, " nodes"]:
    return np.cos((np.arange(nodes) + 0.5) * np.pi / nodes)
