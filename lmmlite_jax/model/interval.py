"""Confidence intervals of h², and its test against 0, by the restricted likelihood ratio's own law.

At a boundary of [0, 1] and near it, the likelihood ratio is far from χ². Its exact distribution
under h² = h₀ depends on the eigenvalues in the complement of the covariates and on h₀ alone
(Crainiceanu and Ruppert 2004), so that one simulation serves all traits. The sums of a simulated
trait are linear in h₀: whatever h₀, they come from two products of weights and squared normals.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from lmmlite_jax.model.maximum import global_maximum
from lmmlite_jax.model.profile import Profile

__all__ = ["LikelihoodRatioLaw", "confidence_limits", "simulate_law", "simulated_pvalue"]

GRID = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
"""Heritabilities at which the law is simulated: dense at both boundaries."""

DRAWS_AT_ONCE = 1000

BISECTIONS = 40


class LikelihoodRatioLaw(NamedTuple):
    """Distribution of the restricted likelihood ratio of h² = h₀, for one or P rotations.

    Attributes
    ----------
    critical : (..., g), or None
        Its quantile of the level asked for, for h₀ on `GRID`.
    at_zero : (..., B)
        Simulated ratios of h² = 0, ascending.
    """

    critical: Float[Array, "*P g"] | None
    at_zero: Float[Array, "*P B"]


@partial(jax.jit, static_argnames="draws")
def simulate_law(
    Kva: Float[Array, " q"],
    real: Bool[Array, " q"],
    null: Profile,
    *,
    level: Array | None,
    draws: int,
    key: Array,
) -> LikelihoodRatioLaw:
    """Simulate the law for one rotation; without a level for h₀ = 0 alone, at a small part of it.

    Parameters
    ----------
    Kva, real : (q,)
        Eigenvalues in the complement of the covariates, and which of them are not padding.
    null : Profile
        A profile of this rotation, of no trait in particular, its ``dof`` set.
    level : () or None
        Confidence level.
    draws : int
        Simulated traits for each h₀.
    key : PRNG key
    """
    skeleton = null.skeleton
    positive = real & (Kva > 0)
    weights = jnp.where(positive, skeleton.weights_of(Kva), 0.0)
    rows = jnp.concatenate([weights, Kva * weights, jnp.where(real & ~positive, 1.0, 0.0)[None]])
    h0 = jnp.asarray(GRID if level is not None else GRID[:1])

    def ratios(key: Array) -> Array:
        squares = jax.random.normal(key, (Kva.size, DRAWS_AT_ONCE), Kva.dtype) ** 2
        sums = rows @ squares
        residual, genetic = (skeleton.coefficients(half) for half in jnp.split(sums[:-1], 2))

        def of_one(h0: Array) -> Array:
            profile = replace(
                null, rss=(1 - h0) * residual + h0 * genetic, zero_rss=(1 - h0) * sums[-1]
            )
            return _likelihood_ratio(profile, _best(profile), jnp.full(DRAWS_AT_ONCE, h0))

        # One h₀ after the other: the sums of all together leave the cache, which takes longer.
        return lax.map(of_one, h0)

    calls = -(-draws // DRAWS_AT_ONCE)
    drawn = lax.map(ratios, jax.random.split(key, calls))
    drawn = jnp.sort(jnp.moveaxis(drawn, 1, 0).reshape(h0.size, -1)[:, :draws], axis=1)
    if level is None:
        return LikelihoodRatioLaw(None, drawn[0])
    critical = drawn[:, jnp.ceil(level * draws).astype(int) - 1]
    # With zeros in the spectrum h² = 1 is a law of its own: no rss may be left in their space.
    critical = critical.at[-1].set(jnp.where(null.zeros[0] > 0, critical[-2], critical[-1]))
    return LikelihoodRatioLaw(critical, drawn[0])


def confidence_limits(
    profile: Profile, hsq: Float[Array, " m"], critical: Float[Array, "g m"]
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Smallest and largest h² that the likelihood-ratio test does not reject, for each trait.

    ``hsq`` are the maxima; NaN, where the likelihood is flat, has the interval [0, 1].
    ``critical`` are values of `LikelihoodRatioLaw`, those of its own rotation for each trait.
    """
    hsq_or_0 = jnp.where(jnp.isnan(hsq), 0.0, hsq)
    best = profile.loglik(hsq_or_0)
    grid = jnp.asarray(GRID)
    ratios = 2 * (best - jax.vmap(profile.loglik)(grid))
    accepted = (ratios <= critical) | jnp.isnan(hsq)

    def limit(grid: Array, accepted: Array, towards: Array) -> Array:
        """Bisect between the first point accepted, or the maximum, and the one before."""
        first = lax.argmax(accepted | towards, 0, jnp.int32)
        inside = jnp.where(jnp.take_along_axis(towards, first[None], 0)[0], hsq_or_0, grid[first])
        outside = grid[jnp.maximum(first - 1, 0)]

        def halve(_: int | Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            inside, outside = ends
            middle = (inside + outside) / 2
            ratio = 2 * (best - profile.loglik(middle))
            kept = ratio <= _on_grid(critical, middle)
            return jnp.where(kept, middle, inside), jnp.where(kept, outside, middle)

        inside, _ = lax.fori_loop(0, BISECTIONS, halve, (inside, outside))
        at_end = jnp.where(jnp.isnan(hsq), True, accepted[0] | (hsq_or_0 == grid[0]))
        return jnp.where(at_end, grid[0], inside)

    low = limit(grid, accepted, grid[:, None] >= hsq_or_0)
    high = limit(grid[::-1], accepted[::-1], grid[::-1, None] <= hsq_or_0)
    return low, high


def simulated_pvalue(
    lrt: Float[Array, "*P m"], at_zero: Float[Array, "*P B"]
) -> Float[Array, "*P m"]:
    """p-value of h² = 0: the part of simulated ratios, and itself, that is as large."""
    count = jnp.vectorize(partial(jnp.searchsorted, side="left"), signature="(B),(m)->(m)")
    smaller, draws = count(at_zero, lrt), at_zero.shape[-1]
    return jnp.where(lrt > 0, (draws - smaller + 1) / (draws + 1), 1.0)


def _on_grid(values: Float[Array, "g m"], hsq: Float[Array, " m"]) -> Float[Array, " m"]:
    """Linear interpolation on `GRID`."""
    grid = jnp.asarray(GRID)
    cell = jnp.clip(jnp.searchsorted(grid, hsq) - 1, 0, grid.size - 2)
    low, high = (jnp.take_along_axis(values, (cell + k)[None], 0)[0] for k in (0, 1))
    part = (hsq - grid[cell]) / (grid[cell + 1] - grid[cell])
    return low + part * (high - low)


def _best(profile: Profile) -> Array:
    nowhere = jnp.zeros(profile.rss.shape[1], bool)
    top = global_maximum(profile, jnp.asarray(1e-6), spike=nowhere, check_boundary=True)
    return jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)


def _likelihood_ratio(profile: Profile, best: Array, hsq: Array) -> Array:
    ratio = 2 * (profile.loglik(best) - profile.loglik(hsq))
    # Both infinite at h² = 1 with zeros in the spectrum.
    return jnp.where(jnp.isnan(ratio), 0.0, jnp.maximum(ratio, 0.0))
