"""q-values against numbers printed by the R package qvalue 2.30.0."""

import numpy as np
import pytest
import scipy.stats

import lmmlite_jax as lmm
from lmmlite_jax.mapping.multiple_testing import null_proportion


def test_q_values_are_those_of_r():
    p = (np.arange(1, 1001) - 0.5) / 1000
    p[:300] **= 4
    qvalue, pi0 = lmm.q_values(p)
    assert pi0 == 1.0
    expected = [0.0000000001, 0.0009801495, 0.0268204495, 0.9983388704, 0.9991666667, 0.9995]
    np.testing.assert_allclose(qvalue[[0, 99, 299, 300, 599, 999]], expected, atol=6e-11)


def test_the_proportion_of_nulls_is_that_of_r():
    # R stops its search for a spline of 3 degrees of freedom some 1e-5 of the penalty early.
    p = ((np.arange(1, 501) - 0.5) / 500) ** 1.7
    assert null_proportion(p) == pytest.approx(0.5916840197, rel=2e-5)
    assert null_proportion(p, 0.6) == pytest.approx(np.mean(p >= 0.6) / 0.4)


def test_missing_p_values_stay_missing_and_do_not_count():
    p = np.linspace(0.001, 1, 200)
    with_gaps = np.insert(p, [0, 50], np.nan)
    qvalue, pi0 = lmm.q_values(with_gaps)
    assert pi0 == lmm.q_values(p).pi0
    np.testing.assert_array_equal(qvalue[np.isfinite(with_gaps)], lmm.q_values(p).qvalue)
    assert np.isnan(qvalue[[0, 51]]).all()


def test_a_given_proportion_scales_benjamini_and_hochberg():
    p = np.array([0.01, 0.02, 0.5])
    np.testing.assert_allclose(lmm.q_values(p, pi0=1).qvalue, [0.03, 0.03, 0.5])
    np.testing.assert_allclose(lmm.q_values(p, pi0=0.5).qvalue, [0.015, 0.015, 0.25])
    many = np.repeat(np.random.default_rng(1).beta(0.4, 1, 300), 2)  # every one is tied
    adjusted = scipy.stats.false_discovery_control(many)
    np.testing.assert_allclose(lmm.q_values(many, pi0=1).qvalue, adjusted, rtol=1e-12)


def test_thresholds_are_where_the_beta_law_reaches_the_limit():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.uniform(0, 1e-4, 50), rng.uniform(size=200)])
    shape1, shape2 = rng.uniform(0.9, 1.1, 250), rng.uniform(10, 200, 250)
    found = lmm.nominal_thresholds(p, shape1, shape2, fdr=0.1)
    qvalue = lmm.q_values(p).qvalue
    limit = (p[qvalue <= 0.1].max() + p[qvalue > 0.1].min()) / 2
    np.testing.assert_allclose(scipy.stats.beta.cdf(found, shape1, shape2), limit, rtol=1e-9)


def test_without_a_significant_gene_there_is_no_threshold():
    p = np.linspace(0.01, 1, 100)
    assert np.isnan(lmm.nominal_thresholds(p, np.ones(100), np.ones(100))).all()


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.1, 1.5], "between 0 and 1, got 1.5"),
        ([0.1, 0.2], "cannot be estimated from 2 p-values"),
        ([[0.1]], r"must be of shape \(m,\)"),
    ],
)
def test_p_values_that_cannot_be_used_are_refused(p, message):
    with pytest.raises(ValueError, match=message):
        lmm.q_values(p)
