"""Programs that rotate and fit blocks of traits, each of a pattern of individuals observed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.estimate import Components, constant_status, estimate, where_fitted
from lmmlite_jax.model.interval import LikelihoodRatioLaw, confidence_limits, simulated_pvalue
from lmmlite_jax.model.likelihood import EXACT_TOLERANCE
from lmmlite_jax.model.maximum import GridSize
from lmmlite_jax.model.options import Options, Prior
from lmmlite_jax.model.precision import AnyArray, Scalar
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "Rotated",
    "estimate_blocks",
    "finish_blocks",
    "fit_blocks_together",
    "predict",
    "with_sums",
]

SINGLE_EXACT_TOLERANCE = 1e-10
"""EXACT_TOLERANCE for sums in single precision."""

Of = TypeVar("Of", Pattern, LikelihoodRatioLaw)


class Rotated(NamedTuple):
    """C blocks of T traits after the rotation; what each trait has is flat, m = C T."""

    values: Float[Array, "C q T"]
    least_squares: Float[Array, "C p T"]
    scale: Float[Array, "C 1 T"]
    profile: Profile
    n: Int[Array, "#m"]
    free_zeros: Float[Array, "#m"]
    status: Int[Array, " m"]


def estimate_blocks(
    patterns: Pattern,
    which: Int[AnyArray, " C"],
    y: Float[AnyArray, "C s T"],
    *,
    skeleton: Skeleton,
    tol: Scalar,
    prior: Prior,
    options: Options,
    dtype: str,
    size: GridSize,
    smallest: Float[Array, ""] | None = None,
) -> tuple[Rotated, Components]:
    """Rotate blocks of traits and fit them, all but their fixed effects: see `Engine.estimate`."""
    rotated = _rotate(patterns, which, y, skeleton=skeleton, dtype=dtype)
    return rotated, estimate(
        rotated.profile,
        n=rotated.n,
        p=patterns.projection.R.shape[-1],
        free_zeros=rotated.free_zeros,
        status=rotated.status,
        tol=tol,
        prior=prior,
        options=options,
        size=size,
        smallest=smallest,
    )


@partial(jax.jit, static_argnames="dtype")
def _rotate(
    patterns: Pattern,
    which: Int[Array, " C"],
    y: Float[Array, "C s T"],
    *,
    skeleton: Skeleton,
    dtype: str,
) -> Rotated:
    """Rotate blocks of traits and take their sums."""
    own = _of_blocks(patterns, which)
    blocks, _, width = y.shape
    if own.roots is not None:
        y = own.roots[:, :, None] * y
    least_squares = _block_product(own.projection.Q_t, y)
    left, scale = y, jnp.ones((blocks, 1, width))
    if dtype == "float32":
        # What the covariates explain, and the units, would use up single precision's digits.
        left = y - _block_product(jnp.swapaxes(own.projection.Q_t, 1, 2), least_squares)
        size = jnp.sqrt(jnp.sum(left**2, axis=1, keepdims=True))
        scale = jnp.where(size > 0, size, 1.0)
        left = left / scale
    values = _block_product(own.projection.Kve_t.astype(dtype), left.astype(dtype))
    return with_sums(own, values, least_squares, scale, skeleton)


def with_sums(
    own: Pattern,
    values: Float[Array, "C q T"],
    least_squares: Float[Array, "C p T"],
    scale: Float[Array, "C 1 T"],
    skeleton: Skeleton,
) -> Rotated:
    """Blocks of traits that are rotated, with the sums that their likelihoods are made of."""
    blocks, _, width = values.shape
    sums = _block_product(own.rows.astype(values.dtype), values**2).astype(scale.dtype) * scale**2
    rss, total, in_null = sums[:, :-2], sums[:, -2], sums[:, -1]
    single = values.dtype == jnp.float32
    rounding = SINGLE_EXACT_TOLERANCE if single else EXACT_TOLERANCE

    def each(of_blocks: Array) -> Array:
        """What a block has, for each of its traits; one value where there is one block."""
        spread = (*of_blocks.shape, 1 if blocks == 1 else width)
        return jnp.broadcast_to(of_blocks[..., None], spread).reshape(*of_blocks.shape[:-1], -1)

    constant = constant_status(total, total + jnp.sum(least_squares**2, axis=1))
    status = jnp.where(own.collinear[:, None] > 0, own.collinear[:, None], constant)
    return Rotated(
        values,
        least_squares,
        scale,
        Profile(
            skeleton,
            skeleton.coefficients(jnp.swapaxes(rss, 0, 1).reshape(rss.shape[1], -1)),
            jnp.where(in_null <= rounding * total, 0.0, in_null).reshape(-1),
            each(own.logdet.T),
            each(own.zeros),
        ),
        n=each(own.n),
        free_zeros=each(own.free_zeros),
        status=status.reshape(-1),
    )


@partial(jax.jit, static_argnames="compute_se")
def finish_blocks(
    patterns: Pattern,
    laws: LikelihoodRatioLaw | None,
    which: Int[AnyArray, " C"],
    rotated: Rotated,
    components: Components,
    *,
    compute_se: bool,
) -> LMMFit:
    """Fits (C, T) of blocks of traits, with fixed effects and intervals."""
    own = _of_blocks(patterns, which)
    (blocks, p, width), m = rotated.least_squares.shape, components.hsq.size
    hsq = _some(components.hsq).reshape(blocks, 1, width)
    weighted = _weighted_traits(own, rotated, hsq)
    shift = rotated.scale * _block_product(
        jnp.swapaxes(own.projection.cross, 1, 2).astype(weighted.dtype), weighted
    )
    beta = _block_product(own.to_beta, rotated.least_squares - hsq * shift)
    beta_se = None
    if compute_se:
        variance = jax.vmap(lambda of_block, h: of_block(rotated.profile.skeleton, h))(
            own.effect_variance, hsq[:, 0]
        )
        beta_se = jnp.sqrt(components.sigmasq.reshape(hsq.shape) * variance)
    loglik = components.loglik + jnp.repeat(own.offset, width)
    known = partial(where_fitted, components.status)
    simulated, low, high = None, None, None
    if laws is not None:
        own_laws = _of_blocks(laws, which)
        pvalue = simulated_pvalue(components.lrt.reshape(blocks, width), own_laws.at_zero)
        simulated = known(pvalue.reshape(-1))
        if own_laws.critical is not None:
            profile = replace(rotated.profile, dof=(rotated.n - p).astype(float))
            critical = jnp.repeat(own_laws.critical.T, m // blocks, axis=1)
            low, high = confidence_limits(profile, components.hsq, critical)
            low, high = known(low), known(high)
    fit = LMMFit(
        beta=known(_flat(beta)),
        beta_se=None if beta_se is None else known(_flat(beta_se)),
        **components._replace(loglik=loglik)._asdict(),
        lrt_pvalue_simulated=simulated,
        hsq_low=low,
        hsq_high=high,
    )
    return jax.tree.map(lambda a: a.reshape(*a.shape[:-1], blocks, width), fit)


@partial(jax.jit, static_argnames=("options", "dtype", "size"))
def fit_blocks_together(
    patterns: Pattern,
    laws: LikelihoodRatioLaw | None,
    which: Int[AnyArray, " C"],
    y: Float[AnyArray, "C s T"],
    *,
    options: Options,
    **fixed: Any,
) -> tuple[Rotated, Components, LMMFit]:
    """`estimate_blocks` and `finish_blocks` in one program."""
    rotated, estimates = estimate_blocks(patterns, which, y, options=options, **fixed)
    compute_se = options.compute_se
    fit = finish_blocks(patterns, laws, which, rotated, estimates, compute_se=compute_se)
    return rotated, estimates, fit


@jax.jit
def predict(
    K: Float[AnyArray, "n n"],
    patterns: Pattern,
    which: Int[AnyArray, " C"],
    rotated: Rotated,
    hsq: Float[Array, "C T"],
) -> Float[Array, "n C T"]:
    """Genetic values h K V⁻¹ (y - Xβ), of the individuals not observed as well."""
    own = _of_blocks(patterns, which)
    present = own.members >= 0
    roots = jnp.where(present, 1.0 if own.roots is None else own.roots, 0.0)
    weighted = _weighted_traits(own, rotated, _some(hsq)[:, None])
    back = jnp.swapaxes(own.projection.Kve_t, 1, 2).astype(weighted.dtype)
    residual = roots[:, :, None] * rotated.scale * _block_product(back, weighted)
    columns = jnp.swapaxes(K[:, own.members], 0, 1).astype(weighted.dtype)
    values = hsq[:, None] * _block_product(columns, residual.astype(weighted.dtype))
    return jnp.swapaxes(values, 0, 1)


def _of_blocks(of_patterns: Of, which: Int[AnyArray, " C"]) -> Of:
    """What blocks have of their patterns."""
    (first, *_) = jax.tree.leaves(of_patterns)
    if len(first) == len(which) == 1:
        return of_patterns
    return jax.tree.map(lambda a: a[which], of_patterns)


def _block_product(
    left: Float[AnyArray, "C i j"], right: Float[Array, "C j k"]
) -> Float[Array, "C i k"]:
    """Matrix product for each block. XLA is slow at a batch of one."""
    if len(left) == 1:
        return jnp.matmul(left[0], right[0])[None]
    return jnp.matmul(left, right)


def _weighted_traits(
    own: Pattern, rotated: Rotated, hsq: Float[Array, "C 1 T"]
) -> Float[Array, "C q T"]:
    """Rotated traits over their variances, the null space of K left out."""
    dtype = rotated.values.dtype
    Kva = own.projection.Kva[:, :, None]
    variance = hsq.astype(dtype) * Kva.astype(dtype) + (1 - hsq).astype(dtype)
    return jnp.where(Kva > 0, rotated.values / variance, 0.0)


def _some(hsq: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """Heritabilities, zero where there is none."""
    return jnp.where(jnp.isnan(hsq), 0.0, hsq)


def _flat(blocks: Float[Array, "C p T"]) -> Float[Array, "p m"]:
    """(C, p, T) as (p, C T)."""
    return jnp.swapaxes(blocks, 0, 1).reshape(blocks.shape[1], -1)
