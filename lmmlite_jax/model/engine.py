"""Fits of blocks of traits to the patterns of individuals observed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.at_once import halve
from lmmlite_jax.model.decomposition import Pattern, Sample, decompose, shared_skeleton, widened
from lmmlite_jax.model.devices import one_ahead
from lmmlite_jax.model.estimate import Components
from lmmlite_jax.model.fitted_blocks import (
    Rotated,
    estimate_blocks,
    finish_blocks,
    fit_blocks_together,
    predict,
)
from lmmlite_jax.model.interval import (
    LikelihoodRatioLaw,
    simulate_law,
)
from lmmlite_jax.model.maximum import size_of_grid
from lmmlite_jax.model.missing import batches, phenotypes_of
from lmmlite_jax.model.options import NO_PRIOR, Options, Prior
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import LMMFit
from lmmlite_jax.model.rotation import Extremes
from lmmlite_jax.model.skeleton import Skeleton, of_same_range
from lmmlite_jax.model.threads import cores, few_blas_threads, on_cpu, side_by_side

__all__ = ["Engine", "Group", "bytes_of", "make_engine", "of_one_decomposition"]

WORTH_THREADS = 2**23
"""Cubed sizes of matrices, summed, from which threads save more than they cost."""


class Group(NamedTuple):
    """C blocks of T traits (columns of Y, -1 for none), rotated and their variances estimated.

    Of estimates each trait has one, flat: m = C T. ``fit`` (C, T) is made where somebody asks for
    it, see `Engine.fit_of`, or in one program with that of other patterns.
    """

    patterns: Pattern
    laws: LikelihoodRatioLaw | None
    which: Int[np.ndarray, " C"]
    traits: Int[np.ndarray, "C T"]
    rotated: Rotated
    estimates: Components
    fit: LMMFit | None


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
    complete: bool = False

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
        """The same kinship beside more covariates, with which it has other eigenvalues."""
        engine = self._replace(sample=self.sample._replace(X=X))
        return engine._with_skeleton(of_same_range(self.skeleton))

    def _with_skeleton(self, skeleton: Skeleton) -> Engine:
        laws = None if self.laws is None else partial(self.laws, skeleton=skeleton)
        return self._replace(skeleton=skeleton, laws=laws)

    def fit(
        self,
        pattern: Pattern,
        y: Float[AnyArray, "1 s T"],
        smallest: Float[Array, ""] | None = None,
    ) -> tuple[Rotated, LMMFit]:
        """One block of traits of one pattern, rotated, and its fit (1, T).

        ``smallest`` is as in `global_maximum`, where nobody could choose the skeleton by it.
        """
        traits = np.arange(y.shape[2])[None]
        group = self._group(pattern, None, np.zeros(1, int), traits, y, smallest)
        return group.rotated, self.fit_of(group)

    def fit_of(self, group: Group) -> LMMFit:
        """Fits (C, T) of a group."""
        fit = self._finished(group)
        if self.predict is None:
            return fit
        blup = self.predict(group.patterns, group.which, group.rotated, fit.hsq)
        return replace(fit, blup=blup)

    def _group(
        self,
        patterns: Pattern,
        laws: LikelihoodRatioLaw | None,
        which: Int[np.ndarray, " C"],
        traits: Int[np.ndarray, "C T"],
        y: Float[AnyArray, "C s T"],
        smallest: Float[Array, ""] | None = None,
    ) -> Group:
        """Rotate traits y (C, s, T) of patterns (C,), and fit them.

        A block is rotated, fitted and finished by programs of their own: `estimate`, by far the
        largest, knows neither n nor p, and XLA leaves a rotation as fast as a bare product if
        nothing else is compiled with it. Blocks of many patterns are of one shape.
        """
        fixed: dict[str, Any] = {
            "skeleton": self.skeleton,
            "tol": self.tol,
            "prior": self.prior,
            "options": self.options,
            "dtype": self.dtype,
            "size": size_of_grid(self.skeleton, patterns.n, patterns.zeros, self.prior.size),
            "smallest": smallest,
        }
        if len(which) > 1:
            found = fit_blocks_together(patterns, laws, which, y, **fixed)
        else:
            found = *estimate_blocks(patterns, which, y, **fixed), None
        return Group(patterns, laws, which, traits, *found)

    def _finished(self, group: Group) -> LMMFit:
        if group.fit is not None:
            return group.fit
        patterns, laws, which, _, rotated, estimates, _ = group
        compute_se = self.options.compute_se
        return finish_blocks(patterns, laws, which, rotated, estimates, compute_se=compute_se)

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
        self,
        Y: Float[np.ndarray, "n m"],
        traits: Int[np.ndarray, " some"],
        *,
        finish: bool = False,
    ) -> Iterator[Group]:
        """Fit some of the traits (columns) of Y, grouped by the individuals observed.

        ``finish``: whether every fit is asked for. Where memory does not suffice, those that are
        left in smaller blocks.
        """
        left = traits
        while left.size:
            done = []
            try:
                for group in self._groups(Y, left, finish):
                    done.append(group.traits.ravel())
                    yield group
                return
            except jax.errors.JaxRuntimeError as error:
                halve(error)
            left = np.setdiff1d(left, np.concatenate(done)) if done else left

    def _groups(
        self, Y: Float[np.ndarray, "n m"], traits: Int[np.ndarray, " some"], finish: bool
    ) -> Iterator[Group]:
        observed = np.ones((len(Y), 1), bool) if self.complete else ~np.isnan(Y)
        for batch in batches(observed, traits):
            engine, patterns = self._with_patterns(batch.members)
            laws = engine.laws(patterns) if engine.laws is not None else None
            members = batch.members
            groups = (
                engine._group(
                    patterns, laws, which, columns, phenotypes_of(Y, members[which], columns)
                )
                for which, columns in zip(batch.pattern, batch.traits, strict=True)
            )
            if finish:
                groups = (group._replace(fit=engine._finished(group)) for group in groups)
            # The caller looks at a group while JAX is at work on the next one.
            yield from one_ahead(groups)

    def _with_patterns(self, members: Int[np.ndarray, "P s"]) -> tuple[Engine, Pattern]:
        """Patterns, and the engine whose skeleton holds their eigenvalues."""
        patterns = self._decompose_all(members)
        skeleton = widened(self.skeleton, patterns)
        if skeleton is self.skeleton:
            return self, patterns
        engine = self._with_skeleton(skeleton)
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
        partial(predict, sample.K) if blup else None,
        interval=law is not None and law[0] is not None,
        complete=complete,
    )


def of_one_decomposition(groups: Iterator[Group]) -> Iterator[list[Group]]:
    """Groups of the same decompositions, which follow one another."""
    for _, batch in groupby(groups, key=lambda group: id(group.patterns)):
        yield list(batch)


def bytes_of(batch: Sequence[Group]) -> int:
    """Bytes of a batch's decompositions and rotated traits."""
    arrays = jax.tree.leaves((batch[0].patterns, [group[4:] for group in batch]))
    return sum(array.nbytes for array in arrays)


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
