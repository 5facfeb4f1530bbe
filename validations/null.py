"""Calibration of the scan among relatives: a million null pairs, and permutation thresholds.

Neither markers nor traits know of each other, but both run in families. Fails if the inflation λ
of the mixed model is outside 0.98 to 1.02, if its p-values are not uniform (Kolmogorov-Smirnov
p > 0.01), if ordinary regression is not inflated, or if thresholds at 5% are exceeded by less
than 4% or more than 6% of 2,000 null traits.

Usage: ``python -m validations.null``; writes ``results/null.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

LEVEL = 0.05


def families(n: int, M: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinship, traits of heritabilities 0 to 0.9 and dosages that are independent of them."""
    rng = np.random.default_rng(seed)
    K = np.asarray(lmm.simulate_cohort(n, 1, seed=seed).kinship)
    root = np.linalg.cholesky(K + 1e-9 * np.eye(n))
    h = rng.uniform(0, 0.9, m)
    Y = np.sqrt(h) * (root @ rng.standard_normal((n, m)))
    Y += np.sqrt(1 - h) * rng.standard_normal((n, m))
    frequency = scipy.stats.norm.ppf(rng.uniform(0.1, 0.5, M))
    alleles = [(root @ rng.standard_normal((n, M))) < frequency for _ in range(2)]
    return K, Y, np.sum(alleles, axis=0).astype(float)


def pairs(n: int = 1000, side: int = 1000) -> dict[str, Any]:
    K, Y, G = families(n, side, side, seed=1)
    found = {}
    for name, kinship, variance in (
        ("null", K, "null"),
        ("refit", K, "refit"),
        ("ordinary", None, "null"),
    ):
        null = lmm.NullModel(kinship, Y)
        log10p = np.asarray(lmm.scan(null, G, variance=variance).log10p).ravel()
        found[name] = {
            "lambda": float(lmm.genomic_inflation(log10p)),
            "ks_p": float(scipy.stats.kstest(10.0**-log10p, "uniform").pvalue),
            "pairs": log10p.size,
        }
        print(
            f"{name:10} λ {found[name]['lambda']:.4f}  KS p {found[name]['ks_p']:.2g}", flush=True
        )
    return found


def thresholds(n: int = 300, M: int = 300, m: int = 2000) -> dict[str, float]:
    K, Y, G = families(n, M, m, seed=2)
    null = lmm.NullModel(K, Y)
    limits = np.asarray(lmm.permutation_threshold(null, G, permutations=1000, level=LEVEL))
    best = np.asarray(lmm.scan(null, G, keep="best").lod)
    exceeded = float(np.mean(best > limits))
    print(f"thresholds of {LEVEL:.0%} are exceeded by {exceeded:.2%} of {m} traits")
    return {"exceeded": exceeded, "traits": m, "markers": M}


def main() -> None:
    results = {"pairs": pairs(), "thresholds": thresholds()}
    write_result("null", results, RESULTS)
    kept = all(
        0.98 <= results["pairs"][name]["lambda"] <= 1.02 and results["pairs"][name]["ks_p"] > 0.01
        for name in ("null", "refit")
    )
    kept &= results["pairs"]["ordinary"]["lambda"] > 1.1
    sys.exit(0 if kept and 0.04 <= results["thresholds"]["exceeded"] <= 0.06 else 1)


if __name__ == "__main__":
    main()
