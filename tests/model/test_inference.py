"""Standard errors, intervals, tests, predictions, weights and priors."""

import jax
import numpy as np
import pytest
import scipy.stats
from helpers import centred, dense_effects, dense_loglik, random_kinship, with_variance

import lmmlite_jax as lmm


def cohort(seed, n=40, p=3, m=6, hsq=0.5, rank=None):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    K = random_kinship(rng, n, rank)
    return K, with_variance(rng, K, hsq, m) + X @ rng.standard_normal((p, m)), X


def by_rotation(K, Y, X, **options):
    rot = lmm.eigen_rotation(K, Y, X)
    return lmm.fit_lmm(rot.Kva, rot.y, rot.X, **options)


def numbers(fit, *names):
    return [np.asarray(getattr(fit, name)) for name in names]


@pytest.fixture(params=[by_rotation, lmm.fit_traits], ids=["fit_lmm", "fit_traits"])
def fit_all(request):
    return request.param


def dense_errors(K, y, X, hsq, reml):
    """Standard errors of h², σg², σe² by differences of the likelihood of (h², log σ²)."""
    n, p = X.shape
    dof = n - p if reml else n

    def loglik(theta):
        h, s = theta
        V = h * K + (1 - h) * np.eye(n)
        inverse = np.linalg.inv(V)
        gram = X.T @ inverse @ X
        beta = np.linalg.solve(gram, X.T @ inverse @ y)
        rss = (y - X @ beta) @ inverse @ (y - X @ beta)
        value = np.linalg.slogdet(V)[1] + dof * s + rss / np.exp(s)
        return -0.5 * (value + (np.linalg.slogdet(gram)[1] if reml else 0))

    _, sigmasq = dense_effects(hsq, K, y, X)
    best = np.array([hsq, np.log(sigmasq * (n - p) / dof)])
    step, unit = 1e-4, np.eye(2)
    information = np.array(
        [
            [
                -sum(
                    a * b * loglik(best + step * (a * unit[i] + b * unit[j]))
                    for a in (1, -1)
                    for b in (1, -1)
                )
                / (4 * step**2)
                for j in range(2)
            ]
            for i in range(2)
        ]
    )
    covariance = np.linalg.inv(information)
    gradients = sigmasq * np.array([[1, hsq], [-1, 1 - hsq]])
    return [np.sqrt(covariance[0, 0]), *np.sqrt(np.diag(gradients @ covariance @ gradients.T))]


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_standard_errors_are_those_of_the_observed_information(fit_all, reml):
    K, Y, X = cohort(1, n=80)
    fit = fit_all(K, Y, X, reml=reml, compute_se=True)
    hsq, *found = numbers(fit, "hsq", "hsq_se", "sigmasq_g_se", "sigmasq_e_se")
    inside = (hsq > 0.05) & (hsq < 0.95)
    assert inside.sum() >= 4
    for j in np.flatnonzero(inside):
        expected = dense_errors(K, Y[:, j], X, hsq[j], reml)
        np.testing.assert_allclose([error[j] for error in found], expected, rtol=1e-5)


@pytest.mark.parametrize("kinship", ["regular", "low rank", "centred", "twins"])
def test_standard_errors_of_fixed_effects(fit_all, kinship):
    K, Y, X = cohort(2, rank=10 if kinship == "low rank" else None, hsq=0.8)
    if kinship == "centred":
        K = centred(K)
    if kinship == "twins":
        K = np.kron(np.eye(20), np.ones((2, 2)))
    fit = fit_all(K, Y, X, compute_se=True)
    for j, h in enumerate(np.asarray(fit.hsq)):
        _, sigmasq = dense_effects(h, K, Y[:, j], X)
        V = h * K + (1 - h) * np.eye(len(K))
        expected = np.sqrt(sigmasq * np.diag(np.linalg.inv(X.T @ np.linalg.inv(V) @ X)))
        np.testing.assert_allclose(np.asarray(fit.beta_se)[:, j], expected, rtol=1e-7)


def test_at_heritability_one_a_centred_kinship_pins_the_mean(fit_all):
    """The intercept is in the null space of K: with no residual it is known exactly."""
    rng = np.random.default_rng(3)
    K = centred(random_kinship(rng, 60))
    Y = with_variance(rng, K, 1, 20)
    x = rng.standard_normal(60)
    fit = fit_all(K, Y, np.column_stack([np.ones(60), x - x.mean()]), compute_se=True)
    hsq, error = numbers(fit, "hsq", "beta_se")
    assert np.sum(hsq == 1) >= 5
    np.testing.assert_allclose(error[0, hsq == 1], 0, atol=1e-7)
    assert np.all(error[1] > 0.01)


