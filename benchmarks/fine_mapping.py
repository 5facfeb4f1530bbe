"""Fine-mapping of 200 genes with 2,000 variants each, beside tensorQTL's: time and agreement.

Usage: ``python benchmarks/fine_mapping.py``; prints a table and writes
``results/fine_mapping.json``. Needs ``pip install tensorqtl`` for the rival; without it our own
times alone are printed. Windows of neighbouring genes overlap, as in a genome, or do not
(``--apart``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from common import median_ratio, side_by_side, write_result

import lmmlite_jax as lmm

MARKERS = 2000
ANCESTORS = 40
HALF = 1000 * (MARKERS // 2) - 500
"""Base pairs on either side of a gene, so that its window has so many markers, 1,000 apart."""


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
    rng = np.random.default_rng(1)
    M = MARKERS * genes if apart else 10 * MARKERS
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    ancestors = rng.random((ANCESTORS, M)) < rng.beta(0.5, 1, M).clip(0.05, 0.95)
    G = np.zeros((n, M), np.int8)
    for _ in range(2):
        switches = rng.random((n, M)) < 0.02
        switches[:, 0] = True
        segment = np.cumsum(switches, axis=1)
        source = rng.integers(0, ANCESTORS, (n, segment.max() + 1))
        G += ancestors[np.take_along_axis(source, segment, 1), np.arange(M)]
    first = np.linspace(0, M - MARKERS, genes).astype(int)
    root = np.linalg.cholesky(K + 1e-9 * np.eye(n))
    h = rng.uniform(0, 0.8, genes)
    Y = np.sqrt(h) * (root @ rng.standard_normal((n, genes)))
    Y += np.sqrt(1 - h) * rng.standard_normal((n, genes))
    for gene, start in enumerate(first):
        causal = start + rng.choice(MARKERS, rng.integers(0, 4), replace=False)
        Y[:, gene] += G[:, causal] @ rng.choice([-0.4, 0.4], causal.size)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 4))])
    return Problem(K, Y, G, X, first)


def ours(data: Problem, kinship: bool) -> lmm.FineMapping:
    null = lmm.NullModel(data.K if kinship else None, data.Y, data.X)
    return lmm.map_cis_susie(null, data.G, data.windows)


def tensorqtl_of(data: Problem) -> Callable[[], Any]:
    """TensorQTL's ``cis_susie``, on the cores that the process is given."""
    import pandas as pd
    import torch
    from tensorqtl import susie

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    samples = [f"s{i}" for i in range(len(data.Y))]
    markers = [f"v{j}" for j in range(data.G.shape[1])]
    genes = [f"g{t}" for t in range(data.Y.shape[1])]
    position = 1000 * np.arange(len(markers)) + 1
    centre = 1000 * (data.first + MARKERS // 2) - 499
    tables = (
        pd.DataFrame(data.G.T.astype(np.float32), markers, samples),
        pd.DataFrame({"chrom": "1", "pos": position}, markers),
        pd.DataFrame(data.Y.T, genes, samples),
        pd.DataFrame({"chr": "1", "pos": centre}, genes),
        pd.DataFrame(data.X[:, 1:], samples),
    )

    def run() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return susie.map(*tables, window=HALF, summary_only=False, verbose=False)

    return run


def agreement(found: lmm.FineMapping, theirs: Any) -> dict[str, Any]:
    """Of the genes that have a set in tensorQTL: sets in common, and differences of PIPs."""
    summary, genes = theirs
    members = found.to_pandas()

    def sets(table: Any, gene: Any, variant: Any) -> set[tuple[int, frozenset[int]]]:
        keys = [gene(one) for one in table["phenotype_id"]], table["cs_id"].astype(int)
        grouped = table["variant_id"].map(variant).groupby([*keys])
        return {(key[0], frozenset(rows)) for key, rows in grouped}

    first = sets(members, int, int)
    second = sets(summary, lambda name: int(name[1:]), lambda name: int(name[1:]))
    largest = []
    for name, one in genes.items():
        own = found.gene == int(name[1:])
        pip = dict(zip(found.marker[own].tolist(), found.pip[own].tolist(), strict=True))
        table = one["pip"]
        same = [pip[int(variant[1:])] for variant in table.index]
        largest.append(float(np.abs(np.array(same) - table["pip"].to_numpy()).max()))
    return {
        "sets": len(first),
        "tensorqtl_sets": len(second),
        "sets_in_common": len(first & second),
        "largest_difference_of_pip": {
            "median": float(np.median(largest)),
            "within_0.01": float(np.mean(np.array(largest) <= 0.01)),
            "worst": max(largest),
        },
    }


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
    theirs = None
    if importlib.util.find_spec("tensorqtl") is not None:
        theirs = tensorqtl_of(data)
        rivals["tensorqtl, no kinship"] = theirs
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
    if theirs is not None:
        ratio = median_ratio(warm["kinship"], warm["tensorqtl, no kinship"])
        result["kinship_over_tensorqtl"] = ratio
        result["agreement"] = agreement(ours(data, False), theirs())
        print(f"kinship over tensorQTL without  {ratio:.2f}")
        print(result["agreement"])
    write_result("fine_mapping_apart" if options.apart else "fine_mapping", result)


if __name__ == "__main__":
    main()
