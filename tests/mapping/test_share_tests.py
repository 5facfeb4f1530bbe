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
    ("dof", "how"),
    [
        (2.0, method("wald", 1)),
        (9.0, method("wald", 1)),
        (254.0, method("wald", 1)),
        (2001.0, method("wald", 1)),
        (2002.0, method("wald", 1)),
        (254.0, method("wald", 8)),
        (1500.0, method("wald", 8)),
        (496.0, method("lrt", 1, asymptotic=True)),
        (1997.0, method("lrt", 1, asymptotic=True)),
        (496.0, method("score", 8, asymptotic=True)),
    ],
    ids=str,
)
@in_float64
def test_a_fitted_pvalue_is_as_exact_as_the_law(dof: float, how: Method) -> None:
    """At every depth: shares down to 1e-14, and 1 less as little."""
    small = np.concatenate([np.geomspace(1e-14, 0.5, 4000), 1 - np.geomspace(1e-15, 0.5, 4000)])
    rank = np.arange(small.size) % how.columns + 1
    n = dof + 3
    _, log10p = share_tests(small, rank, dof, n, how)
    law = share_law(dof, n, how)
    lod_found, found = map(np.asarray, share_tests_by_law(small, rank, law, how))
    np.testing.assert_allclose(lod_found, -n / 2 * np.log1p(-small) / np.log(10), rtol=1e-15)
    np.testing.assert_allclose(found, log10p, rtol=1e-12, atol=1e-14)


@in_float64
def test_what_is_not_a_share_has_no_test() -> None:
    how = method("wald", 1)
    share, rank = np.array([np.nan, 0.3, 0.0, 1.0, 1.5]), np.array([1, 0, 1, 1, 1])
    law = share_law(50.0, 53.0, how)
    lod, log10p = map(np.asarray, share_tests_by_law(share, rank, law, how))
    np.testing.assert_array_equal(log10p, [np.nan, np.nan, 0.0, np.inf, np.inf])
    np.testing.assert_array_equal(np.isnan(lod), [True, False, False, False, False])
