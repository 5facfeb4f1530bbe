"""Several kinships against a dense reference, `fit_lmm` and lme4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import centred, random_kinship
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm
from scipy.stats import t as student

import lmmlite_jax as lmm
from lmmlite_jax.model.share_interval import critical_root

N = 40
FAMILIES = np.kron(np.eye(N // 4), 0.5 * np.eye(4) + 0.5)
HOUSES = np.kron(np.eye(N // 2), np.ones((2, 2)))


def simulated(seed):
    """Two kinships, covariates and a trait; the first is singular in every third cohort."""
    rng = np.random.default_rng(seed)
    first = random_kinship(rng, N, rank=10 if seed % 3 == 0 else None)
    second = FAMILIES if seed % 2 else HOUSES
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    variances = rng.dirichlet([1, 1, 1]) * (rng.random(3) < 0.8) + [0, 0, 0.05]
    V = variances[0] * first + variances[1] * second + variances[2] * np.eye(N)
    y = 20 * np.linalg.cholesky(V) @ rng.standard_normal(N) + X @ [300.0, 5.0]
    return [first, second], y, X


def dense_loglik(proportions, kinships, y, X, reml):
    """Log likelihood with σ² and β at their best, constants as in R/lmmlite."""
    n, p = X.shape
    V = (1 - sum(proportions)) * np.eye(n)
    V = V + sum(h * K for h, K in zip(proportions, kinships, strict=True))
    inverse = np.linalg.inv(V)
    gram = X.T @ inverse @ X
    residual = y - X @ np.linalg.solve(gram, X.T @ inverse @ y)
    rss = residual @ inverse @ residual
    value = -0.5 * (np.linalg.slogdet(V)[1] + n * np.log(rss))
    if reml:
        value += 0.5 * (p * np.log(2 * np.pi * rss / (n - p)) + np.linalg.slogdet(X.T @ X)[1])
        value -= 0.5 * np.linalg.slogdet(gram)[1]
    return value


def slow_maximum(kinships, y, X, reml):
    """Best of the maxima that SciPy's simplex finds, started again where it stopped."""
    size = len(kinships)

    def loss(h):
        h = np.maximum(h, 0)
        return np.inf if h.sum() > 1 - 1e-9 else -dense_loglik(h, kinships, y, X, reml)

    starts = [np.full(size, 0.3), *(0.05 + 0.8 * np.eye(size)), np.full(size, 0.02)]
    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000}
    best = None
    for start in starts:
        for _ in range(2):
            found = minimize(loss, np.maximum(start, 0), method="Nelder-Mead", options=options)
            start = found.x
        if best is None or found.fun < best:
            best = found.fun
    return -best


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_twenty_cohorts_against_a_dense_likelihood_and_a_generic_optimiser(reml):
    at_zero = 0
    for seed in range(10) if reml else range(10, 20):
        kinships, y, X = simulated(seed)
        fit = lmm.fit_components(kinships, y, X, reml)
        assert fit.reasons == ("",)
        loglik = float(fit.loglik)
        assert loglik == pytest.approx(slow_maximum(kinships, y, X, reml), abs=1e-6)
        # The log likelihood reported is that of the estimates reported.
        own = dense_loglik(np.asarray(fit.proportion), kinships, y, X, reml)
        assert loglik == pytest.approx(own, abs=1e-9)
        at_zero += int(np.any(np.asarray(fit.sigmasq) == 0))
    assert at_zero >= 1


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_one_kinship_is_fit_lmm(reml):
    rng = np.random.default_rng(3)
    K = random_kinship(rng, N)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    root = np.linalg.cholesky(K)
    Y = root @ rng.standard_normal((N, 8)) + rng.standard_normal((N, 8)) + 50
    rot = lmm.eigen_rotation(K, Y, X)
    expected = lmm.fit_lmm(rot.Kva, rot.y, rot.X, reml, compute_se=True)
    fit = lmm.fit_components([K], Y, X, reml)
    hsq = np.asarray(expected.hsq)
    inside = (hsq > 0) & (hsq < 1)
    assert inside.sum() >= 4
    np.testing.assert_allclose(fit.loglik, expected.loglik, rtol=1e-11)
    np.testing.assert_allclose(fit.beta, expected.beta, rtol=1e-6)
    np.testing.assert_allclose(fit.beta_se, expected.beta_se, rtol=1e-6)
    np.testing.assert_allclose(fit.sigmasq_e, expected.sigmasq_e, rtol=1e-6)
    for ours, theirs in (
        (fit.proportion, expected.hsq),
        (fit.sigmasq, expected.sigmasq_g),
        (fit.lrt, expected.lrt),
        (fit.lrt_pvalue, expected.lrt_pvalue),
    ):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-6, atol=1e-9)
    for ours, theirs in (
        (fit.proportion_se[0], expected.hsq_se),
        (fit.sigmasq_se[0], expected.sigmasq_g_se),
        (fit.sigmasq_e_se, expected.sigmasq_e_se),
    ):
        np.testing.assert_allclose(np.asarray(ours)[inside], theirs[inside], rtol=1e-5)


