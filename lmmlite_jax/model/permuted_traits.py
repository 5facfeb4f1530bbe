"""Traits whose residuals are permuted: fitted anew, as any trait is.

Phenotypes of relatives are not exchangeable. What is: the residuals of the null model, rotated and
divided by their standard deviations, n - p independent numbers of one variance. In another order,
and multiplied by the deviations again, they are a trait of the same heritability. That was
estimated, so it is estimated for the new trait too: an estimate that is above the truth by chance
explains what markers, which relatives share, would explain, and every permutation has its own such
chance.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.estimate import estimate
from lmmlite_jax.model.fitted_blocks import Rotated, with_sums
from lmmlite_jax.model.maximum import size_of_grid
from lmmlite_jax.model.options import NO_PRIOR, Options
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.skeleton import Skeleton
from lmmlite_jax.model.tested_traits import FittedTraits, Traits, Whitened, at_null_of

__all__ = ["permuted_traits"]

TOLERANCE = 1e-8
"""Of their heritabilities."""


def permuted_traits(
    pattern: Pattern,
    skeleton: Skeleton,
    whitened: Whitened,
    hsq: float,
    place: int,
    orders: Int[np.ndarray, "P q"],
    *,
    reml: bool,
    dtype: str,
) -> Traits:
    """One of the traits in P orders of its whitened residuals, at heritabilities of their own.

    ``hsq`` is the trait's, which a permutation keeps that has no fit, and ``dtype`` the precision
    of what is multiplied with markers. Each is in units in which its ``rss`` is 1.
    """
    rotated = _rotated(pattern, skeleton, whitened, place, orders)
    fit = estimate(
        rotated.profile,
        n=rotated.n,
        p=pattern.projection.R.shape[-1],
        free_zeros=rotated.free_zeros,
        status=rotated.status,
        tol=TOLERANCE,
        prior=NO_PRIOR,
        options=Options(reml=reml),
        size=size_of_grid(skeleton, pattern.n, pattern.zeros),
    )
    return _at_null(pattern, rotated, fit.hsq, fit.status, hsq, dtype=dtype)


@jax.jit
def _rotated(
    pattern: Pattern,
    skeleton: Skeleton,
    whitened: Whitened,
    place: Int[Array, ""],
    orders: Int[Array, "P q"],
) -> Rotated:
    residuals, deviation = whitened.residuals[:, place], whitened.deviation[:, place]
    values = deviation[:, None] * residuals[orders.T]
    explained = jnp.zeros((1, pattern.projection.R.shape[-1], len(orders)))
    scale = jnp.ones((1, 1, len(orders)))
    return with_sums(pattern, values[None].astype(float), explained, scale, skeleton)


@partial(jax.jit, static_argnames="dtype")
def _at_null(
    pattern: Pattern,
    rotated: Rotated,
    found: Float[Array, " P"],
    status: Int[Array, " P"],
    hsq: Float[Array, ""],
    *,
    dtype: str,
) -> Traits:
    own = jnp.where(status == Status.OK, found, hsq)
    regular = jnp.full_like(status, Status.OK)
    fitted = FittedTraits(pattern, rotated, 0, None, own, regular)
    traits = at_null_of(fitted, dtype="float64")
    weighted = (traits.weighted / jnp.sqrt(traits.rss)).astype(dtype)
    return traits._replace(weighted=weighted, rss=jnp.ones_like(traits.rss))
