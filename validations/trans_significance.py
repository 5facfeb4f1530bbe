"""Family-wise errors of the best marker of a trait on the whole genome, among relatives.

2,000 traits of 200 people in families, of h² 0, 0.4 and 0.8, know nothing of 5,000 markers that are
inherited as the traits are. The share of traits whose p-value of all markers, by permutation and by
its beta law, is at most 0.05 must be within Monte-Carlo error of 4 to 6%. Beside it, what ordinary
regression gives for the same traits, whose residuals are permuted as if people were unrelated; and
what the same test gives where the true h² is known.

Where h² is 0 the share may be less. Half of the traits are estimated at 0 then, in which relatives
resemble one another less than by chance; markers, which relatives share, explain less of them.
Of the other half the estimate takes out what is too much; only one below 0 would give the former
what they lack. So the shares of both halves are printed, with h² estimated and known.

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

INDIVIDUALS, TRAITS, MARKERS, PERMUTATIONS = 200, 2000, 5000, 100
HSQ = (0.0, 0.4, 0.8)
LEVEL, BOUNDS, LEAST_AT_ZERO = 0.05, (0.04, 0.06), 0.03


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
        estimated = np.asarray(lmm.fit_traits(K, Y).hsq)
        whiten = np.linalg.inv(np.linalg.cholesky(hsq * K + (1 - hsq) * np.eye(INDIVIDUALS)))
        known = lmm.NullModel(None, whiten @ Y, whiten @ np.ones(INDIVIDUALS))
        for name, null, markers in (
            ("kinship", lmm.NullModel(K, Y), G),
            ("known", known, whiten @ G),
            ("none", lmm.NullModel(None, Y), G),
        ):
            found = lmm.map_trans_best(null, markers, permutations=PERMUTATIONS)
            for column in ("pval_perm", "pval_beta"):
                few = getattr(found, column) <= LEVEL
                row[f"{column}, {name}"] = float(np.mean(few))
            if hsq == 0:
                for which, some in (("at 0", estimated == 0), ("above", estimated > 0)):
                    row[f"pval_beta, {name}, estimated {which}"] = float(np.mean(few[some]))
                    row[f"traits estimated {which}"] = int(some.sum())
        print("  ".join(f"{name} {value:.4f}" for name, value in row.items()), flush=True)
        rows.append(row)
        for column in ("pval_perm", "pval_beta"):
            rate, least = row[f"{column}, kinship"], BOUNDS[0] if hsq > 0 else LEAST_AT_ZERO
            wrong |= not least - error <= rate <= BOUNDS[1] + error
    write_result(
        "trans_significance",
        {"traits": arguments.traits, "markers": arguments.markers, "error": error, "rates": rows},
        RESULTS,
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
