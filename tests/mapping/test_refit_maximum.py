"""What is known of a pair's likelihood without a search."""

from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping import refit
from lmmlite_jax.mapping.refit_maximum import _no_turn_beyond, range_below_positive
from lmmlite_jax.model.maximum import even_grid
from lmmlite_jax.model.precision import double_precision, in_float64
from lmmlite_jax.model.skeleton import skeleton

N, ZEROS, AT = 40, 6, 1 / (1 + 1e-5)


def terms_of_pairs(K, Y, G, X, test):
    """Terms of all pairs, as a scan gives them to the search."""
    method = {"variance": "refit", "test": test}

    def outside_of_a_trace(markers, traits, tol, *, how):
        trait, marker = jnp.divmod(jnp.arange(len(traits.values) * markers.values.shape[1]), 16)
        tol = jnp.asarray(tol)
        fit = refit.refit_pairs.__wrapped__(markers, traits, marker, trait, tol, how=how)
        return jax.tree.map(lambda x: x.reshape(-1, 16).T, fit)

    with (
        patch.object(refit, "any_maximum", wraps=refit.any_maximum) as search,
        patch("lmmlite_jax.mapping.statistics.refit_block", outside_of_a_trace),
        patch("lmmlite_jax.mapping.statistics.FEW_PAIRS", 0),
    ):
        lmm.scan(lmm.NullModel(K, Y, X, reml=test == "wald"), G, **method)
    (call,) = search.call_args_list
    return call.args[0]


@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_where_it_says_so_the_slope_keeps_its_sign_up_to_heritability_one(test):
    rng = np.random.default_rng(5)
    K = random_kinship(rng, N, N - ZEROS)
    values, vectors = np.linalg.eigh(K)
    Y = np.column_stack([with_variance(rng, K, hsq, 4) for hsq in (0.0, 0.5, 0.999, 1.0)])
    G = rng.binomial(2, 0.3, (N, 12)).astype(float)
    G[:, 9] = vectors[:, ZEROS:] @ rng.standard_normal(N - ZEROS)  # nothing in the null space
    G[:, 10] = vectors[:, 0]  # nothing but that
    Y[:, 4] = Y[:, 12] + 2 * G[:, 10]
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    terms = terms_of_pairs(K, Y, G, X, test)
    with double_precision():
        sure = np.asarray(_no_turn_beyond(terms, jnp.asarray(AT))).reshape(-1, 16)
    sure = sure[: Y.shape[1], : G.shape[1]]

    # The sums, and d log|V| / d log δ, of the eigenvalues themselves.
    complement = np.linalg.qr(X, mode="complete")[0][:, X.shape[1] :]
    spectrum, rotation = np.linalg.eigh(complement.T @ K @ complement)
    y, g = (rotation.T @ complement.T @ one for one in (Y, G))
    spectrum[spectrum < 1e-10] = 0
    values = np.where(values < 1e-10, 0, values) if test == "lrt" else spectrum
    delta = np.geomspace(1e-16, (1 - AT) / AT, 200)[:, None]
    weight, change = 1 / (spectrum + delta), -delta / (spectrum + delta) ** 2
    a, a1, d, d1 = (w @ one**2 for one in (y, g) for w in (weight, change))
    b, b1 = (np.einsum("di,it,ij->dtj", w, y, g) for w in (weight, change))
    effect = b / d[:, None]
    rss = a[:, :, None] - b * effect
    fall = a1[:, :, None] - 2 * effect * b1 + effect**2 * d1[:, None]
    restricted = d1 / d if test == "wald" else np.zeros_like(d)
    of_determinant = np.sum(delta / (values + delta), axis=1)[:, None] + restricted
    dof = N - 3 if test == "wald" else N
    slope = of_determinant[:, None] + dof * fall / rss
    assert np.all((slope < 0).all(axis=0)[sure])
    # Traits of h² = 1 have nothing in the null space, or nothing that the marker does not explain.
    expected = np.broadcast_to(np.arange(16)[:, None] < 12, sure.shape).copy()
    expected[4, 10] = False
    np.testing.assert_array_equal(sure, expected)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_maximum_beside_one_at_zero_or_one_is_not_missed(scale):
    """Traits of little or much heritability; likelihoods by dense matrices on a fine grid.

    In units in which all eigenvalues of K are above those of the residuals as well.
    """
    rng = np.random.default_rng(8)
    n, T, M = 36, 600, 40
    vectors = np.linalg.qr(rng.standard_normal((n, n)))[0]
    K = (vectors * np.geomspace(0.02, 20, n)) @ vectors.T
    X = np.ones((n, 1))
    Y = np.column_stack([with_variance(rng, K, hsq, T // 4) for hsq in (0.0, 0.03, 0.97, 1.0)])
    G = rng.binomial(2, 0.3, (n, M)).astype(float)
    K *= scale
    found = np.asarray(lmm.scan(lmm.NullModel(K, Y, X), G, variance="refit").hsq)
    grid = np.unique(np.concatenate([[0, 1], 1 / (1 + scale * np.geomspace(1e-5, 1e4, 400))]))

    for own, g in zip(found, G.T, strict=True):
        complement = np.linalg.qr(np.column_stack([X, g]), mode="complete")[0][:, 2:]
        spectrum, rotation = np.linalg.eigh(complement.T @ K @ complement)
        squares = (rotation.T @ complement.T @ Y) ** 2

        def loglik(hsq, squares=squares, spectrum=spectrum):  # (h, T or 1)
            variance = hsq[..., None] * spectrum + (1 - hsq[..., None])
            rss = np.sum(squares.T / variance, axis=-1)
            return -0.5 * (np.sum(np.log(variance), axis=-1) + (n - 2) * np.log(rss))

        highest = np.max([loglik(np.full(T, hsq)) for hsq in grid], axis=0)
        assert np.all(loglik(own) >= highest - 1e-9)


@pytest.mark.parametrize("n", [3, 178, 4000, 100_000])
def test_the_grid_ends_where_an_absorbed_null_space_leaves_no_turn(n):
    """One zero eigenvalue outweighs what the n others change below there."""
    assert 1.1 * (n + 1) / range_below_positive(n, restricted=False) < 1


@pytest.mark.parametrize("below", [None, 1e3])
@in_float64
def test_an_even_grid_goes_from_zero_to_one_and_is_looked_at_near_both(below):
    grid = even_grid(skeleton(np.geomspace(0.01, 3, 50)), 20, below)
    hsq = np.asarray(grid.hsq(np.arange(21)))
    assert np.all(np.diff(hsq) > 0)
    assert hsq[0] == 0
    assert hsq[-1] == pytest.approx(1, abs=1e-15 if below is None else 1e-4)
    first, last = np.split(grid.near_ends, 2)
    np.testing.assert_array_equal(first, [0.25, 0.5, 0.75])
    np.testing.assert_array_equal(last, [19.25, 19.5, 19.75])