LME4 = {
    # σ² of donors, of batches and of the residual; β; their standard errors; log likelihood;
    # likelihood ratios of no donors and of no batches.
    True: (
        [0.799752474, 0.178204481, 0.58145554],
        [10.1673659, 0.798491219],
        [0.265963926, 0.0825707571],
        -240.954199,
        [101.565906, 24.5696726],
    ),
    False: (
        [0.772237623, 0.167068982, 0.577863849],
        [10.1676159, 0.798441317],
        [0.260706113, 0.0823057398],
        -238.911354,
        [101.625884, 24.3785964],
    ),
}
"""lme4 1.1-31 (Debian's r-cran-lme4, R 4.2.2) on the design of the test below:

    i <- 0:179; donor <- (7 * i * i + 3 * i + i %/% 40) %% 26; batch <- (i * i + i %/% 9) %% 8
    x <- (i %% 5) / 2
    y <- 10 + 0.8 * x + 1.2 * sin(5 * donor^2 + 1) + 0.5 * sin(3 * batch^2 + 2)
    y <- y + 1.1 * sin(17 * i^2)
    lmer(y ~ x + (1 | factor(donor)) + (1 | factor(batch)), REML = reml, control =
         lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5)))
"""


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_repeated_donors_and_batches_are_lme4s(reml):
    i = np.arange(180)
    donor, batch = (7 * i * i + 3 * i + i // 40) % 26, (i * i + i // 9) % 8
    X = np.column_stack([np.ones(180), (i % 5) / 2])
    y = 10 + 0.8 * X[:, 1] + 1.2 * np.sin(5 * donor**2 + 1) + 0.5 * np.sin(3 * batch**2 + 2)
    y = y + 1.1 * np.sin(17 * i**2)
    kinships = {
        name: (group[:, None] == group).astype(float)
        for name, group in (("donor", donor), ("batch", batch))
    }
    fit = lmm.fit_components(kinships, y, X, reml)
    variances, beta, beta_se, loglik, lrt = LME4[reml]
    n, p = X.shape
    dof = n - p if reml else n
    # lme4 divides by n in ML; R/lmmlite, whose convention is ours, by n - p in both.
    ours = np.append(fit.sigmasq, fit.sigmasq_e) * (n - p) / dof
    np.testing.assert_allclose(ours, variances, rtol=2e-5)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-6)
    np.testing.assert_allclose(fit.beta_se * np.sqrt((n - p) / dof), beta_se, rtol=1e-5)
    np.testing.assert_allclose(fit.lrt, lrt, rtol=1e-6)
    # lme4 keeps the constants that R/lmmlite drops.
    constants = 0.5 * dof * (np.log(2 * np.pi / dof) + 1)
    if reml:
        constants += 0.5 * (np.linalg.slogdet(X.T @ X)[1] + p * np.log(2 * np.pi / dof))
    assert float(fit.loglik) == pytest.approx(loglik + constants, abs=1e-6)


