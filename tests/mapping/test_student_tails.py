"""Tails of Student's t for many pairs, beside those of F and of mpmath."""

import numpy as np
import pytest

from lmmlite_jax.mapping.polynomials import tail_at
from lmmlite_jax.mapping.student_tails import _LARGEST_Z, _NORMAL, OTHERS_AT_ONCE, log10p_t
from lmmlite_jax.mapping.tails import log10p_chi2, log10p_f
from lmmlite_jax.model.precision import in_float64


@in_float64
def test_a_tail_is_as_exact_as_that_of_f() -> None:
    """At every depth and with any degrees of freedom: where the polynomial ends, and beyond it."""
    rng = np.random.default_rng(1)
    pairs = 4 * OTHERS_AT_ONCE
    dof = np.exp(rng.uniform(np.log(1), np.log(1e5), pairs))
    dof[::7] = 20 + rng.uniform(-1e-6, 1e-6, dof[::7].size)
    w = 10.0 ** rng.uniform(-14, 2, pairs)
    w[::5] = 1 + rng.uniform(-1e-6, 1e-6, w[::5].size)
    ratio = np.expm1(w)
    expected = log10p_f(ratio, 1, dof)
    np.testing.assert_allclose(log10p_t(ratio, dof), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("others", [0, 5000])
@in_float64
def test_what_is_no_ratio_has_no_tail(others: int) -> None:
    ratio = np.concatenate([[0.0, np.inf, np.nan, -1.0, 0.5], np.full(others, 2.0)])
    dof = np.full(ratio.size, 50.0)
    dof[4] = np.nan
    found = np.asarray(log10p_t(ratio, dof))
    np.testing.assert_array_equal(found[:5], [0.0, np.inf, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(found[5:], log10p_f(2.0, 1, 50.0), rtol=1e-12)


@in_float64
def test_a_tail_has_the_digits_that_mpmath_gives() -> None:
    mp = pytest.importorskip("mpmath")
    rng = np.random.default_rng(2)
    dof, w = 20 / rng.uniform(0, 1, 200), rng.uniform(0, 1, 200) ** 2
    found = np.asarray(log10p_t(np.expm1(w), dof))
    with mp.workdps(40):
        for one, nu, log_ratio in zip(found, dof, w, strict=True):
            x, a = mp.exp(-mp.mpf(log_ratio)), mp.mpf(nu) / 2
            series = mp.hyp2f1(a + 0.5, 1, a + 1, x) / (a * mp.beta(a, 0.5))
            exact = -mp.log10(x**a * mp.sqrt(1 - x) * series)
            assert abs(one - exact) <= 1e-12 * exact + 1e-14, (nu, log_ratio)


@in_float64
def test_tails_of_a_normal_deviate_are_those_of_chi_squared() -> None:
    z = np.append(np.linspace(0, _LARGEST_Z, 2001), np.geomspace(1e-8, 1, 200))
    expected = log10p_chi2(z**2, 1)
    np.testing.assert_allclose(tail_at(_NORMAL, z), expected, rtol=1e-12, atol=1e-14)
