"""The association scan beside the bare product that ordinary regression needs at the least.

Usage: ``python benchmarks/scan.py``; writes ``results/scan.json``. FaST-LMM, GEMMA, and tensorQTL,
which knows no kinship, run in the same script where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import median_ratio, side_by_side, write_result

import lmmlite_jax as lmm
from lmmlite_jax.mapping.kinship import kinship


def problem(
    n: int, p: int, M: int, m: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n + M)
    cohort = lmm.simulate_cohort(n, 1, seed=1)
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (n, M)).astype(np.float64)
    h = rng.uniform(0, 0.9, m)
    root = np.linalg.cholesky(cohort.kinship + 1e-9 * np.eye(n))
    g, e = rng.standard_normal((2, n, m))
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    return cohort.kinship, np.sqrt(h) * (root @ g) + np.sqrt(1 - h) * e, G, X


def human(rounds: int) -> dict[str, Any]:
    """N = 500, 10 covariates, 10,000 markers × 2,000 traits."""
    K, Y, G, X = problem(500, 10, 10_000, 2000)
    product = jax.jit(lambda g, y: g.T @ y)
    pairs = G.shape[1] * Y.shape[1]
    rivals: dict[str, Callable[[], Any]] = {}
    for dtype in ("float64", "float32"):
        g, y = (jax.device_put(x.astype(dtype)) for x in (G, Y))
        rivals[f"product {dtype}"] = lambda g=g, y=y: product(g, y)
        rivals[f"null {dtype}"] = lambda dtype=dtype: lmm.scan(
            lmm.NullModel(K, Y, X, dtype=dtype), G, keep="best"
        )
        # What does not depend on the number of markers: decomposition and fits.
        rivals[f"one block {dtype}"] = lambda dtype=dtype: lmm.scan(
            lmm.NullModel(K, Y, X, dtype=dtype), G[:, :1], keep="best"
        )
    first, warm = side_by_side(rivals, rounds)
    refits = {
        "product": rivals["product float64"],
        "refit": lambda: lmm.scan(lmm.NullModel(K, Y, X), G, variance="refit", keep="best"),
    }
    _, warm_refit = side_by_side(refits, max(1, rounds // 2))
    beyond = {
        dtype: [
            whole - one
            for whole, one in zip(warm[f"null {dtype}"], warm[f"one block {dtype}"], strict=True)
        ]
        for dtype in ("float64", "float32")
    }
    return {
        "first": first,
        "warm": warm,
        "warm_refit": warm_refit,
        "null_over_product": median_ratio(beyond["float64"], warm["product float64"]),
        "whole_null_over_product": median_ratio(warm["null float64"], warm["product float64"]),
        "float32_over_product": median_ratio(beyond["float32"], warm["product float32"]),
        "whole_float32_over_product": median_ratio(warm["null float32"], warm["product float32"]),
        "whole_refit_over_product": median_ratio(warm_refit["refit"], warm_refit["product"]),
        "pairs_per_second_null": pairs / statistics.median(warm["null float64"]),
        "pairs_per_second_refit": pairs / statistics.median(warm_refit["refit"]),
    } | peers(K, Y, G, X)


def peers(K: np.ndarray, Y: np.ndarray, G: np.ndarray, X: np.ndarray) -> dict[str, float]:
    """Pairs a second of other programs, those that take one trait at a time on few traits."""
    found = {}
    if importlib.util.find_spec("tensorqtl") is not None:
        found["pairs_per_second_tensorqtl"] = _tensorqtl(Y, G, X, Y.shape[1] * G.shape[1])
    if importlib.util.find_spec("fastlmm") is not None:
        found["pairs_per_second_fastlmm"] = _fastlmm(K, Y[:, :2], G, X)
    if shutil.which("gemma") is not None:
        found["pairs_per_second_gemma"] = _gemma(K, Y[:, 0], G[:, :2000], X)
    return found


def _fastlmm(K: np.ndarray, Y: np.ndarray, G: np.ndarray, X: np.ndarray) -> float:
    from fastlmm.association import single_snp
    from pysnptools.kernelreader import KernelData
    from pysnptools.snpreader import SnpData

    iid = [["f", str(i)] for i in range(len(Y))]
    snps = SnpData(iid, [str(j) for j in range(G.shape[1])], G)
    kernel = KernelData(iid=iid, val=K)
    covariates = SnpData(iid, [f"x{j}" for j in range(1, X.shape[1])], X[:, 1:].copy())
    start = time.perf_counter()
    for j, y in enumerate(Y.T):
        pheno = SnpData(iid, [f"y{j}"], y[:, None].copy())
        single_snp(
            snps, pheno, K0=kernel, covar=covariates, leave_out_one_chrom=False, count_A1=False
        )
    return Y.shape[1] * G.shape[1] / (time.perf_counter() - start)


def _gemma(K: np.ndarray, y: np.ndarray, G: np.ndarray, X: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        np.savetxt(at / "K.txt", K)
        np.savetxt(at / "y.txt", y)
        np.savetxt(at / "X.txt", X)
        with (at / "G.txt").open("w") as file:
            for j, dosages in enumerate(G.T):
                file.write(f"s{j}, A, C, " + ", ".join(f"{g:g}" for g in dosages) + "\n")
        inputs = ["-g", "G.txt", "-p", "y.txt", "-c", "X.txt", "-k", "K.txt", "-n", "1"]
        command = ["gemma", *inputs, "-lmm", "1", "-maf", "0", "-o", "out"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return G.shape[1] / (time.perf_counter() - start)


def _tensorqtl(Y: np.ndarray, G: np.ndarray, X: np.ndarray, pairs: int) -> float:
    import pandas as pd
    from tensorqtl import trans

    samples = [f"s{i}" for i in range(len(Y))]
    tables = (
        pd.DataFrame(G.T, [f"v{j}" for j in range(G.shape[1])], samples),
        pd.DataFrame(Y.T, [f"t{j}" for j in range(Y.shape[1])], samples),
        pd.DataFrame(X[:, 1:], samples),
    )
    _, warm = side_by_side(
        {"tensorqtl": lambda: trans.map_trans(*tables, pval_threshold=1e-8, verbose=False)}, 2
    )
    return pairs / statistics.median(warm["tensorqtl"])


def mice(rounds: int) -> dict[str, Any]:
    """Recla's shape: 261 mice, 6,025 markers of 8 founders, 26 traits, 19 kinships."""
    rng = np.random.default_rng(2)
    n, M, m = 261, 6025, 26
    founders = rng.integers(0, 8, (19, 60, 2, n))
    chromosome = np.sort(rng.integers(0, 19, M))
    G = np.empty((n, M, 8), dtype=np.float32)
    for j, c in enumerate(chromosome):
        both = founders[c, j % 60]
        G[:, j] = 0.5 * (np.eye(8)[both[0]] + np.eye(8)[both[1]])
    K = {c: 2 * k for c, k in kinship(G, "allele_probs", chromosome, loco=True).items()}
    Y = rng.standard_normal((n, m))
    for pattern, traits in ((slice(0, 3), slice(0, 11)), (slice(5, 8), slice(11, 13))):
        Y[pattern, traits] = np.nan
    Y[9:11, 13:16] = np.nan
    X = np.column_stack([np.ones(n), rng.integers(0, 2, n)])
    run = {"mice": lambda: lmm.scan(lmm.NullModel(K, Y, X), G, chromosome=chromosome)}
    first, warm = side_by_side(run, rounds)
    return {"first": first, "warm": warm, "rqtl2_seconds": 12.0}


def strains(rounds: int) -> dict[str, Any]:
    """BulkLMM's published case: 79 strains, 7,321 markers, 35,554 traits."""
    cohort = lmm.simulate_cohort(79, 1, relatives="strains", seed=3)
    rng = np.random.default_rng(3)
    G = rng.integers(0, 2, (79, 7321)).astype(np.float64)
    Y = rng.standard_normal((79, 35_554))
    run = {"strains": lambda: lmm.scan(lmm.NullModel(cohort.kinship, Y), G, keep="best")}
    first, warm = side_by_side(run, rounds)
    return {"first": first, "warm": warm, "bulklmm_seconds_16_threads": 2.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)  # for the bare product; the library needs no such
    results = {"human": human(rounds)}
    for name, value in results["human"].items():
        if isinstance(value, float):
            print(f"{name:32}{value:14.3g}")
    for name, run in (("mice", mice), ("strains", strains)):
        results[name] = run(rounds)
        warm, first = statistics.median(results[name]["warm"][name]), results[name]["first"][name]
        print(f"{name:32}{warm:12.2f} s, the first time {first:.1f} s", flush=True)
    write_result("scan", results)


if __name__ == "__main__":
    main()
