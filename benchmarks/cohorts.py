"""Cohorts to measure on: the kinships that people have, each with as many markers and traits.

Real data are read from the folder that is given, or that ``LMMLITE_JAX_DATA`` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.random import Generator

import lmmlite_jax as lmm
from lmmlite_jax.data import GenotypeFile, open_genotypes

JITTER = 0.02
"""Standard deviation of what is added to markers and traits that are used again, in their own."""


class Measured(NamedTuple):
    """What a cohort is measured with: n individuals, m traits, M markers, p covariates.

    Where there are chromosomes there is a kinship for each, and markers have 8 columns.
    """

    K: np.ndarray
    Y: np.ndarray
    G: np.ndarray
    X: np.ndarray
    chromosome: np.ndarray | None = None


def pedigree(M: int, m: int, data: Path | None = None, *, n: int = 500, p: int = 10) -> Measured:
    """Simulated relatives, kinship expected from the pedigree, 10 covariates."""
    rng = np.random.default_rng(n + M)
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (n, M)).astype(np.float64)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    return Measured(K, simulated_traits(K, m, rng), G, X)


def strangers(M: int, m: int, data: Path | None = None, *, n: int = 500, p: int = 3) -> Measured:
    """People who are not related, centred kinship of their markers, some of which have effects."""
    rng = np.random.default_rng(2)
    G = rng.integers(0, 3, (n, M), dtype=np.int8)
    some = G[:, : min(M, 5000)].astype(float)
    some -= some.mean(axis=0)
    K = some @ some.T / some.shape[1]
    values, vectors = np.linalg.eigh(K)
    Y = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((n, m))
    Y += rng.standard_normal((n, m))
    Y[:, ::5] += 0.3 * G[:, rng.integers(0, M, Y[:, ::5].shape[1])]
    return Measured(K, Y, G, np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))]))


def strains(M: int, m: int, data: Path | None = None, *, n: int = 79) -> Measured:
    """As many inbred strains as in BulkLMM's published case; no marker acts on a trait."""
    rng = np.random.default_rng(3)
    K = lmm.simulate_cohort(n, 1, relatives="strains", seed=3).kinship
    G = rng.integers(0, 2, (n, M)).astype(np.float64)
    return Measured(K, rng.standard_normal((n, m)), G, np.ones((n, 1)))


def crowd(M: int, m: int, data: Path | None = None, *, n: int = 300) -> Measured:
    """The pedigree's kinship and many markers, a byte a dosage; neither acts on a trait."""
    rng = np.random.default_rng(1)
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = np.empty((n, M), dtype=np.int8)
    for start in range(0, M, 10_000):  # binomial() itself returns int64
        block = G[:, start : start + 10_000]
        block[:] = rng.binomial(2, rng.uniform(0.05, 0.5, block.shape[1]), block.shape)
    return Measured(K, rng.standard_normal((n, m)), G, np.ones((n, 1)))


def gaussian(M: int, m: int, data: Path | None = None, *, n: int = 500, p: int = 10) -> Measured:
    """A kinship of full rank, of markers drawn from the normal distribution."""
    rng = np.random.default_rng(n + p + m)
    G = rng.standard_normal((n, M))
    K = G @ G.T / M
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    h = rng.uniform(0, 1, m)
    g = np.linalg.cholesky(K) @ rng.standard_normal((n, m))
    return Measured(K, np.sqrt(h) * g + np.sqrt(1 - h) * rng.standard_normal((n, m)), G, X)


