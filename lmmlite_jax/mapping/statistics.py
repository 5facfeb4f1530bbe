"""LOD scores and p-values from the effects of markers on traits."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.effects import Effects, effects_of_block
from lmmlite_jax.mapping.logarithm import log1p
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.pair_terms import FEW_PAIRS
from lmmlite_jax.mapping.refit import Refit, refit_block, refit_few, refit_pairs
from lmmlite_jax.mapping.refit_columns import ColumnsRefit, refit_columns
from lmmlite_jax.mapping.refit_maximum import HowToRefit, range_below_positive
from lmmlite_jax.mapping.share_law import Number, ShareLaw
from lmmlite_jax.mapping.share_tests import LN10, share_tests, share_tests_by_law
from lmmlite_jax.mapping.student_tails import log10p_t
from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.maximum import grid_points
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.programs import WIDE_VECTORS
from lmmlite_jax.model.tested_traits import Traits
from lmmlite_jax.model.threads import on_cpu
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = [
    "REFITS_AT_ONCE",
    "Pairs",
    "PairsFound",
    "empty_pairs",
    "every_test",
    "how_to_refit",
    "pair_statistics",
    "refit_scores",
    "refit_tile",
    "share_of_score",
    "tests_of_columns",
    "tests_of_effects",
    "tests_of_refits",
    "unset_pairs",
]

REFITS_AT_ONCE = 1024
"""Pairs that are fitted and tested together, where they are few."""

_ANGLES = np.linspace(0.0, 19.0, 4 * REFITS_AT_ONCE)
"""atanh of cosines at which p-values are known; each stands for those up to the next."""

_ROUNDING = 1e-9
"""Part by which scores are lowered, so that what ties with the best is looked at."""


class Pairs(NamedTuple):
    """Statistics of pairs: beta and se (..., k), the others (...)."""

    beta: Float[AnyArray, "*columns"]
    se: Float[AnyArray, "*columns"]
    lod: Float[AnyArray, "*pairs"]
    log10p: Float[AnyArray, "*pairs"]
    hsq: Float[AnyArray, "*pairs"] | None

    def map(self, change: Callable[[AnyArray], AnyArray]) -> Pairs:
        """Change every statistic there is."""
        hsq = None if self.hsq is None else change(self.hsq)
        return Pairs(change(self.beta), change(self.se), change(self.lod), change(self.log10p), hsq)

    def clear(self) -> None:
        """Make every statistic in NumPy's arrays NaN."""
        for values in self:
            if values is not None:
                np.asarray(values).fill(np.nan)


def empty_pairs(shape: tuple[int, ...], method: Method) -> Pairs:
    """Pairs without statistics."""
    pairs = unset_pairs(shape, method)
    pairs.clear()
    return pairs


def unset_pairs(shape: tuple[int, ...], method: Method) -> Pairs:
    """Arrays for pairs, of whatever there is in memory: to be cleared."""
    effects = shape if method.columns == 1 else (*shape, method.columns)
    beta, se, lod, log10p = (np.empty(one) for one in (effects, effects, shape, shape))
    return Pairs(beta, se, lod, log10p, np.empty(shape) if method.variance == "refit" else None)


class PairsFound:
    """Pairs over a threshold, as they are found."""

    def __init__(self, method: Method) -> None:
        nothing = np.zeros(0, dtype=int)
        self._parts = [(nothing, nothing, empty_pairs((0,), method))]

    def add(
        self, marker: Int[np.ndarray, " some"], trait: Int[np.ndarray, " some"], pairs: Pairs
    ) -> None:
        """Take some more."""
        self._parts.append((marker, trait, pairs))

    def in_order(self) -> tuple[Pairs, Int[np.ndarray, " hits"], Int[np.ndarray, " hits"]]:
        """All of them by marker and trait, with the numbers of both."""
        markers, traits, pairs = zip(*self._parts, strict=True)
        marker, trait = np.concatenate(markers), np.concatenate(traits)
        order = np.lexsort((trait, marker))
        merged = jax.tree.map(lambda *some: np.concatenate(some)[order], *pairs)
        return merged, marker[order], trait[order]