@pytest.fixture(scope="module")
def problem():
    kinships, y, X = simulated(1)
    rng = np.random.default_rng(0)
    Y = np.column_stack([y, y + 3 * rng.standard_normal(N), X @ [1.0, 2.0], y, y])
    Y[:7, 1] = np.nan
    Y[3:, 3] = np.nan
    Y[:, 4] = np.nan
    return kinships, Y, X


class TestManyTraits:
    def test_missing_values_leave_out_individuals_of_that_trait_alone(self, problem):
        kinships, Y, X = problem
        fit = lmm.fit_components(kinships, Y, X)
        np.testing.assert_array_equal(fit.n, [N, N - 7, N, 3, 0])
        for j, seen in ((0, slice(None)), (1, slice(7, None))):
            one = lmm.fit_components([K[seen, seen] for K in kinships], Y[seen, j], X[seen])
            for name in ("sigmasq", "sigmasq_se", "proportion", "beta", "beta_se", "loglik", "lrt"):
                together, alone = getattr(fit, name)[..., j], getattr(one, name)
                np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-8, err_msg=name)

    def test_traits_without_a_fit_say_why_and_are_nan(self, problem):
        kinships, Y, X = problem
        fit = lmm.fit_components(kinships, Y, X)
        reasons = ["", "", "constant", "fewer than p + 2", "no individual"]
        assert all(r in found for r, found in zip(reasons, fit.reasons, strict=True))
        assert fit.reasons[:2] == ("", "")
        for name in ("sigmasq", "sigmasq_e", "beta", "loglik", "lrt", "lrt_pvalue", "beta_se"):
            values = np.asarray(getattr(fit, name))
            assert np.isnan(values[..., 2:]).all()
            assert np.isfinite(values[..., :2]).all()

    def test_too_few_steps_are_a_reason(self, problem):
        kinships, Y, X = problem
        fit = lmm.fit_components(kinships, Y, X, max_steps=1)
        assert all("no maximum found" in reason for reason in fit.reasons[:2])
        assert np.isnan(fit.loglik).all()

    def test_a_table_with_the_names_that_came_in(self, problem):
        kinships, Y, X = problem
        fit = lmm.fit_components(dict(zip(("kin", "home"), kinships, strict=True)), Y, X)
        table = fit.to_pandas().iloc[:2]
        assert list(table["sigmasq_kin"]) == list(fit.sigmasq[0, :2])
        assert list(table["lrt_pvalue_home"]) == list(fit.lrt_pvalue[1, :2])
        assert list(table["reason"]) == ["", ""]

    def test_the_result_is_a_pytree(self, problem):
        kinships, Y, X = problem
        fit = lmm.fit_components(kinships, Y[:, 0], X, tests=False)
        assert fit.lrt is None
        doubled = jax.tree.map(lambda a: np.asarray(2 * a), fit)
        np.testing.assert_array_equal(doubled.sigmasq, 2 * fit.sigmasq)


@pytest.fixture(scope="module")
def with_limits():
    """Eight traits, two without a family's share, and their intervals."""
    rng = np.random.default_rng(7)
    kinships, _, X = simulated(1)
    roots = [np.linalg.cholesky(K + 1e-9 * np.eye(N)) for K in kinships]
    parts = [root @ rng.standard_normal((N, 8)) for root in [*roots, np.eye(N)]]
    shares = np.array(
        [[0, 0.8, 0.1, 0.5, 0.9, 0.2, 0.3, 0.6], [0.5, 0, 0, 0.4, 0.1, 0.7, 0.3, 0.2]]
    )
    Y = np.sqrt(shares[0]) * parts[0] + np.sqrt(shares[1]) * parts[1] + 0.5 * parts[2]
    return kinships, Y, X, lmm.fit_components(kinships, Y, X, interval=0.95)


