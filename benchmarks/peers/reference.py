"""What every program should find: the formulas themselves, in NumPy's double precision.

All of them work on data whose covariates are taken out: R has orthonormal rows, RX = 0, and
R K R' is diagonal. There the restricted likelihood is that of independent observations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy import optimize, special, stats

GOLDEN = (np.sqrt(5) - 1) / 2

LARGEST = 1 - 1e-9
"""Nearer to h² = 1 the likelihood of a singular kinship is made of rounding errors."""


class Rotation(NamedTuple):
    """R (q, n), q = n - p, and the q eigenvalues of R K R'."""

    R: np.ndarray
    values: np.ndarray


def rotation(K: np.ndarray | None, X: np.ndarray) -> Rotation:
    """Take the covariates X (n, p) out of a kinship K (n, n); None is no kinship."""
    Q = scipy.linalg.qr(X)[0][:, X.shape[1] :]
    if K is None:
        return Rotation(Q.T, np.zeros(Q.shape[1]))
    values, vectors = np.linalg.eigh(Q.T @ K @ Q)
    return Rotation((Q @ vectors).T, np.maximum(values, 0))


def variances(hsq: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Variances (q, m) of rotated observations, up to σ², at heritabilities (m,)."""
    hsq = np.minimum(hsq, LARGEST)
    return values[:, None] * hsq + (1 - hsq)


def log_likelihood(hsq: np.ndarray, values: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Restricted log likelihood (m,) of rotated traits Z (q, m), up to a constant of each."""
    d = variances(hsq, values)
    return -0.5 * (len(Z) * np.log((Z**2 / d).sum(0)) + np.log(d).sum(0))


def best_hsq(values: np.ndarray, Z: np.ndarray, nodes: int = 101) -> np.ndarray:
    """Heritabilities (m,) of the largest likelihood: a grid, then golden sections."""
    grid = np.linspace(0, 1, nodes)
    at_grid = np.array([log_likelihood(np.full(Z.shape[1], h), values, Z) for h in grid])
    best = np.argmax(at_grid, axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, nodes - 1)]
    for _ in range(45):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        up = log_likelihood(left, values, Z) < log_likelihood(right, values, Z)
        low, high = np.where(up, left, low), np.where(up, high, right)
    inside = (low + high) / 2
    better = log_likelihood(inside, values, Z) > at_grid.max(axis=0)
    return np.where(better, inside, grid[best])


def log10p(hsq: np.ndarray, values: np.ndarray, G: np.ndarray, z: np.ndarray) -> np.ndarray:
    """-log10 p (M,) of rotated markers G (q, M) and one trait z (q,): the F test at a given h²."""
    w = 1 / variances(np.atleast_1d(hsq), values)
    zz, gz, gg = (w[:, 0] * z**2).sum(), G.T @ (w[:, 0] * z), (w * G**2).sum(0)
    explained, dof = gz**2 / gg, len(z) - 1
    return -stats.f.logsf(dof * explained / (zz - explained), 1, dof) / np.log(10)


def lod(G: np.ndarray, y: np.ndarray, n: int) -> float:
    """LOD score of the columns of G (q, k) together, for a trait y (q,) of independent errors."""
    beta = np.linalg.lstsq(G, y, rcond=1e-9)[0]
    return float(n / 2 * np.log10((y**2).sum() / ((y - G @ beta) ** 2).sum()))


def gradient(hsq: np.ndarray, turned: Rotation, Z: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Derivatives (c,) of the log likelihood of all traits (q, m), each at its best h².

    In weights of kinships (c, n, n) whose sum is rotated. What h² and σ² change is nothing there.
    """
    d = variances(hsq, turned.values)
    W = Z / d
    found = []
    for part in parts:
        A = turned.R @ part @ turned.R.T
        quadratic = (W * (A @ W)).sum(0) / (Z * W).sum(0)
        trace = (np.diagonal(A)[:, None] / d).sum(0)
        found.append(0.5 * (hsq * (len(Z) * quadratic - trace)).sum())
    return np.array(found)


def log_likelihood_of_shares(shares: np.ndarray, parts: np.ndarray, z: np.ndarray) -> float:
    """Restricted log likelihood of a rotated trait (q,), shares (c,) of kinships (c, q, q)."""
    V = np.tensordot(shares, parts, 1) + (1 - shares.sum()) * np.eye(len(z))
    L = scipy.linalg.cho_factor(V, lower=True)
    quadratic = z @ scipy.linalg.cho_solve(L, z)
    return -0.5 * float(len(z) * np.log(quadratic)) - float(np.log(np.diagonal(L[0])).sum())


def best_of_shares(parts: np.ndarray, z: np.ndarray) -> float:
    """The largest of these log likelihoods, over logarithms of ratios to the residual variance."""

    def lost(x: np.ndarray) -> float:
        ratios = np.exp(x)
        return -log_likelihood_of_shares(ratios / (1 + ratios.sum()), parts, z)

    bounds = [(-12.0, 5.0)] * len(parts)
    return -float(optimize.minimize(lost, np.zeros(len(parts)), bounds=bounds).fun)


def permutation_pvalue(G: np.ndarray, R: np.ndarray, y: np.ndarray, count: int) -> float:
    """Share of permutations of a trait y (n,) whose best of the rotated markers does as well."""
    rng = np.random.default_rng(1)
    unit = G / np.linalg.norm(G, axis=0)
    residual = R.T @ (R @ y)
    permuted = R @ np.array([rng.permutation(residual) for _ in range(count)]).T
    share = ((unit.T @ permuted) ** 2).max(0) / (permuted**2).sum(0)
    observed = ((unit.T @ (R @ y)) ** 2).max() / ((R @ y) ** 2).sum()
    return float((1 + (share >= observed).sum()) / (1 + count))


def inclusion(G: np.ndarray, y: np.ndarray, effects: int = 10, tol: float = 1e-5) -> np.ndarray:
    """Posterior inclusion probabilities (M,) of the sum of single effects (Wang et al. 2020).

    G (q, M) and y (q,) have no covariates left; each prior variance is the best one.
    """
    q, M = G.shape
    G = G / np.sqrt((G**2).mean(0))
    sigmasq = (y**2).mean()
    alpha, fitted = np.zeros((effects, M)), np.zeros((effects, q))
    second = np.zeros(effects)
    for _ in range(1000):
        before = alpha.copy()
        for l in range(effects):
            b, v = G.T @ (y - fitted.sum(0) + fitted[l]) / q, sigmasq / q

            def log_bf(V: float, b: np.ndarray = b, v: float = v) -> np.ndarray:
                return 0.5 * (np.log(v / (v + V)) + b**2 / v * V / (v + V))

            search = optimize.minimize_scalar(
                lambda log_V, f=log_bf: -special.logsumexp(f(np.exp(log_V))), bounds=(-30, 15)
            )
            V = float(np.exp(search.x)) if -search.fun > np.log(M) else 0.0
            alpha[l] = special.softmax(log_bf(V))
            mean, variance = V / (V + v) * b, V * v / (V + v)
            fitted[l] = G @ (alpha[l] * mean)
            second[l] = q * (alpha[l] * (mean**2 + variance)).sum()
        left = ((y - fitted.sum(0)) ** 2).sum() - (fitted**2).sum() + second.sum()
        sigmasq = left / q
        if np.abs(alpha - before).max() < tol:
            break
    has_effect = second > 0
    return 1 - np.prod(1 - alpha[has_effect], axis=0)
