"""What gradients through the fits of many traits with respect to the kinship cost.

Of Σ ĥ² (`heritability`) and of the summed log likelihood at each trait's own ĥ²
(`profile_log_likelihood`). Rivals: the fit itself, decomposition included, by `fit_traits` and by
the same functions in compiled programs; and 10 traits in place of 1,000. Gradients are in reverse
mode, and their time includes their own fit; ``second`` is a product with the matrix of second
derivatives. Times are of the processor: keep it to one core. ``families`` have equal eigenvalues,
where a derivative through ``eigh`` is NaN.
Usage: ``taskset -c 0 python benchmarks/gradients.py``; writes ``results/gradients.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cohorts import pedigree, simulated_traits
from common import median_ratio, write_result

import lmmlite_jax as lmm

N, M, FEW = 500, 1000, 10

FUNCTIONS = {"heritability": lmm.heritability, "profile": lmm.profile_log_likelihood}


def kinships() -> dict[str, np.ndarray]:
    """Repeated eigenvalues, eigenvalues over four decades, and a smooth kernel."""
    places = np.random.default_rng(1).uniform(0, 10, (N, 2))
    squares = np.sum((places[:, None] - places) ** 2, axis=2)
    return {
        "families": pedigree(1, 1, n=N).K,
        "strains": np.asarray(lmm.simulate_cohort(N, 1, relatives="strains", seed=1).kinship),
        "places": np.exp(-0.5 * squares),
    }


def rivals(K: np.ndarray, Y: np.ndarray, X: np.ndarray, reml: bool) -> dict[str, Callable]:
    at = jnp.asarray(K)
    runs: dict[str, Callable] = {"fit_traits": lambda: lmm.fit_traits(K, Y, X, reml=reml).loglik}

    def total(function: Callable, Y: np.ndarray) -> Callable:
        return lambda K: function(K, Y, X, reml).sum()

    for name, function in FUNCTIONS.items():
        value = jax.jit(total(function, Y))
        gradient = jax.jit(jax.grad(total(function, Y)))
        runs[name] = lambda value=value: value(at)
        runs[f"{name}, gradient"] = lambda gradient=gradient: gradient(at)
    of_profile = jax.grad(total(lmm.profile_log_likelihood, Y))
    second = jax.jit(lambda K: jax.jvp(of_profile, (K,), (K,))[1])
    of_few = jax.jit(jax.grad(total(lmm.profile_log_likelihood, Y[:, :FEW])))
    return {**runs, "profile, second": lambda: second(at), "profile, few": lambda: of_few(at)}


def measure(name: str, K: np.ndarray, reml: bool, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, 2))])
    Y = simulated_traits(K, M, rng)
    runs = rivals(K, Y, X, reml)
    seconds: dict[str, list[float]] = {rival: [] for rival in runs}
    for _ in range(rounds + 1):
        for rival, run in runs.items():
            started = time.process_time()
            jax.block_until_ready(run())
            seconds[rival].append(time.process_time() - started)
    warm = {rival: all_[1:] for rival, all_ in seconds.items()}
    of_profile, fit = warm["profile, gradient"], warm["fit_traits"]
    by_eigh = jax.jit(jax.grad(through_eigenvectors))(jnp.asarray(K), Y[:, 0])
    return {
        "kinship": name,
        "likelihood": "REML" if reml else "ML",
        "first": {rival: all_[0] for rival, all_ in seconds.items()},
        "median": {rival: statistics.median(all_) for rival, all_ in warm.items()},
        "heritability_gradient_over_fit": median_ratio(warm["heritability, gradient"], fit),
        "profile_gradient_over_fit": median_ratio(of_profile, fit),
        "profile_gradient_over_value": median_ratio(of_profile, warm["profile"]),
        "profile_gradient_over_few": median_ratio(of_profile, warm["profile, few"]),
        "profile_second_over_gradient": median_ratio(warm["profile, second"], of_profile),
        "finite_through_eigh": bool(jnp.isfinite(by_eigh).all()),
    }


def through_eigenvectors(K: jax.Array, y: jax.Array) -> jax.Array:
    """Weighted squares of a rotated trait, differentiated the obvious way."""
    values, vectors = jnp.linalg.eigh(K)
    return jnp.sum((vectors.T @ y) ** 2 / (0.5 * values + 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)

    print(f"n = {N}, {M:,} traits, {jax.devices()[0].device_kind}; processor seconds")
    rows = []
    for name, K in kinships().items():
        for reml in (True, False):
            row = measure(name, K, reml, rounds)
            rows.append(row)
            print(f"\n{name}, {row['likelihood']}: by eigh finite {row['finite_through_eigh']}")
            for rival, time_ in row["median"].items():
                print(f"  {rival:24}{time_:8.3f}   first call {row['first'][rival]:6.1f}")
            for ratio, of_times in row.items():
                if "_over_" in ratio:
                    print(f"  {ratio.replace('_', ' '):32}{of_times:6.2f}", flush=True)
    write_result("gradients", {"n": N, "traits": M, "few": FEW, "rows": rows})


if __name__ == "__main__":
    main()
