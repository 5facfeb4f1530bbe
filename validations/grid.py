"""How much higher a maximum may be that the grid of fits misses.

A fit looks at the slope of its likelihood on a grid and misses a maximum that lies between two
points (docs/method.md). This looks for the worst that eigenvalues and rotated phenotypes can do: a
likelihood that at no point of the grid rises with h², and yet is higher between two of them than at
h² = 0. Given the eigenvalues, the squares of such a phenotype are a linear program, and given these
the eigenvalues are: in turn, from many starts. Fails if one is found that is higher by more than
1e-5 of log likelihood an individual.

Usage: ``python -m validations.grid``; writes ``results/grid.json``.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from benchmarks.common import write_result
from lmmlite_jax.model.maximum import _places, even_grid, size_of_grid
from lmmlite_jax.model.skeleton import interval_skeleton

RESULTS = Path(__file__).parent / "results"

SMALLEST = 1e-3
"""Positive eigenvalue; the largest is 1."""

EIGENVALUES = np.unique([0, *np.geomspace(SMALLEST, 1, 40), *np.linspace(0.02, 1, 50)])

ZEROS = 1e-3
"""Share of the eigenvalues that is zero, at the least."""

NEAR_ZERO = 14
"""Cells of the grid from h² = 0 on that are looked at: likelihoods change the most in them."""

PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of a cell, in h²/(1 - h²), at which a maximum is looked for."""

MOST = 1e-5
MOST_TURNS = 60


def odds_of_grid() -> Float[np.ndarray, " points"]:
    """h²/(1 - h²) of the grid's points, from h² = 0 on, as long as they are below 1e5."""
    with jax.enable_x64(True):
        skeleton = interval_skeleton(SMALLEST, 1.0)
        size = size_of_grid(skeleton, np.array([500]), np.array([1.0]))
        grid = even_grid(skeleton, size.points + 1, size.below)
        hsq = np.asarray(grid.hsq(_places(grid, with_zeros=True)))
    odds = hsq / (1 - hsq)
    return odds[odds < 1e5]


def worst(
    odds: Float[np.ndarray, " points"], between: float, rng: np.random.Generator
) -> float | None:
    """Gain of log likelihood an individual at one place over h² = 0; None where none is found."""
    weights = 1 / (1 + odds[:, None] * EIGENVALUES)
    there = 1 / (1 + between * EIGENVALUES)
    shares = rng.dirichlet(np.full(EIGENVALUES.size, 0.05))
    shares[0] = max(shares[0], ZEROS)
    shares /= shares.sum()
    least = np.where(EIGENVALUES == 0, ZEROS, 0.0)
    gain = None
    for _ in range(MOST_TURNS):
        # No slope rises: Σ squares λ w² is at most Σ shares λ w times Σ squares w.
        determinant = (EIGENVALUES * weights) @ shares
        squares = _least(
            there, EIGENVALUES * weights**2 - determinant[:, None] * weights, 0 * odds, 0 * least
        )
        if squares is None:
            return gain
        residual = (EIGENVALUES * weights**2) @ squares / (weights @ squares)
        found = _least(np.log1p(between * EIGENVALUES), -EIGENVALUES * weights, -residual, least)
        if found is None:
            return gain
        shares = found
        now = -0.5 * (np.log1p(between * EIGENVALUES) @ shares + np.log(there @ squares))
        if gain is not None and now < gain * (1 + 1e-6):
            return gain
        gain = float(now)
    return gain


def _least(
    cost: Float[np.ndarray, " λ"],
    rows: Float[np.ndarray, "points λ"],
    most: Float[np.ndarray, " points"],
    least: Float[np.ndarray, " λ"],
) -> Float[np.ndarray, " λ"] | None:
    """Numbers that sum to 1, none below ``least``, of the least cost; None if there are none."""
    bounds = [(low, None) for low in least]
    found = linprog(cost, rows, most, np.ones((1, cost.size)), [1.0], bounds)
    return found.x if found.status == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=40)
    starts = parser.parse_args().starts
    odds, rng = odds_of_grid(), np.random.default_rng(0)
    most = {}
    for low, high in pairwise(odds[: NEAR_ZERO + 1]):
        for part in PARTS:
            between = float(low + part * (high - low))
            gains = [worst(odds, between, rng) for _ in range(starts)]
            most[between] = max((gain for gain in gains if gain is not None), default=0.0)
            hsq = between / (1 + between)
            print(f"h² = {hsq:.3f}: {most[between]:.1e} an individual", flush=True)
    print(f"most: {max(most.values()):.1e}")
    write_result("grid", {"starts": starts, "most": max(most.values()), "odds": most}, RESULTS)
    sys.exit(0 if max(most.values()) <= MOST else 1)


if __name__ == "__main__":
    main()