def repeats(M: int, m: int, data: Path | None = None, *, n: int = 500, p: int = 2) -> Measured:
    """Five samples of a donor on average, donors not related: K is 1 within a donor, 0 between."""
    rng = np.random.default_rng(n + m)
    donor = np.sort(rng.integers(0, n // 5, n))
    K = (donor[:, None] == donor).astype(float)
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (n // 5, M))[donor].astype(np.float64)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    Y = simulated_traits(0.8 * K + 0.2 * np.eye(n), m, rng)  # Samples differ in every trait.
    return Measured(K, Y, G, X)


def founders(M: int, m: int, data: Path | None = None) -> Measured:
    """Recla's shape: 261 mice, alleles of 8 founders, 19 kinships, phenotypes missing."""
    rng, n = np.random.default_rng(2), 261
    sources = rng.integers(0, 8, (19, 60, 2, n))
    chromosome = np.sort(rng.integers(0, 19, M))
    G = np.empty((n, M, 8), dtype=np.float32)
    for j, c in enumerate(chromosome):
        both = sources[c, j % 60]
        G[:, j] = 0.5 * (np.eye(8)[both[0]] + np.eye(8)[both[1]])
    K = 2 * np.stack([*lmm.kinship(G, "allele_probs", chromosome, loco=True).values()])
    Y = rng.standard_normal((n, m))
    for pattern, traits in ((slice(0, 3), slice(0, 11)), (slice(5, 8), slice(11, 13))):
        Y[pattern, traits] = np.nan
    Y[9:11, 13:16] = np.nan
    return Measured(K, Y, G, np.column_stack([np.ones(n), rng.integers(0, 2, n)]), chromosome)


def mosaic(M: int, m: int, data: Path | None = None, *, n: int = 500) -> Measured:
    """The pedigree's kinship; neighbouring markers go together, as pieces of 40 ancestors do."""
    rng, ancestors = np.random.default_rng(n + M), 40
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    more = M + M // 2  # Some do not vary.
    pool = rng.random((ancestors, more)) < rng.beta(0.5, 1, more).clip(0.05, 0.95)
    G = np.zeros((n, more), np.int8)
    for _ in range(2):
        switches = rng.random((n, more)) < 0.02
        switches[:, 0] = True
        piece = np.cumsum(switches, axis=1)
        source = rng.integers(0, ancestors, (n, piece.max() + 1))
        G += pool[np.take_along_axis(source, piece, 1), np.arange(more)]
    G = G[:, G.std(axis=0) > 0][:, :M]
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 4))])
    return Measured(K, simulated_traits(K, m, rng), G, X)


def relatives(M: int, m: int, data: Path | None = None) -> Measured:
    """500 relatives in families of two founders and three children, standardised genotypes."""
    rng = np.random.default_rng(501)
    frequency = rng.uniform(0.05, 0.5, M)
    G = np.empty((100, 5, M))
    haplotypes = rng.random((100, 4, M)) < frequency
    G[:, 0], G[:, 1] = haplotypes[:, :2].sum(1), haplotypes[:, 2:].sum(1)
    for child in range(2, 5):
        of_first, of_second = rng.integers(0, 2, (2, 100, 1, M))
        first = np.take_along_axis(haplotypes[:, :2], of_first, 1)
        second = np.take_along_axis(haplotypes[:, 2:], of_second, 1)
        G[:, child] = (first.astype(int) + second)[:, 0]
    G = G.reshape(500, M)
    Z = (G - G.mean(0)) / np.maximum(G.std(0), 1e-9)
    K = Z @ Z.T / M
    X = np.column_stack([np.ones(500), rng.standard_normal((500, 2))])
    return Measured(K, simulated_traits(K, m, rng), G, X)


def synth500(M: int, m: int, data: Path | None = None) -> Measured:
    """FaST-LMM's 500 simulated people with GEMMA's centred kinship, singular by its intercept."""
    folder, rng = _folder(data) / "synth500", np.random.default_rng(502)
    file = open_genotypes(folder / "synth500.bed")
    K = _kinship(folder / "gemma_centered_kinship.npz")
    cov = pd.read_csv(folder / "cov.txt", sep=r"\s+", header=None).set_index(1)[2]
    X = np.column_stack([np.ones(len(K)), cov.loc[list(file.samples)]])
    return Measured(K, simulated_traits(K, m, rng), _as_many(_dosages(file), M, rng), X)


def bxd(M: int, m: int, data: Path | None = None) -> Measured:
    """198 recombinant inbred strains of mice."""
    folder, rng = _folder(data) / "bxd", np.random.default_rng(503)
    K = _kinship(folder / "kinship_x2.npz")
    G = _as_many(_dosages(open_genotypes(folder / "bxd.zip")), M, rng)
    return Measured(K, simulated_traits(K, m, rng), G, np.ones((len(K), 1)))


def mice(M: int, m: int, data: Path | None = None) -> Measured:
    """261 Diversity Outbred mice and their real traits, of which half have h² = 1."""
    folder, rng = _folder(data) / "recla", np.random.default_rng(504)
    cohort = lmm.load_recla(folder / "recla.RData")
    file = open_genotypes(folder / "recla.zip")
    Y = np.where(np.isnan(cohort.pheno), np.nanmean(cohort.pheno, axis=0), cohort.pheno)
    order = {name: i for i, name in enumerate(file.samples)}
    G = _dosages(file)[[order[name] for name in cohort.individuals]]
    K = np.asarray(cohort.kinship)
    return Measured(K, _as_many(Y, m, rng), _as_many(G, M, rng), np.asarray(cohort.covar))