def pair_statistics(markers: Markers, block: TraitBlock, method: Method) -> Pairs:
    """Test all markers with all traits of a block."""
    if method.variance == "refit" and method.columns > 1:
        how = how_to_refit(block, method)
        columns = refit_columns(markers, block.for_refit, method.tol, how=how)
        return tests_of_columns(columns, float(block.dof), float(block.n), method)
    if method.variance == "refit":
        refit = refit_tile(markers, block, method)
        return tests_of_refits(refit, float(block.dof), float(block.n), method)
    effects = effects_of_block(markers, block.at_null)
    return tests_of_effects(effects, float(block.dof), float(block.n), method)


def refit_tile(markers: Markers, block: TraitBlock, method: Method) -> Refit:
    """Fit all markers with all traits of a block, h² estimated for every pair."""
    traits, how = block.for_refit, how_to_refit(block, method)
    # An accelerator would have to be asked for the doubts.
    if markers.varies.size * block.traits.size > FEW_PAIRS or not on_cpu():
        return refit_block(markers, traits, method.tol, how=how)
    found, doubtful = refit_few(markers, traits, method.tol, how=how)
    pairs = np.nonzero(np.asarray(doubtful))
    count = pairs[0].size
    if count == 0:
        return found
    padded = (np.pad(of_pairs, (0, FEW_PAIRS - count)) for of_pairs in pairs)
    settled = refit_pairs(markers, traits, *padded, method.tol, how=how)
    whole = jax.tree.map(np.array, found)
    for values, some in zip(*map(jax.tree.leaves, (whole, settled)), strict=True):
        values[pairs] = np.asarray(some)[:count]
    return whole


def how_to_refit(block: TraitBlock, method: Method) -> HowToRefit:
    """How pairs of a block are fitted."""
    restricted, below = method.test == "wald", None
    if block.singular:
        below = range_below_positive(int(block.n), restricted=restricted)
    return HowToRefit(
        restricted=restricted,
        corrected=not method.asymptotic,
        points=grid_points(block.individuals.skeleton, below),
        below=below,
    )


@partial(jax.jit, static_argnames="method", compiler_options=WIDE_VECTORS)
def every_test(markers: Markers, traits: Traits, law: ShareLaw, method: Method) -> Pairs:
    """As `pair_statistics`, h² fixed, for many markers: one program, p-values by a fitted law."""
    found = effects_of_block(markers, traits)
    lod, log10p = share_tests_by_law(found.share, found.rank, law, method)
    return _pairs(found, lod, log10p, method)


def tests_of_effects(found: Effects, dof: Number, n: Number, method: Method) -> Pairs:
    """LOD scores and p-values of `Effects` or a `Best` of one pattern, h² fixed."""
    lod, log10p = share_tests(found.share, found.rank, dof, n, method)
    return _pairs(found, lod, log10p, method)


def _pairs(found: Effects, lod: AnyArray, log10p: AnyArray, method: Method) -> Pairs:
    several = method.columns > 1
    beta, se = (x if several else x[..., 0] for x in (found.beta, found.se))
    return Pairs(beta, se, lod, log10p, None)


def tests_of_refits(refit: Refit, dof: Number, n: Number, method: Method) -> Pairs:
    """LOD scores and p-values of pairs whose h² was estimated."""
    lod, log10p = _refit_tests(refit, dof, n, method)
    return Pairs(refit.beta, refit.se, lod, log10p, refit.hsq)


@partial(jax.jit, static_argnames="method")
def tests_of_columns(found: ColumnsRefit, dof: Number, n: Number, method: Method) -> Pairs:
    """As `tests_of_refits`, of markers of several columns."""
    ratio, rank = found.ratio / found.expected, found.rank
    if method.test == "wald":
        lod = n / 2 * jnp.log1p(found.explained) / LN10
        log10p = log10p_f(found.wald, rank, found.left)
    else:
        lod = found.ratio / (2 * LN10)
        if method.asymptotic:
            log10p = log10p_chi2(ratio, rank)
        else:
            log10p = log10p_f(jnp.expm1(ratio / dof), rank, dof - rank)
    return Pairs(found.beta, found.se, lod, jnp.asarray(log10p), found.hsq)


