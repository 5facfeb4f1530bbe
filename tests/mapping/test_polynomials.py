"""Polynomials beside NumPy's, and a tail beside SciPy's."""

import numpy as np
import pytest
from scipy.stats import norm

from lmmlite_jax.mapping.polynomials import fitted_tail, polynomial, tail_at
from lmmlite_jax.model.precision import in_float64


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 8, 11])
@in_float64
def test_a_polynomial_has_the_value_that_numpy_gives(terms: int) -> None:
    coefficients, x = np.arange(1.0, terms + 1), np.linspace(-1.5, 1.5, 31)
    expected = np.polynomial.polynomial.polyval(x, coefficients)
    found = np.broadcast_to(polynomial(coefficients, x), x.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@in_float64
def test_a_tail_is_known_between_the_points_that_it_was_fitted_at() -> None:
    def both_sides(z: np.ndarray) -> np.ndarray:
        return -(norm.logsf(z) + np.log(2)) / np.log(10)

    tail = fitted_tail(both_sides, largest=30.0, bend=8.0, terms=24)
    z = np.concatenate([np.geomspace(1e-3, 30, 500), [30.0]])
    np.testing.assert_allclose(tail_at(tail, z), both_sides(z), rtol=1e-11)
    assert float(tail_at(tail, np.zeros(1))[0]) == 0