def patterns(M: int, m: int, data: Path | None = None) -> Measured:
    """198 simulated strains, traits observed in up to 908 patterns of 8 strains or more."""
    cohort = lmm.simulate_cohort(198, m, relatives="strains", seed=1)
    rng, count = np.random.default_rng(1), min(908, m)
    sizes = np.clip(rng.lognormal(np.log(32), 0.6, count), 8, 198).astype(int)
    missing = np.array([rng.permutation(198) >= size for size in sizes]).T
    pattern = np.concatenate([np.arange(count), rng.integers(0, count, m - count)])
    Y = np.where(missing[:, pattern], np.nan, cohort.pheno)
    G = 2.0 * rng.integers(0, 2, (198, M))
    return Measured(cohort.kinship, Y, G, np.ones((198, 1)))


def geuvadis(M: int, m: int, data: Path | None = None) -> Measured:
    """178 people with a kinship that is not positive semidefinite: its negative part is cut off."""
    folder, rng = _folder(data) / "geuvadis", np.random.default_rng(505)
    file = open_genotypes(folder / "Geuvadis.bed")
    table = pd.read_csv(folder / "Geuvadis_chr1_kinship.normalized.txt", sep="\t", index_col=0)
    table.index, ids = table.index.astype(str), [str(one) for one in file.samples]
    K = table.set_axis(table.index, axis=1).loc[ids, ids].to_numpy()
    values, vectors = np.linalg.eigh(K)
    K = (vectors * np.maximum(values, 0)) @ vectors.T
    X = np.column_stack([np.ones(len(K)), rng.standard_normal((len(K), 5))])
    G = _as_many(_dosages(file), M, rng)
    return Measured((K + K.T) / 2, simulated_traits(K, m, rng), G, X)


COHORTS: dict[str, Callable[[int, int, Path | None], Measured]] = {
    "pedigree": pedigree,
    "synth500": synth500,
    "relatives": relatives,
    "bxd": bxd,
    "mice": mice,
    "geuvadis": geuvadis,
    "mosaic": mosaic,
    "strangers": strangers,
    "strains": strains,
    "crowd": crowd,
    "gaussian": gaussian,
    "repeats": repeats,
    "patterns": patterns,
    "founders": founders,
}

REAL = ("synth500", "bxd", "mice", "geuvadis")
"""Cohorts that need files."""

KINSHIPS = ("pedigree", "synth500", "relatives", "bxd", "mice", "geuvadis")
"""Cohorts with a kinship of their own."""

OF_ANY_SIZE = ("pedigree", "mosaic", "strangers", "strains", "crowd", "gaussian", "repeats")
"""Cohorts with as many individuals as asked for."""


def simulated_traits(K: np.ndarray, m: int, rng: Generator) -> np.ndarray:
    """Traits (n, m) of variance h² K + (1 - h²) I: a tenth of h² = 0, a tenth of h² = 1."""
    n = len(K)
    hsq = np.clip(rng.uniform(-0.125, 1.125, m), 0, 1)
    values, vectors = np.linalg.eigh(K / np.mean(np.diagonal(K)))
    root = vectors * np.sqrt(np.maximum(values, 0))
    g, e = root @ rng.standard_normal((n, m)), rng.standard_normal((n, m))
    return np.sqrt(hsq) * g + np.sqrt(1 - hsq) * e


def marker_groups(C: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Kinships (C, n, n) of 100 markers each, and traits (n, m).

    Every second kinship has a share of the half of the variance that is not noise.
    """
    G = np.random.default_rng(C).binomial(2, 0.3, (C, n, 100)).astype(float)
    G = (G - G.mean(axis=1, keepdims=True)) / G.std(axis=1, keepdims=True)
    K = G @ np.swapaxes(G, 1, 2) / 100
    shares = np.arange(C) % 2 == 0
    V = 0.5 * np.tensordot(shares / shares.sum(), K, 1) + 0.5 * np.eye(n)
    return K, np.linalg.cholesky(V) @ np.random.default_rng(1).standard_normal((n, m))


def _as_many(columns: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    """So many columns: the first times as they are, after that a little changed."""
    there = columns.shape[1]
    out = columns[:, np.arange(count) % there].astype(np.float64)
    again = out[:, there:]
    again += JITTER * again.std(axis=0) * rng.standard_normal(again.shape)
    return out


def _dosages(file: GenotypeFile) -> np.ndarray:
    """All dosages (n, M), the missing ones replaced by the mean, those that vary alone."""
    G = np.asarray(file.read(), dtype=np.float64)
    G = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    return G[:, G.std(axis=0) > 0]


def _kinship(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return next(file[name] for name in file.files if file[name].ndim == 2)


def _folder(data: Path | None) -> Path:
    found = data or os.environ.get("LMMLITE_JAX_DATA")
    if found is None:
        raise SystemExit("name the folder of the real data, or set LMMLITE_JAX_DATA to it")
    return Path(found)
