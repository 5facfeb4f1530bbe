"""Pairs of markers of several columns, h² estimated for each, beside dense matrices."""

import numpy as np
import pytest
import scipy.stats
from helpers import dense_loglik, dense_pair, problem

import lmmlite_jax as lmm

N, K_COLUMNS = 40, 3


@pytest.fixture(scope="module")
def refits():
    """Markers of which the last two have a column that others span, and none that varies.

    The last trait is of nobody.
    """
    K, Y, G, X = problem(2, n=N, M=6, k=K_COLUMNS, kinship="singular")
    G[:, 4, 2] = G[:, 4, 0] - G[:, 4, 1]
    G[:, 5] = 1.0
    Y[:4, 2] = np.nan
    Y = np.column_stack([Y, np.full(N, np.nan)])
    null = lmm.NullModel(K, Y, X)
    return K, Y, G, X, null, lmm.scan(null, G, variance="refit")


def corrected_pvalue(y, X, columns, change, V):
    """Of all columns, by Kenward and Roger's variance: V's parameters scale K and I."""
    rank = columns.shape[1]
    complement = np.linalg.qr(X, "complete")[0][:, X.shape[1] :]
    y, g, V, *change = (complement.T @ one for one in (y, columns, V, *change))
    V, *change = (one @ complement for one in (V, *change))
    inverse = np.linalg.inv(V)
    variance = np.linalg.inv(g.T @ inverse @ g)
    effects = variance @ g.T @ inverse @ y
    left = y - g @ effects
    scale = left @ inverse @ left / (len(y) - rank)
    inverse, variance = inverse / scale, variance * scale
    P = inverse - inverse @ g @ variance @ g.T @ inverse
    x = inverse @ g
    W = np.linalg.inv([[np.trace(P @ a @ P @ b) / 2 for a in change] for b in change])
    first = [-x.T @ a @ x for a in change]
    bias, spread = 0, 0
    for i, a in enumerate(change):
        for j, b in enumerate(change):
            bias = bias + W[i, j] * (x.T @ a @ inverse @ b @ x - first[i] @ variance @ first[j])
            spread += W[i, j] * np.trace(first[i] @ variance @ first[j] @ variance)
    adjusted = variance + 2 * variance @ bias @ variance
    F = effects @ np.linalg.solve(adjusted, effects) / rank
    return scipy.stats.f.sf(F, rank, 2 * rank / spread)


def test_refit_is_the_fit_with_the_columns_among_the_covariates(refits):
    K, Y, G, X, _, result = refits
    tested = 0
    for j in range(5):
        columns = G[:, j] if j < 4 else G[:, j, :2]
        for t in range(3):
            seen = ~np.isnan(Y[:, t])
            own, y, x, g = K[np.ix_(seen, seen)], Y[seen, t], X[seen], columns[seen]
            hsq, rank = float(result.hsq[j, t]), g.shape[1]
            design = np.column_stack([x, g])
            best = max(dense_loglik(h, own, y, design, True) for h in np.linspace(0, 0.9999, 101))
            assert dense_loglik(hsq, own, y, design, True) >= best - 1e-9
            beta, se, rss0, rss1 = dense_pair(hsq, own, y, g, x)
            np.testing.assert_allclose(result.beta[j, t, :rank], beta, rtol=1e-7)
            np.testing.assert_allclose(result.se[j, t, :rank], se, rtol=1e-7)
            lod = len(y) / 2 * np.log10(rss0 / rss1)
            assert float(result.lod[j, t]) == pytest.approx(lod, rel=1e-7)
            if hsq < 1:
                V = hsq * own + (1 - hsq) * np.eye(len(y))
                pvalue = corrected_pvalue(y, x, g, [own, np.eye(len(y))], V)
                assert float(result.log10p[j, t]) == pytest.approx(-np.log10(pvalue), rel=1e-6)
                tested += 1
    assert tested > 10
    assert np.isnan(result.beta[4, :, 2]).all()
    assert np.isnan(result.log10p[5]).all()


def test_best_and_hits_are_those_of_all_pairs(refits):
    *_, G, _, null, every = refits
    log10p = np.nan_to_num(np.asarray(every.log10p), nan=-1.0)
    best = lmm.scan(null, G, variance="refit", keep="best")
    np.testing.assert_array_equal(best.marker, [*log10p.argmax(axis=0)[:3], -1])
    least = float(np.median(log10p[:5, :3]))
    hits = lmm.scan(null, G, variance="refit", keep=least)
    np.testing.assert_array_equal([hits.marker, hits.trait], np.nonzero(log10p >= least))
    for name in ("hsq", "beta", "se", "lod", "log10p"):
        values = np.asarray(getattr(every, name))
        np.testing.assert_array_equal(getattr(best, name), values[best.marker, np.arange(4)])
        np.testing.assert_array_equal(getattr(hits, name), values[log10p >= least])


