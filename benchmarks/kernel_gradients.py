"""What a gradient of the profiled log likelihood of many traits in the kinship costs.

Rivals: the fit itself, decomposition included, by `fit_traits` and by `profile_log_likelihood` in
the same compiled program; and 10 traits in place of 1,000. The gradient is in reverse mode, and its
time includes its own fit; ``second`` is a product with the matrix of second derivatives. Times are
of the processor.
Usage: ``python benchmarks/kernel_gradients.py``; writes ``results/kernel_gradients.json``.
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
from common import median_ratio, write_result

import lmmlite_jax as lmm

N, M, FEW = 500, 1000, 10


def kinships() -> dict[str, np.ndarray]:
    """Repeated eigenvalues, eigenvalues over four decades, and a smooth kernel."""
    places = np.random.default_rng(1).uniform(0, 10, (N, 2))
    squares = np.sum((places[:, None] - places) ** 2, axis=2)
    simulated = {
        relatives: np.asarray(lmm.simulate_cohort(N, 1, relatives=relatives, seed=1).kinship)
        for relatives in ("families", "strains")
    }
    return {**simulated, "places": np.exp(-0.5 * squares)}


def traits(K: np.ndarray, m: int) -> np.ndarray:
    """Heritabilities of 0 to 0.9."""
    rng = np.random.default_rng(2)
    values, vectors = np.linalg.eigh(K)
    hsq = rng.uniform(0, 0.9, m)
    g = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((N, m))
    return np.sqrt(hsq) * g + np.sqrt(1 - hsq) * rng.standard_normal((N, m))


def rivals(K: np.ndarray, Y: np.ndarray, X: np.ndarray, reml: bool) -> dict[str, Callable]:
    total = jax.jit(lambda K: lmm.profile_log_likelihood(K, Y, X, reml).sum())
    gradient = jax.jit(jax.grad(total))
    second = jax.jit(lambda K: jax.jvp(jax.grad(total), (K,), (K,))[1])
    at = jnp.asarray(K)
    return {
        "fit_traits": lambda: lmm.fit_traits(K, Y, X, reml=reml).loglik,
        "value": lambda: total(at),
        "gradient": lambda: gradient(at),
        "second": lambda: second(at),
    }


def measure(name: str, K: np.ndarray, reml: bool, rounds: int) -> dict[str, Any]:
    X = np.column_stack([np.ones(N), np.random.default_rng(3).standard_normal((N, 2))])
    Y = traits(K, M)
    few = {f"{name}, few": run for name, run in rivals(K, Y[:, :FEW], X, reml).items()}
    runs = {**rivals(K, Y, X, reml), **few}
    seconds: dict[str, list[float]] = {rival: [] for rival in runs}
    for round_ in range(rounds + 1):
        for rival, run in runs.items():
            started = time.process_time()
            jax.block_until_ready(run())
            if round_:  # the first call compiles
                seconds[rival].append(time.process_time() - started)
    return {
        "kinship": name,
        "likelihood": "REML" if reml else "ML",
        "median": {rival: statistics.median(all_) for rival, all_ in seconds.items()},
        "gradient_over_fit_traits": median_ratio(seconds["gradient"], seconds["fit_traits"]),
        "gradient_over_value": median_ratio(seconds["gradient"], seconds["value"]),
        "gradient_over_few": median_ratio(seconds["gradient"], seconds["gradient, few"]),
        "second_over_gradient": median_ratio(seconds["second"], seconds["gradient"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)

    print(f"n = {N}, {M:,} traits, {jax.devices()[0].device_kind}; processor seconds")
    print(f"{'':16}{'fit_traits':>12}{'value':>9}{'gradient':>10}{'second':>9}", end="")
    print(f"{'over fit':>10}{'over value':>12}{f'over {FEW} traits':>17}")
    rows = []
    for name, K in kinships().items():
        for reml in (True, False):
            row = measure(name, K, reml, rounds)
            rows.append(row)
            times = [
                row["median"][rival] for rival in ("fit_traits", "value", "gradient", "second")
            ]
            print(f"{name + ', ' + row['likelihood']:16}", end="")
            print("{:12.3f}{:9.3f}{:10.3f}{:9.3f}".format(*times), end="")
            print(f"{row['gradient_over_fit_traits']:10.2f}", end="")
            print(f"{row['gradient_over_value']:12.2f}", end="")
            print(f"{row['gradient_over_few']:17.2f}", flush=True)
    write_result("kernel_gradients", {"n": N, "traits": M, "few": FEW, "rows": rows})


if __name__ == "__main__":
    main()
