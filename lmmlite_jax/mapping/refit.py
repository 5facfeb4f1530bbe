"""Tests in which every pair of a marker and a trait has a heritability of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lmmlite_jax.mapping.association import Markers
from lmmlite_jax.model.engine import Rotated
from lmmlite_jax.model.maximum import global_maximum
from lmmlite_jax.model.pattern import Pattern
from lmmlite_jax.model.profile import Profile, combine
from lmmlite_jax.model.result import Status

__all__ = ["NullTraits", "Refit", "null_traits", "refit_block"]


PAIRS_IN_CACHE = 2048
"""Pairs whose likelihoods are maximised together."""


class NullTraits(NamedTuple):
    """A block of T traits before any marker.

    weighted (q, r, T): the traits times the weights at each node; in_null (q, T): their part in
    the null space of K; profile: their log likelihood without marker; loglik (T,): at its maximum;
    absorbed, fitted (T,): whether the covariates absorb that space, whether there is a fit at all.
    """

    weighted: Array
    in_null: Array
    profile: Profile
    loglik: Array
    absorbed: Array
    fitted: Array
    dof: Array


class Refit(NamedTuple):
    """Of B markers on T traits, all (B, T); ``ratio`` is twice the gain in log likelihood."""

    hsq: Array
    beta: Array
    se: Array
    ratio: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairProfile(Profile):
    """The log likelihood of P pairs: that of the trait, with one more covariate.

    Attributes
    ----------
    null_rss, null_product, null_square : (P,)
        Parts in the null space of K of a, b and d.
    product, square : (r, P)
        Coefficients of b = Σ w g̃ ỹ and d = Σ w g̃².
    restricted : () 0 or 1
        Whether log d belongs to the likelihood.
    """

    null_rss: Any = 0.0
    null_product: Any = 0.0
    null_square: Any = 0.0
    product: Any = 0.0
    square: Any = 0.0
    restricted: Any = 1.0

    def sums(self, hsq: Float[Array, "*m"]) -> tuple[Array, Array, Array]:
        """A, b and d."""
        weights = self.skeleton.weights(hsq)
        return (
            self.null(self.null_rss, hsq) + combine(weights, self.rss),
            self.null(self.null_product, hsq) + combine(weights, self.product),
            self.null(self.null_square, hsq) + combine(weights, self.square),
        )

    def residual_squares(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Residual sum of squares with the marker in the model."""
        a, b, d = self.sums(hsq)
        return a - b**2 / d

    def log_determinant(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """log|V|, less a constant, with the marker among the covariates."""
        return super().log_determinant(hsq) + self.restricted * jnp.log(self.sums(hsq)[2])

    def log_determinant_slope(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """First derivative of `log_determinant`."""
        d, slope = jax.jvp(lambda h: self.sums(h)[2], (hsq,), (jnp.ones_like(hsq),))
        return super().log_determinant_slope(hsq) + self.restricted * slope / d


@partial(jax.jit, static_argnames="reml")
def null_traits(
    pattern: Pattern,
    rotated: Rotated,
    block: Array,
    start: Array,
    hsq: Array,
    status: Array,
    *,
    reml: bool,
) -> NullTraits:
    """What the refits of some traits of a block share; ``hsq`` and ``status`` (T,) are theirs."""
    own = jax.tree.map(lambda a: a[0], pattern)
    T, profile = hsq.size, rotated.profile

    def columns(values: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(values, start, T, axis=-1)

    values = columns(rotated.values[block].astype(float) * rotated.scale[block], start)
    flat = block * rotated.values.shape[2] + start

    def of_block(values: Array) -> Array:
        return values if values.shape[-1] == 1 else columns(values, flat)

    n = own.n.astype(float)
    dof = n - len(own.projection.R)
    profile = Profile(
        profile.skeleton,
        columns(profile.rss, flat),
        columns(profile.zero_rss, flat),
        of_block(profile.logdet),
        of_block(profile.zeros),
        dof if reml else n,
    )
    absorbed = (own.zeros > own.free_zeros) & (own.free_zeros == 0) & (profile.zero_rss == 0)
    return NullTraits(
        own.rows[:-2].T[:, :, None] * values[:, None],
        own.rows[-1][:, None] * values,
        profile,
        profile.loglik(jnp.where(jnp.isnan(hsq), 0.0, hsq)),
        absorbed,
        (status == Status.OK) | (status == Status.FLAT),
        dof,
    )


@partial(jax.jit, static_argnames=("reml", "points"))
def refit_block(
    markers: Markers, traits: NullTraits, tol: Array, *, reml: bool, points: int
) -> Refit:
    """Fit every pair of B markers of one column and T traits, on a grid of so many points."""
    B = markers.values.shape[2]
    few = 2 ** int(np.log2(max(1, PAIRS_IN_CACHE // traits.profile.rss.shape[-1])))
    if few >= B or B % few:
        return _refit(markers, traits, tol, reml, points)

    def parts(values: Array) -> Array:
        return jnp.moveaxis(values.reshape(*values.shape[:-1], B // few, few), -2, 0)

    fits = lax.map(
        lambda some: _refit(some, traits, tol, reml, points), jax.tree.map(parts, markers)
    )
    return jax.tree.map(lambda a: a.reshape(B, -1), fits)


def _refit(markers: Markers, traits: NullTraits, tol: Array, reml: bool, points: int) -> Refit:
    null, skeleton = traits.profile, traits.profile.skeleton
    q, r, T = traits.weighted.shape
    values = markers.values[0].astype(float)
    B = values.shape[1]
    product = (values.T @ traits.weighted.reshape(q, r * T)).reshape(B, r, T)
    null_product = values.T @ traits.in_null

    def of_traits(values: Array) -> Array:
        """(..., T) or (..., 1) for each pair, (..., B T)."""
        wide = jnp.broadcast_to(values[..., None, :], (*values.shape[:-1], B, T))
        return wide.reshape(*values.shape[:-1], B * T)

    def of_markers(values: Array) -> Array:
        wide = jnp.broadcast_to(values[..., None], (*values.shape, T))
        return wide.reshape(*values.shape[:-1], B * T)

    null_square = of_markers(markers.squares[0, 0, -1].astype(float))
    zero_product = null_product.reshape(-1)
    null_rss = of_traits(null.zero_rss)
    explained = jnp.where(
        null_square > 0, zero_product**2 / jnp.where(null_square > 0, null_square, 1.0), 0.0
    )
    # Rounding of a difference, where the marker explains all of the trait in the null space.
    zero_rss = jnp.where(explained > null_rss * (1 - 1e-12), 0.0, null_rss - explained)
    varies = of_markers(markers.varies[0])
    square = jnp.where(varies, of_markers(markers.squares[0, 0, :-1].astype(float)), 1.0)
    profile = PairProfile(
        skeleton,
        of_traits(null.rss),
        zero_rss,
        null.logdet if null.logdet.shape[-1] == 1 else of_traits(null.logdet),
        null.zeros if null.zeros.shape[-1] == 1 else of_traits(null.zeros),
        dof=null.dof - 1 if reml else null.dof,
        null_rss=null_rss,
        null_product=zero_product,
        null_square=null_square,
        product=skeleton.coefficients(jnp.swapaxes(product, 0, 1).reshape(r, B * T)),
        square=square,
        restricted=jnp.asarray(1.0 if reml else 0.0),
    )
    top = global_maximum(
        profile, tol, spike=of_traits(traits.absorbed), check_boundary=True, points=points
    )
    hsq = jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)
    a, b, d = profile.sums(hsq)
    sigmasq = (a - b**2 / d) / (traits.dof - 1)
    gain = 2 * (profile.loglik(hsq) - of_traits(traits.loglik))
    known = varies & of_traits(traits.fitted) & ~top.unbounded

    def pairs(values: Array) -> Array:
        return jnp.where(known, values, jnp.nan).reshape(B, T)

    return Refit(
        hsq=pairs(top.hsq),
        beta=pairs(b / d),
        se=pairs(jnp.sqrt(sigmasq / d)),
        ratio=pairs(jnp.maximum(gain, 0.0)),
    )