@pytest.mark.long
@pytest.mark.parametrize("kinship", ["regular", "singular", "centred"])
@pytest.mark.parametrize("asymptotic", [False, True])
@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_a_second_column_that_says_nothing_new_changes_nothing(kinship, test, asymptotic):
    K, Y, G, X = problem(2, M=12, m=6, kinship=kinship)
    Y[:, 3] = 0.2 * np.random.default_rng(1).standard_normal(N)
    Y[3, 4] = np.nan
    null = lmm.NullModel(K, Y, X)
    options = {"variance": "refit", "test": test, "asymptotic": asymptotic}
    one = lmm.scan(null, G, **options)
    two = lmm.scan(null, np.stack([G, 2 * G + 1], axis=2), **options)
    for name in ("beta", "se"):
        np.testing.assert_allclose(getattr(two, name)[..., 0], getattr(one, name), rtol=1e-8)
    for name in ("hsq", "lod", "log10p"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-8, atol=1e-9)
    assert np.isnan(two.beta[..., 1]).all()


@pytest.mark.long
def test_an_interaction_may_have_a_heritability_of_its_own(refits):
    K, Y, G, X, *_ = refits
    null, g = lmm.NullModel(K, Y[:, :2], X), G[:, :4, 0]
    found = lmm.scan(null, g, variance="refit", interaction=X[:, 1])
    both = lmm.scan(null, np.stack([g, g * X[:, [1]]], axis=2), variance="refit")
    np.testing.assert_allclose(found.log10p, both.log10p, rtol=1e-8)
    np.testing.assert_allclose(found.beta, both.beta, rtol=1e-7)


@pytest.mark.parametrize("k", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_marker_may_absorb_the_null_space_of_the_kinship(k):
    """Twins alone make K singular; their genotypes, or what these were multiplied with, differ."""
    rng = np.random.default_rng(1)
    K, Y, G, X = problem(1, n=N, M=6, k=k)
    for values in (K, K.T, X):
        values[1] = values[0]
    G = G if k == 1 else G.round(2)
    Y[:, 0] += 3 * rng.standard_normal(N)
    Y = np.column_stack([Y, np.linalg.cholesky(K + 1e-9 * np.eye(N)) @ rng.standard_normal((N, 3))])
    Y[1, 3:] += 0.5 * rng.standard_normal(3)
    G[0], G[1] = 0.0, 1.0
    result = lmm.scan(lmm.NullModel(K, Y, X), G, variance="refit")
    for j in range(6):
        columns = G[:, j].reshape(N, k)
        fit = lmm.fit_traits(K, Y, np.column_stack([X, columns]))
        np.testing.assert_allclose(result.hsq[j], fit.hsq, atol=1e-6)
        np.testing.assert_allclose(result.beta[j].reshape(-1, k), fit.beta[-k:].T, rtol=1e-4)
    assert (np.asarray(result.hsq) > 0.999).any()
    assert (np.asarray(result.hsq) < 0.9).any()


def test_a_pair_whose_maximum_is_closer_to_one_than_doubles_has_no_test():
    """The trait is all but in the range of K, and the marker explains nearly all that is not."""
    K, Y, G, X = problem(1, n=N, M=6, m=6)
    for values in (K, K.T, X, G):
        values[1], values[3] = values[0], values[2]
    Y[:] = K @ Y
    Y[:4] += 1e-7 * np.array([[1], [-1], [1], [-1]])
    G[:4, :3] = [[1.01, 1.1, 2], [-1.01, -1.1, 0], [0.99, 0.9, 0.5], [-0.99, -0.9, -0.5]]
    null = lmm.NullModel(K, Y, X)
    assert not any(null.fit.reasons)
    result = lmm.scan(null, G, variance="refit")
    missing = np.isnan(result.hsq)
    for name in ("beta", "se", "lod", "log10p"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name)), missing)
    assert missing[0].all()
    assert not missing[1:].any()


@pytest.mark.parametrize("k", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_marker_that_explains_a_trait_is_no_gap(k):
    """All that is left is rounding, of either sign."""
    K, _, G, X = problem(1, n=N, M=6, k=k)
    null = lmm.NullModel(K, 2 * G.reshape(N, -1)[:, ::k] + 1, X)
    for test in ("wald", "lrt"):
        result = lmm.scan(null, G, variance="refit", test=test)
        assert np.all(np.diag(result.log10p) > 50)
