"""Tails of F and χ² against mpmath, GEMMA and themselves."""

import math

import jax
import numpy as np
import pandas as pd
import pytest

from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f

TOLERANCE = 1e-11
"""Relative to -log10 p, or to 0.001 where that is smaller."""


@pytest.fixture(scope="module")
def mp():
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(50):
        yield mpmath


def exact_f(mp, ratio, df1, df2):
    a, b, r = mp.mpf(df1) / 2, mp.mpf(df2) / 2, mp.mpf(ratio)
    x, y = 1 / (1 + r), r / (1 + r)
    if df1 % 2 == 0:
        term = total = mp.mpf(1)
        for j in range(1, int(a)):
            term *= (b + j - 1) / j * y
            total += term
        return -(b * mp.log(x) + mp.log(total)) / mp.log(10)
    if b * y < a + 40:
        return -mp.log10(mp.betainc(b, a, 0, x, regularized=True))
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    log_sum = mp.log(mp.hyp2f1(a + b, 1, b + 1, x))
    return -(b * mp.log(x) + a * mp.log(y) - mp.log(b) - log_beta + log_sum) / mp.log(10)


def exact_chi2(mp, statistic, df):
    upper = mp.gammainc(mp.mpf(df) / 2, mp.mpf(statistic) / 2, mp.inf, regularized=True)
    return -mp.log10(upper)


def assert_exact(found, expected):
    expected = np.array([float(value) for value in expected])
    error = np.abs(np.asarray(found) - expected) / np.maximum(expected, 1e-3)
    worst = int(np.argmax(error))
    assert error[worst] < TOLERANCE, (worst, found[worst], expected[worst])


def ratios(rng, df1, df2):
    """From p near 1 to p near 1e-1000, as far as the largest number allows."""
    depth = np.exp(rng.uniform(np.log(1e-3), np.log(1000), np.shape(df2))) * np.log(10)
    return np.expm1(np.minimum((depth + df1 / 2) * 2 / df2, 700))


@pytest.mark.parametrize("df1", [1, 2, 7])
def test_f_at_any_depth(mp, df1):
    rng = np.random.default_rng(df1)
    df2 = np.concatenate([[1, 2, 3, 1e6], 10 ** rng.uniform(0, 6, 36)]).round()
    ratio = ratios(rng, 0 if df1 == 1 else df1, df2)
    expected = [exact_f(mp, r, df1, d) for r, d in zip(ratio, df2, strict=True)]
    assert_exact(log10p_f(ratio, df1, df2), expected)


def test_f_with_1_to_40_degrees_of_freedom_at_once(mp):
    rng = np.random.default_rng(3)
    df1, df2 = np.arange(1, 41), (10 ** rng.uniform(0, 6, 40)).round()
    ratio = ratios(rng, df1, df2)
    expected = [exact_f(mp, *each) for each in zip(ratio, df1, df2, strict=True)]
    assert_exact(log10p_f(ratio, df1, df2), expected)
    with jax.enable_x64(True):
        traced = jax.jit(log10p_f)(ratio, df1, df2)
    assert_exact(traced, expected)


@pytest.mark.parametrize("df1", [1, 2, 3, 8])
def test_f_where_sum_and_fraction_meet(mp, df1):
    df2 = np.array([1, 2, 5, 30, 500, 1e4, 1e6])[:, None]
    y = 3 / (df2 / 2 + 12) * np.array([0.98, 1 - 1e-9, 1 + 1e-9, 1.02])
    ratio = (y / (1 - y)).ravel()
    df2 = np.repeat(df2, 4)
    expected = [exact_f(mp, r, df1, d) for r, d in zip(ratio, df2, strict=True)]
    assert_exact(log10p_f(ratio, df1, df2), expected)


def test_chi2_at_any_depth(mp):
    rng = np.random.default_rng(4)
    df = rng.integers(1, 41, 60)
    statistic = np.exp(rng.uniform(np.log(1e-3), np.log(4600), 60)) + np.where(df > 5, df / 2, 0)
    statistic[:4] = 6 * np.array([0.98, 1 - 1e-9, 1 + 1e-9, 1.02])
    expected = [exact_chi2(mp, *each) for each in zip(statistic, df, strict=True)]
    assert_exact(log10p_chi2(statistic, df), expected)


def test_degrees_of_freedom_need_not_be_whole(mp):
    for ratio in (1e-3, 0.1, 2.0):
        assert_exact(log10p_f([ratio], 3.3, 7.7), [exact_f(mp, ratio, 3.3, 7.7)])
    for statistic in (0.1, 5.0, 80.0):
        assert_exact(log10p_chi2([statistic], 0.4), [exact_chi2(mp, statistic, 0.4)])


def test_hundreds_of_degrees_of_freedom(mp):
    assert_exact(
        log10p_f([1e-4, 0.01, 0.5], 3000, 1e6),
        [exact_f(mp, r, 3000, 1e6) for r in (1e-4, 0.01, 0.5)],
    )
    assert_exact(log10p_chi2([900.0, 5000.0], 1001), [exact_chi2(mp, q, 1001) for q in (900, 5000)])


