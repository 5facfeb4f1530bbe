"""Type-I error of every test of a scan: how often it rejects hypotheses that are true.

For 60 to 500 individuals, 1 to n/2 covariates, several kinships and true h² of 0, 0.4 and 0.9, some
1,000 traits that follow the model are tested with 200 markers that know nothing of them: half of
the markers run in the families as the traits do, half do not. Fails if a test rejects more often
than its level of 0.05, 0.01 or 0.001 by more than Monte-Carlo error, or less than half as often.

The limit is one for the whole table: correct tests pass with probability 0.99. Pairs that share a
trait or a marker are not independent; standard errors are clustered by both (Cameron, Gelbach and
Miller 2011). Estimated h² are above zero where the true one is not, so that some rates lie below
their level with few individuals; they are printed too.

Usage: ``python -m validations.type_one_error [FOLDER]``, where the folder has
``bxd/kinship_x2.npz`` and ``synth500/gemma_centered_kinship.npz``; writes
``results/type_one_error.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

TRAITS, MARKERS = 1000, 200
HSQ = (0.0, 0.4, 0.9)
LEVELS = (0.05, 0.01, 0.001)
TESTS: dict[str, dict[str, Any]] = {
    "wald": {},
    "lrt": {"test": "lrt"},
    "score": {"test": "score"},
    "wald, refit": {"variance": "refit"},
    "lrt, refit": {"variance": "refit", "test": "lrt"},
    "wald, refit, 3 columns": {"variance": "refit", "columns": 3},
    "lrt, refit, 3 columns": {"variance": "refit", "test": "lrt", "columns": 3},
}
"""Options of a scan, and the columns of a marker where these are several: neighbours."""
PASSES = 0.99
"""Probability that a table of correct tests passes."""

LEAST = 0.5
"""Part of its level at which a test must reject."""


class Case(NamedTuple):
    """A kinship matrix, with how many covariates, and whether the old laws are shown beside."""

    name: str
    kinship: np.ndarray
    p: int
    asymptotic: bool = False


class Rate(NamedTuple):
    """How often a test rejects at a level, and its Monte-Carlo error."""

    level: float
    rate: float
    error: float


def genotyped(n: int) -> np.ndarray:
    """Kinship from centred genotypes of individuals that are hardly related: singular."""
    G = np.random.default_rng(n).binomial(2, 0.3, (n, 3 * n)).astype(float)
    return np.asarray(lmm.kinship(G))


def cases(folder: Path | None) -> Iterator[Case]:
    for n, counts in ((60, (1, 12, 30)), (100, (1, 40, 50)), (200, (1, 20, 100)), (500, (1, 250))):
        K = lmm.simulate_cohort(n, 1, seed=n).kinship
        for p in counts:
            yield Case("families", np.asarray(K), p, asymptotic=(n, p) == (100, 40))
    for n in (60, 200):
        for name, K in (
            ("strains", lmm.simulate_cohort(n, 1, relatives="strains", seed=n).kinship),
            ("genotyped", genotyped(n)),
        ):
            for p in (1, n // 2):
                yield Case(name, np.asarray(K), p)
    if folder is not None:
        mice = np.load(folder / "bxd" / "kinship_x2.npz")["kinship"]
        people = np.load(folder / "synth500" / "gemma_centered_kinship.npz")
        (named,) = (people[name] for name in people.files if people[name].ndim == 2)
        for name, K in (("bxd", mice), ("synth500", named)):
            for p in (1, len(K) // 2):
                yield Case(name, K / K.diagonal().mean(), p)


def simulate(case: Case, hsq: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Traits, genotypes and covariates that are independent of one another."""
    n = len(case.kinship)
    values, vectors = np.linalg.eigh(case.kinship)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    g, e = rng.standard_normal((2, n, TRAITS))
    Y = np.sqrt(hsq) * root @ g + np.sqrt(1 - hsq) * e
    inherited = rng.standard_normal((2, n, MARKERS))
    inherited[:, :, ::2] = root @ inherited[:, :, ::2]
    G = np.sum(inherited < 0.3, axis=0).astype(float)
    return Y, G, np.column_stack([np.ones(n), rng.standard_normal((n, case.p - 1))])


def rates(log10p: np.ndarray) -> list[Rate]:
    """Of markers × traits, with errors clustered by marker and by trait."""
    found = []
    for level in LEVELS:
        rejected = (log10p >= -np.log10(level)) - level
        variance = np.mean(rejected.mean(axis=0) ** 2) / rejected.shape[1]
        variance += np.mean(rejected.mean(axis=1) ** 2) / rejected.shape[0]
        variance -= np.mean(rejected**2) / rejected.size
        # At least that of independent pairs under the hypothesis.
        error = np.sqrt(max(variance, level * (1 - level) / rejected.size))
        found.append(Rate(level, float(np.mean(rejected) + level), float(error)))
    return found


def check(case: Case, hsq: float, rng: np.random.Generator) -> dict[str, list[Rate]]:
    Y, G, X = simulate(case, hsq, rng)
    tests = dict(TESTS)
    if case.asymptotic:
        tests |= {f"{name}, asymptotic": o | {"asymptotic": True} for name, o in TESTS.items()}
    found, null = {}, lmm.NullModel(case.kinship, Y, X)
    for name, options in tests.items():
        k = options.get("columns", 1)
        markers = G if k == 1 else G[:, : G.shape[1] // k * k].reshape(len(G), -1, k)
        scanned = {option: value for option, value in options.items() if option != "columns"}
        log10p = np.asarray(lmm.scan(null, markers, **scanned).log10p)
        if not np.isfinite(log10p).all():
            raise SystemExit(f"{case.name}, {name}: pairs without a p-value.")
        found[name] = rates(log10p)
        columns = (f"{r.rate / r.level:6.3f} ± {r.error / r.level:5.3f}" for r in found[name])
        print(f"{case.name:10}{len(X):5}{case.p:5}{hsq:5}  {name:24}", *columns, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("rates over their levels of", *LEVELS)
    rows: list[dict[str, Any]] = []
    for case in cases(arguments.folder):
        for hsq in HSQ:
            of_case = {"kinship": case.name, "n": len(case.kinship), "p": case.p, "hsq": hsq}
            rows += [
                of_case | {"test": test} | rate._asdict()
                for test, found in check(case, hsq, rng).items()
                for rate in found
            ]
    held = [row for row in rows if row["test"] in TESTS]
    errors = scipy.stats.norm.isf((1 - PASSES) / len(held))
    wrong = []
    for row in held:
        above = row["rate"] - row["level"] > errors * row["error"]
        below = LEAST * row["level"] - row["rate"] > errors * row["error"]
        if above or below:
            wrong.append(row)
    worst = {
        test: {
            str(level): [pick(parts) for pick in (min, np.median, max)]
            for level in LEVELS
            for parts in [
                [r["rate"] / level for r in held if (r["test"], r["level"]) == (test, level)]
            ]
        }
        for test in TESTS
    }
    for test, of_levels in worst.items():
        for level, (least, middle, most) in of_levels.items():
            print(f"{test:12} {level:6} {least:.3f} to {most:.3f}, median {middle:.3f}")
    write_result(
        "type_one_error",
        {"pairs": TRAITS * MARKERS, "errors_allowed": float(errors), "worst": worst, "rates": rows},
        RESULTS,
    )
    for row in wrong:
        print("out of bounds:", row)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
