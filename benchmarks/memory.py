"""Peak memory of searches whose pairs would fill many gigabytes.

A scan of 100,000 markers × 20,000 traits, 16 GB of p-values, and interactions of 1,000,000 markers
× 100 traits in 200 relatives, for which tensorQTL asks for 742 GB (its issue 160). Dosages are held
as int8, as a reader of genotype files does; one block at a time is turned into double precision.
Fails above 4 GB, or 2 GB for interactions.

Usage: ``python benchmarks/memory.py [scan|interactions]``; writes ``results/memory.json`` or
``results/memory_interactions.json``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from cohorts import crowd
from common import write_result

import lmmlite_jax as lmm

THRESHOLD = 1e-5


class Search(NamedTuple):
    """Its sizes, what it may take, and the number of hits that it finds in genotypes and traits."""

    individuals: int
    markers: int
    traits: int
    limit_gb: float
    hits: Callable[[np.ndarray, np.ndarray, np.ndarray], int]
    name: str


def scanned(K: np.ndarray, Y: np.ndarray, G: np.ndarray) -> int:
    return len(lmm.scan(lmm.NullModel(K, Y), G, keep=-np.log10(THRESHOLD)).log10p)


def interactions(K: np.ndarray, Y: np.ndarray, G: np.ndarray) -> int:
    e = np.random.default_rng(2).standard_normal(len(Y))
    null = lmm.NullModel(K, Y, np.column_stack([np.ones(len(Y)), e]))
    pieces = lmm.map_trans_interaction(null, G, e, threshold=THRESHOLD)
    return sum(piece.marker.size for piece in pieces)


SEARCHES = {
    "scan": Search(300, 100_000, 20_000, 4.0, scanned, "memory"),
    "interactions": Search(200, 1_000_000, 100, 2.0, interactions, "memory_interactions"),
}


def peak_gb() -> float:
    """Peak resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", nargs="?", choices=SEARCHES, default="scan")
    parser.add_argument("--markers", type=int)
    parser.add_argument("--traits", type=int)
    options = parser.parse_args()
    search = SEARCHES[options.search]
    n, M, m = search.individuals, options.markers or search.markers, options.traits or search.traits
    K, Y, G, _, _ = crowd(M, m, n=n)
    before, start_time = peak_gb(), time.perf_counter()
    hits = search.hits(K, Y, G)
    seconds = time.perf_counter() - start_time
    found = {
        "markers": M,
        "traits": m,
        "individuals": n,
        "hits": hits,
        "expected_hits": M * m * THRESHOLD,
        "seconds": seconds,
        "peak_gb_before": before,
        "peak_gb": peak_gb(),
    }
    for name, value in found.items():
        print(f"{name:16}{value:14.6g}")
    write_result(search.name, found)
    sys.exit(0 if found["peak_gb"] < search.limit_gb else 1)


if __name__ == "__main__":
    main()
