"""Fine-mapping of 200 genes with 2,000 variants each, with a kinship and without.

Usage: ``python benchmarks/fine_mapping.py``; prints a table and writes
``results/fine_mapping.json``. Windows of neighbouring genes overlap, as in a genome, or do not
(``--apart``).
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cohorts import mosaic
from common import side_by_side, write_result

import lmmlite_jax as lmm

MARKERS = 2000


class Problem(NamedTuple):
    """Genes of relatives on one chromosome."""

    K: np.ndarray
    Y: np.ndarray
    G: np.ndarray
    X: np.ndarray
    first: np.ndarray

    @property
    def windows(self) -> np.ndarray:
        """First marker of each gene, and the one after its last."""
        return np.column_stack([self.first, self.first + MARKERS])


def problem(n: int, genes: int, apart: bool) -> Problem:
    """Individuals in families; up to three causal variants a gene."""
    M = MARKERS * genes if apart else 10 * MARKERS
    K, Y, G, X, _ = mosaic(M, genes, n=n)
    rng, first = np.random.default_rng(1), np.linspace(0, M - MARKERS, genes).astype(int)
    for gene, start in enumerate(first):
        causal = start + rng.choice(MARKERS, rng.integers(0, 4), replace=False)
        Y[:, gene] += G[:, causal] @ rng.choice([-0.4, 0.4], causal.size)
    return Problem(K, Y, G, X, first)


def ours(data: Problem, kinship: bool) -> lmm.FineMapping:
    null = lmm.NullModel(data.K if kinship else None, data.Y, data.X)
    return lmm.map_cis_susie(null, data.G, data.windows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--individuals", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true")
    options = parser.parse_args()
    data = problem(options.individuals, options.genes, options.apart)
    rivals: dict[str, Callable[[], Any]] = {
        "kinship": lambda: ours(data, True),
        "no kinship": lambda: ours(data, False),
    }
    first, warm = side_by_side(rivals, options.rounds)
    result: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "genes": options.genes,
        "individuals": options.individuals,
        "markers_a_window": MARKERS,
        "windows": "apart" if options.apart else "overlapping",
        "first": first,
        "warm": warm,
    }
    for name, seconds in warm.items():
        print(f"{name:24}first {first[name]:8.2f} s   then {statistics.median(seconds):8.2f} s")
    write_result("fine_mapping_apart" if options.apart else "fine_mapping", result)


if __name__ == "__main__":
    main()
