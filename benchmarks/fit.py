"""What fits cost beside the rotation they need: time against n, p and m, and memory.

Rival: the bare product of an n × n matrix and the phenotypes, which is what rotating them costs.
``after`` is all that `fit_traits` does beyond one decomposition and one such product. First on
markers drawn at random at many n, p and m, then on the kinships people have, where the whole call
is compared with one ``numpy.linalg.eigh`` of the kinship as well.

Usage: ``python benchmarks/fit.py [FOLDER]``, the folder of the real data, or LMMLITE_JAX_DATA names
it; without, of the cohorts simulated relatives alone are measured, and the result says so. Writes
``results/fit.json`` and ``results/fit.png``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from cohorts import COHORTS, KINSHIPS, REAL, gaussian
from common import RESULTS, keep_memory, median_ratio, side_by_side, write_result

import lmmlite_jax as lmm

MAIN = (1000, 10, 20_000)
SHAPES = [
    MAIN,
    (1000, 1, 20_000),
    (1000, 60, 20_000),
    *((n, 10, 20_000) for n in (250, 500, 2000)),
    *((1000, 10, m) for m in (1, 1000, 5000)),
]
COHORT_MARKERS = 10_000
"""Markers of which cohorts compute their kinship, those of `scan.py`."""

LIKELIHOODS = ("REML", "ML")

LMMLITE_MS = {"default": 0.59, "tol 1e-8": 1.0}
"""R/lmmlite's milliseconds a trait at n = 1,000 and p = 10, on one core, as its guide has them."""


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    n, p, m = shape
    K, Y, _, X, _ = gaussian(3 * n, m, n=n, p=p)
    rotation = lmm.eigen_rotation(K, Y, X)
    product = jax.jit(lambda a, b: a @ b)
    left = jax.device_put(np.asarray(rotation.Kve_t))
    right = jax.device_put(Y)
    first, warm = side_by_side(
        {
            "product": lambda: product(left, right),
            "one": lambda: lmm.fit_traits(K, Y[:, :1], X),
            "fit_traits": lambda: lmm.fit_traits(K, Y, X),
            "fit_lmm": lambda: lmm.fit_lmm(rotation.Kva, rotation.y, rotation.X),
        },
        rounds,
    )
    return {
        "n": n,
        "p": p,
        "m": m,
        "first": first,
        "warm": warm,
        "median": {name: statistics.median(times) for name, times in warm.items()},
        "after_over_product": after_over_product(warm, "fit_traits", "one"),
        "fit_lmm_over_product": median_ratio(warm["fit_lmm"], warm["product"]),
        "us_per_trait": 1e6 * statistics.median(warm["fit_traits"]) / shape[2],
    }


def after_over_product(warm: dict[str, list[float]], fit: str, one: str) -> float:
    """What a fit does beyond that of one trait and the product, over the product."""
    after = [
        total - of_one - product
        for total, of_one, product in zip(warm[fit], warm[one], warm["product"], strict=True)
    ]
    return median_ratio(after, warm["product"])


def on_cohort(name: str, data: Path | None, rounds: int) -> dict[str, Any]:
    """`fit_traits` on a kinship that people have, as many traits as in `MAIN`."""
    cohort = COHORTS[name](COHORT_MARKERS, MAIN[2], data)
    K, Y, X = cohort.K, cohort.Y, cohort.X
    product = jax.jit(lambda a, b: a @ b)
    left, right = jax.device_put(np.linalg.eigh(K)[1].T.copy()), jax.device_put(Y)
    first, warm = side_by_side(
        {
            "product": lambda: product(left, right),
            "eigh": lambda: np.linalg.eigh(K),
            "one REML": lambda: lmm.fit_traits(K, Y[:, :1], X),
            "REML": lambda: lmm.fit_traits(K, Y, X),
            "one ML": lambda: lmm.fit_traits(K, Y[:, :1], X, reml=False),
            "ML": lambda: lmm.fit_traits(K, Y, X, reml=False),
        },
        rounds,
    )
    return {
        "n": len(K),
        "p": X.shape[1],
        "m": Y.shape[1],
        "first": first,
        "warm": warm,
        "median": {rival: statistics.median(times) for rival, times in warm.items()},
        "after_over_product": {
            fit: after_over_product(warm, fit, f"one {fit}") for fit in LIKELIHOODS
        },
        "over_eigh": {fit: median_ratio(warm[fit], warm["eigh"]) for fit in LIKELIHOODS},
    }