class TestIntervals:
    def test_at_a_limit_the_dense_ratio_is_the_critical_value(self, with_limits):
        kinships, Y, X, fit = with_limits
        limits = np.stack([fit.proportion_low, fit.proportion_high])
        roots = []
        for end, c, j in np.argwhere((limits > 0) & (limits < 1)):
            share = limits[end, c, j]

            def loss(part, share=share, c=c, j=j):
                both = [share, (1 - share) * part][:: 1 if c == 0 else -1]
                return -dense_loglik(both, kinships, Y[:, j], X, True)

            other = minimize_scalar(loss, bounds=(0, 1 - 1e-9), method="bounded")
            best = min(other.fun, loss(0.0))
            beside = np.eye(len(X)) - X @ np.linalg.pinv(X)
            spectrum = np.linalg.eigvalsh(beside @ kinships[c] @ beside)
            contrasts = spectrum.sum() ** 2 / np.sum(spectrum**2)
            few = student.ppf(0.975, contrasts) / norm.ppf(0.975)
            roots.append(np.sqrt(2 * (float(fit.loglik[j]) + best)) / few)
        assert len(roots) >= 6
        # From that of the mixture at zero to that of χ², which is reached far from it; Student's
        # quantile is an expansion.
        assert norm.ppf(0.95) - 1e-5 < min(roots) < max(roots) < norm.ppf(0.975) + 1e-3
        assert max(roots) > norm.ppf(0.975) - 0.02

    def test_zero_is_inside_where_its_test_does_not_reject(self, with_limits):
        fit = with_limits[-1]
        assert np.array_equal(fit.proportion_low == 0, fit.lrt_pvalue >= 0.05)
        assert 0 < np.mean(fit.proportion_low == 0) < 1
        assert np.all(fit.proportion_low <= fit.proportion)
        assert np.all(fit.proportion <= fit.proportion_high)
        assert fit.reasons == ("",) * 8

    def test_a_limit_that_was_not_found_has_its_reason(self, with_limits):
        kinships, Y, X, fit = with_limits
        few = lmm.fit_components(kinships, Y, X, interval=0.95, max_steps=int(min(fit.steps)))
        fitted = np.isfinite(few.loglik)
        assert fitted.any()
        lacks = np.isnan(few.proportion_low + few.proportion_high).any(axis=0)
        assert lacks[fitted].any()
        assert all("raise max_steps" in few.reasons[j] for j in np.flatnonzero(fitted & lacks))

    @pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 3.0])
    def test_critical_values_are_the_ratios_own(self, distance):
        x = np.random.default_rng(1).standard_normal(1_000_000) + distance
        ratio = np.where(x > 0, (x - distance) ** 2, distance**2 - 2 * x * distance)
        with jax.enable_x64(True):
            root = critical_root(jnp.asarray(distance), jnp.asarray(0.95))
        assert float(np.mean(np.sqrt(ratio) <= root)) == pytest.approx(0.95, abs=1e-3)

    def test_refusals(self, problem):
        kinships, Y, X = problem
        with pytest.raises(ValueError, match="use reml=True"):
            lmm.fit_components(kinships, Y, X, reml=False, interval=0.95)
        with pytest.raises(ValueError, match=r"such as 0\.95, got 95"):
            lmm.fit_components(kinships, Y, X, interval=95.0)
        with pytest.raises(ValueError, match="leave it out under jit"):
            jax.jit(lambda y: lmm.fit_components(kinships, y, X, interval=0.9))(Y[:, 0])


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_test_of_a_component_is_the_fit_without_it(reml):
    kinships, y, X = simulated(5)
    fit = lmm.fit_components(kinships, y, X, reml)
    for c in range(2):
        # As many traits as in the test above, whose compiled program serves.
        without = lmm.fit_components([kinships[1 - c]], np.tile(y[:, None], 8), X, reml)
        expected = 2 * (float(fit.loglik) - float(without.loglik[0]))
        assert float(fit.lrt[c]) == pytest.approx(expected, abs=1e-6)