def test_likelihood_ratio_of_no_heritability(fit_all):
    K, Y, X = cohort(4, m=30, hsq=0.1)
    fit = fit_all(K, Y, X)
    hsq, lrt, pvalue = numbers(fit, "hsq", "lrt", "lrt_pvalue")
    for j, y in enumerate(Y.T):
        at_best, at_zero = (dense_loglik(h, K, y, X) for h in (hsq[j], 0.0))
        assert lrt[j] == pytest.approx(2 * (at_best - at_zero), abs=1e-7)
    np.testing.assert_allclose(
        pvalue, np.where(lrt > 0, scipy.stats.chi2.sf(lrt, 1) / 2, 1.0), rtol=1e-9
    )
    assert 0 < np.sum(hsq == 0) < 30


def test_limits_are_where_the_ratio_meets_its_simulated_quantile():
    """Against a simulation of this test's own, whole traits fitted by `fit_traits`."""
    K, Y, X = cohort(5, n=50, m=12, hsq=0.6)
    fit = lmm.fit_traits(K, Y, X, interval=0.9, simulations=4000)
    hsq, low, high = numbers(fit, "hsq", "hsq_low", "hsq_high")
    assert np.all((low <= hsq) & (hsq <= high))
    assert np.any(high == 1)
    rng = np.random.default_rng(6)
    checked = 0
    for j, y in enumerate(Y.T):
        for limit in {low[j], high[j]} - {0.0, 1.0}:
            simulated = with_variance(rng, K, limit, 3000)
            again = lmm.fit_traits(K, simulated, X)
            rot = lmm.eigen_rotation(K, simulated, X)
            ratio = 2 * (np.asarray(again.loglik) - lmm.calc_ll(limit, rot.Kva, rot.y, rot.X))
            own = 2 * (float(fit.loglik[j]) - dense_loglik(limit, K, y, X))
            # Within four standard errors of a proportion.
            assert np.mean(ratio <= own) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 * 2 / 3000))
            checked += 1
        if checked >= 6:
            break
    assert checked >= 6


def test_simulated_pvalues_are_uniform_where_the_mixture_is_not():
    """With few individuals the chance of an estimate of zero is not one half."""
    K = lmm.simulate_cohort(60, 1, relatives="families", seed=1).kinship
    Y = np.random.default_rng(7).standard_normal((60, 3000))
    fit = lmm.fit_traits(K, Y, interval=0.95, simulations=20_000)
    lrt, simulated = numbers(fit, "lrt", "lrt_pvalue_simulated")
    positive = lrt > 0
    share = positive.mean()
    assert abs(share - 0.5) > 0.03
    assert np.all(simulated[~positive] == 1)
    assert scipy.stats.kstest(simulated[positive] / simulated[positive].max(), "uniform")[1] > 0.01
    assert simulated[positive].max() == pytest.approx(share, abs=0.04)


def test_simulated_pvalues_of_balanced_groups_are_those_of_the_f_test():
    """The likelihood ratio of equal groups rises with F, whose law is known; the mixture is not it.

    Where F is below 1 the estimate is zero, and so is the ratio.
    """
    groups, size = 5, 12
    K = np.kron(np.eye(groups), np.ones((size, size)))
    Y = np.random.default_rng(20).standard_normal((groups * size, 4000))
    fit = lmm.fit_traits(K, Y, simulate_pvalue=True)
    F, expected = scipy.stats.f_oneway(*np.split(Y, groups))
    lrt, mixture, simulated = numbers(fit, "lrt", "lrt_pvalue", "lrt_pvalue_simulated")
    np.testing.assert_array_equal(lrt > 0, F > 1)
    assert np.all(simulated[F <= 1] == 1)
    error = np.sqrt(expected * (1 - expected) / 10_000)
    assert np.all(np.abs(simulated - expected)[F > 1] <= (4 * error + 2e-4)[F > 1])
    # 0.0339: the F law's probability of a ratio above the mixture's quantile.
    assert np.mean(mixture < 0.05) == pytest.approx(0.0339, abs=3 * np.sqrt(0.0327 / 4000))
    assert np.mean(simulated < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.0475 / 4000))
    assert fit.hsq_low is None