def refit_scores(refit: Refit, tests: Pairs, method: Method) -> Float[AnyArray, " pairs"]:
    """What is larger the more significant a pair is, by NumPy where it has the fits."""
    if method.test == "lrt":
        return _corrected_ratio(refit)
    if method.asymptotic:
        return (refit.beta / refit.se) ** 2
    return tests.log10p  # of pairs with degrees of freedom of their own


def share_of_score(
    score: Float[np.ndarray, " T"], dof: float, n: float, method: Method
) -> Float[np.ndarray, " T"]:
    """Share of variance that, at the heritability of the null, a pair with a score has at least.

    Scores are those of `refit_scores`; 0 where there is none.
    """
    score = np.maximum(score, 0.0) * (1 - _ROUNDING)
    if method.test == "lrt":
        return -np.expm1(-score / (n if method.asymptotic else dof))
    if method.asymptotic:
        return score / (score + dof - 1)
    at = np.searchsorted(_scores_at_angles(dof, n, method), score, side="right") - 1
    return np.tanh(_ANGLES[np.maximum(at, 0)]) ** 2


@lru_cache(maxsize=64)
def _scores_at_angles(dof: float, n: float, method: Method) -> Float[np.ndarray, " angles"]:
    """-log10 p of plain F tests, by the program that tests pairs."""
    none, one = np.zeros(REFITS_AT_ONCE), np.ones(REFITS_AT_ONCE)
    found = []
    for angles in np.split(_ANGLES, _ANGLES.size // REFITS_AT_ONCE):
        effects = np.sinh(angles) * np.sqrt(dof - 1)
        plain = Refit(hsq=none, beta=effects, se=one, ratio=None, bias=none, spread=none)
        found.append(np.asarray(tests_of_refits(plain, dof, n, method).log10p))
    return np.concatenate(found)


@partial(jax.jit, static_argnames="method", compiler_options=WIDE_VECTORS)
def _refit_tests(refit: Refit, dof: Number, n: Number, method: Method) -> tuple[AnyArray, AnyArray]:
    log10p = _refit_log10p(refit, dof, method)
    if refit.ratio is not None:
        return refit.ratio / (2 * LN10), log10p
    return n / 2 * log1p((refit.beta / refit.se) ** 2 / (dof - 1)) / LN10, log10p


def _refit_log10p(refit: Refit, dof: Number, method: Method) -> AnyArray:
    """-log10 p of pairs with an h² of their own, whose being estimated is corrected for.

    Wald's F as Kenward and Roger (1997) do: the variance of the effect without its bias, and
    Satterthwaite's degrees of freedom. The likelihood ratio by Bartlett's factor (Zucker, Lieberman
    and Manor 2000), and with h² taken as known by its own law, which is that of F. The asymptotic
    laws are GEMMA's.
    """
    if method.test == "lrt":
        ratio = _corrected_ratio(refit)
        if method.asymptotic:
            return log10p_chi2(ratio, 1)
        return _log10p_of_ratio(jnp.expm1(ratio / dof), jnp.broadcast_to(dof - 1, ratio.shape))
    left = 1 / (1 / (dof - 1) + refit.spread / 2)
    return _log10p_of_ratio((refit.beta / refit.se) ** 2 / (1 + 2 * refit.bias) / left, left)


def _log10p_of_ratio(ratio: AnyArray, left: AnyArray) -> AnyArray:
    """As `log10p_f` of one column, in the way that compiles or computes faster."""
    if ratio.size <= REFITS_AT_ONCE:
        return log10p_f(ratio, 1, left)
    return log10p_t(ratio.ravel(), left.ravel()).reshape(ratio.shape)


def _corrected_ratio(refit: Refit) -> AnyArray:
    assert refit.ratio is not None
    return refit.ratio / (1 + refit.bias + 0.75 * refit.spread)