def test_the_ml_spike_of_centred_kinships_is_not_returned():
    """A trait all heritable: ML has no bound where K is singular along the intercept."""
    rng = np.random.default_rng(4)
    kinships = [centred(random_kinship(rng, N)), centred(FAMILIES)]
    y = np.linalg.cholesky(kinships[0] + 1e-9 * np.eye(N)) @ rng.standard_normal(N)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    fit = lmm.fit_components(kinships, y, X, reml=False)
    assert np.isnan(fit.loglik) or float(fit.proportion.sum()) < 1 - 1e-6
    assert np.isfinite(lmm.fit_components(kinships, y, X).loglik)


class TestRefusals:
    def test_kinships_that_cannot_be_told_apart(self):
        rng = np.random.default_rng(0)
        K, y = random_kinship(rng, N), rng.standard_normal(N)
        with pytest.raises(ValueError, match=r"kinships\[1\] is a combination of the identity"):
            lmm.fit_components([K, 0.5 * K + 0.5 * np.eye(N)], y)
        with pytest.raises(ValueError, match=r"kinships\['same'\] is a combination"):
            lmm.fit_components({"K": K, "same": K + 1}, y)  # the intercept absorbs what is added
        with pytest.raises(ValueError, match=r"kinships\[0\] is a combination of the identity"):
            lmm.fit_components([np.eye(N)], y)

    def test_kinships_that_are_none(self):
        y = np.arange(4.0)
        with pytest.raises(ValueError, match="kinships is empty"):
            lmm.fit_components([], y)
        with pytest.raises(ValueError, match=r"shape \(4, 4\), kinships\[1\] has \(5, 5\)"):
            lmm.fit_components([np.eye(4), np.eye(5)], y)
        with pytest.raises(ValueError, match="smallest eigenvalue is -1"):
            lmm.fit_components([np.diag([1.0, 1, 1, -1])], y)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_derivatives_of_estimates_are_central_differences(reml):
    """Inside and with a component at zero, forward and reverse, in both kinships, y and X."""
    rng, n, m = np.random.default_rng(1), 30, 4
    families = np.linalg.cholesky(np.asarray(lmm.simulate_cohort(n=n, m=1, seed=1).kinship))
    houses = np.kron(np.eye(10), np.ones((3, 1)))
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    shares = np.array([0.0, 0.3, 0.7, 0.5])
    Y = 0.7 * families @ rng.standard_normal((n, m)) + 0.5 * rng.standard_normal((n, m))
    Y += shares * (houses @ rng.standard_normal((10, m)))

    def numbers(A, B, Y, X):
        fit = lmm.fit_components([A @ A.T, B @ B.T], Y, X, reml, tol=1e-10, tests=False)
        values = [fit.sigmasq, fit.sigmasq_e[None], fit.proportion, fit.beta, fit.loglik[None]]
        return jnp.concatenate([*values, fit.beta_se])

    with jax.enable_x64(True):
        run, at = jax.jit(numbers), (families, houses, Y, X)
        along = tuple(rng.standard_normal(a.shape) / n for a in at)
        value, slope = jax.jit(lambda at, v: jax.jvp(numbers, at, v))(at, along)
        ahead, behind = (
            run(*(a + sign * 1e-5 * v for a, v in zip(at, along, strict=True))) for sign in (1, -1)
        )
        cotangent = rng.standard_normal(value.shape)
        back = jax.jit(lambda at, c: jax.vjp(numbers, *at)[1](c))(at, cotangent)
        both = float(sum(np.sum(a * v) for a, v in zip(back, along, strict=True)))
        expected = float(np.sum(cotangent * slope))
        numerical = (ahead - behind) / 2e-5
        with pytest.raises(NotImplementedError, match="first derivatives only"):
            jax.hessian(lambda scale: numbers(families, houses, scale * Y, X).sum())(1.0)
    assert both == pytest.approx(expected, rel=1e-10)
    zero = np.asarray(value[:2] == 0)
    assert zero.any()
    assert not zero.all()
    np.testing.assert_allclose(slope, numerical, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(slope[:2][zero], 0)