def test_intervals_of_patterns_with_missing_values_are_their_own():
    K, Y, X = cohort(8, m=4)
    Y = np.repeat(Y, 2, axis=1)
    Y[:9, 1::2] = np.nan
    options = {"interval": 0.95, "simulations": 1000, "seed": 3}
    together = lmm.fit_traits(K, Y, X, **options)
    names = ("hsq_low", "hsq_high", "lrt_pvalue_simulated")
    for k, rows in ((0, slice(0, 40)), (1, slice(9, 40))):
        alone = lmm.fit_traits(K[rows, rows], Y[rows, k::2], X[rows], **options)
        for a, b in zip(numbers(together, *names), numbers(alone, *names), strict=True):
            # The numbers drawn differ with padding: agreement within simulation error.
            np.testing.assert_allclose(a[k::2], b, atol=0.06)
    repeated = lmm.fit_traits(K, Y, X, **options)
    np.testing.assert_array_equal(together.hsq_low, repeated.hsq_low)
    del options["interval"]
    alone = lmm.fit_traits(K, Y, X, simulate_pvalue=True, **options)
    assert alone.hsq_low is None
    np.testing.assert_array_equal(alone.lrt_pvalue_simulated, together.lrt_pvalue_simulated)


def test_a_heritability_that_cannot_be_identified_has_the_whole_interval():
    y = np.random.default_rng(9).standard_normal((30, 2))
    fit = lmm.fit_traits(np.eye(30), y, interval=0.95, simulations=1000)
    assert np.all(np.isnan(fit.hsq))
    np.testing.assert_array_equal(fit.hsq_low, 0)
    np.testing.assert_array_equal(fit.hsq_high, 1)


def test_traits_without_a_fit_have_no_inference():
    K, Y, X = cohort(10)
    Y[:, 2] = 1.0
    Y[:, 4] = np.nan
    fit = lmm.fit_traits(K, Y, X, compute_se=True, interval=0.95, simulations=500, blup=True)
    table = fit.to_pandas()
    bad = table.index.isin([2, 4])
    values = table.drop(columns=["n", "reason"])
    assert values[bad].isna().all(axis=None)
    assert values[~bad].drop(columns="hsq_se").notna().all(axis=None)
    assert np.isnan(np.asarray(fit.blup)[:, [2, 4]]).all()
    assert np.isfinite(np.asarray(fit.blup)[:, [0, 1, 3, 5]]).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_predicted_genetic_values(weighted):
    """h K[:, seen] V⁻¹ (y - Xβ), for individuals without a phenotype as well."""
    K, Y, X = cohort(11, rank=25)
    rng = np.random.default_rng(12)
    weights = rng.uniform(0.5, 4, 40) if weighted else None
    Y[rng.random(Y.shape) < 0.2] = np.nan
    fit = lmm.fit_traits(K, Y, X, weights=weights, blup=True)
    noise = np.diag(1 / weights) if weighted else np.eye(40)
    assert np.asarray(fit.blup).shape == Y.shape
    for j, h in enumerate(np.asarray(fit.hsq)):
        seen = ~np.isnan(Y[:, j])
        V = h * K + (1 - h) * noise
        left = Y[seen, j] - X[seen] @ np.asarray(fit.beta)[:, j]
        expected = h * K[:, seen] @ np.linalg.solve(V[np.ix_(seen, seen)], left)
        np.testing.assert_allclose(np.asarray(fit.blup)[:, j], expected, atol=1e-7)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_weights_are_inverse_residual_variances(reml):
    K, Y, X = cohort(13)
    rng = np.random.default_rng(14)
    weights = rng.integers(1, 9, 40).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    fit = lmm.fit_traits(K, Y, X, weights=weights, reml=reml, compute_se=True)
    grid = np.linspace(0, 1, 201)
    for j in range(Y.shape[1]):
        seen = ~np.isnan(Y[:, j])
        y, own_X, root = Y[seen, j], X[seen], np.sqrt(weights[seen])
        own_K = K[np.ix_(seen, seen)] * np.outer(root, root)
        scaled = root * y, root[:, None] * own_X
        # The density of y itself, not of what it is scaled to.
        jacobian = np.sum(np.log(root))
        if reml:
            grams = (np.linalg.slogdet(x.T @ x)[1] for x in (own_X, scaled[1]))
            jacobian += 0.5 * (next(grams) - next(grams))
        h = float(fit.hsq[j])
        assert float(fit.loglik[j]) == pytest.approx(
            dense_loglik(h, own_K, *scaled, reml) + jacobian, rel=1e-9
        )
        best = max(dense_loglik(h, own_K, *scaled, reml) for h in grid) + jacobian
        assert float(fit.loglik[j]) >= best - 1e-8
        beta, sigmasq = dense_effects(h, own_K, *scaled)
        np.testing.assert_allclose(np.asarray(fit.beta)[:, j], beta, rtol=1e-6)
        assert float(fit.sigmasq[j]) == pytest.approx(sigmasq, rel=1e-7)


