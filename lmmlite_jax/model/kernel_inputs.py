"""What a kernel is learned from, checked before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    as_covariates,
    as_traits,
    check_enough,
    check_same_individuals,
)
from lmmlite_jax.model.kernel_result import names_of
from lmmlite_jax.model.precision import AnyArray, is_traced

__all__ = ["KernelTraits", "box_of", "check_start", "traits_of"]


class KernelTraits(NamedTuple):
    """Phenotypes and covariates, and which traits have a likelihood."""

    Y: Float[AnyArray, "n m"]
    X: Float[AnyArray, "n p"]
    fitted: Bool[AnyArray, " m"]


def traits_of(Y: ArrayOrFrame, X: ArrayOrFrame | None) -> KernelTraits:
    """Phenotypes and covariates, checked."""
    table = as_traits("Y", Y, len(Y), missing=True)
    covariates = as_covariates(X, len(Y))
    check_same_individuals(Y=table, X=covariates)
    if is_traced(table.values, covariates.values):
        raise ValueError("fit_kernel is a loop of its own: call it outside of traces.")
    values = table.values if np.ndim(table.values) == 2 else table.values[:, None]
    return KernelTraits(values, covariates.values, np.ones(values.shape[1], bool))


def box_of(parameters: Any, bounds: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """Lower and upper bounds like the parameters, infinite where there are none."""

    def like(bound: Any, name: str) -> Any:
        if isinstance(bound, int | float):
            bound = jax.tree.map(lambda _: bound, parameters)
        given, wanted = str(jax.tree.structure(bound)), str(jax.tree.structure(parameters))
        if given != wanted:
            raise ValueError(
                f"bounds has a {name} one of the structure {given}: give one number, or that of "
                f"the parameters, {wanted}."
            )
        return jax.tree.map(lambda b, at: jnp.broadcast_to(b, at.shape) + 0.0, bound, parameters)

    lower, upper = bounds if bounds is not None else (-np.inf, np.inf)
    return like(lower, "lower"), like(upper, "upper")


def check_start(
    kernel: Callable[[Any], Array],
    start: Any,
    traits: KernelTraits,
    box: tuple[Any, Any],
    minibatch: int | None,
    steps: int,
) -> None:
    """Refuse what cannot be started from."""
    for name, value, low, high in zip(
        names_of(start), *(ravel_pytree(tree)[0] for tree in (start, *box)), strict=True
    ):
        if not low <= value <= high:
            raise ValueError(
                f"parameters start outside of the bounds: {name} is {value:.6g}, to be between "
                f"{low:.6g} and {high:.6g}."
            )
    (n, m), p = traits.Y.shape, traits.X.shape[1]
    shape = jax.eval_shape(kernel, start).shape
    if shape != (n, n):
        raise ValueError(
            f"kernel returns shape {shape}: it should be ({n}, {n}), as Y has {n} rows."
        )
    check_enough(n, p)
    if minibatch is not None and not 1 <= minibatch <= m:
        raise ValueError(f"minibatch must be between 1 and the {m} traits, got {minibatch}.")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
