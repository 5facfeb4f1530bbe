"""Family-wise errors of the best marker of a trait on the whole genome, among relatives.

8,000 traits of 200 people in families, of h² 0, 0.4 and 0.8, know nothing of 5,000 markers that are
inherited as the traits are. The share of traits whose p-value of all markers, by permutation and by
its beta law, is at most 0.05 must be within 4 to 6%. Beside it, what ordinary regression gives for
the same traits, whose residuals are permuted as if people were unrelated.

Usage: ``python -m validations.trans_significance``; writes ``results/trans_significance.json``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

INDIVIDUALS, TRAITS, MARKERS, PERMUTATIONS = 200, 8000, 5000, 99
HSQ = (0.0, 0.4, 0.8)
LEVEL, BOUNDS = 0.05, (0.04, 0.06)


def genotypes(root: np.ndarray, rng: np.random.Generator, markers: int) -> np.ndarray:
    """Copies of an allele, two of which relatives share as often as the kinship says."""
    inherited = root @ rng.standard_normal((2, len(root), markers))
    return np.sum(inherited < rng.uniform(-1, 0.5, markers), axis=0).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--traits", type=int, default=TRAITS)
    parser.add_argument("--markers", type=int, default=MARKERS)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    K = np.asarray(lmm.simulate_cohort(INDIVIDUALS, 1, seed=arguments.seed).kinship)
    root = np.linalg.cholesky(K + 1e-9 * np.eye(INDIVIDUALS))
    G = genotypes(root, rng, arguments.markers)
    error = 3 * np.sqrt(LEVEL * (1 - LEVEL) / arguments.traits)
    rows, wrong = [], False
    print(f"share of {arguments.traits} traits with a p-value of at most {LEVEL}")
    for hsq in HSQ:
        g, e = rng.standard_normal((2, INDIVIDUALS, arguments.traits))
        Y = np.sqrt(hsq) * root @ g + np.sqrt(1 - hsq) * e
        row: dict[str, float] = {"hsq": hsq}
        for name, null in (("kinship", lmm.NullModel(K, Y)), ("none", lmm.NullModel(None, Y))):
            found = lmm.map_trans_best(null, G, permutations=PERMUTATIONS)
            for column in ("pval_perm", "pval_beta"):
                few = getattr(found, column) <= LEVEL
                row[f"{column}, {name}"] = float(np.mean(few))
        print("  ".join(f"{name} {value:.4f}" for name, value in row.items()), flush=True)
        rows.append(row)
        for column in ("pval_perm", "pval_beta"):
            wrong |= not BOUNDS[0] <= row[f"{column}, kinship"] <= BOUNDS[1]
    write_result(
        "trans_significance",
        {"traits": arguments.traits, "markers": arguments.markers, "error": error, "rates": rows},
        RESULTS,
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
