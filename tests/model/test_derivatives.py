"""Derivatives through the likelihood and the estimated heritability, where eigenvalues repeat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_loglik, kinship_roots, with_variance
from jax.test_util import check_grads

import lmmlite_jax as lmm

N = 24
X = np.column_stack([np.ones(N), np.random.default_rng(8).standard_normal((N, 2))])

EPS = 1e-5
"""Step of central differences: cubic terms are of order 1e-10, rounding 1e-16 / 1e-5."""


KINSHIPS = kinship_roots(N)


@pytest.fixture(scope="module", autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


# Compiled once for all kinships of a test: they have the same shapes.
LOGLIK = {
    reml: jax.jit(lambda h, K, y, X, reml=reml: lmm.log_likelihood(h, K, y, X, reml))
    for reml in (True, False)
}
GRADIENT = {reml: jax.jit(jax.grad(f, argnums=(0, 1, 2, 3))) for reml, f in LOGLIK.items()}
HESSIAN = {
    reml: jax.jit(lambda a, v, g=g: jax.jvp(lambda *a: g(*a), a, v)[1])
    for reml, g in GRADIENT.items()
}


def trait(L, seed=0, hsq=0.5):
    rng = np.random.default_rng(seed)
    return with_variance(rng, L @ L.T, hsq, 1)[:, 0] + X @ np.array([3.0, -1.0, 0.5])


class TestLogLikelihood:
    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    @pytest.mark.parametrize("name", KINSHIPS)
    def test_value_is_that_of_the_dense_model(self, name, reml):
        K = KINSHIPS[name] @ KINSHIPS[name].T
        Y = np.column_stack([trait(KINSHIPS[name], seed) for seed in range(2)])
        hsq = [0.0, 0.3, 0.95]
        expected = [[dense_loglik(h, K, y, X, reml) for y in Y.T] for h in hsq]
        np.testing.assert_allclose(lmm.log_likelihood(hsq, K, Y, X, reml), expected, rtol=1e-11)
        rot = lmm.eigen_rotation(K, Y, X)
        np.testing.assert_allclose(
            lmm.log_likelihood(0.7, K, Y, X, reml),
            lmm.calc_ll(0.7, rot.Kva, rot.y, rot.X, reml),
            rtol=1e-11,
        )

    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    @pytest.mark.parametrize("name", ["random", "families", "rank 5"])
    def test_first_and_second_derivatives_forward_and_reverse(self, name, reml):
        L = KINSHIPS[name]
        arguments = (0.6, L @ L.T, trait(L), X)
        check_grads(
            LOGLIK[reml], arguments, order=2, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6, eps=EPS
        )

    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    @pytest.mark.parametrize("name", KINSHIPS)
    def test_first_and_second_derivatives_are_central_differences(self, name, reml):
        L = KINSHIPS[name]
        rng = np.random.default_rng(11)
        at = (0.6, L @ L.T, trait(L), X)
        along = tuple(rng.standard_normal(np.shape(a)) / N for a in at)
        ahead, behind = (
            tuple(np.asarray(a + sign * EPS * v) for a, v in zip(at, along, strict=True))
            for sign in (1, -1)
        )
        slope = sum(np.sum(g * v) for g, v in zip(GRADIENT[reml](*at), along, strict=True))
        difference = (LOGLIK[reml](*ahead) - LOGLIK[reml](*behind)) / (2 * EPS)
        assert float(slope) == pytest.approx(float(difference), rel=1e-6)
        curvature = HESSIAN[reml](at, along)
        for of_jax, plus, minus in zip(
            curvature, GRADIENT[reml](*ahead), GRADIENT[reml](*behind), strict=True
        ):
            numerical = (np.asarray(plus) - np.asarray(minus)) / (2 * EPS)
            scale = np.abs(numerical).max()
            np.testing.assert_allclose(of_jax, numerical, rtol=1e-6, atol=1e-6 * scale)

    def test_derivative_in_the_kinship_is_the_closed_form(self):
        L = KINSHIPS["twins"]
        K, y, h = L @ L.T, trait(L), 0.6
        inverse = np.linalg.inv(h * K + (1 - h) * np.eye(N))
        P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
        r = P @ y
        expected = -0.5 * h * (P - (N - 3) * np.outer(r, r) / (y @ r))
        np.testing.assert_allclose(GRADIENT[True](h, K, y, X)[1], expected, rtol=1e-9, atol=1e-10)

    def test_under_vmap_over_any_argument(self):
        L = KINSHIPS["strains"]
        K, Y = L @ L.T, np.column_stack([trait(L, s) for s in range(3)])
        gradient = jax.grad(lmm.log_likelihood, argnums=1)
        batched = jax.jit(jax.vmap(gradient, (0, None, 1, None)))(
            np.array([0.1, 0.5, 0.9]), K, Y, X
        )
        for h, y, found in zip((0.1, 0.5, 0.9), Y.T, batched, strict=True):
            np.testing.assert_allclose(found, GRADIENT[True](h, K, y, X)[1], rtol=1e-9, atol=1e-12)
        several = jax.jacrev(lambda K: lmm.log_likelihood([0.1, 0.5], K, Y, X))(K)
        assert several.shape == (2, 3, N, N)
        np.testing.assert_allclose(
            several[1, 2], GRADIENT[True](0.5, K, Y[:, 2], X)[1], rtol=1e-9, atol=1e-12
        )

    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    def test_in_single_precision_under_jaxs_default_setting(self, reml):
        """Gradients are rounded to float32 (6e-8 of the largest element), no more than that."""
        L = KINSHIPS["families"]
        at = (0.6, L @ L.T, trait(L), X)
        expected = GRADIENT[reml](*at)
        curvature = HESSIAN[reml](at, at)
        with jax.enable_x64(False):
            single = tuple(jnp.asarray(a, jnp.float32) for a in at)

            def loglik(*a):
                return lmm.log_likelihood(*a, reml)

            gradient = jax.jit(jax.grad(loglik, argnums=(0, 1, 2, 3)))
            found = gradient(*single)
            second = jax.jvp(gradient, single, single)[1]
            assert jax.jit(loglik)(*single).dtype == jnp.float32
        for one, other in ((found, expected), (second, curvature)):
            for single, double in zip(one, other, strict=True):
                assert single.dtype == np.float32
                scale = np.abs(double).max()
                np.testing.assert_allclose(single, double, atol=3e-5 * scale, rtol=0)

    def test_float32_arguments_among_64_bit_types(self):
        L = KINSHIPS["families"]
        K, y = (np.asarray(a, np.float32) for a in (L @ L.T, trait(L)))
        gradient = jax.grad(lmm.log_likelihood, argnums=1)(0.6, jnp.asarray(K), y, X)
        assert gradient.dtype == np.float32
        expected = GRADIENT[True](0.6, K.astype(float), y.astype(float), X)[1]
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)

    def test_singular_variance_at_one_is_nan_and_so_is_its_derivative(self):
        L = KINSHIPS["rank 5"]
        K, y = L @ L.T, trait(L)
        assert np.isnan(lmm.log_likelihood(1.0, K, y, X))
        assert np.isnan(GRADIENT[True](1.0, K, y, X)[2]).all()

    def test_restricted_likelihood_of_a_centred_kinship_is_finite_at_one(self):
        L = KINSHIPS["centred"]
        K, y = L @ L.T, trait(L)
        rot = lmm.eigen_rotation(K, y, X)
        expected = float(lmm.calc_ll(1.0, rot.Kva, rot.y, rot.X))
        assert float(lmm.log_likelihood(1.0, K, y, X)) == pytest.approx(expected, rel=1e-9)
        assert all(np.isfinite(g).all() for g in GRADIENT[True](1.0, K, y, X))
        assert np.isnan(lmm.log_likelihood(1.0, K, y, X, reml=False))

    def test_a_trait_that_the_covariates_explain_is_nan_alone(self):
        L = KINSHIPS["families"]
        Y = np.column_stack([trait(L), X @ [1.0, 2.0, 3.0]])
        values = np.asarray(lmm.log_likelihood(0.5, L @ L.T, Y, X))
        np.testing.assert_array_equal(np.isnan(values), [False, True])

    def test_bad_input_is_refused(self):
        K, y = np.eye(4), np.arange(4.0)
        with pytest.raises(ValueError, match=r"hsq must lie in \[0, 1\], found 1.5"):
            lmm.log_likelihood(1.5, K, y)
        with pytest.raises(ValueError, match="smallest eigenvalue is -1"):
            lmm.log_likelihood(0.5, np.diag([1.0, 1, 1, -1]), y)
        with pytest.raises(ValueError, match="no positive eigenvalue"):
            lmm.log_likelihood(0.5, np.zeros((4, 4)), y)
        with pytest.raises(ValueError, match="4 columns for 4 individuals"):
            lmm.log_likelihood(0.5, K, y, np.eye(4))
        with pytest.raises(ValueError, match="y has 1 missing"):
            lmm.log_likelihood(0.5, K, [1, 2, np.nan, 3])
        assert np.isnan(jax.jit(lmm.log_likelihood)(1.5, K, y))


HSQ = {
    reml: jax.jit(lambda L, Y, X, reml=reml: lmm.heritability(L @ L.T, Y, X, reml))
    for reml in (True, False)
}
SLOPE = {reml: jax.jit(lambda a, v, f=f: jax.jvp(f, a, v)) for reml, f in HSQ.items()}
PULLBACK = {reml: jax.jit(lambda a, c, f=f: jax.vjp(f, *a)[1](c)) for reml, f in HSQ.items()}


def traits(L, m=15):
    rng = np.random.default_rng(21)
    hsq = np.resize([0.5, 0.5, 0.5, 0.0, 0.999], m)
    return with_variance(rng, L @ L.T, hsq, m) + X @ rng.standard_normal((3, m))


class TestHeritability:
    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    @pytest.mark.parametrize("name", [name for name in KINSHIPS if name != "identity"])
    def test_derivatives_at_interior_and_boundary_optima(self, name, reml):
        """Kinships change through their roots: in other directions some cease to be kinships."""
        L = KINSHIPS[name]
        if name == "centred" and not reml:
            L = L - np.outer(np.ones(N), L.mean(axis=0))
        at = (L, traits(L), X)
        hsq = np.asarray(lmm.heritability(L @ L.T, *at[1:], reml))
        rng = np.random.default_rng(13)
        along = tuple(rng.standard_normal(a.shape) / N for a in at)
        if name == "centred" and not reml:  # ML wants its null space to stay in the covariates'
            along = (along[0] - along[0].mean(axis=0), along[1], 0 * X)
        ahead, behind = (
            tuple(a + sign * EPS * v for a, v in zip(at, along, strict=True)) for sign in (1, -1)
        )
        value, slope = SLOPE[reml](at, along)
        np.testing.assert_allclose(value, hsq, atol=1e-9)
        plus, minus = (np.asarray(HSQ[reml](*beside)) for beside in (ahead, behind))
        # A trait that leaves or reaches the boundary within a step has no derivative.
        regular = ((plus == minus) == np.isin(hsq, [0, 1])) & np.isfinite(hsq)
        inside = regular & (hsq > 0) & (hsq < 1)
        assert regular.sum() >= 9
        assert inside.sum() >= 3
        assert (regular & ~inside).any()
        numerical = (plus - minus) / (2 * EPS)
        np.testing.assert_allclose(slope[regular], numerical[regular], rtol=1e-6, atol=1e-7)

        cotangent = rng.standard_normal(len(hsq))
        transposed = PULLBACK[reml](at, cotangent)
        both = sum(np.sum(g * v) for g, v in zip(transposed, along, strict=True))
        assert float(both) == pytest.approx(float(slope @ cotangent), rel=1e-10)

    def test_forward_and_reverse_by_jaxs_own_check(self):
        L = KINSHIPS["twins"]
        check_grads(
            HSQ[True],
            (L, traits(L), X),
            order=1,
            modes=("fwd", "rev"),
            rtol=1e-6,
            atol=1e-6,
            eps=EPS,
        )

    @pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
    def test_derivative_is_zero_at_an_active_boundary(self, reml):
        L = KINSHIPS["random"]
        Y = traits(L)
        hsq = np.asarray(HSQ[reml](L, Y, X))
        at_boundary = np.isin(hsq, [0, 1])
        assert {0.0, 1.0} <= set(hsq)
        for part in PULLBACK[reml]((L, Y, X), at_boundary.astype(float)):
            np.testing.assert_array_equal(part, 0)
        for part in PULLBACK[reml]((L, Y, X), np.where(at_boundary, 0.0, 1.0)):
            assert np.any(np.asarray(part) != 0)

    def test_gradient_is_that_of_two_fits_next_to_each_other(self):
        """Against `fit_traits`, which knows nothing of derivatives."""
        L = KINSHIPS["strains"]
        Y = traits(L)
        # In the range of K: what a step of 1e-5 adds to its null space, 1e-10, is no longer zero.
        along = L @ np.random.default_rng(2).standard_normal(L.shape) / N
        value, slope = SLOPE[True]((L, Y, X), (along, 0 * Y, 0 * X))
        inside = (value > 0.05) & (value < 0.95)
        assert inside.sum() >= 5
        ahead, behind = (L + sign * EPS * along for sign in (1, -1))
        plus, minus = (np.asarray(lmm.fit_traits(A @ A.T, Y, X).hsq) for A in (ahead, behind))
        numerical = (plus - minus) / (2 * EPS)
        np.testing.assert_allclose(slope[inside], numerical[inside], rtol=1e-6, atol=1e-6)

    def test_one_trait_and_vmap(self):
        L = KINSHIPS["families"]
        Y = traits(L)
        assert lmm.heritability(L @ L.T, Y[:, 0], X).shape == ()
        one_by_one = jax.vmap(jax.grad(HSQ[True], argnums=(0, 1, 2)), (None, 1, None))
        found = one_by_one(L, Y[:, :3], X)
        for j in range(3):
            expected = PULLBACK[True]((L, Y, X), np.eye(15)[j])
            np.testing.assert_allclose(found[0][j], expected[0], rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(found[1][j], expected[1][:, j], rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(found[2][j], expected[2], rtol=1e-7, atol=1e-9)

    def test_derivative_in_the_kinship_is_symmetric(self):
        L = KINSHIPS["families"]
        K, Y = L @ L.T, traits(L)
        of_kinship = jax.grad(lambda K: lmm.heritability(K, Y, X).sum())(K)
        np.testing.assert_allclose(of_kinship, of_kinship.T, atol=1e-12)
        through_root = PULLBACK[True]((L, Y, X), np.ones(15))[0]
        np.testing.assert_allclose(2 * of_kinship @ L, through_root, rtol=1e-9, atol=1e-9)

    def test_in_single_precision_under_jaxs_default_setting(self):
        L = KINSHIPS["families"]
        K, Y = L @ L.T, traits(L)
        expected = PULLBACK[True]((L, Y, X), np.ones(15))[0]
        with jax.enable_x64(False):
            gradient = jax.jit(jax.grad(lambda L: lmm.heritability(L @ L.T, Y, X).sum()))
            found = gradient(jnp.asarray(L, jnp.float32))
            assert lmm.heritability(K, Y, X).dtype == np.float64
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    def test_a_trait_without_a_fit_leaves_the_gradient_of_the_others_alone(self):
        L = KINSHIPS["families"]
        Y = traits(L)
        with_constant = np.column_stack([Y[:, :-1], np.ones(N)])
        hsq = np.asarray(HSQ[True](L, with_constant, X))
        np.testing.assert_array_equal(np.isnan(hsq), [False] * 14 + [True])
        found = PULLBACK[True]((L, with_constant, X), np.ones(15))[0]
        expected = PULLBACK[True]((L, Y, X), np.r_[np.ones(14), 0])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)

    def test_identity_kinship_has_no_heritability_and_no_derivative(self):
        L = np.eye(N)
        values, slope = SLOPE[True]((L, traits(L), X), (L, traits(L), X))
        assert np.isnan(values).all()
        np.testing.assert_array_equal(slope, 0)

    def test_second_derivatives_are_refused(self):
        L = KINSHIPS["families"]
        K, y = L @ L.T, traits(L, 1)[:, 0]
        with pytest.raises(NotImplementedError, match="first derivatives only"):
            jax.hessian(lambda y: lmm.heritability(K, y, X))(y)