def test_one_degree_of_freedom_as_in_closed_form():
    ratio = np.logspace(-6, 6, 25)
    cauchy = np.arctan2(1, np.sqrt(ratio)) * 2 / math.pi
    np.testing.assert_allclose(log10p_f(ratio, 1, 1), -np.log10(cauchy), rtol=1e-12)
    np.testing.assert_allclose(
        log10p_f(ratio, 2, 7), 3.5 * np.log1p(ratio) / math.log(10), rtol=1e-12
    )


def test_f_of_endless_data_is_chi2():
    statistic = np.array([0.1, 4.0, 40.0])
    for df in (1, 3, 4):
        np.testing.assert_allclose(
            log10p_f(statistic / 1e14, df, 1e14), log10p_chi2(statistic, df), rtol=1e-11
        )


def test_larger_statistics_have_smaller_p():
    ratio = np.logspace(-5, 1, 2001)
    for df1, df2 in ((1, 300), (7, 300), (1, 1e6)):
        assert np.all(np.diff(log10p_f(ratio, df1, df2)) >= 0)
    for df in (1, 2, 9):
        assert np.all(np.diff(log10p_chi2(1e3 * ratio, df)) >= 0)


@pytest.mark.parametrize("df", [1, 2, 7])
def test_ends_and_what_is_no_statistic(df):
    values = np.array([0.0, 5e-324, np.inf, np.nan, -1.0])
    for found in (log10p_f(values, df, 50), log10p_chi2(values, df)):
        np.testing.assert_array_equal(found, [0, found[1], np.inf, np.nan, np.nan])
        assert 0 <= found[1] < 1e-15
        assert not np.signbit(found[:2]).any()
    assert np.isfinite(log10p_f(1e308, df, 50))
    assert np.isfinite(log10p_chi2(1e308, df))


def test_degrees_of_freedom_that_are_none():
    assert np.isnan(log10p_f([1.0, 1.0, 1.0, 1.0], [0, np.nan, 1, 1], [5, 5, 0, np.nan])).all()
    assert np.isnan(log10p_chi2([1.0, 1.0, 1.0], [0, np.nan, -2])).all()
    with jax.enable_x64(True):
        traced = jax.jit(log10p_f)(np.ones(4), np.array([np.inf, np.nan, 0, 1]), 5.0)
    assert np.isnan(traced[:3]).all()
    assert np.isfinite(traced[3])


def test_shapes_broadcast():
    ratio = np.random.default_rng(5).exponential(0.01, (5, 3))
    df2 = np.array([100, 200, 300])
    both = log10p_f(ratio, 1, df2)
    assert both.shape == (5, 3)
    for t in range(3):
        np.testing.assert_allclose(both[:, t], log10p_f(ratio[:, t], 1, df2[t]), rtol=1e-13)
    assert np.shape(log10p_f(0.1, 1, 10)) == ()
    assert log10p_f(np.ones((0, 3)), 1, df2).shape == (0, 3)


def test_double_precision_whatever_the_global_setting():
    assert not jax.config.jax_enable_x64
    outside = log10p_f(0.3, 1, 100)
    assert isinstance(outside, np.ndarray)
    assert outside.dtype == np.float64
    with jax.enable_x64(True):
        assert float(jax.jit(lambda r: log10p_f(r, 1, 100))(0.3)) == pytest.approx(
            float(outside), rel=1e-14
        )
        many = jax.vmap(lambda r, d: log10p_f(r, 1, d))(np.array([0.3, 0.3]), np.array([100, 50]))
    np.testing.assert_allclose(many, log10p_f(0.3, 1, [100, 50]), rtol=1e-13)


def test_wald_p_values_that_gemma_prints(oracle_dir):
    table = pd.read_csv(oracle_dir / "synth500_gemma_lmm4.csv.gz")
    df2 = 500 - 2 - 1
    found = log10p_f((table["beta"] / table["se"]) ** 2 / df2, 1, df2)
    # beta, se and p have seven digits each.
    np.testing.assert_allclose(found, -np.log10(table["p_wald"]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ratio", [1e-3, 0.4, 30.0])
def test_derivatives_are_central_differences(ratio):
    step = 1e-5 * ratio
    for tail in (lambda r: log10p_f(r, 3, 57), lambda s: log10p_chi2(s, 2)):
        with jax.enable_x64(True):
            slope = jax.grad(tail)(ratio)
        numerical = (tail(ratio + step) - tail(ratio - step)) / (2 * step)
        assert float(slope) == pytest.approx(float(numerical), rel=1e-7)


def test_degrees_of_freedom_have_no_derivative():
    with pytest.raises(NotImplementedError, match="degrees of freedom"):
        jax.grad(log10p_f, argnums=2)(0.5, 1, 57.0)
