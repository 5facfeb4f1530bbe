"""Slow references, and problems that many tests share."""

from __future__ import annotations

import numpy as np


def dense_loglik(hsq, K, y, X, reml=True):
    """Log likelihood by building and inverting V, constants as in R/lmmlite.

    One number for a trait (n,), and one for each of (n, m).
    """
    n, p = X.shape
    V = hsq * K + (1 - hsq) * np.eye(n)
    inverse = np.linalg.inv(V)
    gram = X.T @ inverse @ X
    residual = y - X @ np.linalg.solve(gram, X.T @ inverse @ y)
    rss = np.sum(residual * (inverse @ residual), axis=0)
    value = -0.5 * (np.linalg.slogdet(V)[1] + n * np.log(rss))
    if not reml:
        return value
    added = p * np.log(2 * np.pi * rss / (n - p))
    added += np.linalg.slogdet(X.T @ X)[1] - np.linalg.slogdet(gram)[1]
    return value + 0.5 * added


def dense_effects(hsq, K, y, X):
    """Generalised least squares of one trait: β and σ²."""
    n, p = X.shape
    inverse = np.linalg.inv(hsq * K + (1 - hsq) * np.eye(n))
    beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
    return beta, (y - X @ beta) @ inverse @ (y - X @ beta) / (n - p)


def random_kinship(rng, n, rank=None):
    """Kinship of random markers, mean diagonal 1."""
    markers = rng.standard_normal((n, rank or 2 * n))
    K = markers @ markers.T
    return K / K.diagonal().mean()


def centred(K):
    """K with the intercept in its null space, as GEMMA's ``-gk 1`` makes it."""
    J = np.eye(len(K)) - 1 / len(K)
    return J @ K @ J


def with_variance(rng, K, hsq, m):
    """Traits of variance hsq K + (1 - hsq) I, one a column."""
    values, vectors = np.linalg.eigh(K)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    g = root @ rng.standard_normal((len(K), m))
    return np.sqrt(hsq) * g + np.sqrt(1 - hsq) * rng.standard_normal((len(K), m))


def dense_pair(hsq, K, y, columns, X):
    """β and standard errors of a marker's columns, and both residual sums of squares, from V.

    The variance that X X' adds lies in the covariates: it changes none of them, and makes V regular
    where h² = 1 and the covariates absorb the null space of K.
    """
    n, p = X.shape
    inverse = np.linalg.inv(hsq * K + (1 - hsq) * np.eye(n) + X @ X.T)

    def fit(design):
        gram = design.T @ inverse @ design
        beta = np.linalg.solve(gram, design.T @ inverse @ y)
        return beta, (y - design @ beta) @ inverse @ (y - design @ beta), np.linalg.inv(gram)

    _, rss0, _ = fit(X)
    beta, rss1, variance = fit(np.column_stack([X, columns]))
    sigmasq = rss1 / (n - p - columns.shape[1])
    return beta[p:], np.sqrt(sigmasq * np.diag(variance)[p:]), rss0, rss1


def square_root(K):
    """A matrix whose product with its transpose is K, whose null space stays where it is."""
    values, vectors = np.linalg.eigh(K)
    return vectors * np.sqrt(np.clip(values, 0, None))


def kinship_roots(n):
    """Roots of kinships with repeated and zero eigenvalues, and one without; n in twelves."""
    rng = np.random.default_rng(5)
    pairs, strains = (np.repeat(np.eye(n // k), k, axis=0) for k in (2, 4))
    family = np.array([[1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5], [0.5, 0.5, 1, 0.5], [0.5, 0.5, 0.5, 1]])
    kinships = {
        "random": random_kinship(rng, n, 2 * n),
        "repeated eigenvalues": np.diag(np.repeat([0.5, 1.0, 3.0], n // 3)),
        "twins": pairs @ random_kinship(rng, n // 2) @ pairs.T,
        "families": np.kron(np.eye(n // 4), family),
        "strains": strains @ random_kinship(rng, n // 4) @ strains.T,
        "rank 5": random_kinship(rng, n, rank=5),
        "identity": np.eye(n),
        "centred": centred(random_kinship(rng, n)),
    }
    return {name: square_root(K) if name != "identity" else K for name, K in kinships.items()}


def problem(seed, n=40, p=2, M=15, m=3, k=1, kinship="regular"):
    rng = np.random.default_rng(seed)
    K = random_kinship(rng, n, n // 3 if kinship == "singular" else None)
    if kinship == "centred":
        K = centred(K)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    G = rng.binomial(2, 0.4, (n, M)).astype(float) if k == 1 else rng.random((n, M, k))
    Y = with_variance(rng, K, 0.5, m) + 0.3 * G.reshape(n, -1)[:, [0]]
    return K, Y, G, X
