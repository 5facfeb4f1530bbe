"""Several signals near a gene are found, one given the others."""

import numpy as np
import pytest
from helpers import with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping.cis.stepwise import independent_signals


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    n, M = 150, 60
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = rng.binomial(2, 0.4, (n, M)).astype(float)
    Y = with_variance(rng, K, 0.5, 3)
    Y[:, 0] += 1.2 * G[:, 5] + 0.9 * G[:, 20]
    Y[:, 1] += 1.2 * G[:, 30]
    Y[:4] = np.nan
    windows = np.array([[0, 30], [20, 50], [0, 60]])
    cis = lmm.map_cis(lmm.NullModel(K, Y), G, windows, permutations=100)
    return K, Y, G, windows, cis


def test_signals_are_those_put_in_each_mapped_with_the_others_as_covariates(problem):
    K, Y, G, windows, cis = problem
    null = lmm.NullModel(K, Y)
    found = lmm.map_cis_independent(null, G, windows, cis, threshold=0.01, permutations=100)
    np.testing.assert_array_equal(found.gene, [0, 0, 1])
    np.testing.assert_array_equal(found.marker, [5, 20, 30])
    np.testing.assert_array_equal(found.rank, [1, 2, 1])
    np.testing.assert_array_equal(found.n, 146)
    # One signal alone is the row of the first search.
    for name in ("pval_beta", "slope", "hsq", "beta_shape2"):
        assert getattr(found, name)[2] == getattr(cis, name)[1]
    for row, other in ((0, 20), (1, 5)):
        X = np.column_stack([np.ones(len(Y)), G[:, other]])
        alone = lmm.map_cis(lmm.NullModel(K, Y[:, :1], X), G, windows[:1], permutations=100)
        assert alone.marker[0] == found.marker[row]
        for name in ("slope", "slope_se", "log10p", "hsq", "lod"):
            assert getattr(found, name)[row] == pytest.approx(getattr(alone, name)[0], rel=1e-8)
        assert found.pval_beta[row] == pytest.approx(alone.pval_beta[0], rel=1e-3)


def test_pairs_of_a_signal_are_those_with_the_others_as_covariates(problem):
    K, Y, G, windows, cis = problem
    null = lmm.NullModel(K, Y)
    found = lmm.map_cis_independent(null, G, windows, cis, threshold=0.01, permutations=100)
    pairs = list(lmm.map_cis_conditional(null, G, windows, found))
    signals = [(one.gene[0], one.signal[0], one.rank[0]) for one in pairs]
    assert signals == [(0, 5, 1), (0, 20, 2), (1, 30, 1)]
    for one, other in zip(pairs[:2], (20, 5), strict=True):
        X = np.column_stack([np.ones(len(Y)), G[:, other]])
        (alone,) = lmm.map_cis_nominal(lmm.NullModel(K, Y[:, :1], X), G, windows[:1])
        for name in ("slope", "slope_se", "log10p", "hsq", "lod", "af"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(alone, name), rtol=1e-7, err_msg=name
            )
        assert np.flatnonzero(np.isnan(one.slope)).tolist() == [other]
    # One signal alone has the pairs of the gene.
    (nominal,) = lmm.map_cis_nominal(null, G, windows, wanted=np.arange(3) == 1)
    of_gene = nominal.gene == 1
    np.testing.assert_allclose(pairs[2].log10p, nominal.log10p[of_gene], rtol=1e-7)
    table = pairs[1].to_pandas()
    assert table[["signal_id", "rank"]].drop_duplicates().to_numpy().tolist() == [[20, 2]]


def looked_up(found):
    """A search whose best marker and p-value given others are written down."""

    def search(given):
        marker, pvalue = found[frozenset(given)]
        return {"marker": marker, "pval_beta": pvalue}

    return search


def test_a_first_signal_that_others_explain_is_dropped():
    # Marker 1 is the shadow of 2 and 3: with both in the model, its search finds nothing new.
    search = looked_up(
        {
            frozenset({1}): (2, 1e-9),
            frozenset({1, 2}): (3, 1e-9),
            frozenset({1, 2, 3}): (9, 0.5),
            frozenset({2, 3}): (1, 0.4),
            frozenset({1, 3}): (2, 1e-8),
        }
    )
    found = independent_signals({"marker": 1, "pval_beta": 1e-20}, search, 0.01)
    assert [(one["marker"], one["rank"]) for one in found] == [(2, 2), (3, 3)]


def test_two_searches_that_end_at_one_marker_are_one_signal():
    search = looked_up(
        {frozenset({1}): (2, 1e-9), frozenset({1, 2}): (9, 0.5), frozenset({2}): (2, 1e-9)}
    )
    found = independent_signals({"marker": 1, "pval_beta": 1e-20}, search, 0.01)
    assert [(one["marker"], one["rank"]) for one in found] == [(2, 1)]


def test_without_a_significant_gene_the_result_is_empty(problem):
    K, Y, G, windows, cis = problem
    null = lmm.NullModel(K, Y)
    found = lmm.map_cis_independent(null, G, windows, cis, threshold=1e-300, permutations=100)
    assert found.marker.size == found.rank.size == 0


def test_results_of_other_genes_are_refused(problem):
    K, Y, G, windows, cis = problem
    null = lmm.NullModel(K, Y)
    with pytest.raises(ValueError, match="cis is the result of 3 genes, and Y has 2"):
        lmm.map_cis_independent(lmm.NullModel(K, Y[:, :2]), G, windows[:2], cis, threshold=0.1)
    with pytest.raises(ValueError, match="best marker of gene 0 lies outside its window"):
        lmm.map_cis_independent(null, G, windows - [[0, 28], [0, 0], [0, 0]], cis, threshold=0.1)