def on_cohorts(names: list[str], data: Path | None, rounds: int) -> dict[str, Any]:
    """`on_cohort` of each, printed as a table."""
    print(f"\n{'':24}{'after/product':>16}{'':8}{'whole/eigh':>16}{'':8}{'seconds':>12}")
    print(f"{'':24}" + 3 * "".join(f"{fit:>12}" for fit in LIKELIHOODS))
    found: dict[str, Any] = {}
    for name in names:
        if data is None and name in REAL:
            found[name] = "not measured: no folder of real data was named"
            continue
        found[name] = row = on_cohort(name, data, rounds)
        print(f"{name + ', n = ' + str(row['n']):24}", end="")
        for numbers in (row["after_over_product"], row["over_eigh"], row["median"]):
            print("".join(f"{numbers[fit]:12.2f}" for fit in LIKELIHOODS), end="")
        print(flush=True)
        jax.clear_caches()
    return found


def memory(fit: Callable[[], Any], size: int) -> float | None:
    """Peak memory of a warm call over the size of Y, Y included; None where it is not known."""
    if sys.platform != "linux":
        return None
    jax.block_until_ready(fit())
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    jax.block_until_ready(fit())
    return (_status("VmHWM") - before + size) / size


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {name}.")


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    for panel, axis, label in zip(
        panels, ("n", "p", "m"), ("individuals n", "covariates p", "traits m"), strict=True
    ):
        fixed = [(name, value) for name, value in zip("npm", MAIN, strict=True) if name != axis]
        line = sorted(
            (row for row in rows if all(row[name] == value for name, value in fixed)),
            key=lambda row: row[axis],
        )
        for name, marker in (("product", "s"), ("fit_traits", "o"), ("fit_lmm", "^")):
            panel.loglog(
                [row[axis] for row in line],
                [row["median"][name] for row in line],
                marker=marker,
                label="bare product" if name == "product" else name,
            )
        panel.set_xlabel(label)
        panel.set_title(", ".join(f"{name} = {value:,}" for name, value in fixed), fontsize=9)
    panels[0].set_ylabel("seconds, compiled")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("LMMLITE_JAX_DATA"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cohorts", nargs="*", default=list(KINSHIPS), choices=list(COHORTS))
    options = parser.parse_args()
    rounds = options.rounds

    keep_memory()
    jax.config.update("jax_enable_x64", True)  # for the bare product; the library needs no such
    n, p, m = MAIN
    K, Y, _, X, _ = gaussian(3 * n, m, n=n, p=p)
    rotation = lmm.eigen_rotation(K, Y, X)
    peaks = {
        "fit_traits": memory(lambda: lmm.fit_traits(K, Y, X), Y.nbytes),
        "fit_lmm": memory(lambda: lmm.fit_lmm(rotation.Kva, rotation.y, rotation.X), Y.nbytes),
    }
    del K, Y, X, rotation

    print(f"{'n':>6}{'p':>4}{'m':>8}{'product':>10}{'fit_traits':>12}{'fit_lmm':>10}", end="")
    print(f"{'after/product':>15}{'fit_lmm/product':>17}{'µs a trait':>12}")
    rows = []
    for shape in SHAPES:
        row = measure(shape, rounds)
        rows.append(row)
        print(f"{row['n']:6}{row['p']:4}{row['m']:8}", end="")
        times = (row["median"][name] for name in ("product", "fit_traits", "fit_lmm"))
        print("{:8.3f} s{:10.3f} s{:8.3f} s".format(*times), end="")
        print(f"{row['after_over_product']:15.2f}{row['fit_lmm_over_product']:17.2f}", end="")
        print(f"{row['us_per_trait']:12.1f}", flush=True)
    sixty, one = (
        next(r for r in rows if (r["n"], r["p"], r["m"]) == (1000, p, 20_000)) for p in (60, 1)
    )
    covariates = median_ratio(sixty["warm"]["fit_traits"], one["warm"]["fit_traits"])
    print(f"p = 60 over p = 1: {covariates:.2f}")
    print("peak memory over the size of Y:", {k: v and round(v, 2) for k, v in peaks.items()})
    print("R/lmmlite, milliseconds a trait, one core:", LMMLITE_MS)
    write_result(
        "fit",
        {
            "shapes": rows,
            "cohorts": on_cohorts(options.cohorts, options.folder, rounds),
            "p60_over_p1": covariates,
            "peak_memory_over_Y": peaks,
            "lmmlite_ms_a_trait": LMMLITE_MS,
        },
    )
    picture(rows, RESULTS / "fit.png")


if __name__ == "__main__":
    main()
