"""Intervals of several components' shares of the variance: whether they cover what they say.

Every data set has 120 individuals of families, in households of three and, with three kinships, in
batches of six. `fit_components` gives each share of the variance an interval of 95%; one or two of
the true shares are zero or near it in most settings, whose data sets are traits of one call. Fails
if an interval covers the truth in fewer than 93% or more than 97% of the data sets, or if one is
missing. Wald's, the estimate and 1.96 standard errors on either side, is reported beside it.

Usage: ``python -m validations.components``; writes ``results/components.json``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

N, LEVEL = 120, 0.95

SHARES = (
    (0.4, 0.2),
    (0.3, 0.05),
    (0.0, 0.3),
    (0.3, 0.0),
    (0.3, 0.2, 0.1),
    (0.3, 0.0, 0.2),
    (0.0, 0.3, 0.0),
)
"""True shares of families, households and batches."""


def kinships() -> list[np.ndarray]:
    rng = np.random.default_rng(0)

    def groups(size: int) -> np.ndarray:
        of = rng.permutation(N) // size
        return (of[:, None] == of).astype(float)

    return [np.asarray(lmm.simulate_cohort(N, 1, seed=1).kinship), groups(3), groups(6)]


def validate(shares: tuple[float, ...], data_sets: int) -> dict[str, Any]:
    matrices, truth = kinships()[: len(shares)], np.array(shares)[:, None]
    V = sum(share * K for share, K in zip(shares, matrices, strict=True))
    root = np.linalg.cholesky(V + (1 - sum(shares)) * np.eye(N))
    Y = root @ np.random.default_rng(1).standard_normal((N, data_sets))
    fit = lmm.fit_components(matrices, Y, interval=LEVEL)
    low, high = np.asarray(fit.proportion_low), np.asarray(fit.proportion_high)
    covered = (low <= truth) & (truth <= high)
    wald = np.abs(np.asarray(fit.proportion) - truth) <= norm.ppf((1 + LEVEL) / 2) * np.asarray(
        fit.proportion_se
    )
    result = {
        "shares": shares,
        "coverage": covered.mean(axis=1).tolist(),
        "above": (high < truth).mean(axis=1).tolist(),
        "wald": wald.mean(axis=1).tolist(),
        "width": np.median(high - low, axis=1).tolist(),
        "missing": int(np.isnan(low + high).sum()),
        "reasons": sorted({reason for reason in fit.reasons if reason}),
    }
    print(result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-sets", type=int, default=1000)
    data_sets = parser.parse_args().data_sets
    rows = [validate(shares, data_sets) for shares in SHARES]
    write_result("components", {"n": N, "data_sets": data_sets, "rows": rows}, RESULTS)
    kept = all(
        row["missing"] == 0 and all(0.93 <= part <= 0.97 for part in row["coverage"])
        for row in rows
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
