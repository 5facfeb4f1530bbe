"""What a gradient through the fit costs: Σ ĥ² of many traits with respect to the kinship.

Rival: the fit itself, decomposition included, as `fit_traits` does it and as `heritability` does it
in the same compiled program. The gradient is in reverse mode, and its time includes its own fit.
``families`` have equal eigenvalues, where a derivative through ``eigh`` is NaN.
Usage: ``python benchmarks/gradients.py``; writes ``results/gradients.json``.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import median_ratio, side_by_side, write_result

import lmmlite_jax as lmm

N, M = 500, 1000


def measure(relatives: str, reml: bool, rounds: int) -> dict[str, Any]:
    cohort = lmm.simulate_cohort(N, M, relatives=relatives, seed=1)
    K, Y, X = cohort.kinship, cohort.pheno, cohort.covar
    total = jax.jit(lambda K: lmm.heritability(K, Y, X, reml).sum())
    gradient = jax.jit(jax.grad(total))
    _, warm = side_by_side(
        {
            "fit_traits": lambda: lmm.fit_traits(K, Y, X, reml=reml).hsq,
            "heritability": lambda: total(K),
            "gradient": lambda: gradient(K),
        },
        rounds,
    )
    found = np.asarray(gradient(K))
    through_eigh = np.asarray(jax.jit(jax.grad(through_eigenvectors))(K, Y[:, 0]))
    return {
        "relatives": relatives,
        "likelihood": "REML" if reml else "ML",
        "median": {name: statistics.median(seconds) for name, seconds in warm.items()},
        "gradient_over_fit_traits": median_ratio(warm["gradient"], warm["fit_traits"]),
        "gradient_over_heritability": median_ratio(warm["gradient"], warm["heritability"]),
        "finite": bool(np.isfinite(found).all()),
        "finite_through_eigh": bool(np.isfinite(through_eigh).all()),
        "largest": float(np.abs(found).max()),
    }


def through_eigenvectors(K: Any, y: Any) -> jax.Array:
    """Weighted squares of a rotated trait, differentiated the obvious way."""
    values, vectors = jnp.linalg.eigh(K)
    return jnp.sum((vectors.T @ y) ** 2 / (0.5 * values + 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)

    names = ("fit_traits", "heritability", "gradient")
    print(f"n = {N}, {M:,} traits, {jax.devices()[0].device_kind}")
    print(f"{'':16}{names[0]:>12}{names[1]:>14}{names[2]:>12}", end="")
    print(f"{'over fit_traits':>17}{'over heritability':>19}{'finite':>8}{'by eigh':>9}")
    rows = []
    for relatives, reml in (("families", True), ("families", False), ("strains", True)):
        row = measure(relatives, reml, rounds)
        rows.append(row)
        times = [row["median"][name] for name in names]
        print(f"{relatives + ', ' + row['likelihood']:16}", end="")
        print("{:10.3f} s{:12.3f} s{:10.3f} s".format(*times), end="")
        print(f"{row['gradient_over_fit_traits']:17.2f}", end="")
        print(f"{row['gradient_over_heritability']:19.2f}", end="")
        print(f"{row['finite']!s:>8}{row['finite_through_eigh']!s:>9}", flush=True)
    write_result("gradients", {"n": N, "traits": M, "rows": rows})


if __name__ == "__main__":
    main()
