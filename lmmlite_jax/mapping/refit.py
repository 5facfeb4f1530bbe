"""Tests in which every pair of a marker and a trait has a heritability of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.pair_terms import PairTerms, over_nodes
from lmmlite_jax.mapping.refit_maximum import HowToRefit, settle_doubts, single_maximum
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.tested_traits import RefitTraits

__all__ = ["Refit", "refit_block", "refit_pairs"]


class Refit(NamedTuple):
    """Of B markers on T traits, all (B, T); ``ratio`` is twice the gain in log likelihood.

    What h² being estimated does to the variance of the effect, as parts of it: ``bias``, twice of
    which it is too small on average, and ``spread``, the variance of its logarithm; both 0 where
    they were not asked for.
    """

    hsq: Float[AnyArray, "*pairs"]
    beta: Float[AnyArray, "*pairs"]
    se: Float[AnyArray, "*pairs"]
    ratio: Float[AnyArray, "*pairs"]
    bias: Float[AnyArray, "*pairs"]
    spread: Float[AnyArray, "*pairs"]


@partial(jax.jit, static_argnames=("how",))
def refit_block(markers: Markers, traits: RefitTraits, tol: Array, *, how: HowToRefit) -> Refit:
    """Fit every pair of B markers of one column and T traits: shapes (B, T)."""
    values, squares, unit, varies = _scaled(markers)
    T, q = traits.values.shape
    weighted = traits.rows[:, None] * traits.values
    b = (weighted.reshape(-1, q) @ values.T).reshape(-1, T, len(values))

    def each(of_traits: Array) -> Array:
        return of_traits[..., None]

    return jax.tree.map(
        jnp.transpose, _fit(traits, each, b, squares[:, None], unit, varies, tol, how)
    )


@partial(jax.jit, static_argnames=("how",))
def refit_pairs(
    markers: Markers,
    traits: RefitTraits,
    marker: Int[Array, " P"],
    trait: Int[Array, " P"],
    tol: Array,
    *,
    how: HowToRefit,
) -> Refit:
    """Fit some pairs of a block of markers of one column and a block of traits: shapes (P,)."""
    values, squares, unit, varies = _scaled(markers.at(marker))
    b = traits.rows @ (values * traits.values[trait]).T

    def each(of_traits: Array) -> Array:
        return of_traits[..., trait]

    return _fit(traits, each, b, squares, unit, varies, tol, how)


def _scaled(
    markers: Markers,
) -> tuple[Float[Array, "B q"], Float[Array, "r_and_1 B"], Float[Array, " B"], Bool[Array, " B"]]:
    """Values and coefficients of squares in units of markers, the units, and who varies."""
    values, varies = markers.values[0].astype(float), markers.varies[0]
    unit = jnp.sqrt(jnp.where(varies, jnp.sum(values**2, axis=1), 1.0))
    squares = jnp.where(varies, markers.squares[0, 0].astype(float).T / unit**2, 1.0)
    return values / unit[:, None], squares, unit, varies


def _fit(
    traits: RefitTraits,
    each: Callable[[Array], Array],
    b: Float[Array, "r_and_1 *pairs"],
    d: Float[Array, "r_and_1 ..."],
    unit: Float[Array, " B"],
    varies: Bool[Array, " B"],
    tol: Array,
    how: HowToRefit,
) -> Refit:
    """Fit pairs; ``each`` gives what traits have to their pairs."""
    nodes = jnp.concatenate([traits.profile.skeleton.nodes, jnp.zeros(1)])
    used = slice(None) if how.singular else slice(-1)
    terms = PairTerms(
        nodes=nodes[used],
        a=each(traits.squares)[used],
        b=b[used],
        d=d[used],
        slopes=traits.slopes[used],
        dof=jnp.asarray(traits.profile.dof) - (1 if how.restricted else 0),
        restricted=jnp.asarray(1.0 if how.restricted else 0.0),
        absorbed=each(traits.absorbed),
    )
    known = each(traits.fitted) & varies
    fits = single_maximum(terms, traits.profile, tol, how)
    fits = settle_doubts(fits, known & ~fits.sure, terms, traits.profile, tol, how)
    known = known & fits.sure
    residual = jnp.maximum(fits.a - fits.b**2 / fits.d, 0.0)
    bias = spread = jnp.zeros(known.shape)
    if how.corrected:
        bias, spread = _small_sample(terms, jnp.where(known, fits.hsq, 0.0), traits.dof - 1)
    scale = each(traits.unit) / unit
    found = Refit(
        hsq=fits.hsq,
        beta=scale * fits.b / fits.d,
        se=scale * jnp.sqrt(residual / ((traits.dof - 1) * fits.d)),
        ratio=jnp.maximum(2 * (fits.loglik - each(traits.loglik)), 0.0),
        bias=bias,
        spread=spread,
    )
    return jax.tree.map(lambda values: jnp.where(known, values, jnp.nan), found)


def _small_sample(terms: PairTerms, hsq: Array, dof: Array) -> tuple[Array, Array]:
    """``bias`` and ``spread`` of a `Refit` (T, B), with v the variance of the estimate of h².

    The variance of the effect is σ²/d. To first order (Kenward and Roger 1997) it is too small by
    2 v (d''/(2d) - (d'/d)²) of itself, and its logarithm varies by v (d'/d - (log rss)')². v is one
    over the expected information of REML with the marker among the covariates, and at most what a
    number in [0, 1] can have: h²(1 - h²) with the mean h², and anyhow 1/4. Wald's F takes the
    latter, because it would pass for sure of an h² of 0 or 1.
    """

    def add(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        node = terms.nodes[k]
        # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
        variance = hsq * node + (1 - hsq)
        weight = jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1.0), 0.0)
        slope = -weight * (node - 1)  # of log weight
        d, trace = terms.d[k] * weight, terms.slopes[k] * weight
        of_node = (d, d * slope, d * slope**2, trace, trace * slope)
        return tuple(total + x for total, x in zip(sums, of_node, strict=True))

    sums = over_nodes(terms, add, (jnp.zeros_like(hsq),) * 5)
    d, d1, half_d2, trace, trace1 = sums
    growth = d1 / d
    trace = trace + growth  # of P dV/dh, with the marker among the covariates
    squares = -trace1 - 2 * half_d2 / d + growth**2
    information = (squares - trace**2 / dof) / 2
    most = jnp.where(terms.restricted > 0, 0.25, hsq * (1 - hsq))
    variance = jnp.where(information * most > 1, 1 / information, most)
    # (log rss)' is -trace / dof at the maximum.
    spread = variance * (growth + trace / dof) ** 2
    return variance * jnp.maximum(half_d2 / d - growth**2, 0.0), spread
