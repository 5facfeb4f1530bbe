"""The beta approximation against direct likelihoods, and on laws that are known."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from lmmlite_jax.mapping.cis.beta_approximation import beta_approximation


def largest(seed, m=6, P=500, tests=20, df=80):
    """Largest of some independent shares, each of one degree of freedom against df."""
    return np.random.default_rng(seed).beta(0.5, df / 2, (m, P, tests)).max(axis=2)


def pvalues(share, df):
    return 2 * scipy.stats.t.sf(np.sqrt(df * share / (1 - share)), df)


@pytest.mark.parametrize("tests", [1, 20])
def test_the_fit_is_that_of_fastqtl(tests):
    share = largest(1, tests=tests)
    observed = np.linspace(0.05, 0.5, 6)
    found = beta_approximation(share, observed, 90.0)
    for t in range(6):
        p = pvalues(share[t], found.true_df[t])
        mean, variance = p.mean(), p.var()
        # The first shape by moments is 1 at the fitted degrees of freedom.
        assert mean * (mean * (1 - mean) / variance - 1) == pytest.approx(1, rel=1e-7)
        shapes = scipy.optimize.minimize(
            lambda s, p=p: -scipy.stats.beta.logpdf(p, *s).sum(),
            [1, tests],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-9},
        ).x
        # To what a simplex resolves of a flat maximum: a square root of rounding.
        assert found.beta_shape1[t] == pytest.approx(shapes[0], rel=1e-6)
        assert found.beta_shape2[t] == pytest.approx(shapes[1], rel=1e-6)
        nominal = pvalues(observed[t], found.true_df[t])
        assert found.pval_true_df[t] == pytest.approx(nominal, rel=1e-8)
        expected = scipy.stats.beta.cdf(nominal, *shapes)
        assert found.pval_beta[t] == pytest.approx(expected, rel=2e-5)
        assert found.pval_perm[t] == (np.sum(share[t] >= observed[t]) + 1) / 501


def test_known_laws_are_found():
    found = beta_approximation(largest(2, m=20, P=4000), np.full(20, 0.2), 200.0)
    # Means of 20 estimates whose standard errors are below 0.03, 0.8 and 4.
    assert found.beta_shape1.mean() == pytest.approx(1, abs=0.03)
    assert found.beta_shape2.mean() == pytest.approx(20, abs=0.8)
    assert found.true_df.mean() == pytest.approx(80, abs=4)


def test_where_the_search_starts_does_not_matter():
    share = largest(3)
    low, high = (beta_approximation(share, np.full(6, 0.3), df) for df in (5.0, 2000.0))
    np.testing.assert_allclose(low.true_df, high.true_df, rtol=1e-7)
    np.testing.assert_allclose(low.pval_beta, high.pval_beta, rtol=1e-7)


def test_a_gene_without_a_test_leaves_the_others_alone():
    share, observed = largest(4), np.full(6, 0.3)
    alone = beta_approximation(share, observed, 90.0)
    share[2], observed[2] = 0.0, np.nan
    found = beta_approximation(share, observed, 90.0)
    rest = np.arange(6) != 2
    for values, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(values[rest], expected[rest], rtol=1e-9)
        if values is not found.true_df:
            assert np.isnan(values[2])


def test_too_few_permutations_are_refused():
    with pytest.raises(ValueError, match="permutations must be at least 20 for a beta"):
        beta_approximation(largest(5, P=10), np.full(6, 0.3), 90.0)
