"""What a scan keeps of its pairs: all of them, each trait's best, or those over a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import bisect

from lmmlite_jax.mapping.association import (
    BestOfBlock,
    Markers,
    Traits,
    best_of_block,
    effects_of_best,
    effects_of_block,
)
from lmmlite_jax.mapping.refit import NullTraits, Refit, refit_block
from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f

__all__ = [
    "All",
    "Best",
    "BestRefit",
    "Block",
    "Collector",
    "Hits",
    "Method",
    "Pairs",
    "tests_of_effects",
]

TRAITS_LOOKED_INTO = 32
"""Traits of which all pairs are tested together, where the best of each is over a threshold."""

LN10 = float(np.log(10))

_ROUNDING = 1e-5  # of single precision, with room


class Method(NamedTuple):
    """What is tested, and how, with k columns a marker; ``asymptotic`` as in `scan`."""

    variance: str
    test: str
    columns: int
    dtype: str
    tol: float
    asymptotic: bool = False

    def reml(self, asked: bool = True) -> bool:
        """Whether traits are fitted by REML without markers; for refits the test decides."""
        if self.variance == "null":
            return asked
        return self.test == "wald" or not self.asymptotic


class Block(NamedTuple):
    """T traits of one pattern, ready for markers: their numbers, -1 for none, and individuals.

    ``points`` are those of the grid on which likelihoods of refits are maximised, ``hsq`` the
    heritabilities where they are fixed.
    """

    numbers: np.ndarray
    n: float
    traits: Traits | NullTraits
    points: int = 0
    hsq: np.ndarray | None = None


class Pairs(NamedTuple):
    """Statistics of pairs: beta and se (..., k), the others (...)."""

    beta: Any
    se: Any
    lod: Any
    log10p: Any
    hsq: Any


class All:
    """Every pair."""

    def __init__(self, M: int, m: int, method: Method) -> None:
        self.method = method
        self.kept = _empty((M, m), method)

    def add(self, chosen: np.ndarray, markers: Markers, block: Block) -> None:
        """Test all pairs of two blocks."""
        used = block.numbers >= 0
        where = np.ix_(chosen, block.numbers[used])
        found = _test_all(markers, block, self.method)
        for kept, values in zip(self.kept, found, strict=True):
            if kept is not None:
                kept[where] = np.asarray(values)[: chosen.size, used]

    def pairs(self) -> tuple[Pairs, None, None]:
        """Shapes (M, m)."""
        return self.kept, None, None


class Best:
    """The best marker of each trait, h² fixed: effects and tests are for the last ones standing."""

    def __init__(self, m: int, method: Method) -> None:
        k = method.columns
        self.method = method
        self.best = BestOfBlock(
            share=np.full(m, -1.0),
            marker=np.full(m, -1),
            b=np.ones((k, m), method.dtype),
            d=np.ones((k, k, m), method.dtype),
            varies=np.zeros((k, m), bool),
            rss=np.ones(m),
        )
        self.dof, self.n = np.ones((2, m))

    def add(self, chosen: np.ndarray, markers: Markers, block: Block) -> None:
        """Compare the best of a block with the best before."""
        best = BestOfBlock(*map(np.asarray, best_of_block(markers, block.traits)))
        used = (block.numbers >= 0) & (best.marker < chosen.size)
        better = used & (best.share > self.best.share[np.where(used, block.numbers, 0)])
        to = block.numbers[better]
        self.dof[to], self.n[to] = float(block.traits.dof), block.n
        best = best._replace(marker=chosen[np.where(used, best.marker, 0)])
        for kept, values in zip(self.best, best, strict=True):
            kept[..., to] = values[..., better]

    def pairs(self) -> tuple[Pairs, np.ndarray, None]:
        """Shapes (m,)."""
        found = effects_of_best(self.best, self.dof)
        return tests_of_effects(found, self.dof, self.n, self.method), self.best.marker, None


class BestRefit:
    """The best marker of each trait, h² estimated for every pair."""

    def __init__(self, m: int, method: Method) -> None:
        self.method = method
        self.best = Refit(*np.full((len(Refit._fields), m), np.nan))
        self.marker = np.full(m, -1)
        self.score = np.full(m, -1.0)
        self.dof, self.n = np.full((2, m), 2.0)

    def add(self, chosen: np.ndarray, markers: Markers, block: Block) -> None:
        """Compare the best of a block with the best before."""
        refit = _refit(markers, block, self.method)
        found = _best_refits(refit, block.traits.dof, chosen.size, self.method)
        score, index, best = jax.tree.map(np.asarray, found)
        used = (block.numbers >= 0) & (score >= 0)
        better = used & (score > self.score[np.where(used, block.numbers, 0)])
        to = block.numbers[better]
        self.score[to], self.marker[to] = score[better], chosen[index[better]]
        self.dof[to], self.n[to] = float(block.traits.dof), block.n
        for kept, values in zip(self.best, best, strict=True):
            kept[to] = values[better]

    def pairs(self) -> tuple[Pairs, np.ndarray, None]:
        """Shapes (m,)."""
        return _refit_tests(self.best, self.dof, self.n, self.method), self.marker, None


class Hits:
    """Pairs of -log10 p at least a threshold."""

    def __init__(self, threshold: float, method: Method) -> None:
        self.threshold, self.method = threshold, method
        self.least: dict[tuple[float, float], float] = {}
        self.found: list[tuple[np.ndarray, np.ndarray, Pairs]] = []

    def add(self, chosen: np.ndarray, markers: Markers, block: Block) -> None:
        """Test all pairs of the traits whose best marker is over the threshold."""
        for some in self._promising(markers, block):
            every = _test_all(markers, some, self.method)
            log10p = np.asarray(every.log10p)[: chosen.size]
            rows, columns = np.nonzero((log10p >= self.threshold) & (some.numbers >= 0))
            pairs = Pairs(*(None if v is None else np.asarray(v)[rows, columns] for v in every))
            self.found.append((chosen[rows], some.numbers[columns], pairs))

    def _promising(self, markers: Markers, block: Block) -> Iterator[Block]:
        """Parts of a block with all its traits that can have a hit."""
        # With several columns a smaller share can be more significant: of one column, say.
        if not isinstance(block.traits, Traits) or self.method.columns > 1:
            yield block
            return
        dof = float(block.traits.dof)
        if (block.n, dof) not in self.least:
            self.least[block.n, dof] = _least_share(self.threshold, block.n, dof, self.method)
        share = np.asarray(best_of_block(markers, block.traits).share)
        over = np.flatnonzero(share >= self.least[block.n, dof])
        width = min(TRAITS_LOOKED_INTO, block.numbers.size)
        for start in range(0, over.size, width):
            part = over[start : start + width]
            columns = np.pad(part, (0, width - part.size))
            numbers = np.where(np.arange(width) < part.size, block.numbers[columns], -1)
            yield block._replace(numbers=numbers, traits=_some(block.traits, columns), hsq=None)

    def pairs(self) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Shapes (hits,), by marker and trait."""
        nothing = np.zeros(0, dtype=int)
        found = [(nothing, nothing, _empty((0,), self.method)), *self.found]
        marker, trait = (np.concatenate([one[i] for one in found]) for i in (0, 1))
        order = np.lexsort((trait, marker))
        columns = zip(*(one[2] for one in found), strict=True)
        merged = (None if c[0] is None else np.concatenate(c)[order] for c in columns)
        return Pairs(*merged), marker[order], trait[order]


