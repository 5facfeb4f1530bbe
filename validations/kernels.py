"""Learned kernels on simulated data: whether standard errors hold what they say.

In each data set a length-scale is learned from traits of individuals at random places, and the
weight of a mixture from traits of families that share households; the heritabilities of the
traits are between 0.2 and 0.8, and each trait's own is estimated. Fails if fewer than 93% or more
than 97% of the data sets have the truth within two standard errors, or if starts of a grid that end
regularly end at different maxima.

Usage: ``python -m validations.kernels``; writes ``results/kernels.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

N, M = 100, 50

WITH_STARTS = 50
"""Data sets that are started from every place of the grid."""


class Problem(NamedTuple):
    """A kernel of one parameter, its true value, where to start and where it stays."""

    kernel: Callable[[Any], Any]
    truth: float
    starts: tuple[float, ...]
    bounds: tuple[float, float]


def problems() -> dict[str, Problem]:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 5, (N, 2))
    squares = np.sum((places[:, None] - places) ** 2, axis=2)
    family = np.asarray(lmm.simulate_cohort(N, 1, seed=1).kinship)
    household = np.kron(np.eye(N // 5), np.ones((5, 5)))
    order = rng.permutation(N)
    household = household[np.ix_(order, order)]
    return {
        "length-scale": Problem(
            lambda length: jnp.exp(-0.5 * squares / length**2),
            0.8,
            (0.3, 0.6, 1.5, 4.0),
            (0.05, 20),
        ),
        "mixture": Problem(
            lambda share: share * family + (1 - share) * household,
            0.6,
            (0.05, 0.35, 0.65, 0.95),
            (0, 1),
        ),
    }


def simulated(problem: Problem, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        K = np.asarray(problem.kernel(jnp.asarray(problem.truth)))
    root = np.linalg.cholesky(K + 1e-9 * np.eye(N))
    hsq = rng.uniform(0.2, 0.8, M)
    g = root @ rng.standard_normal((N, M))
    return np.sqrt(hsq) * g + np.sqrt(1 - hsq) * rng.standard_normal((N, M))


def validate(name: str, problem: Problem, data_sets: int) -> dict[str, Any]:
    scores, errors, irregular, apart = [], [], 0, 0
    for seed in range(data_sets):
        Y = simulated(problem, seed)
        starts = problem.starts if seed < WITH_STARTS else problem.starts[1:2]
        fits = [lmm.fit_kernel(problem.kernel, s, Y, bounds=problem.bounds) for s in starts]
        regular = [fit for fit in fits if fit.status == lmm.KernelStatus.OK]
        irregular += len(fits) - len(regular)
        if not all(fit.reason for fit in fits if fit.status != lmm.KernelStatus.OK):
            raise AssertionError("an irregular fit has no reason")
        best = max(regular, key=lambda fit: float(fit.loglik))
        error = float(best.standard_errors)
        apart += sum(
            abs(float(fit.parameters) - float(best.parameters)) > 0.1 * error for fit in regular
        )
        scores.append((float(best.parameters) - problem.truth) / error)
        errors.append(error)
    z = np.array(scores)
    result = {
        "data_sets": data_sets,
        "within_two_errors": float(np.mean(np.abs(z) <= 2)),
        "mean_of_z": float(z.mean()),
        "deviation_of_z": float(z.std()),
        "median_error": float(np.median(errors)),
        "starts": len(problem.starts),
        "irregular_ends": irregular,
        "other_maxima": apart,
    }
    print(f"{name:14}", result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-sets", type=int, default=100)
    data_sets = parser.parse_args().data_sets
    results = {name: validate(name, of, data_sets) for name, of in problems().items()}
    write_result("kernels", {"n": N, "traits": M, **results}, RESULTS)
    kept = all(
        0.93 <= result["within_two_errors"] <= 0.97 and result["other_maxima"] == 0
        for result in results.values()
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
