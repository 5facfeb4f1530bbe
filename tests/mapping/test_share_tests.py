"""Tests of shares of variance: the fitted law beside the law itself."""

import numpy as np
import pytest

from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.share_law import share_law
from lmmlite_jax.mapping.share_tests import share_tests, share_tests_by_law
from lmmlite_jax.model.precision import in_float64


def method(test: str, columns: int, *, asymptotic: bool = False) -> Method:
    return Method("null", test, columns, "float64", 1e-8, asymptotic)


@pytest.mark.parametrize(
    ("dof", "n", "how"),
    [
        (2.0, 5.0, method("wald", 1)),
        (9.0, 12.0, method("wald", 1)),
        (254.0, 900.0, method("wald", 1)),
        (2001.0, 2004.0, method("wald", 1)),
        (2002.0, 2005.0, method("wald", 1)),
        (254.0, 257.0, method("wald", 8)),
        (1500.0, 1503.0, method("wald", 8)),
        (496.0, 499.0, method("lrt", 1, asymptotic=True)),
        (5.0, 2000.0, method("lrt", 1, asymptotic=True)),
        (300.0, 10_000.0, method("lrt", 1, asymptotic=True)),
        (496.0, 499.0, method("score", 8, asymptotic=True)),
        (50.0, 5000.0, method("score", 1, asymptotic=True)),
    ],
    ids=str,
)
@in_float64
def test_a_fitted_pvalue_is_as_exact_as_the_law(dof: float, n: float, how: Method) -> None:
    """At every depth: shares down to 1e-14, and 1 less as little."""
    small = np.concatenate([np.geomspace(1e-14, 0.5, 4000), 1 - np.geomspace(1e-15, 0.5, 4000)])
    rank = np.arange(small.size) % how.columns + 1
    _, log10p = share_tests(small, rank, dof, n, how)
    law = share_law(dof, n, how)
    lod_found, found = map(np.asarray, share_tests_by_law(small, rank, law, how))
    np.testing.assert_allclose(lod_found, -n / 2 * np.log1p(-small) / np.log(10), rtol=1e-15)
    np.testing.assert_allclose(found, log10p, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("dof", "how"),
    [
        (50.0, method("wald", 1)),
        (3000.0, method("wald", 1)),
        (50.0, method("wald", 2)),
        (50.0, method("score", 1, asymptotic=True)),
    ],
    ids=str,
)
@in_float64
def test_what_is_not_a_share_has_no_test_and_all_that_there_is_has_the_laws(
    dof: float, how: Method
) -> None:
    share, rank = np.array([np.nan, 0.3, 0.0, 1.0, 1.5]), np.array([1, 0, 1, 1, 1])
    law = share_law(dof, dof + 3, how)
    lod, log10p = map(np.asarray, share_tests_by_law(share, rank, law, how))
    most = np.asarray(share_tests(share, rank, dof, dof + 3, how)[1])[3]
    assert np.isinf(most) == (how.test == "wald")
    np.testing.assert_allclose(log10p, [np.nan, np.nan, 0.0, most, most], rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(lod), [True, False, False, False, False])
