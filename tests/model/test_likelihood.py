import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import centred, dense_effects, dense_loglik, random_kinship, with_variance

import lmmlite_jax as lmm


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    K = random_kinship(rng, 40)
    X = np.column_stack([np.ones(40), rng.standard_normal((40, 2))])
    return K, with_variance(rng, K, 0.5, 4) + 3, X


@pytest.mark.parametrize("reml", [True, False])
def test_log_likelihood_is_that_of_the_dense_model(problem, reml):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y, X)
    hsq = np.array([0, 1e-4, 0.3, 0.9, 1])
    expected = [[dense_loglik(h, K, y, X, reml) for y in Y.T] for h in hsq]
    ll = lmm.calc_ll(hsq, rot.Kva, rot.y, rot.X, reml=reml)
    np.testing.assert_allclose(np.asarray(ll), expected, rtol=1e-11)


def test_solution_is_generalised_least_squares(problem):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y, X)
    solution = lmm.get_ml_soln(0.7, rot.Kva, rot.y, rot.X)
    for j, y in enumerate(Y.T):
        beta, sigmasq = dense_effects(0.7, K, y, X)
        np.testing.assert_allclose(np.asarray(solution.beta)[:, j], beta, rtol=1e-10)
        np.testing.assert_allclose(np.asarray(solution.sigmasq)[j], sigmasq, rtol=1e-10)
    V = 0.7 * K + 0.3 * np.eye(40)
    expected = np.linalg.slogdet(X.T @ np.linalg.solve(V, X))[1]
    np.testing.assert_allclose(float(solution.logdet_XSX), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("hsq", "traits", "shape"),
    [(0.5, 1, ()), ([0.1, 0.2], 1, (2,)), (0.5, 4, (4,)), (np.zeros((2, 3)), 4, (2, 3, 4))],
)
def test_shape_is_that_of_hsq_and_then_of_the_traits(problem, hsq, traits, shape):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y[:, 0] if traits == 1 else Y, X)
    assert lmm.calc_ll(hsq, rot.Kva, rot.y, rot.X).shape == shape
    solution = lmm.get_ml_soln(hsq, rot.Kva, rot.y, rot.X)
    trait_shape = () if traits == 1 else (4,)
    assert solution.beta.shape == (*np.shape(hsq), 3, *trait_shape)
    assert solution.sigmasq.shape == shape
    assert solution.logdet_XSX.shape == np.shape(hsq)


class TestSingularKinshipAtOne:
    """The limit h → 1, against the dense model at 1 - 1e-9."""

    @pytest.mark.parametrize("reml", [True, False])
    def test_a_component_in_the_null_space_is_impossible(self, reml):
        rng = np.random.default_rng(0)
        K = random_kinship(rng, 30, rank=10)
        rot = lmm.eigen_rotation(K, rng.standard_normal(30))
        assert float(lmm.calc_ll(1.0, rot.Kva, rot.y, rot.X, reml=reml)) == -np.inf
        assert float(lmm.get_ml_soln(1.0, rot.Kva, rot.y, rot.X).rss) == np.inf

    def test_restricted_likelihood_of_a_centred_kinship_is_finite(self):
        rng = np.random.default_rng(1)
        K = centred(random_kinship(rng, 30))
        X = np.column_stack([np.ones(30), rng.standard_normal(30)])
        y = rng.standard_normal(30) + 5
        rot = lmm.eigen_rotation(K, y, X)
        limit = lmm.calc_ll(1.0, rot.Kva, rot.y, rot.X)
        assert float(limit) == pytest.approx(dense_loglik(1 - 1e-9, K, y, X), rel=1e-6)
        beta, sigmasq = dense_effects(1 - 1e-9, K, y, X)
        solution = lmm.get_ml_soln(1.0, rot.Kva, rot.y, rot.X)
        np.testing.assert_allclose(np.asarray(solution.beta), beta, rtol=1e-5)
        assert float(solution.sigmasq) == pytest.approx(sigmasq, rel=1e-5)

    def test_full_likelihood_of_a_centred_kinship_has_no_bound(self):
        rng = np.random.default_rng(1)
        K = centred(random_kinship(rng, 30))
        rot = lmm.eigen_rotation(K, rng.standard_normal(30))
        assert float(lmm.calc_ll(1.0, rot.Kva, rot.y, rot.X, reml=False)) == np.inf

    def test_likelihood_of_a_trait_in_the_range_of_k_has_no_bound(self):
        rng = np.random.default_rng(2)
        K = random_kinship(rng, 30, rank=10)
        rot = lmm.eigen_rotation(K, K @ rng.standard_normal(30) + 2)
        assert float(lmm.calc_ll(1.0, rot.Kva, rot.y, rot.X)) == np.inf


def test_under_jit_vmap_and_grad(problem):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y, X)
    hsq = np.linspace(0.1, 0.9, 5)
    with jax.enable_x64(True):
        plain = np.asarray(lmm.calc_ll(hsq, rot.Kva, rot.y, rot.X))
        jitted = jax.jit(lmm.calc_ll)(hsq, rot.Kva, rot.y, rot.X)
        np.testing.assert_allclose(np.asarray(jitted), plain, rtol=1e-13)
        one_by_one = jax.vmap(lambda y: lmm.calc_ll(hsq, rot.Kva, y, rot.X), 1, 1)(rot.y)
        np.testing.assert_allclose(np.asarray(one_by_one), plain, rtol=1e-13)
        slope = jax.grad(lambda h: lmm.calc_ll(h, rot.Kva, rot.y[:, 0], rot.X))(0.4)
        step = 1e-5
        both = lmm.calc_ll(np.array([0.4 - step, 0.4 + step]), rot.Kva, rot.y[:, 0], rot.X)
        assert float(slope) == pytest.approx(float(both[1] - both[0]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("hsq", [-0.1, 1.5, np.nan])
def test_hsq_outside_its_range_is_refused(problem, hsq):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y, X)
    with pytest.raises(ValueError, match=r"hsq must lie in \[0, 1\], found"):
        lmm.calc_ll([0.5, hsq], rot.Kva, rot.y, rot.X)


def test_hsq_outside_its_range_is_nan_where_it_is_traced(problem):
    K, Y, X = problem
    rot = lmm.eigen_rotation(K, Y, X)
    ll = jax.jit(lambda h: lmm.calc_ll(h, rot.Kva, rot.y, rot.X))(jnp.array([0.5, 1.5]))
    assert np.isfinite(np.asarray(ll)[0]).all()
    assert np.isnan(np.asarray(ll)[1]).all()


def test_as_many_covariates_as_individuals_are_refused():
    with pytest.raises(ValueError, match="3 columns for 3 individuals"):
        lmm.calc_ll(0.5, np.ones(3), np.ones(3), np.eye(3))
