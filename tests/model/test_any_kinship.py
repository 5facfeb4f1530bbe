"""Whatever K is like, both fits find the maximum of the dense likelihood, or say why not.

A case is a trait; ten share a draw of K and X. 100 cases by default, and as many as it says by
``LMMLITE_JAX_CASES=2000 pytest tests/model/test_any_kinship.py``.
"""

import os

import numpy as np
import pytest
from helpers import centred, random_kinship

import lmmlite_jax as lmm
from lmmlite_jax import Status

CASES = int(os.environ.get("LMMLITE_JAX_CASES", "100"))
N, P, MISSING = 30, 2, 4
HERITABILITIES = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.99, 1 - 1e-4, 1 - 1e-8, 1 - 1e-12, 1])
HSQ = np.concatenate([[0.0], 1 / (1 + np.geomspace(1e5, 1e-13, 73))])


def kernel(rng):
    """Gaussian kernels whose eigenvalues span from 1 to 12 decades and more."""
    x = np.sort(rng.random(N))
    return np.exp(-((x[:, None] - x) ** 2) / (2 * 10 ** rng.uniform(-5, 0.5)))


def donors(rng):
    d = rng.integers(0, rng.integers(3, 15), N)
    return (d[:, None] == d) * 1.0


def herds(rng):
    """Animals of a few herds, related within them to different degrees."""
    herd = np.repeat(np.arange(6), N // 6)
    return 0.3 * (herd[:, None] == herd) * rng.uniform(0.1, 2) + 0.7 * random_kinship(rng, N)


def clones(rng):
    of = rng.integers(0, 12, N)
    return random_kinship(rng, 12)[np.ix_(of, of)]


def printed(rng):
    """Few markers and nine decimals, which leave eigenvalues of either sign around zero."""
    return np.round(random_kinship(rng, N, rank=int(rng.integers(4, 20))), 9)


KINDS = {
    "kernel": kernel,
    "donors": donors,
    "herds": herds,
    "rank-deficient": lambda rng: random_kinship(rng, N, rank=int(rng.integers(2, N - 3))),
    "clones": clones,
    "identity": lambda rng: np.eye(N),
    "centred": lambda rng: centred(random_kinship(rng, N)),
    "full": lambda rng: random_kinship(rng, N),
    "printed": printed,
    "nearly one": lambda rng: np.eye(N) + 1e-3 * random_kinship(rng, N),
}


def covariates(rng, K, shape):
    """An intercept and a column: any, or one that leaves the range of K by little or not at all."""
    x = rng.standard_normal(N)
    if shape == "in the range":
        x = K @ x
    elif shape == "almost in the range":
        x = K @ x + 10 ** rng.uniform(-8, -2) * rng.standard_normal(N)
    return np.column_stack([np.ones(N), x])


def traits(rng, K):
    """One for each of the heritabilities."""
    values, vectors = np.linalg.eigh(K)
    root = vectors * np.sqrt(np.maximum(values, 0))
    g, e = rng.standard_normal((2, N, len(HERITABILITIES)))
    return np.sqrt(HERITABILITIES) * (root @ g) + np.sqrt(1 - HERITABILITIES) * e


class Dense:
    """Likelihood of traits from a decomposition of V in the complement of X, and of V."""

    def __init__(self, K, Y, X, reml):
        self.n, self.p = X.shape
        full = np.linalg.qr(X, mode="complete")[0]
        complement = full[:, self.p :]
        self.values, vectors = np.linalg.eigh(complement.T @ K @ complement)
        self.squares = (vectors.T @ (complement.T @ Y)) ** 2
        self.own = np.linalg.eigvalsh(K)
        self.reml = reml

    def loglik(self, hsq):
        variances = hsq * np.maximum(self.values, 0) + (1 - hsq)
        dof = self.n - self.p
        rss = np.sum(self.squares / variances[:, None], axis=0)
        if not self.reml:
            own = hsq * np.maximum(self.own, 0) + (1 - hsq)
            return -0.5 * (np.sum(np.log(own)) + self.n * np.log(rss))
        value = np.sum(np.log(variances)) + dof * np.log(rss)
        return -0.5 * value + 0.5 * self.p * np.log(2 * np.pi / dof)


def rounding(spectrum):
    """How far the digits of K move its eigenvalues: they decide nothing where V is above that."""
    return max(-2 * spectrum[0], 1e-12 * spectrum[-1])


@pytest.mark.parametrize("draw", range(CASES // len(HERITABILITIES)))
def test_both_fits_are_the_dense_maximum(draw):
    rng = np.random.default_rng(draw)
    kind = list(KINDS)[draw % len(KINDS)]
    shape = ["any", "in the range", "almost in the range"][rng.integers(3)]
    weighted, reml = (bool(coin) for coin in rng.random(2) < 0.5)
    K = KINDS[kind](rng)
    X = covariates(rng, K, shape)
    Y = traits(rng, K) + X @ rng.standard_normal((P, len(HERITABILITIES)))
    root = np.sqrt(rng.uniform(0.5, 3, N) if weighted else np.ones(N))
    here = np.sort(rng.permutation(N)[MISSING:])
    seen = np.full(Y.shape, np.nan)
    seen[here] = Y[here]
    of_traits = lmm.fit_traits(K, seen, X, reml=reml, weights=root**2)

    scaled = K * np.outer(root, root)
    noise = rounding(np.linalg.eigvalsh(scaled))
    K, Y, X = scaled[np.ix_(here, here)], (root[:, None] * Y)[here], (root[:, None] * X)[here]
    rot = lmm.eigen_rotation(K, Y, X)
    alone = lmm.fit_lmm(rot.Kva, rot.y, rot.X, reml=reml)
    on_grid = np.asarray(lmm.calc_ll(HSQ, rot.Kva, rot.y, rot.X, reml=reml))
    offset = np.sum(np.log(root[here]))
    if reml:
        plain = X / root[here, None]
        offset -= 0.5 * np.linalg.slogdet(X.T @ X)[1] - 0.5 * np.linalg.slogdet(plain.T @ plain)[1]

    dense = Dense(K, Y, X, reml)
    # In ML the covariates may absorb the null space of K: that spike is no maximum sought.
    spiked = not reml and dense.own[0] <= 1e-6 * dense.own[-1]
    grid = HSQ[HSQ * noise <= 1e-8 * (1 - HSQ)]
    reference = np.array([dense.loglik(h) for h in grid])
    np.testing.assert_allclose(on_grid[: grid.size], reference, rtol=1e-7, atol=1e-7)
    for fit, added in ((of_traits, offset), (alone, 0.0)):
        status, hsq, loglik = (np.asarray(x) for x in (fit.status, fit.hsq, fit.loglik - added))
        regular = status == Status.OK
        for numbers in (hsq, loglik, fit.sigmasq, fit.lrt_pvalue, fit.beta):
            assert np.isfinite(np.asarray(numbers)[..., regular]).all()
        if not spiked:
            fitted = regular | (status == Status.EXACT)
            slack = 1e-7 * np.maximum(np.abs(reference), 1)
            assert (loglik >= reference - slack)[:, fitted].all()
        for j in np.flatnonzero(regular & (hsq * noise <= 1e-8 * (1 - hsq))):
            assert abs(loglik[j] - dense.loglik(hsq[j])[j]) <= 1e-7 * max(abs(loglik[j]), 1)
    one, other = (np.asarray(fit.loglik) - a for fit, a in ((of_traits, offset), (alone, 0.0)))
    known = [
        np.asarray(fit.hsq) * noise <= 1e-8 * (1 - np.asarray(fit.hsq))
        for fit in (of_traits, alone)
    ]
    both = known[0] & known[1]
    np.testing.assert_allclose(one[both], other[both], rtol=1e-7, atol=1e-7)
