"""What tests need of traits, made of their fits: pure functions of arrays."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.fitted_blocks import Rotated
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.programs import OLDER_LOOPS
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.screening import (
    ScreenTraits,
    screen_traits,
)

__all__ = [
    "AmongMore",
    "FittedTraits",
    "RefitTraits",
    "Traits",
    "Whitened",
    "at_null_of",
    "for_refit_of",
    "for_screen_of",
    "whitened_of",
]


class FittedTraits(NamedTuple):
    """T fitted traits of one pattern (leading axis 1): what all that tests need is made of.

    They are those of a ``block`` in some ``columns`` (T,), or in all where that is None.
    """

    pattern: Pattern
    rotated: Rotated
    block: Array | int
    columns: Int[AnyArray, " T"] | None
    hsq: Float[AnyArray, " T"]
    status: Int[AnyArray, " T"]

    def values(self) -> Float[Array, "q T"]:
        """Rotated, in their own units."""
        values, scale = self.rotated.values[self.block], self.rotated.scale[self.block]
        if self.columns is not None:
            values, scale = values[:, self.columns], scale[:, self.columns]
        return values.astype(float) * scale

    def places(self) -> Int[Array, " T"]:
        """Where they are among the traits of all blocks."""
        width = self.rotated.values.shape[2]
        columns = np.arange(width) if self.columns is None else self.columns
        return jnp.asarray(self.block * width + columns)


class Traits(NamedTuple):
    """T traits at their heritabilities under the null.

    weighted (q, T) is w̃ ∘ ỹ; weights (r + 1, T) those of the nodes, and 1/(1-h); rss (T,) is
    Σ w̃ ỹ², NaN for a trait without a fit; dof () the degrees of freedom n - p.
    """

    weighted: Float[Array, "q T"]
    weights: Float[Array, "r_and_1 T"]
    rss: Float[Array, " T"]
    dof: Float[Array, ""]


class AmongMore(NamedTuple):
    """T traits at their heritabilities under the null, in the rotation for more individuals.

    ``traits`` are those, whose ``dof`` may be (T,); the products of a marker with ``left_out``
    (s, q, T) are what its squares lose by the individuals that the traits lack: see `left_out`.
    """

    traits: Traits
    left_out: Float[Array, "s q T"]


class RefitTraits(NamedTuple):
    """T traits before any marker, as functions of the heritability.

    Coefficients are those of the r nodes of a skeleton, and last that of the null space of K, whose
    eigenvalue is 0. Traits are in units of ``unit`` (T,).

    values (T, q) are ỹ, and rows (r + 1, q) what each g̃ ỹ adds to the coefficients of Σ w̃ g̃ ỹ;
    squares (r + 1, T): coefficients of Σ w̃ ỹ²; slopes (r + 1,): those of the derivative of log|V|;
    profile: log likelihood without marker; loglik (T,): at its maximum; absorbed, fitted (T,):
    whether the covariates absorb the null space, whether there is a fit at all.
    """

    values: Float[Array, "T q"]
    rows: Float[Array, "r_and_1 q"]
    squares: Float[Array, "r_and_1 T"]
    slopes: Float[Array, " r_and_1"]
    unit: Float[Array, " T"]
    profile: Profile
    loglik: Float[Array, " T"]
    absorbed: Bool[Array, " T"]
    fitted: Bool[Array, " T"]
    dof: Float[Array, ""]


class Whitened(NamedTuple):
    """Residuals of T traits that are exchangeable under the null, and what they were divided by.

    ``residuals`` (q, T) are independent and of one variance, in the first n - p rows; the others
    are padding. ``deviation`` (q, T) are the roots of hλ̃ + 1 - h.
    """

    residuals: Float[Array, "q T"]
    deviation: Float[Array, "q T"]


@partial(jax.jit, static_argnames="dtype")
def at_null_of(fitted: FittedTraits, *, dtype: str) -> Traits:
    """Traits at their heritabilities without markers."""
    own = jax.tree.map(lambda a: a[0], fitted.pattern)
    skeleton, status = fitted.rotated.profile.skeleton, fitted.status
    hsq, values = _known(fitted.hsq), fitted.values()
    variance = hsq * own.projection.Kva[:, None] + (1 - hsq)
    weighted = values / variance
    regular = (status == Status.OK) | (status == Status.FLAT)
    # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
    inverse_gap = jnp.where(hsq < 1, 1 / (1 - hsq), 0.0)
    return Traits(
        weighted.astype(dtype),
        jnp.concatenate([skeleton.weights(hsq), inverse_gap[None]]).astype(dtype),
        jnp.where(regular, jnp.sum(values * weighted, axis=0), jnp.nan),
        (own.n - len(own.projection.R)).astype(float),
    )


@partial(jax.jit, compiler_options=OLDER_LOOPS)
def for_screen_of(fitted: FittedTraits) -> tuple[Traits, ScreenTraits]:
    """The traits as `at_null_of` has them, and for a screen: one program for both."""
    null, skeleton = at_null_of(fitted, dtype="float64"), fitted.rotated.profile.skeleton
    hsq = _known(fitted.hsq)
    return null, screen_traits(fitted.pattern, skeleton, null.weighted, null.rss, hsq)


@jax.jit
def whitened_of(pattern: Pattern, traits: Traits, hsq: Float[Array, " T"]) -> Whitened:
    """Traits whitened at their heritabilities."""
    h = _known(hsq)
    deviation = jnp.sqrt(h * pattern.projection.Kva[0][:, None] + (1 - h))
    return Whitened(traits.weighted * deviation, deviation)


@partial(jax.jit, static_argnames="reml")
def for_refit_of(fitted: FittedTraits, *, reml: bool) -> RefitTraits:
    """Traits as fits of pairs need them."""
    own = jax.tree.map(lambda a: a[0], fitted.pattern)
    of_all, values, status = fitted.rotated.profile, fitted.values(), fitted.status
    skeleton, flat = of_all.skeleton, fitted.places()
    shared = jnp.where(of_all.logdet.shape[-1] == 1, 0, flat[0])  # of the pattern: its traits' too
    n = own.n.astype(float)
    dof = n - len(own.projection.R)
    square = jnp.sum(values**2, axis=0)
    unit = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    profile = Profile(
        skeleton,
        of_all.rss[:, flat] / unit**2,
        of_all.zero_rss[flat] / unit**2,
        lax.dynamic_slice_in_dim(of_all.logdet, shared, 1, axis=-1),
        lax.dynamic_slice_in_dim(of_all.zeros, shared, 1, axis=-1),
        dof if reml else n,
    )
    of_individuals = jnp.concatenate([skeleton.coefficients(own.rows[:-2]), own.rows[-1:]])
    return RefitTraits(
        values=(values / unit).T,
        rows=of_individuals,
        squares=jnp.concatenate([profile.rss, profile.zero_rss[None]]),
        slopes=jnp.concatenate([profile.logdet[:, 0], -profile.zeros]),
        unit=unit,
        profile=profile,
        loglik=profile.loglik(_known(fitted.hsq)),
        absorbed=(own.zeros > own.free_zeros) & (own.free_zeros == 0) & (profile.zero_rss == 0),
        fitted=(status == Status.OK) | (status == Status.FLAT),
        dof=dof,
    )


def _known(hsq: AnyArray) -> Array:
    """Heritabilities, zero where there is none."""
    return jnp.where(jnp.isnan(hsq), 0.0, hsq)
