"""The grid on which likelihoods are searched, and the root of their slope between its points."""

import jax.numpy as jnp
import numpy as np
import pytest

import lmmlite_jax as lmm
from lmmlite_jax.model.maximum import (
    GRID_POINTS,
    LAST,
    _cubic_root,
    _places,
    even_grid,
    size_of_grid,
)
from lmmlite_jax.model.precision import in_float64
from lmmlite_jax.model.skeleton import interval_skeleton

N = 120
SPECTRUM = np.append(np.geomspace(0.02, 4, N - 1), 0.0)


def slope_in_log_delta(delta, spectrum, squares):
    """Slope of the log likelihood in log δ, δ = (1-h)/h, times 2: (deltas, traits)."""
    each = 1 / (spectrum + delta[:, None])
    rss = each @ squares
    falls = delta[:, None] * (each**2 @ squares) / rss
    return spectrum.size * falls - delta[:, None] * each.sum(axis=1, keepdims=True)


def test_likelihoods_turn_once_at_most_where_the_grid_is_coarse():
    rng = np.random.default_rng(1)
    size = size_of_grid(interval_skeleton(0.005, 4.0), np.array([N]), np.array([1.0]))
    assert size.below is not None
    delta = np.geomspace(SPECTRUM[0] / size.below, 1e-16, 2_000)
    turned = np.zeros(0, dtype=int)
    for shape in (0.02, 0.1, 0.5, 5.0):  # few eigenvectors to all of them
        squares = rng.gamma(shape, 1 / shape, (N, 2_000)) * 10.0 ** rng.uniform(-2, 2, (N, 1))
        squares[-1] = 10.0 ** rng.uniform(-15, 1, 2_000)
        rises = slope_in_log_delta(delta, SPECTRUM, squares) > 0
        turned = np.append(turned, np.sum(rises[1:] != rises[:-1], axis=0))
    assert turned.max() == 1
    assert np.mean(turned) > 0.2


@pytest.mark.parametrize("reml", [True, False])
def test_maxima_below_the_eigenvalues_are_found(reml):
    rng = np.random.default_rng(2)
    Y = np.sqrt(SPECTRUM)[:, None] * rng.standard_normal((N, 300))
    Y[-1] = 10.0 ** rng.uniform(-5, 0, 300)
    X = np.zeros((N, 1))
    X[0] = 1
    with pytest.warns(UserWarning, match="no intercept"):
        fit = lmm.fit_traits(np.diag(SPECTRUM), Y, X, reml=reml)
    delta = (1 - np.asarray(fit.hsq)) / np.asarray(fit.hsq)
    resolved = np.asarray(fit.hsq) < LAST
    assert np.sum(delta < 1e-6) > 50
    assert np.all(np.asarray(fit.status) == 0)
    spectrum, squares = (SPECTRUM[1:], Y[1:] ** 2) if reml else (SPECTRUM, Y**2)
    if not reml:
        squares[0] = 0
    for sign in (-1, 1):
        beside = delta[resolved] * (1 + sign * 1e-4)
        slopes = np.diag(slope_in_log_delta(beside, spectrum, squares[:, resolved]))
        assert np.all(np.sign(slopes) == -sign)


@in_float64
def test_grid_for_zero_eigenvalues_goes_on_to_one_in_fewer_points():
    skeleton = interval_skeleton(0.01, 4.0)
    size = size_of_grid(skeleton, np.array([N]), np.array([1.0]))
    grid = even_grid(skeleton, size.points + 1, size.below)
    places = _places(grid, with_zeros=True)
    hsq = np.asarray(grid.hsq(places))
    assert places.size < 0.6 * GRID_POINTS
    assert hsq[0] == 0
    assert np.all(np.diff(hsq) > 0)
    assert 1 - hsq[-1] < 1e-13


@in_float64
def test_cubic_has_the_root_of_an_even_slope():
    skeleton = interval_skeleton(0.01, 4.0)
    size = size_of_grid(skeleton, np.array([N]), np.array([0.0]))
    grid = even_grid(skeleton, size.points + 1)
    places = _places(grid, with_zeros=False)
    roots = np.linspace(0.05, grid.cells - 0.05, 400)
    along = np.sin(0.3 * (roots - places[:, None]))
    slopes = along / np.asarray(grid.change(places))[:, None]
    cell = np.searchsorted(places, roots) - 1
    found = np.asarray(_cubic_root(grid, places, jnp.asarray(slopes), jnp.asarray(cell)))
    beside = np.asarray(grid.hsq(roots + 2e-3)) - np.asarray(grid.hsq(roots - 2e-3))
    assert np.all(np.abs(found - np.asarray(grid.hsq(roots))) < beside)
    rising = jnp.broadcast_to(1 / grid.change(places)[:, None], slopes.shape)
    assert np.all(np.isnan(np.asarray(_cubic_root(grid, places, rising, jnp.asarray(cell)))))
