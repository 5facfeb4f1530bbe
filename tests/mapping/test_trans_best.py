"""The best marker of each trait on the whole genome, and its p-values by permutation."""

import numpy as np
import pytest
from helpers import with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping import trans_best


def problem(m, seed=1, n=120, M=80):
    rng = np.random.default_rng(seed)
    K = lmm.simulate_cohort(n, 1, seed=seed).kinship
    # Markers shared within families, so that permuting phenotypes would be wrong.
    G = (with_variance(rng, K, 0.9, 2 * M).reshape(n, M, 2) > 0.5).sum(axis=2).astype(float)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    return K, with_variance(rng, K, 0.7, m), G, X


def test_family_wise_errors_of_unassociated_traits_are_at_their_level():
    K, Y, G, X = problem(600)
    found = lmm.map_trans_best(lmm.NullModel(K, Y, X), G, permutations=100)
    for column in ("pval_perm", "pval_beta"):
        rejected = np.mean(getattr(found, column) <= 0.05)
        error = np.sqrt(0.05 * 0.95 / 600)
        assert rejected == pytest.approx(0.05, abs=3 * error + 0.005), column


@pytest.fixture(scope="module")
def planted():
    K, Y, G, X = problem(8)
    Y[:, 2] += 2 * G[:, 50]
    Y[:4, 5] = np.nan
    near = np.column_stack([np.arange(8) * 10, np.arange(8) * 10 + 10])
    near[2] = [45, 52]
    return K, Y, G, X, near


def test_without_kinship_it_is_that_of_a_gene_near_all_markers(planted):
    _, Y, G, X, _ = planted
    null = lmm.NullModel(None, Y, X)
    whole = lmm.map_trans_best(null, G, permutations=50, permutation_dtype="float64")
    cis = lmm.map_cis(
        null, G, np.tile([0, 80], (8, 1)), permutations=50, permutation_dtype="float64"
    )
    assert whole.marker[2] == 50
    for name in ("marker", "num_var", "n", "slope", "slope_se", "pval_nominal", "pval_beta", "af"):
        np.testing.assert_allclose(getattr(whole, name), getattr(cis, name), rtol=1e-6)


def test_markers_near_are_left_out_in_data_and_permutations(planted, monkeypatch):
    K, Y, G, X, near = planted
    null = lmm.NullModel(K, Y, X)
    found = lmm.map_trans_best(null, G, windows=near, permutations=50, maf_threshold=0.05)
    monkeypatch.setattr(trans_best, "MARKERS_AT_ONCE", 32)
    in_blocks = lmm.map_trans_best(null, G, windows=near, permutations=50, maf_threshold=0.05)
    assert found.marker[2] != 50
    for trait in range(8):
        seen = ~np.isnan(Y[:, trait])
        af = G[seen].mean(axis=0) / 2
        tested = np.minimum(af, 1 - af) >= 0.05
        tested[near[trait, 0] : near[trait, 1]] = False
        alone = lmm.map_trans_best(null, G[:, tested], permutations=50)
        assert found.num_var[trait] == tested.sum()
        assert found.marker[trait] == np.flatnonzero(tested)[alone.marker[trait]]
        for name in ("pval_nominal", "pval_perm", "beta_shape2", "pval_beta"):
            expected = getattr(alone, name)[trait]
            assert getattr(found, name)[trait] == pytest.approx(expected, rel=1e-3), name
            assert getattr(in_blocks, name)[trait] == pytest.approx(expected, rel=1e-3), name


class Reader:
    """Counts how often markers are read."""

    def __init__(self, values):
        self.values, self.shape, self.count = values, values.shape, 0

    def __getitem__(self, key):
        self.count += 1
        return self.values[key]

    def in_turn(self, markers, width):
        raise NotImplementedError("markers are read where they are needed")


def test_markers_are_read_once_for_all_patterns_of_missing_values(planted):
    K, Y, G, X, _ = planted
    Y = Y.copy()
    Y[np.arange(8), np.arange(8)] = np.nan
    once = Reader(G)
    found = lmm.map_trans_best(lmm.NullModel(K, Y, X), once, permutations=50)
    assert once.count == 1
    assert found.marker[2] == 50
    once.count = 0
    lmm.permutation_threshold(lmm.NullModel(K, Y, X), once, permutations=50)
    assert once.count == 1


def test_a_kinship_for_each_chromosome_and_traits_without_a_fit(planted):
    K, Y, G, X, _ = planted
    Y = Y.copy()
    Y[:, 0] = 1.0
    chromosome = np.repeat([1, 2], 40)
    one = lmm.map_trans_best(lmm.NullModel(K, Y, X), G, permutations=50)
    both = lmm.map_trans_best(
        lmm.NullModel({1: K, 2: K}, Y, X), G, permutations=50, chromosome=chromosome
    )
    np.testing.assert_allclose(one.pval_beta, both.pval_beta, rtol=1e-6)
    np.testing.assert_array_equal(one.num_var, both.num_var)
    assert one.marker[0] == -1
    assert one.reasons[0]
    assert not any(one.reasons[1:])
