"""Fits of many cohorts of different sizes in one process, as a loop over tissues makes them.

Each size compiles programs, which hold memory maps, of which Linux allows a process a number. Fails
if the process does not come to the end, or if a fit differs from that of the same cohort alone.

Usage: ``python -m validations.many_shapes [COHORTS]``: 200 by default, some seconds each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import lmmlite_jax as lmm

FEWEST = 30


def cohort(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinship of pairs of relatives, two traits and two covariates of n individuals."""
    rng = np.random.default_rng(n)
    half = np.arange(n) // 2
    K = 0.5 * (np.eye(n) + (half[:, None] == half))
    return K, rng.standard_normal((n, 2)), np.column_stack([np.ones(n), rng.standard_normal(n)])


def maps() -> int:
    """Memory maps of this process; 0 where the system does not say."""
    listed = Path("/proc/self/maps")
    return len(listed.read_text().splitlines()) if listed.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohorts", type=int, nargs="?", default=200)
    sizes = range(FEWEST, FEWEST + parser.parse_args().cohorts)
    first, most = lmm.fit_traits(*cohort(FEWEST)).hsq, 0
    for n in sizes:
        lmm.fit_traits(*cohort(n))
        most = max(most, maps())
        if n % 10 == 0:
            print(f"{n} individuals: {maps()} memory maps, at most {most} so far", flush=True)
    again = lmm.fit_traits(*cohort(FEWEST)).hsq
    sys.exit(0 if np.array_equal(first, again) else 1)


if __name__ == "__main__":
    main()