Collector: TypeAlias = All | Best | BestRefit | Hits
"""Takes blocks of markers against blocks of traits, and keeps what was asked for."""


@jax.jit
def _some(traits: Traits, columns: Any) -> Traits:
    return Traits(
        traits.weighted[:, columns], traits.weights[:, columns], traits.rss[columns], traits.dof
    )


def _empty(shape: tuple[int, ...], method: Method) -> Pairs:
    effects = shape if method.columns == 1 else (*shape, method.columns)
    hsq = np.full(shape, np.nan) if method.variance == "refit" else None
    return Pairs(
        np.full(effects, np.nan),
        np.full(effects, np.nan),
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        hsq,
    )


def _test_all(markers: Markers, block: Block, method: Method) -> Pairs:
    if isinstance(block.traits, NullTraits):
        refit = _refit(markers, block, method)
        return _refit_tests(refit, block.traits.dof, block.n, method)
    return tests_of_effects(
        effects_of_block(markers, block.traits), block.traits.dof, block.n, method
    )


def _refit(markers: Markers, block: Block, method: Method) -> Refit:
    return refit_block(
        markers,
        block.traits,
        method.tol,
        restricted=method.test == "wald",
        corrected=not method.asymptotic,
        points=block.points,
    )


@partial(jax.jit, static_argnames="method")
def _best_refits(refit: Refit, dof: Any, markers: Any, method: Method) -> tuple[Any, Any, Refit]:
    """Score, number and statistics of the best of so many markers, for each trait."""
    if method.test == "lrt":
        score = _corrected_ratio(refit)
    elif method.asymptotic:
        score = (refit.beta / refit.se) ** 2
    else:  # of pairs with degrees of freedom of their own
        score = _refit_log10p(refit, dof, method)
    real = jnp.arange(len(score))[:, None] < markers
    score = jnp.where(real & ~jnp.isnan(score), score, -1.0)
    index = lax.argmax(score, 0, jnp.int32)
    best = jax.tree.map(lambda x: jnp.take_along_axis(x, index[None], axis=0)[0], refit)
    return jnp.max(score, axis=0), index, best


