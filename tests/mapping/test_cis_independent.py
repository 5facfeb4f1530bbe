"""Several signals near a gene are found, one given the others."""

import numpy as np
import pytest
from helpers import with_variance

import lmmlite_jax as lmm


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    n, M = 150, 60
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = rng.binomial(2, 0.4, (n, M)).astype(float)
    Y = with_variance(rng, K, 0.5, 4)
    Y[:, 0] += 1.2 * G[:, 5] + 0.9 * G[:, 20]
    Y[:, 1] += 1.2 * G[:, 30]
    # Marker 41 is the sum of two signals, and best alone; it explains nothing beside them.
    G[:, 41] = np.clip(G[:, 40] + G[:, 42], 0, 2)
    Y[:, 3] += 1.5 * G[:, 40] + 1.5 * G[:, 42]
    Y[:4, 3] = np.nan
    window = np.array([[0, 30], [20, 50], [0, 60], [35, 60]])
    cis = lmm.map_cis(K, Y, G, window=window, permutations=100)
    return K, Y, G, window, cis


def test_signals_are_those_put_in(problem):
    K, Y, G, window, cis = problem
    found = lmm.map_cis_independent(
        K, Y, G, window=window, cis=cis, threshold=0.01, permutations=100
    )
    signals = {t: set(found.marker[found.gene == t]) for t in range(4)}
    assert signals[0] == {5, 20}
    assert signals[1] == {30}
    assert signals[2] == set()
    assert {40, 42} <= signals[3]
    np.testing.assert_array_equal(found.rank[found.gene == 0], [1, 2])
    np.testing.assert_array_equal(found.n[found.gene == 3], 146)
    # One signal alone is the row of the first search.
    (row,) = np.flatnonzero(found.gene == 1)
    for name in ("pval_beta", "slope", "hsq", "beta_shape2"):
        assert getattr(found, name)[row] == getattr(cis, name)[1]


def test_a_signal_is_mapped_with_the_others_among_the_covariates(problem):
    K, Y, G, window, _ = problem
    found = lmm.map_cis_independent(
        K,
        Y[:, :1],
        G,
        window=window[:1],
        cis=lmm.map_cis(K, Y[:, :1], G, window=window[:1], permutations=100),
        threshold=0.01,
        permutations=100,
    )
    for marker, other in ((5, 20), (20, 5)):
        X = np.column_stack([np.ones(len(Y)), G[:, other]])
        alone = lmm.map_cis(K, Y[:, :1], G, X, window=window[:1], permutations=100)
        (row,) = np.flatnonzero(found.marker == marker)
        assert alone.marker[0] == marker
        for name in ("slope", "slope_se", "log10p", "hsq", "lod"):
            assert getattr(found, name)[row] == pytest.approx(getattr(alone, name)[0], rel=1e-8)
        assert found.pval_beta[row] == pytest.approx(alone.pval_beta[0], rel=1e-3)


def test_without_a_significant_gene_the_result_is_empty(problem):
    K, Y, G, window, cis = problem
    found = lmm.map_cis_independent(
        K, Y, G, window=window, cis=cis, threshold=1e-300, permutations=100
    )
    assert found.marker.size == found.rank.size == 0


def test_results_of_other_genes_are_refused(problem):
    K, Y, G, window, cis = problem
    with pytest.raises(ValueError, match="cis is the result of 4 genes, and Y has 2"):
        lmm.map_cis_independent(K, Y[:, :2], G, window=window[:2], cis=cis, threshold=0.1)
    with pytest.raises(ValueError, match="best marker of gene 0 lies outside its window"):
        lmm.map_cis_independent(
            K, Y, G, window=window - [[0, 28], [0, 0], [0, 0], [0, 0]], cis=cis, threshold=0.1
        )
