"""Peak memory of a scan whose pairs would fill 16 GB: 100,000 markers × 20,000 traits.

Dosages are held as int8 (30 MB), as a reader of genotype files does; the scan turns one block at a
time into double precision. Fails above 4 GB.

Usage: ``python benchmarks/memory.py``; writes ``results/memory.json``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from common import write_result

import lmmlite_jax as lmm

LIMIT_GB = 4.0


def peak_gb() -> float:
    """Peak resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markers", type=int, default=100_000)
    parser.add_argument("--traits", type=int, default=20_000)
    options = parser.parse_args()
    n = 300
    rng = np.random.default_rng(1)
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = np.empty((n, options.markers), dtype=np.int8)
    for start in range(0, options.markers, 10_000):  # binomial() itself returns int64
        block = G[:, start : start + 10_000]
        block[:] = rng.binomial(2, rng.uniform(0.05, 0.5, block.shape[1]), block.shape)
    Y = rng.standard_normal((n, options.traits))
    before, start_time = peak_gb(), time.perf_counter()
    result = lmm.scan(lmm.NullModel(K, Y), G, keep=5.0)
    seconds = time.perf_counter() - start_time
    found = {
        "markers": options.markers,
        "traits": options.traits,
        "individuals": n,
        "hits": len(result.log10p),
        "expected_hits": options.markers * options.traits * 1e-5,
        "seconds": seconds,
        "peak_gb_before": before,
        "peak_gb": peak_gb(),
    }
    for name, value in found.items():
        print(f"{name:16}{value:14.6g}")
    write_result("memory", found)
    sys.exit(0 if found["peak_gb"] < LIMIT_GB else 1)


if __name__ == "__main__":
    main()