def tests_of_effects(found: Any, dof: Any, n: Any, method: Method) -> Pairs:
    """LOD scores and p-values of `Effects` or a `Best` of one pattern, h² fixed."""
    lod, log10p = _share_tests(found.share, found.rank, dof, n, method)
    several = method.columns > 1
    beta, se = (x if several else x[..., 0] for x in (found.beta, found.se))
    return Pairs(beta, se, lod, log10p, None)


@partial(jax.jit, static_argnames="method")
def _share_tests(share: Any, rank: Any, dof: Any, n: Any, method: Method) -> tuple[Any, Any]:
    """LOD score and -log10 p where a marker explains a share of the residual sum of squares.

    Given h² the share is Beta(df/2, (dof - df)/2) under the null. Wald's F, the score and the
    likelihood ratio are functions of it that grow with it: referred to their own laws they have one
    p-value. The asymptotic laws are GEMMA's.
    """
    share = jnp.minimum(share.astype(float), 1.0)
    none = ~(share >= 0)
    share = jnp.where(none, 0.5, share)
    log_ratio = -jnp.log1p(-share)  # log(rss0 / rss1)
    log10p = jnp.zeros_like(share)

    def of_rank(df: int) -> Any:
        if method.asymptotic and method.test == "lrt":
            return log10p_chi2(n * log_ratio, df)
        if method.asymptotic and method.test == "score":
            return log10p_f(n * share / (dof - df), df, dof - df)
        return log10p_f(share / (1 - share), df, dof - df)

    for df in range(1, method.columns + 1):
        log10p = lax.cond(
            jnp.any(rank == df),
            lambda log10p, df=df: jnp.where(rank == df, of_rank(df), log10p),
            lambda log10p: log10p,
            log10p,
        )
    return (
        jnp.where(none, jnp.nan, n / 2 * log_ratio / LN10),
        jnp.where(none | (rank == 0), jnp.nan, log10p),
    )


def _least_share(threshold: float, n: float, dof: float, method: Method) -> float:
    """Share of the residual sum of squares just below that with this -log10 p; infinite if none."""

    def excess(share: float) -> float:
        _, log10p = _share_tests(np.float64(share), np.int64(1), dof, n, method)
        return float(log10p) - threshold

    if excess(1.0) < 0:  # an asymptotic p-value of all that there is to explain
        return np.inf
    return float(bisect(excess, 0.0, 1.0, xtol=1e-15)) * (1 - _ROUNDING)


def _refit_tests(refit: Any, dof: Any, n: Any, method: Method) -> Pairs:
    lod, log10p = _pair_tests(refit, dof, n, method)
    return Pairs(refit.beta, refit.se, lod, log10p, refit.hsq)


@partial(jax.jit, static_argnames="method")
def _pair_tests(refit: Refit, dof: Any, n: Any, method: Method) -> tuple[Any, Any]:
    log10p = _refit_log10p(refit, dof, method)
    if method.test == "lrt":
        return refit.ratio / (2 * LN10), log10p
    return n / 2 * jnp.log1p((refit.beta / refit.se) ** 2 / (dof - 1)) / LN10, log10p


def _refit_log10p(refit: Refit, dof: Any, method: Method) -> Any:
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
        return log10p_f(jnp.expm1(ratio / dof), 1, dof - 1)
    left = 1 / (1 / (dof - 1) + refit.spread / 2)
    return log10p_f((refit.beta / refit.se) ** 2 / (1 + 2 * refit.bias) / left, 1, left)


def _corrected_ratio(refit: Refit) -> Any:
    return refit.ratio / (1 + refit.bias + 0.75 * refit.spread)
