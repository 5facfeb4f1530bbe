"""Product, statistic and the maxima of groups in one kernel, for NVIDIA's tensor cores.

The products of a block of markers and one of traits are never written to memory: each program of
the kernel makes those of a tile, and writes their maxima. What it is for, and its margin, are those
of `leaving.group_maxima`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from lmmlite_jax.mapping.blocks import WHOLE_TILES

__all__ = ["MARKERS", "fused_maxima"]

MARKERS = WHOLE_TILES
"""Of a tile."""

TRAITS = 128
"""Of a tile."""

STEP = 64
"""Individuals whose products are added together."""

FEWEST_NODES = 16
"""Least inner size of a product on tensor cores."""


def fused_maxima(
    values: Float[Array, "B q"],
    weighted: Float[Array, "q T"],
    squares: Float[Array, "B nodes"],
    weights: Float[Array, "nodes T"],
    *,
    group: int,
    interpret: bool = False,
) -> Float[Array, "groups T"]:
    """Largest share of variance in each ``group`` of markers, a multiple of `MARKERS`.

    ``values`` and ``weighted`` are of bfloat16, q a multiple of `STEP`. The sums of squares are
    products of single precision, split into three of tensor cores.
    """
    (B, q), (nodes, T) = values.shape, weights.shape
    inner = max(FEWEST_NODES, 1 << (nodes - 1).bit_length())
    beyond = (0, -T % TRAITS)
    weighted = jnp.pad(weighted, ((0, 0), beyond))
    squares = jnp.pad(squares, ((0, 0), (0, inner - nodes)))
    # Traits beyond the last have products of zero, and any sum of squares will do.
    weights = jnp.pad(weights, ((0, 0), beyond), constant_values=1.0)
    weights = jnp.pad(weights, ((0, inner - nodes), (0, 0)))
    maxima = pl.pallas_call(
        partial(_tile, steps=q // STEP, group=group, interpret=interpret),
        grid=(B // MARKERS, weighted.shape[1] // TRAITS),
        in_specs=[
            pl.BlockSpec((MARKERS, q), lambda i, j: (i, 0)),
            pl.BlockSpec((q, TRAITS), lambda i, j: (0, j)),
            pl.BlockSpec((MARKERS, inner), lambda i, j: (i, 0)),
            pl.BlockSpec((inner, TRAITS), lambda i, j: (0, j)),
        ],
        out_specs=pl.BlockSpec((MARKERS // group, TRAITS), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((B // group, weighted.shape[1]), jnp.float32),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=4),
        interpret=interpret,
    )(values, weighted, squares, weights)
    return maxima[:, :T]


def _tile(
    values: Any,
    weighted: Any,
    squares: Any,
    weights: Any,
    maxima: Any,
    *,
    steps: int,
    group: int,
    interpret: bool,
) -> None:
    """Read a tile's rows and columns, and write its maxima."""

    def add(step: Array, total: Array) -> Array:
        some = pl.ds(step * STEP, STEP)
        product = lax.dot(values[:, some], weighted[some, :], preferred_element_type=jnp.float32)
        return total + product

    b = lax.fori_loop(0, steps, add, jnp.zeros((MARKERS, TRAITS), jnp.float32))
    single = lax.Precision.HIGHEST if interpret else lax.DotAlgorithmPreset.TF32_TF32_F32_X3
    d = lax.dot(squares[...], weights[...], precision=single, preferred_element_type=jnp.float32)
    share = (b * b / d).reshape(MARKERS // group, group, TRAITS)
    maxima[...] = jnp.max(share, axis=1)
