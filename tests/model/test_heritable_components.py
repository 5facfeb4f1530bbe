"""The most heritable combinations of traits."""

import numpy as np
import pandas as pd
import pytest
from helpers import random_kinship
from scipy.linalg import eigh

import lmmlite_jax as lmm

N, M = 40, 8


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(3)
    K = random_kinship(rng, N)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    Y = np.linalg.cholesky(K) @ rng.standard_normal((N, 1)) @ rng.standard_normal((1, M))
    Y = 10.0 ** np.arange(M) * (Y + rng.standard_normal((N, M))) + 50
    return K, Y, X


def ratios(weights, K, Y, X, h=0.5):
    """Likelihood ratio of h² = h to h² = 0 of combinations, by dense matrices."""
    N_t = np.linalg.svd(X)[0][:, X.shape[1] :].T
    V = N_t @ (h * K + (1 - h) * np.eye(len(K))) @ N_t.T
    y = N_t @ Y @ weights
    squares = np.sum(y * np.linalg.solve(V, y), axis=0) / np.sum(y**2, axis=0)
    return -np.linalg.slogdet(V)[1] - len(V) * np.log(squares)


def test_without_ridge_no_combination_is_likelier(cohort):
    K, Y, X = cohort
    found = lmm.heritable_components(K, Y, X, count=M, ridge=0.0)
    ratio = ratios(found.weights, K, Y, X)
    assert np.all(np.diff(ratio) < 0)
    others = np.random.default_rng(0).standard_normal((M, 1000)) / Y.std(axis=0)[:, None]
    near = found.weights[:, :1] * (1 + 0.01 * others * Y.std(axis=0)[:, None])
    assert ratio[0] > ratios(np.column_stack([others, near]), K, Y, X).max()
    left = found.values - X @ np.linalg.lstsq(X, found.values)[0]
    np.testing.assert_allclose(left.T @ left / (N - 2), np.eye(M), atol=1e-8)


def test_many_individuals_tell_the_components_of_the_model():
    """Eigenvectors of G beside G + R, where n is large: both are known here."""
    rng, n, m = np.random.default_rng(5), 450, 3
    K = np.kron(np.eye(n // 3), 0.8 * np.ones((3, 3)) + 0.2 * np.eye(3))
    A, B = rng.standard_normal((2, m, m))
    Y = np.linalg.cholesky(K) @ rng.standard_normal((n, m)) @ A + rng.standard_normal((n, m)) @ B
    weights = lmm.heritable_components(K, Y, ridge=0.0).weights[:, 0]
    G, R = A.T @ A, B.T @ B
    best = eigh(G, G + R, eigvals_only=True)[-1]
    assert weights @ G @ weights / (weights @ (G + R) @ weights) > 0.95 * best


def test_units_make_no_difference_and_names_are_kept(cohort):
    K, Y, X = cohort
    found = lmm.heritable_components(K, Y, X)
    table = pd.DataFrame(-3 * Y, columns=list("abcdefgh"))
    again = lmm.heritable_components(K, table, X)
    np.testing.assert_allclose(np.abs(again.weights), np.abs(found.weights) / 3, rtol=1e-6)
    assert again.traits == tuple("abcdefgh")
    assert found.weights[np.argmax(np.abs(found.weights[:, 0]) * Y.std(axis=0)), 0] > 0
    np.testing.assert_allclose(found.fit.hsq, lmm.fit_traits(K, found.values, X).hsq)


def test_refusals(cohort):
    K, Y, X = cohort
    many = np.random.default_rng(0).standard_normal((N, N))
    with pytest.raises(ValueError, match="40 traits for 38 individuals beside the covariates"):
        lmm.heritable_components(K, many, X, ridge=0.0)
    assert np.isfinite(lmm.heritable_components(K, many, X).fit.loglik).all()
    with pytest.raises(ValueError, match=r"trait 2 \(counted from 0\) is constant"):
        lmm.heritable_components(K, np.column_stack([Y[:, :2], X[:, 1]]), X)
    with pytest.raises(ValueError, match="several traits"):
        lmm.heritable_components(K, Y[:, 0], X)
    with pytest.raises(ValueError, match="from 1 to the 8 traits, got 9"):
        lmm.heritable_components(K, Y, X, count=9)
    with pytest.raises(ValueError, match="must not be negative"):
        lmm.heritable_components(K, Y, X, ridge=-1.0)
    with pytest.raises(ValueError, match="missing"):
        lmm.heritable_components(K, np.full_like(Y, np.nan), X)