def test_equal_weights_change_only_the_scale_of_the_residuals():
    K, Y, X = cohort(15)
    plain = lmm.fit_traits(K, Y, X)
    weighted = lmm.fit_traits(4 * K, Y, X, weights=np.full(40, 0.25))
    np.testing.assert_allclose(weighted.sigmasq_g, np.asarray(plain.sigmasq_g) / 4, rtol=1e-6)
    np.testing.assert_allclose(weighted.loglik, plain.loglik, rtol=1e-9)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_a_prior_adds_observations_of_its_variance(fit_all, reml):
    K, Y, X = cohort(16)
    n, p = X.shape
    fit = fit_all(K, Y, X, reml=reml, prior_variance=2.5, prior_sample_size=7.0)
    dof = (n - p if reml else n) + 7

    def posterior(h, y):
        _, sigmasq = dense_effects(h, K, y, X)
        rss = sigmasq * (n - p)
        V = h * K + (1 - h) * np.eye(n)
        value = np.linalg.slogdet(V)[1] + dof * np.log(rss + 7 * 2.5)
        if reml:
            value += np.linalg.slogdet(X.T @ np.linalg.inv(V) @ X)[1]
        return -0.5 * value, (rss + 7 * 2.5) / (n - p + 7)

    for j, y in enumerate(Y.T):
        found, sigmasq = posterior(float(fit.hsq[j]), y)
        assert found >= max(posterior(h, y)[0] for h in np.linspace(0, 1, 101)) - 1e-9
        assert float(fit.sigmasq[j]) == pytest.approx(sigmasq, rel=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 95.0}, "interval must be a confidence level such as 0.95, got 95"),
        ({"interval": 0.95, "reml": False}, "use reml=True"),
        ({"interval": 0.95, "prior_variance": 1.0, "prior_sample_size": 2.0}, "knows no prior"),
        ({"interval": 0.95, "simulations": 50}, "simulations must be at least 200"),
        ({"simulate_pvalue": True, "reml": False}, "simulate_pvalue is for the restricted"),
        ({"simulate_pvalue": True, "simulations": 0}, "simulations must be at least 1, got 0"),
        ({"weights": np.ones(3)}, r"weights must have shape \(40,\)"),
        ({"weights": np.zeros(40)}, r"weights\[0\] is 0"),
        ({"weights": np.full(40, np.nan)}, r"weights\[0\] is nan"),
        ({"prior_variance": -1.0}, "must not be negative"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        lmm.fit_traits(*cohort(17), **options)


@pytest.mark.parametrize("asked", [{"interval": 0.95}, {"simulate_pvalue": True}])
def test_simulations_are_refused_under_jit(asked):
    K, Y, X = cohort(19)
    with pytest.raises(ValueError, match=f"{next(iter(asked))} is simulated outside of traces"):
        jax.jit(lambda y: lmm.fit_traits(K, y, X, **asked).hsq)(Y)


def test_values_between_the_nodes_of_a_skeleton():
    spectrum = np.geomspace(1e-6, 3, 400)
    amounts = np.random.default_rng(18).random((400, 2))
    few = lmm.skeleton(spectrum)
    hsq = np.linspace(0, 1, 50)
    values = np.asarray(few.weights_of(spectrum)) @ amounts
    found = np.asarray(few.interpolation(hsq)).T @ values
    expected = (1 / (np.outer(hsq, spectrum) + (1 - hsq)[:, None])) @ amounts
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    jax.block_until_ready(few.coefficients(values))
