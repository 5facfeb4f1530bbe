"""Calls of the package's functions, and the sizes that an accelerator would be given them at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import lmmlite_jax as lmm
from lmmlite_jax.mapping.blocks import GROUP, WHOLE_TILES
from lmmlite_jax.mapping.keep import REFIT_TRAITS
from lmmlite_jax.mapping.refit_keep import SCREENED_TRAITS
from lmmlite_jax.model.at_once import at_once

__all__ = ["CALLS", "INDIVIDUALS", "Block", "Call", "Cohort"]

N, P, M, T = 101, 3, 5 * WHOLE_TILES, 59
"""Individuals, covariates, markers and traits of the calls: no other length is one of these."""

INDIVIDUALS = 500
"""Individuals that programs are compiled for."""


class Cohort:
    """Individuals in families of four, with traits, two of which lack some of them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        simulated = lmm.simulate_cohort(N, T, hsq=0.5, seed=1)
        self.K = simulated.kinship
        self.household = np.equal.outer(np.arange(N) // 4, np.arange(N) // 4).astype(float)
        self.environment = rng.standard_normal(N)
        self.X = np.column_stack([np.ones(N), self.environment, rng.standard_normal(N)])
        self.G = rng.binomial(2, 0.3, (N, M)).astype(float)
        self.founders = rng.dirichlet(np.ones(8), (N, M))
        self.Y = simulated.pheno + 10 * self.G[:, [7]]
        self.incomplete = self.Y.copy()
        self.incomplete[[3, 4, 5], [0, 1, 1]] = np.nan
        self.windows = np.column_stack([np.arange(T), np.arange(T) + 30])
        self.null = lmm.NullModel(self.K, self.Y, self.X)
        self.single = lmm.NullModel(self.K, self.Y, self.X, dtype="float32")
        self.with_gaps = lmm.NullModel(self.K, self.incomplete, self.X)

    def one_trait(self) -> lmm.LMMFit:
        """The functions of R/lmmlite."""
        rot = lmm.eigen_rotation(self.K, self.Y[:, 0], self.X)
        return lmm.fit_lmm(rot.Kva, rot.y, rot.X, compute_se=True)

    def interactions(self) -> list[object]:
        """An iterator's results."""
        near = lmm.map_cis_interaction(self.null, self.G, self.windows, self.environment)
        far = lmm.map_trans_interaction(self.null, self.G, self.environment, threshold=0.01)
        return [*near, *far]


class Block(NamedTuple):
    """Markers of a block against traits of a block."""

    markers: int
    traits: int

    def sizes(self) -> dict[int, int]:
        """What the lengths of a call here become."""
        groups = self.markers // GROUP
        individuals = {N: INDIVIDUALS, N - P: INDIVIDUALS - P}
        return {**individuals, M: self.markers, M // GROUP: groups, T: self.traits}


class Call(NamedTuple):
    """A call, with the columns of a marker and the traits of a block, 0 for the most there are."""

    run: Callable[[Cohort], object]
    columns: int = 1
    traits: int = 0

    def block(self) -> Block:
        """What the package works on together where there is enough of both."""
        limits = at_once()
        markers = min(limits.markers, limits.statistics // (self.columns**2 * limits.traits))
        return Block(markers, self.traits or limits.traits)


def scan(null: str, keep: str | float = "all", **options: str) -> Callable[[Cohort], object]:
    """Scan of the cohort's markers with one of its null models."""
    return lambda of: lmm.scan(getattr(of, null), of.G, keep=keep, **options)


CALLS = {
    "fit": Call(lambda of: lmm.fit_traits(of.K, of.Y, of.X, compute_se=True, blup=True)),
    "fit by ML": Call(lambda of: lmm.fit_traits(of.K, of.Y, of.X, reml=False, compute_se=True)),
    "fit in float32": Call(lambda of: lmm.fit_traits(of.K, of.Y, of.X, dtype="float32")),
    "fit with gaps": Call(lambda of: lmm.fit_traits(of.K, of.incomplete, of.X), traits=T),
    "fit with intervals": Call(lambda of: lmm.fit_traits(of.K, of.Y, of.X, interval=0.95)),
    "best": Call(scan("null", "best")),
    "hits": Call(scan("null", 3.0)),
    "all": Call(scan("null")),
    "best in float32": Call(scan("single", "best")),
    "hits in float32": Call(scan("single", 3.0)),
    "all in float32": Call(scan("single")),
    "all with gaps": Call(scan("with_gaps"), traits=T),
    "refit best": Call(scan("null", "best", variance="refit"), traits=SCREENED_TRAITS),
    "refit hits": Call(scan("null", 3.0, variance="refit"), traits=SCREENED_TRAITS),
    "refit best, lrt": Call(
        scan("null", "best", variance="refit", test="lrt"), traits=SCREENED_TRAITS
    ),
    "refit all": Call(scan("null", variance="refit"), traits=SCREENED_TRAITS),
    "founders": Call(lambda of: lmm.scan(of.null, of.founders), columns=8),
    "founders best": Call(lambda of: lmm.scan(of.null, of.founders, keep="best"), columns=8),
    "refit founders": Call(
        lambda of: lmm.scan(of.null, of.founders, variance="refit"),
        columns=8,
        traits=REFIT_TRAITS,
    ),
    "permutations": Call(lambda of: lmm.permutation_threshold(of.null, of.G, permutations=20)),
    "cis": Call(lambda of: lmm.map_cis(of.null, of.G, of.windows, permutations=20)),
    "cis susie": Call(lambda of: lmm.map_cis_susie(of.with_gaps, of.G, of.windows)),
    "interactions": Call(Cohort.interactions),
    "components": Call(lambda of: lmm.fit_components([of.K, of.household], of.Y[:, :4], of.X)),
    "one trait": Call(Cohort.one_trait),
    "log likelihood": Call(lambda of: lmm.log_likelihood(0.5, of.K, of.Y[:, 0], of.X)),
}
