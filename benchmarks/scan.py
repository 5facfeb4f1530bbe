"""The association scan beside the bare product that ordinary regression needs at the least.

Usage: ``python benchmarks/scan.py [FOLDER]``, the folder of the real data, or LMMLITE_JAX_DATA
names it; without, simulated relatives alone are measured, and the result says so. Writes
``results/scan.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from cohorts import COHORTS, KINSHIPS, REAL, pedigree, strains
from common import keep_memory, median_ratio, side_by_side, write_result

import lmmlite_jax as lmm

KINDS = ("best", "hits", "all", "fits", "refit best", "refit hits", "refit all")


@jax.jit
def product(g: jax.Array, y: jax.Array) -> jax.Array:
    """What ordinary regression needs at the least."""
    return g.T @ y


def on_cohort(name: str, data: Path | None, M: int, m: int, rounds: int) -> dict[str, Any]:
    """Whole calls on one cohort, decomposition, rotations and fits included."""
    cohort = COHORTS[name](M, m, data)
    g, y = jax.device_put(cohort.G), jax.device_put(cohort.Y)

    def scan(**options: Any) -> lmm.ScanResult:
        return lmm.scan(lmm.NullModel(cohort.K, cohort.Y, cohort.X), cohort.G, **options)

    null = {
        "product": lambda: product(g, y),
        "best": lambda: scan(keep="best"),
        "hits": lambda: scan(keep=6.0),
        "all": scan,
        "fits": lambda: lmm.NullModel(cohort.K, cohort.Y, cohort.X).fit,
    }
    refit = {
        "product": null["product"],
        "refit best": lambda: scan(keep="best", variance="refit"),
        "refit hits": lambda: scan(keep=6.0, variance="refit"),
    }
    refit_all = {
        "product": null["product"],
        "refit all": lambda: scan(variance="refit"),
    }
    result: dict[str, Any] = {"n": len(cohort.K), "p": cohort.X.shape[1], "M": M, "m": m}
    for rivals, times in ((null, rounds), (refit, max(3, rounds // 2)), (refit_all, 3)):
        first, warm = side_by_side(rivals, times)
        for rival in rivals:
            if rival == "product":
                continue
            result[rival] = {
                "over_product": median_ratio(warm[rival], warm["product"]),
                "seconds": statistics.median(warm[rival]),
                "first_seconds": first[rival],
            }
        jax.clear_caches()
    return result


def shapes(rounds: int) -> dict[str, Any]:
    """Whole calls far from the usual shape, beside their products."""
    found = {}
    for name, (n, p, M, m) in {
        "n 2000, p 30": (2000, 30, 5000, 2000),
        "one trait, 100,000 markers": (500, 3, 100_000, 1),
    }.items():
        K, Y, G, X, _ = pedigree(M, m, n=n, p=p)
        g, y = jax.device_put(G), jax.device_put(Y)
        rivals = {
            "product": lambda g=g, y=y: product(g, y),
            "scan": lambda K=K, Y=Y, G=G, X=X: lmm.scan(lmm.NullModel(K, Y, X), G, keep="best"),
        }
        first, warm = side_by_side(rivals, rounds)
        found[name] = {
            "over_product": median_ratio(warm["scan"], warm["product"]),
            "seconds": statistics.median(warm["scan"]),
            "first_seconds": first["scan"],
        }
    return found


def bulklmms_case(rounds: int) -> dict[str, Any]:
    """BulkLMM's published case: 79 strains, 7,321 markers, 35,554 traits."""
    K, Y, G, _, _ = strains(7321, 35_554)
    run = {"strains": lambda: lmm.scan(lmm.NullModel(K, Y), G, keep="best")}
    first, warm = side_by_side(run, rounds)
    return {"first": first, "warm": warm, "bulklmm_seconds_16_threads": 2.1}


def alleles_of_founders(rounds: int) -> dict[str, Any]:
    """8 founders at recla's shape: all pairs, h² fixed and estimated for every pair."""
    cohort = COHORTS["founders"](6025, 26)
    labels = [str(c) for c in range(len(cohort.K))]
    chromosome = np.array(labels)[cohort.chromosome]

    def scan(variance: str) -> lmm.ScanResult:
        null = lmm.NullModel(dict(zip(labels, cohort.K, strict=True)), cohort.Y, cohort.X)
        return lmm.scan(null, cohort.G, variance=variance, chromosome=chromosome)

    first, warm = side_by_side({v: partial(scan, v) for v in ("null", "refit")}, rounds)
    return {"first": first, "warm": warm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("LMMLITE_JAX_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cohorts", nargs="*", default=list(KINSHIPS), choices=list(COHORTS))
    options = parser.parse_args()
    rounds = options.rounds
    keep_memory()
    jax.config.update("jax_enable_x64", True)  # for the bare product; the library needs no such
    results: dict[str, Any] = {"cohorts": {}}
    print("times the product           " + "".join(f"{name:>12}" for name in KINDS))
    for name in options.cohorts:
        if options.folder is None and name in REAL:
            results["cohorts"][name] = "not measured: no folder of real data was named"
            continue
        found = on_cohort(name, options.folder, 10_000, 2000, rounds)
        results["cohorts"][name] = found
        ratios = "".join(f"{found[kind]['over_product']:12.2f}" for kind in KINDS)
        print(f"{name + ', n = ' + str(found['n']):28}{ratios}", flush=True)
    results["shapes"] = shapes(rounds)
    for name, found in results["shapes"].items():
        print(f"{name:28}{found['over_product']:12.2f}{found['seconds']:10.2f} s", flush=True)
    results["strains"] = of_strains = bulklmms_case(rounds)
    warm, first = statistics.median(of_strains["warm"]["strains"]), of_strains["first"]["strains"]
    print(f"{'strains':32}{warm:12.2f} s, the first time {first:.1f} s", flush=True)
    results["founders"] = alleles_of_founders(max(3, rounds // 2))
    for variance, times in results["founders"]["warm"].items():
        print(f"{'founders, ' + variance:32}{statistics.median(times):12.2f} s", flush=True)
    write_result("scan", results)


if __name__ == "__main__":
    main()
