"""Tests in which every pair of a marker and a trait has a heritability of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.pair_terms import PairTerms, PairValues
from lmmlite_jax.mapping.refit_maximum import (
    HowToRefit,
    PairMaxima,
    any_maximum,
    single_maximum,
)
from lmmlite_jax.mapping.some import replaced
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.programs import OLDER_LOOPS, WIDE_VECTORS
from lmmlite_jax.model.tested_traits import RefitTraits

__all__ = ["Refit", "refit_block", "refit_few", "refit_pairs"]

TRAITS_AT_ONCE = 8
"""Traits whose pairs with a block of markers have their likelihoods maximised together."""

DOUBTFUL_AT_ONCE = 256
"""Pairs that are looked at with care together."""


Maxima = Callable[[PairTerms, Profile, Array, HowToRefit], PairMaxima]


class Refit(NamedTuple):
    """Of B markers on T traits, all (B, T); ``ratio`` is twice the gain in log likelihood.

    That is None where the likelihood is restricted by the marker's effect as well.

    What h² being estimated does to the variance of the effect, as parts of it: ``bias``, twice of
    which it is too small on average, and ``spread``, the variance of its logarithm; both 0 where
    they were not asked for.
    """

    hsq: Float[AnyArray, "*pairs"]
    beta: Float[AnyArray, "*pairs"]
    se: Float[AnyArray, "*pairs"]
    ratio: Float[AnyArray, "*pairs"] | None
    bias: Float[AnyArray, "*pairs"]
    spread: Float[AnyArray, "*pairs"]


class _Scaled(NamedTuple):
    """B markers in units of their length: rows, coefficients of squares, units, who varies."""

    values: Float[Array, "B q"]
    squares: Float[Array, "r_and_1 B"]
    unit: Float[Array, " B"]
    varies: Bool[Array, " B"]


@partial(jax.jit, static_argnames=("how",), compiler_options=WIDE_VECTORS)
def refit_block(markers: Markers, traits: RefitTraits, tol: Array, *, how: HowToRefit) -> Refit:
    """Fit every pair of B markers of one column and T traits: shapes (B, T)."""
    scaled = _scaled(markers)
    (B, q), T = scaled.values.shape, len(traits.values)
    groups = -(-T // TRAITS_AT_ONCE)
    places = jnp.minimum(jnp.arange(groups * -(-T // groups)), T - 1).reshape(groups, -1)

    def of_traits(trait: Int[Array, " some"]) -> tuple[Refit, Array]:
        weighted = traits.rows[:, None] * traits.values[trait]
        b = (weighted.reshape(-1, q) @ scaled.values.T).reshape(-1, trait.size, B)
        every = scaled._replace(squares=scaled.squares[:, None])
        return _fit(traits, trait[:, None], b, every, tol, how, single_maximum)

    found = lax.map(of_traits, places)
    fits, doubtful = jax.tree.map(lambda x: x.reshape(-1, B)[:T].ravel(), found)

    def with_care(pairs: Int[Array, " some"]) -> Refit:
        trait, marker = jnp.divmod(pairs, B)
        return _fit_pairs(scaled, traits, marker, trait, tol, how, any_maximum)[0]

    fits = replaced(fits, doubtful, DOUBTFUL_AT_ONCE, with_care)
    return jax.tree.map(lambda x: x.reshape(T, B).T, fits)


@partial(jax.jit, static_argnames=("how",), compiler_options=OLDER_LOOPS)
def refit_few(
    markers: Markers, traits: RefitTraits, tol: Array, *, how: HowToRefit
) -> tuple[Refit, Bool[Array, "B T"]]:
    """Fit few pairs, all with care, and say which may have several maxima: for `refit_pairs`.

    A third of the program of `refit_block`, for which a user waits.
    """
    (_, B, _), T = markers.values.shape, len(traits.values)
    trait, marker = jnp.divmod(jnp.arange(T * B), B)
    careful = partial(single_maximum, careful=True)
    found = _fit_pairs(_scaled(markers), traits, marker, trait, tol, how, careful)
    return jax.tree.map(lambda x: x.reshape(T, B).T, found)


@partial(jax.jit, static_argnames=("how",), compiler_options=OLDER_LOOPS)
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
    return _fit_pairs(_scaled(markers), traits, marker, trait, tol, how, any_maximum)[0]


def _fit_pairs(
    markers: _Scaled,
    traits: RefitTraits,
    marker: Array,
    trait: Array,
    tol: Array,
    how: HowToRefit,
    maxima: Maxima,
) -> tuple[Refit, Bool[Array, " P"]]:
    values, squares, unit, varies = markers
    values, own = values[marker], squares[:, marker]
    scaled = _Scaled(values, own, unit[marker], varies[marker])
    b = traits.rows @ (values * traits.values[trait]).T
    return _fit(traits, trait, b, scaled, tol, how, maxima)


def _scaled(markers: Markers) -> _Scaled:
    values, varies = markers.values[0].astype(float), markers.varies[0]
    unit = jnp.sqrt(jnp.where(varies, jnp.sum(values**2, axis=1), 1.0))
    squares = jnp.where(varies, markers.squares[0, 0].astype(float).T / unit**2, 1.0)
    return _Scaled(values / unit[:, None], squares, unit, varies)


def _fit(
    traits: RefitTraits,
    trait: Int[Array, "..."],
    b: Float[Array, "r_and_1 *pairs"],
    markers: _Scaled,
    tol: Array,
    how: HowToRefit,
    maxima: Maxima,
) -> tuple[Refit, Bool[Array, "*pairs"]]:
    """Fit pairs of traits with these numbers, and say which have a fit that is not sure."""
    nodes = jnp.concatenate([traits.profile.skeleton.nodes, jnp.zeros(1)])
    used = slice(None) if how.singular else slice(-1)
    terms = PairTerms(
        nodes=nodes[used],
        a=traits.squares[:, trait][used],
        b=b[used],
        d=markers.squares[used],
        slopes=traits.slopes[used],
        dof=jnp.asarray(traits.profile.dof) - (1 if how.restricted else 0),
        restricted=jnp.asarray(1.0 if how.restricted else 0.0),
        absorbed=traits.absorbed[trait],
    )
    fits = maxima(terms, traits.profile, tol, how)
    expected = traits.fitted[trait] & markers.varies
    known, values = expected & fits.sure, fits.values
    residual = jnp.maximum(values.a - values.b**2 / values.d, 0.0)
    bias = spread = jnp.zeros(known.shape)
    if how.corrected:
        hsq = jnp.where(jnp.isnan(fits.hsq), 0.0, fits.hsq)
        bias, spread = _small_sample(values, hsq, traits.dof - 1, how)
    scale = traits.unit[trait] / markers.unit
    ratio = None
    if not how.restricted:
        ratio = jnp.maximum(2 * (fits.loglik - traits.loglik[trait]), 0.0)
    found = Refit(
        hsq=fits.hsq,
        beta=scale * values.b / values.d,
        se=scale * jnp.sqrt(residual / ((traits.dof - 1) * values.d)),
        ratio=ratio,
        bias=bias,
        spread=spread,
    )
    return jax.tree.map(lambda x: jnp.where(known, x, jnp.nan), found), expected & ~known


def _small_sample(
    values: PairValues, hsq: Array, dof: Array, how: HowToRefit
) -> tuple[Array, Array]:
    """``bias`` and ``spread`` of a `Refit`, with v the variance of the estimate of h².

    The variance of the effect is σ²/d. To first order (Kenward and Roger 1997) it is too small by
    2 v (d''/(2d) - (d'/d)²) of itself, and its logarithm varies by v (d'/d - (log rss)')². v is one
    over the expected information of REML with the marker among the covariates, and at most what a
    number in [0, 1] can have: h²(1 - h²) with the mean h², and anyhow 1/4. Wald's F takes the
    latter, because it would pass for sure of an h² of 0 or 1.
    """
    growth = values.d1 / values.d
    trace = values.trace + growth  # of P dV/dh, with the marker among the covariates
    squares = -values.trace1 - 2 * values.half_d2 / values.d + growth**2
    information = (squares - trace**2 / dof) / 2
    most = 0.25 if how.restricted else hsq * (1 - hsq)
    variance = jnp.where(information * most > 1, 1 / information, most)
    # (log rss)' is -trace / dof at the maximum.
    spread = variance * (growth + trace / dof) ** 2
    return variance * jnp.maximum(values.half_d2 / values.d - growth**2, 0.0), spread
