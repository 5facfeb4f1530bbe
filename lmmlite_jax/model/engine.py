"""Fits of blocks of traits to the patterns of individuals observed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.at_once import halve
from lmmlite_jax.model.decomposition import Pattern, Sample, decompose, shared_skeleton, widened
from lmmlite_jax.model.estimate import Components, constant_status, estimate, where_fitted
from lmmlite_jax.model.inputs import all_finite
from lmmlite_jax.model.interval import (
    LikelihoodRatioLaw,
    confidence_limits,
    simulate_law,
    simulated_pvalue,
)
from lmmlite_jax.model.likelihood import EXACT_TOLERANCE
from lmmlite_jax.model.missing import batches, phenotypes_of
from lmmlite_jax.model.options import NO_PRIOR, Options, Prior
from lmmlite_jax.model.precision import AnyArray, Scalar
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.rotation import Extremes
from lmmlite_jax.model.skeleton import Skeleton
from lmmlite_jax.model.threads import cores, few_blas_threads, on_cpu, side_by_side

__all__ = ["Engine", "Group", "Rotated", "make_engine"]

SINGLE_EXACT_TOLERANCE = 1e-10
"""EXACT_TOLERANCE for sums in single precision."""

WORTH_THREADS = 2**23
"""Cubed sizes of matrices, summed, from which threads save more than they cost."""


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


class Group(NamedTuple):
    """C blocks of T traits (columns of Y, -1 for none), rotated and fitted."""

    patterns: Pattern
    which: Int[np.ndarray, " C"]
    traits: Int[np.ndarray, "C T"]
    rotated: Rotated
    fit: LMMFit


class Engine(NamedTuple):
    """The compiled programs, with their options."""

    sample: Sample
    whole: Extremes
    laws: Callable[..., LikelihoodRatioLaw] | None
    skeleton: Skeleton
    tol: float
    prior: Prior
    options: Options
    dtype: str
    predict: Callable[..., Array] | None
    interval: bool = False

    def decompose(self, members: Int[np.ndarray, "P s"]) -> Pattern:
        """Decompositions of the kinship among the individuals of each pattern."""
        return decompose(
            self.sample,
            members=members,
            skeleton=self.skeleton,
            whole=self.whole,
            reml=self.options.reml,
            effects=self.options.compute_se,
        )

    def with_covariates(self, X: Float[np.ndarray, "n p"]) -> Engine:
        """The same kinship beside other covariates."""
        return self._replace(sample=self.sample._replace(X=X))

    def fit(
        self,
        patterns: Pattern,
        laws: LikelihoodRatioLaw | None,
        which: Int[np.ndarray, " C"],
        y: Float[AnyArray, "C s T"],
        smallest: Float[Array, ""] | None = None,
    ) -> tuple[Rotated, LMMFit]:
        """Rotated blocks of traits y (C, s, T) of patterns (C,), and fits (C, T).

        ``smallest`` is as in `global_maximum`, where nobody could choose the skeleton by it.
        """
        # A block is rotated, fitted and finished by programs of their own: `estimate`, by far the
        # largest, knows neither n nor p, and XLA leaves a rotation as fast as a bare product if
        # nothing else is compiled with it. Blocks of many patterns are of one shape.
        run = _fit_blocks if len(which) == 1 else _fit_blocks_together
        rotated, fit = run(
            patterns,
            laws,
            which,
            y,
            skeleton=self.skeleton,
            tol=self.tol,
            prior=self.prior,
            options=self.options,
            dtype=self.dtype,
            smallest=smallest,
        )
        if self.predict is not None:
            fit = replace(fit, blup=self.predict(patterns, which, rotated, fit.hsq))
        return rotated, fit

    def _decompose_all(self, members: Int[np.ndarray, "P s"]) -> Pattern:
        """Patterns of members, a part of them on each core where there is enough to do."""
        count, size = members.shape
        worth = on_cpu() and count * size**3 >= WORTH_THREADS
        threads = min(cores(), count) if worth else 1
        with few_blas_threads(size):
            if threads == 1:
                return jax.block_until_ready(self.decompose(members))
            share = -(-count // threads)  # of one shape, hence one program: the last repeat some
            parts = list(np.resize(np.arange(count), (threads, share)))
            decomposed = side_by_side(lambda part: self.decompose(members[part]), parts)
        return jax.tree.map(
            lambda *of_parts: jax.device_put(np.concatenate(of_parts)[:count]), *decomposed
        )

    def groups(
        self, Y: Float[np.ndarray, "n m"], traits: Int[np.ndarray, " some"]
    ) -> Iterator[Group]:
        """Fit some of the traits (columns) of Y, grouped by the individuals observed.

        Where memory does not suffice, those that are left in smaller blocks.
        """
        left = traits
        while left.size:
            try:
                for group in self._groups(Y, left):
                    left = np.setdiff1d(left, group.traits)
                    yield group
            except jax.errors.JaxRuntimeError as error:
                halve(error)

    def _groups(
        self, Y: Float[np.ndarray, "n m"], traits: Int[np.ndarray, " some"]
    ) -> Iterator[Group]:
        observed = np.broadcast_to(True, Y.shape) if all_finite(Y) else ~np.isnan(Y)
        for batch in batches(observed, traits):
            engine, patterns = self._with_patterns(batch.members)
            laws = engine.laws(patterns) if engine.laws is not None else None
            for which, columns in zip(batch.pattern, batch.traits, strict=True):
                y = phenotypes_of(Y, batch.members[which], columns)
                rotated, fit = engine.fit(patterns, laws, which, y)
                yield Group(patterns, which, columns, rotated, fit)

    def _with_patterns(self, members: Int[np.ndarray, "P s"]) -> tuple[Engine, Pattern]:
        """Patterns, and the engine whose skeleton holds their eigenvalues."""
        patterns = self._decompose_all(members)
        skeleton = widened(self.skeleton, patterns)
        if skeleton is self.skeleton:
            return self, patterns
        laws = None if self.laws is None else partial(self.laws, skeleton=skeleton)
        engine = self._replace(skeleton=skeleton, laws=laws)
        return engine, engine._decompose_all(members)


def make_engine(
    sample: Sample,
    options: Options,
    *,
    tol: float = 1e-8,
    prior: Prior = NO_PRIOR,
    dtype: str = "float64",
    law: tuple[float | None, int, int] | None = None,
    blup: bool = False,
    whole: Extremes | None = None,
    complete: bool = False,
) -> Engine:
    """Engine for one kinship matrix; ``law`` is a level, a number of simulations and a seed.

    Without a level the law is that of h² = 0 alone. ``whole`` and ``complete`` are as in
    `shared_skeleton`.
    """
    with few_blas_threads(len(sample.K)):
        skeleton, whole = shared_skeleton(sample, options.reml, whole, complete=complete)
    laws = None
    if law is not None:
        level, draws, seed = law
        laws = partial(
            _compute_laws, skeleton=skeleton, level=level, draws=draws, key=jax.random.key(seed)
        )
    return Engine(
        sample,
        whole,
        laws,
        skeleton,
        tol,
        prior,
        options,
        dtype,
        partial(_predict, sample.K) if blup else None,
        interval=law is not None and law[0] is not None,
    )


def _fit_blocks(
    patterns: Pattern,
    laws: LikelihoodRatioLaw | None,
    which: Int[AnyArray, " C"],
    y: Float[AnyArray, "C s T"],
    *,
    skeleton: Skeleton,
    tol: Scalar,
    prior: Prior,
    options: Options,
    dtype: str,
    smallest: Float[Array, ""] | None = None,
) -> tuple[Rotated, LMMFit]:
    rotated = _rotate(patterns, which, y, skeleton=skeleton, dtype=dtype)
    components = estimate(
        rotated.profile,
        n=rotated.n,
        p=patterns.projection.R.shape[-1],
        free_zeros=rotated.free_zeros,
        status=rotated.status,
        tol=tol,
        prior=prior,
        options=options,
        smallest=smallest,
    )
    return rotated, _finish(
        patterns, which, rotated, components, laws, compute_se=options.compute_se
    )


_fit_blocks_together = jax.jit(_fit_blocks, static_argnames=("options", "dtype"))


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
    sums = _block_product(own.rows.astype(dtype), values**2).astype(y.dtype) * scale**2
    rss, total, in_null = sums[:, :-2], sums[:, -2], sums[:, -1]
    rounding = EXACT_TOLERANCE if dtype == "float64" else SINGLE_EXACT_TOLERANCE

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
def _finish(
    patterns: Pattern,
    which: Int[Array, " C"],
    rotated: Rotated,
    components: Components,
    laws: LikelihoodRatioLaw | None,
    *,
    compute_se: bool,
) -> LMMFit:
    """Fixed effects, intervals and the shape of blocks."""
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


@jax.jit
def _predict(
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


def _compute_laws(
    patterns: Pattern, *, skeleton: Skeleton, level: float | None, draws: int, key: Array
) -> LikelihoodRatioLaw:
    """Laws of the likelihood ratio for each of P patterns, one after the other."""
    laws = []
    for k in range(len(patterns.n)):
        one = jax.tree.map(lambda a, k=k: jax.device_put(np.asarray(a)[k]), patterns)
        q = one.projection.Kva.size
        dof = float(one.n - one.projection.R.shape[-1])
        null = Profile(
            skeleton,
            jnp.zeros((one.logdet.size, 1)),
            jnp.zeros(1),
            one.logdet[:, None],
            one.zeros[None],
            jnp.asarray(dof),
        )
        real = np.arange(q) < dof
        laws.append(simulate_law(one.projection.Kva, real, null, level=level, draws=draws, key=key))
    return jax.tree.map(lambda *of_patterns: np.stack(of_patterns), *laws)


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
