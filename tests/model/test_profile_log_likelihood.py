"""Derivatives of the log likelihood of every trait at its own heritability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import kinship_roots, square_root, with_variance
from jax.sharding import AxisType, PartitionSpec

import lmmlite_jax as lmm

N, M = 24, 15
X = np.column_stack([np.ones(N), np.random.default_rng(8).standard_normal((N, 2))])

EPS = 3e-4
"""Step of central differences: a skeleton leaves 1e-11 of a value."""

PLACES = np.sort(np.random.default_rng(3).uniform(0, 5, N))

KINSHIPS = {
    **{name: L for name, L in kinship_roots(N).items() if name != "identity"},
    "clones": np.repeat(np.eye(N // 3), 3, axis=0),
    "smooth": square_root(np.exp(-0.5 * (PLACES[:, None] - PLACES) ** 2)),
    "rank 1 and the identity": square_root(np.eye(N) + np.outer(PLACES, PLACES)),
}


@pytest.fixture(scope="module", autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def loglik(reml):
    """Through a root: in other directions some kinships cease to be kinships."""
    return lambda L, Y, X: lmm.profile_log_likelihood(L @ L.T, Y, X, reml)


def pullback(reml):
    return lambda at, cotangent: jax.vjp(loglik(reml), *at)[1](cotangent)


def slope(reml):
    return lambda at, along: jax.jvp(loglik(reml), at, along)


def hessian(reml):
    def along(at, direction, cotangent):
        return jax.jvp(lambda *at: pullback(reml)(at, cotangent), at, direction)[1]

    return along


BOTH = (True, False)
SLOPE, PULLBACK, HESSIAN = (
    {reml: jax.jit(of(reml)) for reml in BOTH} for of in (slope, pullback, hessian)
)


def traits(L):
    rng = np.random.default_rng(21)
    hsq = np.resize([0.5, 0.5, 0.5, 0.0, 0.999], M)
    return with_variance(rng, L @ L.T, hsq, M) + X @ rng.standard_normal((3, M))


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def difference(function, at, along):
    """Derivative of each output by central differences of two steps, extrapolated to none."""

    def of_step(size):
        ahead, behind = (
            function(tuple(a + sign * size * v for a, v in zip(at, along, strict=True)))
            for sign in (1, -1)
        )
        return jax.tree.map(
            lambda plus, minus: np.asarray(plus - minus) / (2 * size), ahead, behind
        )

    return jax.tree.map(lambda one, two: (4 * one - two) / 3, of_step(EPS), of_step(2 * EPS))


@pytest.mark.parametrize("reml", BOTH, ids=["REML", "ML"])
@pytest.mark.parametrize("name", KINSHIPS)
def test_first_and_second_derivatives(name, reml):
    L = KINSHIPS[name]
    rng = np.random.default_rng(13)
    at = (L, traits(L), X)
    along = tuple(rng.standard_normal(a.shape) / N for a in at)
    if name == "centred" and not reml:  # ML wants its null space to stay in the covariates'
        at = (L - L.mean(axis=0), *at[1:])
        along = (along[0] - along[0].mean(axis=0), along[1], 0 * X)
    value, slope = SLOPE[reml](at, along)
    fit = lmm.fit_traits(at[0] @ at[0].T, *at[1:], reml=reml)
    np.testing.assert_allclose(value, fit.loglik, rtol=1e-9)
    change, bend = difference(lambda at: SLOPE[reml](at, along), at, along)
    # A trait that leaves or reaches the boundary within a step has no second derivative.
    regular = np.isfinite(value) & np.isfinite(change)
    at_boundary = np.isin(fit.hsq, [0, 1])
    assert regular.sum() >= 10
    assert (regular & at_boundary).any()
    assert (regular & ~at_boundary).sum() >= 3
    close(slope[regular], change[regular], 1e-6)

    cotangent = np.where(regular, rng.standard_normal(M), 0)
    transposed = PULLBACK[reml](at, cotangent)
    both = sum(np.sum(g * v) for g, v in zip(transposed, along, strict=True))
    assert float(both) == pytest.approx(float(np.where(regular, slope, 0) @ cotangent), rel=1e-12)
    curvature = HESSIAN[reml](at, along, cotangent)
    numerical = difference(lambda at: PULLBACK[reml](at, cotangent), at, along)
    for found, expected in zip(curvature, numerical, strict=True):
        close(found, expected, 1e-5)
    twice = sum(np.sum(g * v) for g, v in zip(curvature, along, strict=True))
    assert float(twice) == pytest.approx(float(bend[regular] @ cotangent[regular]), rel=1e-5)


def test_gradient_in_the_kinship_is_the_partial_one_of_the_log_likelihood():
    """Against derivatives that are made otherwise; at ĥ² = 0 there is none in K."""
    L = KINSHIPS["twins"]
    K, Y = L @ L.T, traits(L)
    hsq = np.asarray(lmm.heritability(K, Y, X))
    (chosen,) = np.where((hsq > 0.1) & (hsq < 0.9))
    j = chosen[0]
    found = jax.grad(lambda K: lmm.profile_log_likelihood(K, Y, X)[j])(K)
    expected = jax.grad(lmm.log_likelihood, argnums=1)(hsq[j], K, Y[:, j], X)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    at_zero = np.flatnonzero(hsq == 0)
    none = jax.grad(lambda K: lmm.profile_log_likelihood(K, Y, X)[at_zero].sum())(K)
    np.testing.assert_array_equal(none, 0)


def test_under_jit_vmap_and_shard_map():
    L = KINSHIPS["families"]
    K, Y = L @ L.T, traits(L)

    def gradient(K, Y):
        return jax.grad(lambda K: lmm.profile_log_likelihood(K, Y, X).sum())(K)

    expected = gradient(K, Y)
    np.testing.assert_allclose(jax.jit(gradient)(K, Y), expected, rtol=1e-10, atol=1e-12)
    several = jax.vmap(gradient, (0, None))(np.stack([K, 2 * K]), Y)
    np.testing.assert_allclose(several[0], expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(several[1], gradient(2 * K, Y), rtol=1e-9, atol=1e-10)

    mesh = jax.make_mesh((1,), ("traits",), axis_types=(AxisType.Auto,))
    alone, split = PartitionSpec(), PartitionSpec(None, "traits")
    shared = jax.jit(
        jax.shard_map(
            lambda K, Y: jax.lax.psum(gradient(K, Y), "traits"),
            mesh=mesh,
            in_specs=(alone, split),
            out_specs=alone,
            check_vma=False,
        )
    )
    np.testing.assert_allclose(shared(K, Y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.long
def test_missing_values_by_pattern():
    """Each trait is that of the individuals observed for it, its derivatives zero for others."""
    L = KINSHIPS["strains"]
    K, Y = L @ L.T, traits(L)
    Y[:3, :4], Y[5, 3:9], Y[2:, 14] = np.nan, np.nan, np.nan
    fit = lmm.fit_traits(K, Y, X)
    assert np.isnan(fit.loglik[14])
    inside = np.flatnonzero(fit.hsq < 0.999)
    assert inside.size >= 8

    def total(K):
        return lmm.profile_log_likelihood(K, Y, X)[inside].sum()

    value, gradient = jax.value_and_grad(total)(K)
    assert float(value) == pytest.approx(float(np.sum(fit.loglik[inside])), rel=1e-10)
    expected = np.zeros_like(K)
    for h, y in zip(fit.hsq[inside], Y.T[inside], strict=True):
        (seen,) = np.where(~np.isnan(y))
        inverse = np.linalg.inv(h * K[np.ix_(seen, seen)] + (1 - h) * np.eye(seen.size))
        CX = inverse @ X[seen]
        P = inverse - CX @ np.linalg.solve(X[seen].T @ CX, CX.T)
        r = P @ y[seen]
        scale = (seen.size - 3) / (y[seen] @ r)
        expected[np.ix_(seen, seen)] -= 0.5 * h * (P - scale * np.outer(r, r))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)
    by_ml = jax.jit(lambda K: lmm.profile_log_likelihood(K, Y, X, reml=False))(K)
    np.testing.assert_allclose(by_ml, lmm.fit_traits(K, Y, X, reml=False).loglik, rtol=1e-9)


def test_a_trait_without_a_fit_leaves_the_gradient_of_the_others_alone():
    L = KINSHIPS["families"]
    Y = traits(L)
    with_constant = np.column_stack([Y[:, :-1], np.ones(N)])
    value, _ = SLOPE[True]((L, with_constant, X), (L, Y, X))
    np.testing.assert_array_equal(np.isnan(value), [False] * 14 + [True])
    found = PULLBACK[True]((L, with_constant, X), np.ones(M))[0]
    expected = PULLBACK[True]((L, Y, X), np.r_[np.ones(14), 0])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_identity_has_derivatives_in_the_phenotypes_alone():
    Y = traits(np.eye(N))
    of_kinship, of_traits, _ = PULLBACK[True]((np.eye(N), Y, X), np.ones(M))
    np.testing.assert_array_equal(of_kinship, 0)
    left = Y - X @ np.linalg.lstsq(X, Y)[0]
    np.testing.assert_allclose(of_traits, -(N - 3) * left / np.sum(left**2, axis=0), rtol=1e-9)


def test_in_single_precision_under_jaxs_default_setting():
    L = KINSHIPS["families"]
    Y = traits(L)
    expected = PULLBACK[True]((L, Y, X), np.ones(M))[0]
    with jax.enable_x64(False):
        assert lmm.profile_log_likelihood(L @ L.T, Y, X).dtype == np.float64
        total = jax.jit(jax.grad(lambda L: lmm.profile_log_likelihood(L @ L.T, Y, X).sum()))
        found = total(jnp.asarray(L, jnp.float32))
    assert found.dtype == np.float32
    close(found, expected, 1e-4)


def test_third_derivatives_are_refused():
    L = KINSHIPS["families"]
    K, y = L @ L.T, traits(L)[:, 0]

    def along(t):
        return lmm.profile_log_likelihood(K, y + t * X[:, 1], X[:, :1])

    assert np.isfinite(jax.jit(jax.grad(jax.grad(along)))(0.0))
    with pytest.raises(NotImplementedError, match="first and second derivatives only"):
        jax.grad(jax.grad(jax.grad(along)))(0.0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="smallest eigenvalue is -1"):
        lmm.profile_log_likelihood(np.diag([1.0, 1, 1, -1]), np.arange(4.0))
    indefinite = np.diag(np.r_[np.full(N - 1, 1.0), -1.0])
    assert np.isnan(jax.jit(lmm.profile_log_likelihood)(indefinite, traits(np.eye(N)))).all()


def test_of_a_null_model_with_another_kinship():
    K, Y = np.eye(N) + np.outer(PLACES, PLACES) / 10, traits(KINSHIPS["families"])
    null = lmm.NullModel(None, Y, X, reml=False)
    expected = lmm.profile_log_likelihood(K, Y, X, reml=False)
    np.testing.assert_allclose(null.profile_log_likelihood(K), expected, rtol=1e-12)
    found = jax.grad(lambda L: null.profile_log_likelihood(L @ L.T).sum())(square_root(K))
    of_root = PULLBACK[False]((square_root(K), Y, X), np.ones(M))[0]
    np.testing.assert_allclose(found, of_root, rtol=1e-8, atol=1e-9)
    weighted = lmm.NullModel(K, Y, X, weights=np.arange(1.0, N + 1))
    np.testing.assert_allclose(weighted.profile_log_likelihood(K), weighted.fit.loglik, rtol=1e-9)
    with pytest.raises(NotImplementedError, match="leave weights out"):
        jax.grad(lambda K: weighted.profile_log_likelihood(K).sum())(K)
