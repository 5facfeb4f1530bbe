from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import enable_x64

import lmmlite_jax as lmm
from lmmlite_jax.mapping.pair_terms import PairProfile
from lmmlite_jax.model.estimate import estimate
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.skeleton import skeleton

HSQ = np.array([0.0, 1e-9, 0.3, 0.8, 1 - 1e-6])


@pytest.fixture(autouse=True)
def _double():
    with enable_x64(True):
        yield


def profiles(zero):
    """One likelihood, without and with a marker; ``zero``: what the null space of K takes part."""
    rng = np.random.default_rng(1)
    few = skeleton(np.geomspace(0.01, 5, 40))
    r, m = few.nodes.size, HSQ.size
    few = jax.tree.map(jnp.asarray, few)
    positive = [jnp.asarray(rng.uniform(0.5, 2, (r, m))) for _ in range(2)]
    common = {
        "skeleton": few,
        "logdet": jnp.asarray(rng.uniform(-1, 1, (r, 1))),
        "zeros": jnp.asarray([2.0 * zero]),
        "dof": 40.0,
    }
    rss, null = positive[0], jnp.full(m, 0.7 * zero)
    yield Profile(rss=rss, zero_rss=null, prior_squares=0.3, **common)
    yield PairProfile(
        rss=rss,
        zero_rss=0.9 * null,
        null_rss=null,
        null_product=0.1 * null,
        null_square=null,
        product=0.2 * positive[1],
        square=positive[1],
        absorbs=jnp.zeros(m, bool),
        restricted=jnp.asarray(1.0),
        **common,
    )


@pytest.mark.parametrize("zero", [0, 1])
def test_slope_and_curvature_are_derivatives_of_the_log_likelihood(zero):
    def derivative(function):
        return lambda h: jax.jvp(function, (h,), (jnp.ones_like(h),))[1]

    for profile in profiles(zero):
        slope, curvature = profile.slope_and_curvature(jnp.asarray(HSQ))
        np.testing.assert_allclose(slope, derivative(profile.loglik)(HSQ), rtol=1e-9)
        np.testing.assert_allclose(
            curvature, derivative(derivative(profile.loglik))(HSQ), rtol=1e-8
        )


def test_log_determinant_has_its_digits_near_equal_and_near_singular_variances():
    few = skeleton(np.geomspace(0.01, 5, 40))
    nodes = np.array(few.nodes)
    nodes[:8] = [1e-12, 1e-6, 0.4, 1 - 1e-11, 1.0, 1 + 1e-11, 1.7, 1e9]
    few = replace(few, nodes=nodes)
    for node in range(8):
        logdet = jnp.zeros((nodes.size, 1)).at[node].set(1.0)
        profile = Profile(few, logdet, jnp.zeros(1), logdet, jnp.zeros(1))
        for hsq in (1e-12, 0.3, 1 - 1e-13):
            h, d = np.longdouble(hsq), np.longdouble(nodes[node]) - 1
            variance = h * np.longdouble(nodes[node]) + (1 - h)
            logarithm = np.log1p(h * d) if abs(h * d) < 0.5 else np.log(variance)
            expected = h if d == 0 else logarithm / d
            found = profile.log_determinant(jnp.asarray(hsq))
            np.testing.assert_allclose(found, float(expected), rtol=1e-12)


def test_estimates_of_any_number_of_individuals_and_covariates_share_a_program():
    cohort = lmm.simulate_cohort(n=66, m=3, seed=1)
    K, Y, X = (np.asarray(of) for of in (cohort.kinship, cohort.pheno, cohort.covar))
    estimate.clear_cache()
    for n, p in ((66, 3), (60, 2), (55, 1)):
        lmm.fit_traits(K[:n, :n], Y[:n], X[:n, :p])
    assert estimate._cache_size() == 1
