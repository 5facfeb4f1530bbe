"""Precision of the library's own work, without touching the caller's JAX settings.

All work is done in 64-bit types, and matrix products in all digits of their operands: left to
itself JAX has NVIDIA's cards take float32 as TF32, of 10 bits (`double_precision`).

With JAX's default setting an array of double precision loses half its digits in the caller's
first operation on it, slicing included. Results therefore leave as NumPy arrays under that
setting, which keep them; with 64-bit types enabled, or inside a trace, they are JAX arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lmmlite_jax.model.programs import make_room

__all__ = [
    "AnyArray",
    "Scalar",
    "double_precision",
    "each_in_float64",
    "in_double",
    "in_float64",
    "in_working_precision",
    "is_traced",
    "whole_products",
]

AnyArray: TypeAlias = jax.Array | np.ndarray

Scalar: TypeAlias = Float[AnyArray, ""] | float
"""A number: NumPy's are floats."""

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@contextmanager
def whole_products() -> Iterator[None]:
    """Have matrix products take all digits of their operands, here and in what is traced here.

    For what has no 64-bit types: working precision, and the derivatives of functions in it. JAX
    traces those when it pleases, after the function has returned as well.
    """
    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def double_precision() -> Iterator[None]:
    """Enable 64-bit types, and `whole_products` for float32 among them; for this thread alone."""
    with jax.enable_x64(True), whole_products():
        yield


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in `double_precision`, and leave the global setting as it was."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        make_room()
        with double_precision():
            result = function(*args, **kwargs)
        if jax.enable_x64.value or is_traced(result):
            return result
        return jax.tree.map(np.asarray, result)

    return wrapped


def each_in_float64(results: Iterator[T]) -> Iterator[T]:
    """Work on each result in `double_precision`, and hand it over outside of it."""
    while True:
        make_room()
        with double_precision():
            one = next(results, None)
        if one is None:
            return
        yield one


def is_traced(*values: object) -> bool:
    """Whether any of ``values`` is being traced (``jit``, ``vmap``, ``grad``)."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def in_working_precision(function: Callable[..., R], *arrays: AnyArray) -> R:
    """Call with arrays of double precision; inside a trace, of JAX's default precision.

    Under JAX's default setting a caller's derivative can be passed on in single precision only.
    What needs double precision has it inside: see `in_double`.
    """
    if is_traced(*arrays):
        dtype = jnp.result_type(float)
        given = [jnp.asarray(a, dtype) for a in arrays]
        with whole_products():
            return function(*given)
    return in_float64(lambda: function(*(jnp.asarray(a, jnp.float64) for a in arrays)))()


def in_double(function: Callable[..., R]) -> Callable[..., R]:
    """Compute in double precision what has no derivative of its own, and return the caller's.

    Under ``vmap`` one after the other: batches of LAPACK calls in one program have been seen to
    hang (jaxlib 0.10.2).
    """

    @jax.custom_batching.sequential_vmap
    @wraps(function)
    def wrapped(*arrays: AnyArray) -> R:
        dtype = arrays[0].dtype
        with double_precision():
            results = function(*(jnp.asarray(a, jnp.float64) for a in arrays))
            return jax.tree.map(lambda a: jnp.asarray(a, dtype), results)

    return wrapped
