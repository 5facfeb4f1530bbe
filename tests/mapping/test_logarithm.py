"""The logarithm of scans beside NumPy's."""

import numpy as np

from lmmlite_jax.mapping.logarithm import log1p
from lmmlite_jax.model.precision import in_float64


@in_float64
def test_a_logarithm_is_as_exact_as_numpys() -> None:
    near = np.concatenate(
        [10.0 ** np.linspace(-18, 300, 2000), -(10.0 ** np.linspace(-18, 0, 999))]
    )
    x = np.concatenate([near, np.linspace(-0.9999, 3, 4001), [0.0, np.inf, -1.0, np.nan, -2.0]])
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_allclose(log1p(x), np.log1p(x), rtol=5e-16)
