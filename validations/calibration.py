"""Are estimates, intervals and tests of h² right? Simulated traits of known heritability.

2,000 traits at each of h² = 0, 0.1, 0.3, 0.6, 0.9, in families (simulated), in mice (the recla
kinship) and in strains (the BXD kinship).

Usage: ``python -m validations.calibration FOLDER``, where the folder has ``recla/recla.RData`` and
``bxd/kinship_x2.npz``; writes ``results/calibration.json`` and ``results/calibration.png``, and
fails where a figure is out of its bounds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

TRAITS = 2000
HSQ = (0.0, 0.1, 0.3, 0.6, 0.9)
LEVEL = 0.95
COVERAGE = (0.93, 0.97)
KS = 0.01
SINGLE = ("hsq", "loglik", "beta")


def cohorts(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    families = lmm.simulate_cohort(400, 1, relatives="families", seed=1)
    mice = lmm.load_recla(folder / "recla" / "recla.RData")
    strains = np.load(folder / "bxd" / "kinship_x2.npz")["kinship"]
    found = {
        "families": (np.asarray(families.kinship), np.asarray(families.covar)),
        "mice": (np.asarray(mice.kinship), np.asarray(mice.covar)),
        "strains": (strains, np.ones((len(strains), 1))),
    }
    # Of mean diagonal 1, so that h² is a heritability.
    return {name: (K / K.diagonal().mean(), X) for name, (K, X) in found.items()}


def simulate(K: np.ndarray, hsq: float, rng: np.random.Generator) -> np.ndarray:
    values, vectors = np.linalg.eigh(K)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    g, e = rng.standard_normal((2, len(K), TRAITS))
    return np.sqrt(hsq) * root @ g + np.sqrt(1 - hsq) * e


def check(K: np.ndarray, X: np.ndarray, hsq: float, rng: np.random.Generator) -> dict[str, Any]:
    Y = simulate(K, hsq, rng)
    fit = lmm.fit_traits(K, Y, X, interval=LEVEL, compute_se=True)
    estimate, low, high = (np.asarray(getattr(fit, f"hsq{part}")) for part in ("", "_low", "_high"))
    found = {
        "hsq": hsq,
        "mean": estimate.mean(),
        "sd": estimate.std(),
        "at_zero": np.mean(estimate == 0),
        "at_one": np.mean(estimate == 1),
        "coverage": np.mean((low <= hsq) & (hsq <= high)),
        "width": np.mean(high - low),
    }
    if hsq == 0:
        pvalues = np.asarray(fit.lrt_pvalue_simulated)
        positive = pvalues[np.asarray(fit.lrt) > 0]
        found["ks"] = scipy.stats.kstest(positive / positive.max(), "uniform").pvalue
        found["mixture_ks"] = scipy.stats.kstest(
            np.asarray(fit.lrt_pvalue)[np.asarray(fit.lrt) > 0] * 2, "uniform"
        ).pvalue
        found["pvalues"] = np.sort(positive / positive.max())
    single = lmm.fit_traits(K, Y, X, dtype="float32")
    for name in SINGLE:
        exact, rounded = (np.asarray(getattr(f, name)) for f in (fit, single))
        found[f"float32_{name}"] = np.max(np.abs(rounded - exact))
    return found


def picture(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (bias, coverage, null) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for shift, (name, rows) in zip((-0.01, 0, 0.01), results.items(), strict=True):
        hsq = np.array([row["hsq"] for row in rows]) + shift
        bias.errorbar(
            hsq, [r["mean"] for r in rows], [r["sd"] for r in rows], fmt="o", capsize=2, label=name
        )
        coverage.plot(hsq, [r["coverage"] for r in rows], "o", label=name)
        pvalues = rows[0]["pvalues"]
        null.plot(np.linspace(0, 1, pvalues.size), pvalues, label=name)
    bias.plot([0, 1], [0, 1], color="0.7", zorder=0)
    bias.set(xlabel="true h²", ylabel="estimate, mean ± sd")
    coverage.axhspan(*COVERAGE, color="0.92", zorder=0)
    coverage.axhline(LEVEL, color="0.7", zorder=0)
    coverage.set(xlabel="true h²", ylabel="coverage of 95% intervals", ylim=(0.9, 1))
    null.plot([0, 1], [0, 1], color="0.7", zorder=0)
    null.set(xlabel="uniform quantile", ylabel="p of h² = 0 given an estimate above 0")
    bias.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    columns = ["hsq", "mean", "sd", "at_zero", "at_one", "coverage", "width", "ks", "mixture_ks"]
    columns += [f"float32_{name}" for name in SINGLE]
    print("cohort  ", *(f"{name:>10}" for name in columns))
    results = {}
    for name, (K, X) in cohorts(arguments.folder).items():
        results[name] = [check(K, X, hsq, rng) for hsq in HSQ]
        for row in results[name]:
            print(f"{name:9}", *(f"{row.get(c, np.nan):10.3g}" for c in columns), flush=True)
    picture(results, RESULTS / "calibration.png")
    rows = [row for of_cohort in results.values() for row in of_cohort]
    for row in rows:
        row.pop("pvalues", None)
    write_result("calibration", {"traits": TRAITS, "level": LEVEL, "cohorts": results}, RESULTS)
    wrong = [row for row in rows if not COVERAGE[0] <= row["coverage"] <= COVERAGE[1]]
    wrong += [row for row in rows if row.get("ks", 1.0) <= KS]
    if wrong:
        raise SystemExit(f"out of bounds: {wrong}")


if __name__ == "__main__":
    main()
