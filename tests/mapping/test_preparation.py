"""Phenotypes by their ranks, and hidden factors of them."""

import numpy as np
import pytest
import scipy.stats

import lmmlite_jax as lmm


def test_quantiles_are_those_of_ranks_among_the_values_observed():
    rng = np.random.default_rng(1)
    Y = np.exp(rng.standard_normal((30, 4)))
    Y[[3, 8], 1] = np.nan
    Y[:5, 2] = Y[0, 2]
    found = lmm.inverse_normal(Y)
    for values, quantiles in zip(Y.T, found.T, strict=True):
        seen = ~np.isnan(values)
        ranks = scipy.stats.rankdata(values[seen])
        expected = scipy.stats.norm.ppf(ranks / (seen.sum() + 1))
        np.testing.assert_allclose(quantiles[seen], expected)
        assert np.isnan(quantiles[~seen]).all()


def test_components_are_singular_vectors_of_what_covariates_leave():
    rng = np.random.default_rng(2)
    n, m = 40, 25
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    Y = rng.standard_normal((n, m)) * rng.uniform(1, 1e6, m) + 1e3 * X[:, 1:]
    residuals = Y - X @ np.linalg.lstsq(X, Y)[0]
    vectors, values, _ = np.linalg.svd(residuals / residuals.std(axis=0))
    found = lmm.phenotype_components(Y, 3, X)
    inner = vectors[:, :3].T @ found.values / np.sqrt(n)
    np.testing.assert_allclose(np.abs(inner), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.share, (values**2 / np.sum(values**2))[:3])
    np.testing.assert_allclose(X.T @ found.values, 0, atol=1e-9)
    np.testing.assert_allclose(found.values.var(axis=0), 1)


def test_traits_that_are_missing_or_constant_do_not_spoil_the_others():
    rng = np.random.default_rng(3)
    hidden = rng.standard_normal(60)
    Y = np.outer(hidden, rng.standard_normal(100)) + 0.5 * rng.standard_normal((60, 100))
    Y[rng.random(Y.shape) < 0.1] = np.nan
    Y[:, 7], Y[:, 8] = 5.0, np.nan
    found = lmm.phenotype_components(1e3 + Y, 1)
    assert abs(np.corrcoef(found.values[:, 0], hidden)[0, 1]) > 0.99


def test_what_cannot_be_prepared_is_refused():
    with pytest.raises(ValueError, match=r"Y must be of shape \(n, m\), got \(3,\)"):
        lmm.inverse_normal(np.ones(3))
    with pytest.raises(ValueError, match="1 to 4 components of 4 traits of 30 individuals"):
        lmm.phenotype_components(np.ones((30, 4)), 5)
    with pytest.raises(ValueError, match=r"X must be of shape \(30, p\), got \(29, 1\)"):
        lmm.phenotype_components(np.ones((30, 4)), 2, np.ones((29, 1)))


def test_factors_of_libraries_are_those_of_rnanorm():
    """Version 2.2.0, ``TMM().fit(counts).get_norm_factors(counts)``, which is held to edgeR."""
    rng = np.random.default_rng(7)
    mean = np.exp(rng.normal(3, 2, 200))
    spread = rng.uniform(0.3, 3, (8, 1)) * np.exp(rng.normal(0, 0.4, (8, 200)))
    counts = rng.poisson(mean * spread)
    counts[3, :5] *= 50  # a few genes take the reads of a library
    expected = [
        *(1.122459604190572, 1.079217908105384, 1.183337426016874, 0.80503607553198),
        *(1.0943871853443607, 0.8866873450917457, 0.9934537854940877, 0.8988909651882723),
    ]
    np.testing.assert_allclose(lmm.tmm_factors(counts), expected, rtol=1e-12)
    tied = np.vstack([np.full(20, 100), np.repeat([100, 300], 10)])
    np.testing.assert_array_equal(lmm.tmm_factors(tied), [1, 1])  # every gene is trimmed
    with pytest.raises(ValueError, match="counts of individual 2 are all zero"):
        lmm.tmm_factors(counts * (np.arange(8) != 2)[:, None])
    with pytest.raises(ValueError, match="missing or negative"):
        lmm.tmm_factors(-counts)
    with pytest.raises(ValueError, match=r"counts must be of shape \(n, m\)"):
        lmm.tmm_factors(counts[0])
